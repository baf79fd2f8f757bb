"""What to write instead of an object that is no value: one sentence per kind, for error texts."""

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

__all__ = ["explain"]

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
