"""Values as JSON, the way clients write them and documents are stored ("convex_encoded_json"), and back.

Plain JSON, but for one-field objects that stand for what JSON lacks: `{"$integer": base64}` Int64, `{"$float": base64}`
NaN, infinities and -0.0, `{"$bytes": base64}` bytes. Every JSON number is a float64. Output is compact, its names are
sorted and whole numbers up to ±2^53 have no point, so equal values give equal bytes.

Everything that is refused, hostile bytes too, raises InvalidValue with the path of the culprit.
"""

from __future__ import annotations

import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from math import copysign, isfinite
from typing import Any, Final

import msgspec

from reactor.errors import InvalidValue
from reactor.limits import ARRAY_MAX_ELEMENTS, OBJECT_MAX_FIELDS, VALUE_MAX_BYTES, VALUE_MAX_NESTING
from reactor.values.names import check_field_name, known_names, shorten
from reactor.values.size import size_of, too_large, too_long, too_many, too_nested
from reactor.values.types import SAFE_INTEGER, UNSET, Int64, Value, plain
from reactor.values.unsupported import explain, find_surrogate, has_surrogate, integer_too_big, lone_surrogate

__all__ = ["decode", "decode_stored", "encode", "encode_changed", "from_json", "to_json"]

Convert = Callable[[Any], Any]
"""Turns an object that is no value into one; returns NotImplemented when it can't."""

_decode_json: Final = msgspec.json.Decoder().decode
_encode_json: Final = msgspec.json.Encoder(order="sorted").encode
_INT64: Final = struct.Struct("<q")
_DOUBLE: Final = struct.Struct("<d")
_LARGEST: Final = 1.7976931348623157e308
# JSON of this length can't be too large a value: `1,` is two bytes and counts for nine, and nothing grows by more.
_SURELY_SMALL: Final = VALUE_MAX_BYTES // 5 - 16

_VECTOR: Final = 32
"""Arrays of this length are looked at as a whole first: long ones are mostly embeddings."""


# --- JSON → value --------------------------------------------------------------------------------------------------


def decode(data: bytes | str) -> Value:
    """The value that JSON text (bytes in UTF-8) stands for. The tree is the caller's own.

    Of a name that an object repeats the last counts, as in JavaScript. Raises InvalidValue.
    """
    try:
        value = _decode_json(data)
    except RecursionError:
        raise too_nested() from None
    except (msgspec.MsgspecError, ValueError) as error:  # a UnicodeError is a ValueError
        raise InvalidValue(f"Not valid JSON: {_reason(error)}", expected="JSON", code="BadJson") from None
    value = _own(value)
    if len(data) > _SURELY_SMALL and (size := size_of(value)) > VALUE_MAX_BYTES:
        raise too_large(size, VALUE_MAX_BYTES)
    return value


def decode_stored(data: bytes) -> tuple[Any, bool]:
    """The value of JSON that `encode` wrote, and whether the value as a tree is its JSON: no part stands for another.

    What is known to be as we write it needs no walk.
    """
    value = _decode_json(data)
    if b'"$' in data:
        return _own(value), False
    return value, True


def from_json(obj: Any) -> Value:
    """Like `decode` for JSON that was parsed already (dicts, lists, strings, numbers, booleans, None); a fresh tree."""
    value = _own(_copy(obj, 1))
    if (size := size_of(value)) > VALUE_MAX_BYTES:
        raise too_large(size, VALUE_MAX_BYTES)
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "strings must be valid UTF-8"
    text = str(error)
    return text.removeprefix("JSON is malformed: ")


def _own(value: Any) -> Any:
    """Make a tree fresh from the JSON parser a Value, in place."""
    kind = type(value)
    try:
        if kind is dict:
            return _own_dict(value, 1)
        if kind is list:
            return _own_list(value, 1)
        if kind is float or kind is int:
            return _number(value)
    except InvalidValue as error:
        _complete(error)
        raise
    return value


def _number(number: float) -> float:
    if type(number) is int:
        if -SAFE_INTEGER <= number <= SAFE_INTEGER:
            return number
        try:
            number = float(number)
        except OverflowError:
            raise InvalidValue("Number is out of the range of a float64", expected="float64", got="number") from None
    if -SAFE_INTEGER <= number <= SAFE_INTEGER and number.is_integer() and (number or copysign(1.0, number) > 0):
        return int(number)
    return number


def _all_plain_floats(items: list[Any]) -> bool:
    """Whether these are floats that are their own JSON and their own value: finite and with a fraction."""
    return (
        type(items[0]) is float
        and set(map(type, items)) == {float}
        and not any(map(float.is_integer, items))
        and isfinite(sum(items))  # not when one is NaN or infinite; a sum that overflows only costs the fast way
    )


def _own_list(items: list[Any], depth: int) -> list[Any]:
    if depth > VALUE_MAX_NESTING:
        raise too_nested()
    if len(items) > ARRAY_MAX_ELEMENTS:
        raise too_long(len(items))
    if len(items) >= _VECTOR and _all_plain_floats(items):
        return items
    index = 0
    try:
        for index, item in enumerate(items):
            kind = type(item)
            if kind is str or item is None or kind is bool:
                continue
            if kind is int:
                if not -SAFE_INTEGER <= item <= SAFE_INTEGER:
                    items[index] = _number(item)
            elif kind is float:
                if item.is_integer():
                    items[index] = _number(item)
            elif kind is dict:
                if (value := _own_dict(item, depth + 1)) is not item:
                    items[index] = value
            else:
                _own_list(item, depth + 1)
    except InvalidValue as error:
        error.path = f"[{index}]{error.path}"
        raise
    return items


def _own_dict(fields: dict[str, Any], depth: int) -> Any:
    if len(fields) == 1:
        [name] = fields
        if name[:1] == "$":
            return _special(name, fields[name])
    elif len(fields) > OBJECT_MAX_FIELDS:
        raise too_many(len(fields))
    if depth > VALUE_MAX_NESTING:
        raise too_nested()
    known = known_names
    name = ""
    try:
        for name, item in fields.items():
            if name not in known:
                _check_name(name)
            kind = type(item)
            if kind is str or item is None or kind is bool:
                continue
            if kind is int:
                if not -SAFE_INTEGER <= item <= SAFE_INTEGER:
                    fields[name] = _number(item)
            elif kind is float:
                if item.is_integer():
                    fields[name] = _number(item)
            elif kind is dict:
                if (value := _own_dict(item, depth + 1)) is not item:
                    fields[name] = value
            else:
                _own_list(item, depth + 1)
    except _BadName as error:
        raise error.cause from None
    except InvalidValue as error:
        error.path = f".{name}{error.path}"
        raise
    return fields


class _BadName(Exception):
    # A bad name is the object's fault: the path must stop there.
    def __init__(self, cause: InvalidValue) -> None:
        self.cause = cause


def _check_name(name: Any) -> None:
    try:
        check_field_name(name)
    except InvalidValue as error:
        raise _BadName(error) from None


def _special(name: str, content: Any) -> Any:
    if name == "$integer":
        return Int64(_INT64.unpack(_base64(name, content, 8))[0])
    if name == "$bytes":
        return _base64(name, content, None)
    if name == "$float":
        number: float = _DOUBLE.unpack(_base64(name, content, 8))[0]
        if isfinite(number) and (number or copysign(1.0, number) > 0):
            raise InvalidValue(f"Float64 {number} should be encoded as a number", expected="number", got="$float")
        return number
    if name in ("$set", "$map"):
        raise InvalidValue(f"{name[1:].capitalize()}s are no longer supported as values.", got=name)
    if name == "$undefined":
        raise InvalidValue("undefined is not a value: leave the field out.", got=name)
    if name == "$commitTs":
        raise InvalidValue("Commit timestamps are not supported as values.", got=name)
    raise InvalidValue(f"Field name {shorten(name)} starts with '$', which is reserved.", code="InvalidFieldName")


def _base64(name: str, content: Any, size: int | None) -> bytes:
    try:
        if type(content) is not str:
            raise ValueError
        raw = a2b_base64(content, strict_mode=True) if content else b""
        # One spelling only: padded, and nothing in the bits beyond the last byte.
        if len(content) & 3 or (
            content[-1:] == "=" and b2a_base64(raw[-(len(raw) % 3) :], newline=False).decode() != content[-4:]
        ):
            raise ValueError
    except ValueError:
        raise InvalidValue(f"{name} must hold padded base64", expected=name, got=type(content).__name__) from None
    if size is not None and len(raw) != size:
        raise InvalidValue(f"{name} must hold {size} bytes, not {len(raw)}", expected=name, got=f"{len(raw)} bytes")
    return raw


def _copy(obj: Any, depth: int) -> Any:
    kind = type(obj)
    if depth > VALUE_MAX_NESTING + 2:
        raise too_nested()  # the walk that follows would say so, but a cycle would never get there
    if isinstance(obj, dict):
        return {_text(name): _copy(item, depth + 1) for name, item in obj.items()}
    if isinstance(obj, list):
        return [_copy(item, depth + 1) for item in obj]
    if kind is str:
        return _text(obj)
    if obj is None or kind is bool or kind is int:
        return obj
    if kind is float:
        if not isfinite(obj):
            raise InvalidValue(f"{obj} is not JSON", expected="JSON", got="float")
        return obj
    raise InvalidValue(f"{kind.__name__} is not JSON", expected="JSON", got=kind.__name__)


def _text(text: Any) -> str:
    if not isinstance(text, str):
        check_field_name(text)  # which says so
    if not text.isascii() and has_surrogate(text):
        raise lone_surrogate()
    return text


# --- value → JSON --------------------------------------------------------------------------------------------------


def encode(value: Any, *, convert: Convert | None = None) -> bytes:
    """The JSON of a value, compact, in UTF-8, names sorted. Fields that are `UNSET` are left out.

    `convert`, when given, is asked for a value in place of an object that is none. Raises InvalidValue for everything
    that is no value, naming what to write instead.
    """
    tree = to_json(value, convert=convert)
    try:
        data = _encode_json(tree)
    except UnicodeEncodeError:
        error = find_surrogate(tree)
        _complete(error)
        raise error from None
    if len(data) > _SURELY_SMALL:
        decode(data)  # counts what the JSON stands for
    return data


def encode_changed(tree: dict[str, Any], changed: dict[str, Any]) -> bytes:
    """`encode(tree)` for an object that, but for the fields in `changed`, came from `decode_stored` as its own JSON.

    Only what has changed is looked at. Fields that are `UNSET` in `changed` are not in `tree`.
    """
    try:
        json = _out_dict(changed, 1, None)
    except InvalidValue as error:
        _complete(error)
        raise
    if json is not changed:
        tree = {**tree, **json}
    if len(tree) > OBJECT_MAX_FIELDS:
        raise too_many(len(tree))
    try:
        data = _encode_json(tree)
    except UnicodeEncodeError:
        return encode(tree)  # which finds it
    if len(data) > _SURELY_SMALL:
        decode(data)
    return data


def to_json(value: Any, *, convert: Convert | None = None) -> Any:
    """The JSON of a value as a tree for a JSON encoder. Parts that need no change are shared with `value`."""
    try:
        return _out(value, 1, convert)
    except InvalidValue as error:
        _complete(error)
        raise


def _out(value: Any, depth: int, convert: Convert | None) -> Any:
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is dict:
        return _out_dict(value, depth, convert)
    if kind is list:
        return _out_list(value, depth, convert)
    if kind is int:
        if -SAFE_INTEGER <= value <= SAFE_INTEGER:
            return value
        raise integer_too_big(value)
    if kind is float:
        return _out_float(value)
    if kind is Int64:
        return {"$integer": b2a_base64(_INT64.pack(value), newline=False).decode()}
    if kind is bytes:
        return {"$bytes": b2a_base64(value, newline=False).decode()}
    if (inner := plain(value)) is not NotImplemented:
        return _out(inner, depth, convert)
    if convert is not None and (converted := convert(value)) is not NotImplemented:
        return _out(converted, depth, convert)
    raise InvalidValue(explain(value), expected="a value", got=kind.__name__)


def _out_float(number: float) -> Any:
    if -_LARGEST <= number <= _LARGEST and (number or copysign(1.0, number) > 0):
        # One spelling for one number.
        return int(number) if number.is_integer() and -SAFE_INTEGER <= number <= SAFE_INTEGER else number
    return {"$float": b2a_base64(_DOUBLE.pack(number), newline=False).decode()}


def _out_list(items: list[Any], depth: int, convert: Convert | None) -> list[Any]:
    if depth > VALUE_MAX_NESTING:
        raise too_nested()
    if len(items) > ARRAY_MAX_ELEMENTS:
        raise too_long(len(items))
    if len(items) >= _VECTOR and _all_plain_floats(items):
        return items
    result = items
    index = 0
    try:
        for index, item in enumerate(items):
            kind = type(item)
            if kind is str or item is None or kind is bool:
                continue
            if kind is int and -SAFE_INTEGER <= item <= SAFE_INTEGER:
                continue
            if kind is float and not item.is_integer() and -_LARGEST <= item <= _LARGEST:
                continue
            if item is UNSET:
                raise InvalidValue("UNSET can't be an element of an array.", expected="a value", got="UNSET")
            out = _out(item, depth + 1, convert)
            if out is not item:
                if result is items:
                    result = items.copy()
                result[index] = out
    except InvalidValue as error:
        error.path = f"[{index}]{error.path}"
        raise
    return result


def _out_dict(fields: dict[str, Any], depth: int, convert: Convert | None) -> dict[str, Any]:
    if depth > VALUE_MAX_NESTING:
        raise too_nested()
    known = known_names
    result = fields
    name = ""
    try:
        for name, item in fields.items():
            kind = type(item)
            if name not in known or type(name) is not str:
                _check_name(name)
                if type(name) is not str:  # a string enum as a name
                    if result is fields:
                        result = fields.copy()
                    del result[name]
                    result[str.__str__(name)] = item
            if kind is str or item is None or kind is bool:
                continue
            if kind is int and -SAFE_INTEGER <= item <= SAFE_INTEGER:
                continue
            if kind is float and not item.is_integer() and -_LARGEST <= item <= _LARGEST:
                continue
            if item is UNSET:
                if result is fields:
                    result = fields.copy()
                del result[name]
                continue
            if kind is dict:
                out = _out_dict(item, depth + 1, convert)
            elif kind is list:
                out = _out_list(item, depth + 1, convert)
            else:
                out = _out(item, depth + 1, convert)
            if out is not item:
                if result is fields:
                    result = fields.copy()
                result[name] = out
    except _BadName as error:
        raise error.cause from None
    except InvalidValue as error:
        error.path = f".{name}{error.path}"
        raise
    if len(result) > OBJECT_MAX_FIELDS:
        raise too_many(len(result))
    return result


def _complete(error: InvalidValue) -> None:
    """Put the path into the text, once the error is out of the tree."""
    if error.path:
        error.args = (f"{error.args[0]} (at {error.path})",)
