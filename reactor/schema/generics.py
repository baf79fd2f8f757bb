"""Generic structs: what their type parameters stand for in `Page[Message]` and in the classes above."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

from reactor.schema.structs import Struct

__all__ = ["substitute", "type_parameters"]


def type_parameters(cls: type, arguments: tuple[Any, ...]) -> dict[type, dict[Any, Any]]:
    """For each generic class below `cls[arguments]`: its type parameters → what they stand for."""
    found: dict[type, dict[Any, Any]] = {}

    def visit(target: type, given: Mapping[Any, Any]) -> None:
        found[target] = dict(given)
        for base in getattr(target, "__orig_bases__", ()):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Struct):
                values = [substitute(argument, given) for argument in get_args(base)]
                visit(origin, dict(zip(origin.__parameters__, values, strict=False)))  # pyright: ignore

    own = getattr(cls, "__parameters__", ())
    visit(cls, dict(zip(own, arguments, strict=False)) if arguments else dict.fromkeys(own, Any))
    return found


def substitute(hint: Any, given: Mapping[Any, Any]) -> Any:
    if not given:
        return hint
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if not parameters or isinstance(hint, type):
        return hint
    return hint[tuple(given.get(parameter, parameter) for parameter in parameters)]
