"""What to write instead of an annotation that has no meaning here."""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import typing
import uuid
from dataclasses import is_dataclass
from typing import Any, Final, get_origin

import msgspec
from msgspec import UnsetType

from reactor.errors import SchemaError
from reactor.schema.hints import Scope
from reactor.schema.ids import Id

__all__ = ["refused", "type_name"]

_INSTEAD: Final[tuple[tuple[type, str], ...]] = (
    (datetime.datetime, "write `float`: milliseconds since the epoch, `moment.timestamp() * 1000`"),
    (datetime.date, 'write `str`, as in "2026-01-31" (`day.isoformat()`)'),
    (datetime.time, 'write `str`, as in "18:30" (`moment.isoformat()`)'),
    (datetime.timedelta, "write `float`: `delta.total_seconds()`"),
    (uuid.UUID, "write `str`: `str(uuid)`"),
    (decimal.Decimal, "write `str` for exact amounts, or `int` for cents"),
    (bytearray, "write `bytes`"),
    (memoryview, "write `bytes`"),
    (complex, "write a `reactor.Struct` with two floats"),
)


def type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).removeprefix("typing.")


def refused(hint: Any, scope: Scope) -> SchemaError:
    return SchemaError(
        f"{scope.where}: {type_name(hint)} can't be used here; {_instead(hint)}.", code="UnsupportedAnnotation"
    )


def _instead(hint: Any) -> str:
    origin = get_origin(hint) or hint
    if origin in (list, typing.List):  # noqa: UP006
        return "say of what: `list[str]`, or `list[Any]`"
    if origin in (dict, typing.Dict):  # noqa: UP006
        return "say of what: `dict[str, float]`, or `dict[str, Any]`"
    if origin is Id:
        return "say of which table: `Id[Project]`"
    if origin is object:
        return "write `Any`"
    if isinstance(origin, type):
        for base, advice in _INSTEAD:
            if issubclass(origin, base):
                return advice
        if issubclass(origin, tuple):
            if hasattr(origin, "_fields"):
                return "write a `reactor.Struct` with these fields"
            return "write `list[T]`, or a `reactor.Struct` when the places have meanings"
        if issubclass(origin, (set, frozenset)) or origin.__module__ in ("collections.abc", "collections"):
            if origin is collections.abc.Callable:
                return "functions can't be stored or sent"
            kind = "dict[str, T]" if "Mapping" in origin.__name__ or issubclass(origin, dict) else "list[T]"
            return f"write `{kind}`"
        if is_dataclass(origin) or hasattr(origin, "model_fields") or issubclass(origin, msgspec.Struct):
            return f"write it as `class {origin.__name__}(reactor.Struct)` with the same fields"
    if origin is UnsetType:
        return "write `T | UnsetType = UNSET`"
    return (
        "write str, bool, int, float, Int64, bytes, None, list[T], dict[str, T], Literal, StrEnum, a Struct, a TypedDict, "
        "Id[T], a union of them, or Any"
    )
