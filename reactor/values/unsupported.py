"""The errors for what is no value, each saying what to write instead."""

from __future__ import annotations

import datetime
import decimal
import enum
import inspect
import uuid
from collections.abc import Set
from dataclasses import is_dataclass
from typing import Any, Final

import msgspec

from reactor.errors import InvalidValue
from reactor.values.types import INT64_MAX, INT64_MIN, show_int

__all__ = ["explain", "find_surrogate", "has_surrogate", "integer_too_big", "lone_surrogate"]

_ADVICE: Final[tuple[tuple[type, str], ...]] = (
    (datetime.datetime, "store milliseconds since 1970: `value.timestamp() * 1000`"),
    (datetime.date, "store a string: `value.isoformat()`"),
    (datetime.time, "store a string: `value.isoformat()`"),
    (datetime.timedelta, "store a number: `value.total_seconds()`"),
    (decimal.Decimal, "store a string, `str(value)`, or a float"),
    (uuid.UUID, "store a string: `str(value)`"),
    (tuple, "write a list: `list(value)`"),
    (Set, "write a list: `sorted(value)`"),
    (bytearray, "write bytes: `bytes(value)`"),
    (memoryview, "write bytes: `bytes(value)`"),
    (enum.Enum, "use its `.value`"),
    (complex, "store its two parts"),
    (msgspec.UnsetType, "UNSET only stands for a field that is not there; write None"),
    (msgspec.Struct, "declare it in the schema or the signature as a `reactor.Struct`, or build a dict"),
)


def explain(value: Any) -> str:
    """An error text for `value`, which is none of the supported kinds."""
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return f"{name} is not a supported value: {_advice(value)}."


def _advice(value: Any) -> str:
    for base, advice in _ADVICE:
        if isinstance(value, base):
            return advice
    if inspect.isawaitable(value):
        return "an `await` seems to be missing"
    if isinstance(value, type):
        return "a class can't be stored or sent"
    if is_dataclass(value) or hasattr(value, "model_dump"):
        return "use a `reactor.Struct`, or build a dict"
    if hasattr(value, "tolist"):
        return "convert it: `value.tolist()`"
    if hasattr(value, "__next__") or hasattr(value, "__anext__"):
        return "collect it into a list"
    if callable(value):
        return "functions can't be stored or sent"
    return "supported are None, bool, int, float, Int64, str, bytes, list and dict"


def integer_too_big(number: int) -> InvalidValue:
    """The error for an integer that a float64 may not hold exactly."""
    advice = "wrap it in Int64(...)" if INT64_MIN <= number <= INT64_MAX else "store it as a string"
    return InvalidValue(
        f"{show_int(number)} is outside ±2^53, where a number can't hold every integer exactly: {advice}.",
        expected="an integer within ±2^53",
        got="int",
    )


def lone_surrogate() -> InvalidValue:
    """The error for a string that is not Unicode text, as slicing in JavaScript can make one."""
    return InvalidValue(
        "Strings must be valid Unicode: this one has a lone surrogate.", expected="string", got="string"
    )


def has_surrogate(text: str) -> bool:
    """Whether `text` can't be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def find_surrogate(tree: Any) -> InvalidValue:
    """The error, with its path, for the first lone surrogate in a tree that has one."""
    return _search(tree, "") or lone_surrogate()


def _search(value: Any, path: str) -> InvalidValue | None:
    if isinstance(value, str) and has_surrogate(value):
        error = lone_surrogate()
        error.path = path
        return error
    pairs: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        pairs = [(f".{name}", item) for name, item in value.items()]
    elif isinstance(value, list):
        pairs = [(f"[{index}]", item) for index, item in enumerate(value)]
    for step, item in pairs:
        if found := _search(item, path + step):
            return found
    return None
