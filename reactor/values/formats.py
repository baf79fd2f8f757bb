"""Wire JSON re-printed for the HTTP formats: `convex_encoded_json`, `json` and `json` of an export.

All take and give bytes. What came out of `wire.encode` goes in; most documents need no change and come back as they are.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from math import copysign, isfinite
from typing import Any, Final

import msgspec

from reactor.values import wire
from reactor.values.types import Int64

__all__ = ["clean_json", "encoded_json", "export_json"]

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
# A whole number stands after one of [ : , or at the start. Inside a string the same may stand: then the slow way finds
# nothing to change.
_MAY_HAVE_WHOLE_NUMBER: Final = re.compile(rb"[\[:,]-?\d+[,\]}]").search
_IS_WHOLE_NUMBER: Final = re.compile(rb"-?\d+\Z").match


def encoded_json(raw: bytes) -> bytes:
    """The same value with every whole number printed as `3.0`, as clients need it that tell 3 and 3.0 apart."""
    if _MAY_HAVE_WHOLE_NUMBER(raw) is None and _IS_WHOLE_NUMBER(raw) is None:
        return raw
    return _encode(_with_points(_decode(raw)))


def _with_points(value: Any) -> Any:
    kind = type(value)
    if kind is int:
        return float(value)
    if kind is dict:
        for name, item in value.items():
            kind = type(item)
            if kind is int:
                value[name] = float(item)
            elif kind is dict or kind is list:
                _with_points(item)
    elif kind is list:
        for index, item in enumerate(value):
            kind = type(item)
            if kind is int:
                value[index] = float(item)
            elif kind is dict or kind is list:
                _with_points(item)
    return value


def clean_json(raw: bytes) -> bytes:
    """Plain JSON without special forms: Int64 as a decimal string, bytes as base64, NaN and infinities as their names.

    The kinds can't be told from it again.
    """
    if b'"$' not in raw:
        return raw
    return _encode(_clean(wire.decode(raw)))


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _clean(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, Int64):
        return str(value)
    if isinstance(value, bytes):
        return b2a_base64(value, newline=False).decode()
    if isinstance(value, float) and not isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def export_json(raw: bytes) -> bytes:
    """The form of exported documents: Int64 as a JSON integer, numbers always with a point, the rest as encoded."""
    if b'"$integer"' not in raw:
        return encoded_json(raw)
    return _encode(_export(wire.decode(raw)))


def _export(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _export(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_export(item) for item in value]
    if isinstance(value, Int64):
        return int(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return float(value)
    if isinstance(value, float) and isfinite(value) and (value or copysign(1.0, value) > 0):
        return value
    return wire.to_json(value)
