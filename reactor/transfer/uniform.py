"""Documents in the lines of a snapshot ("uniform" JSON: a number with a dot or an exponent is a float64, one without an
int64), and in plain JSON, where every number is a float64. Source: deployment-api 5.3.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any, Final

import msgspec

from reactor.errors import InvalidValue
from reactor.values.types import Int64
from reactor.values.wire import decode, from_json

__all__ = ["BadJson", "from_plain", "from_uniform", "to_uniform"]

_decode = msgspec.json.decode
_encode: Final = msgspec.json.Encoder().encode


class BadJson(ValueError):
    """Not JSON at all."""


def to_uniform(body: bytes) -> bytes:
    """A stored document as a line of a snapshot, without the end of the line."""
    if b'"$' in body:
        return _encode(_shown(decode(body)))
    tree = _decode(body)
    _floats(tree)
    return _encode(tree)


def _floats(tree: Any) -> None:
    """Make all numbers floats, in place. Stored JSON has int64s only in `$integer`."""
    items = tree.items() if type(tree) is dict else enumerate(tree)
    for key, item in items:
        kind = type(item)
        if kind is int:
            tree[key] = float(item)
        elif kind is dict or kind is list:
            _floats(item)


def _shown(value: Any) -> Any:
    kind = type(value)
    if kind is Int64:
        return int(value)
    if kind is int:
        return float(value)
    if kind is float:
        return value if math.isfinite(value) else {"$float": _wire_float(value)}
    if kind is bytes:
        return {"$bytes": base64.b64encode(value).decode()}
    if kind is dict:
        return {name: _shown(item) for name, item in value.items()}
    if kind is list:
        return [_shown(item) for item in value]
    return value


def _wire_float(value: float) -> str:
    return base64.b64encode(struct.pack("<d", value)).decode()


def from_uniform(line: bytes) -> Any:
    """The value of a line of a snapshot; a fresh tree. Raises BadJson, InvalidValue."""
    return _read(_json(line))


def _read(tree: Any) -> Any:
    kind = type(tree)
    if kind is int:
        return Int64(tree)
    if kind is dict:
        for name in tree:
            if name[:1] == "$":
                return from_json(tree)  # bytes, special floats; anything else it refuses
            break
        for name, item in tree.items():
            if type(item) in _NESTED:
                tree[name] = _read(item)
    elif kind is list:
        for position, item in enumerate(tree):
            if type(item) in _NESTED:
                tree[position] = _read(item)
    return tree


_NESTED: Final = frozenset({int, dict, list})


def from_plain(line: bytes) -> Any:
    """The value of plain JSON; a fresh tree. Raises BadJson, InvalidValue (nothing stands for an int64 or bytes)."""
    return _plain(_json(line))


def _plain(tree: Any) -> Any:
    kind = type(tree)
    if kind is int:
        if not -(2**53) <= tree <= 2**53:
            try:
                return float(tree)
            except OverflowError:
                raise InvalidValue("Number is out of the range of a float64", expected="float64") from None
        return tree
    if kind is dict:
        for name, item in tree.items():
            if type(item) in _NESTED:
                tree[name] = _plain(item)
    elif kind is list:
        for position, item in enumerate(tree):
            if type(item) in _NESTED:
                tree[position] = _plain(item)
    return tree


def _json(line: bytes) -> Any:
    try:
        return _decode(line)
    except RecursionError:
        raise BadJson("it is nested too deep") from None
    except UnicodeDecodeError:
        raise BadJson("it is not valid UTF-8") from None
    except msgspec.MsgspecError as error:
        text = str(error).removeprefix("JSON is malformed: ")
        try:
            json.loads(line)
        except RecursionError:
            raise BadJson("it is nested too deep") from None
        except UnicodeDecodeError:
            raise BadJson("it is not valid UTF-8") from None
        except ValueError as better:  # whose text says where
            raise BadJson(str(better)) from None
        raise BadJson(text) from None
