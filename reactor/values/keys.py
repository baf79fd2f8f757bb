"""Index keys: values as bytes whose plain order is the order of the values. They can be read back.

Each value is a tag and its content, self-delimiting, so the key of several values is the keys in a row. Tags: undefined
01, null 03, Int64 04-0c (08 zero, outwards by length), float64 0d, false 0e, true 0f, string 10, bytes 11, array 12,
object 15. Strings and bytes end in 00 and write their own 00 as 00 ff; arrays and objects end in 00, which is less than
any tag.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import copysign
from typing import Any, Final

from reactor.errors import InvalidValue
from reactor.values.types import SAFE_INTEGER, UNSET, Int64, plain
from reactor.values.unsupported import lone_surrogate

__all__ = ["cut_key_end", "decode_key", "encode_key", "encode_value", "prefix_end"]

_TAGGED_DOUBLE: Final = struct.Struct(">Bd")
_DOUBLE: Final = struct.Struct(">d")
_pack_float: Final = _TAGGED_DOUBLE.pack
_ZERO: Final = b"\x0d" + _DOUBLE.pack(-0.0)
_FLIP: Final = (1 << 64) - 1
_ABOVE_TAGS: Final = b"\x16"


def encode_key(values: Sequence[Any]) -> bytes:
    """The key of values in a row (an index's fields, say). `UNSET` stands for a missing field.

    Raises InvalidValue for what is no value, and for text with lone surrogates.
    """
    key = b""
    try:
        for value in values:
            kind = type(value)
            if kind is str:
                raw = value.encode()
                if b"\0" in raw:
                    raw = raw.replace(b"\0", b"\0\xff")
                key += b"\x10%b\0" % raw
            elif (kind is float or kind is int) and value > 0:
                key += _pack_float(13, -value)  # as in `encode_value`
            else:
                key += encode_value(value)
    except UnicodeEncodeError:
        raise lone_surrogate() from None
    return key


def encode_value(value: Any) -> bytes:
    """The key of one value, or of `UNSET`. Raises InvalidValue for what is no value."""
    kind = type(value)
    if kind is str:
        try:
            raw = value.encode()
        except UnicodeEncodeError:
            raise lone_surrogate() from None
        if b"\0" in raw:
            raw = raw.replace(b"\0", b"\0\xff")
        return b"\x10%b\0" % raw
    if kind is float or kind is int:
        # Negating sets the sign bit, which is all that a positive number needs.
        return _pack_float(13, -value) if value > 0 else _encode_float(value)
    if value is None:
        return b"\x03"
    if kind is bool:
        return b"\x0f" if value else b"\x0e"
    if value is UNSET:
        return b"\x01"
    if kind is Int64:
        return _encode_int64(value)
    if kind is bytes:
        return b"\x11%b\0" % value.replace(b"\0", b"\0\xff")
    if kind is list:
        return b"\x12%b\0" % b"".join(map(encode_value, value))
    if kind is dict:
        return b"\x15%b\0" % b"".join([_encode_name(name) + encode_value(value[name]) for name in sorted(value)])
    if (inner := plain(value)) is not NotImplemented:
        return encode_value(inner)
    raise InvalidValue(f"{kind.__name__} is not a supported value.", got=kind.__name__)


def _encode_float(value: float) -> bytes:
    if value > 0:
        return _pack_float(13, -value)
    if not value and copysign(1.0, value) > 0:
        return _ZERO
    bits = int.from_bytes(_DOUBLE.pack(value), "big")
    bits = bits ^ _FLIP if bits >> 63 else bits | 1 << 63  # a NaN can have either sign
    return b"\x0d" + bits.to_bytes(8, "big")


def _encode_int64(value: int) -> bytes:
    if value >= 0:
        if value == 0:
            return b"\x08"
        if value < 1 << 8:
            return b"\x09" + value.to_bytes(1, "big")
        if value < 1 << 16:
            return b"\x0a" + value.to_bytes(2, "big")
        if value < 1 << 32:
            return b"\x0b" + value.to_bytes(4, "big")
        return b"\x0c" + value.to_bytes(8, "big")
    if value >= -(1 << 7):
        return b"\x07" + value.to_bytes(1, "big", signed=True)
    if value >= -(1 << 15):
        return b"\x06" + value.to_bytes(2, "big", signed=True)
    if value >= -(1 << 31):
        return b"\x05" + value.to_bytes(4, "big", signed=True)
    return b"\x04" + value.to_bytes(8, "big", signed=True)


def _encode_name(name: str) -> bytes:
    # The empty name would look like the end of the object, so ff follows it.
    return name.encode().replace(b"\0", b"\0\xff") + b"\0" if name else b"\0\xff"


def prefix_end(prefix: bytes) -> bytes | None:
    """Where the keys that begin with the values of `prefix`, a key itself, end (exclusive). None: at the end of all.

    Not the next bytes of that length: the key of `"a\\0b"` begins with the bytes of the key of `"a"`, and lies beyond.
    What follows a whole value is a tag, so everything from `prefix` up to `prefix` and a byte above all tags belongs.
    The same bound is where a range "greater than the values of `prefix`" starts.
    """
    return prefix + _ABOVE_TAGS if prefix else None


def cut_key_end(cut: bytes) -> bytes | None:
    """Where the keys end (exclusive) whose first bytes are `cut`, a key that was cut anywhere. None: at the end of all."""
    stripped = cut.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:-1] + bytes((stripped[-1] + 1,))


def decode_key(data: bytes) -> list[Any]:
    """The values of a key, `UNSET` for missing ones. Raises InvalidValue for bytes that are not a whole key."""
    values: list[Any] = []
    position = 0
    try:
        while position < len(data):
            value, position = _decode(data, position)
            values.append(value)
    except (IndexError, struct.error, ValueError, RecursionError):
        raise InvalidValue("Not an index key.", expected="an index key", got="bytes") from None
    return values


_INT64_SIZES: Final = {4: 8, 5: 4, 6: 2, 7: 1, 8: 0, 9: 1, 10: 2, 11: 4, 12: 8}


def _decode(data: bytes, position: int) -> tuple[Any, int]:
    tag = data[position]
    position += 1
    if tag == 0x10:
        raw, position = _decode_bytes(data, position)
        return raw.decode(), position
    if tag == 0x0D:
        bits = int.from_bytes(data[position : position + 8], "big")
        bits = bits ^ 1 << 63 if bits >> 63 else bits ^ _FLIP
        if position + 8 > len(data):
            raise IndexError
        number: float = _DOUBLE.unpack(bits.to_bytes(8, "big"))[0]
        if number.is_integer() and -SAFE_INTEGER <= number <= SAFE_INTEGER and (number or copysign(1.0, number) > 0):
            return int(number), position + 8
        return number, position + 8
    if tag == 0x01:
        return UNSET, position
    if tag == 0x03:
        return None, position
    if tag == 0x0E:
        return False, position
    if tag == 0x0F:
        return True, position
    if tag in _INT64_SIZES:
        size = _INT64_SIZES[tag]
        if position + size > len(data):
            raise IndexError
        return Int64(int.from_bytes(data[position : position + size], "big", signed=tag < 8)), position + size
    if tag == 0x11:
        return _decode_bytes(data, position)
    if tag == 0x12:
        items: list[Any] = []
        while data[position]:
            item, position = _decode(data, position)
            items.append(item)
        return items, position + 1
    if tag == 0x15:
        fields: dict[str, Any] = {}
        while data[position] or data[position + 1 : position + 2] == b"\xff":
            if data[position]:
                raw, position = _decode_bytes(data, position)
            else:
                raw, position = b"", position + 2
            fields[raw.decode()], position = _decode(data, position)
        return fields, position + 1
    raise ValueError


def _decode_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    start = position
    while True:
        end = data.index(0, position)
        if data[end + 1 : end + 2] != b"\xff":
            return data[start:end].replace(b"\0\xff", b"\0"), end + 1
        position = end + 2
