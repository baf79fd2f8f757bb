"""Python objects → values: structs become objects with wire names, string enums their strings. Nothing is checked here.

It goes by the objects, not by annotations, so a struct in an untyped place comes out right too.
"""

from __future__ import annotations

import enum
from typing import Any, Final

from reactor.errors import InvalidValue
from reactor.schema.structs import Struct, fields_of
from reactor.values.types import UNSET, Int64

__all__ = ["dump", "dump_fields"]

_AS_THEY_ARE: Final = frozenset({str, int, float, bool, type(None), bytes, Int64})


def dump(obj: Any) -> Any:
    """The value tree of `obj`. What is no value stays in it, for the encoder or the validator to refuse.

    Raises InvalidValue for an object that contains itself.
    """
    try:
        return _dump(obj)
    except RecursionError as error:
        raise InvalidValue("Value is too nested (it may contain itself)", code="TooNestedError") from error


def dump_fields(obj: Struct) -> dict[str, Any]:
    """A struct as an object: fields that are UNSET, or None where that is the default, are left out."""
    tree: dict[str, Any] = {}
    for f in fields_of(type(obj)):
        value = getattr(obj, f.name)
        if value is UNSET or (value is None and f.absent == "none"):
            continue
        tree[f.wire] = value if type(value) in _AS_THEY_ARE else _dump(value)
    return tree


def _dump(obj: Any) -> Any:
    kind = type(obj)
    if kind in _AS_THEY_ARE:
        return obj
    if kind is list:
        return [_dump(item) for item in obj]
    if kind is dict:
        return {_key(name): _dump(item) for name, item in obj.items() if item is not UNSET}
    if isinstance(obj, Struct):
        return dump_fields(obj)
    if isinstance(obj, enum.Enum) and isinstance(obj, str):
        return str(obj.value)
    return obj


def _key(name: Any) -> Any:
    return str(name.value) if isinstance(name, enum.Enum) and isinstance(name, str) else name
