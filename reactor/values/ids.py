"""Document ids: a table number, sixteen bytes that name the document, and a checksum, as 31 to 37 base32 characters.

The bytes are `vint(table number) + internal id + fletcher16`, packed big-endian; one document has exactly one spelling.
"""

from __future__ import annotations

import os
from functools import lru_cache
from itertools import accumulate
from typing import Final

from reactor.errors import InvalidValue

__all__ = ["INTERNAL_ID_BYTES", "decode_id", "encode_id", "new_id", "table_number_of"]

INTERNAL_ID_BYTES: Final = 16
_MAX_TABLE_NUMBER: Final = 2**32 - 1
_NANOSECONDS_PER_DAY: Final = 86_400 * 10**9
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
"""Two characters for each ten bits."""

# Python's int(text, 32) reads 0-9a-v: translate our digits to its, and everything else to what it refuses.
_TO_PYTHON: Final = bytes(
    b"0123456789abcdefghijklmnopqrstuv"[_ALPHABET.index(chr(byte))] if byte < 128 and chr(byte) in _ALPHABET else 33
    for byte in range(256)
)
# Characters → bytes. 19 bytes need 31 characters, 20 need 32, … The other lengths encode nothing.
_BYTES_BY_LENGTH: Final = {-(-8 * size // 5): size for size in range(19, 24)}


def _checksum(data: bytes) -> int:
    # Fletcher-16 with modulus 256: the running sums, and the sum of those.
    return (sum(accumulate(data)) & 255) << 8 | (sum(data) & 255)


def _error(message: str) -> InvalidValue:
    return InvalidValue(f"Unable to decode ID: {message}", expected="an id", code="InvalidId")


def encode_id(table_number: int, internal: bytes) -> str:
    """The id of document `internal` (16 bytes) of a table (1 to 2^32 - 1). Raises ValueError for anything else."""
    if not 0 < table_number <= _MAX_TABLE_NUMBER:
        raise ValueError(f"{table_number} is not a table number")
    if len(internal) != INTERNAL_ID_BYTES:
        raise ValueError(f"an internal id has {INTERNAL_ID_BYTES} bytes, not {len(internal)}")
    head = bytearray()
    rest = table_number
    while rest > 127:
        head.append(rest & 127 | 128)
        rest >>= 7
    head.append(rest)
    data = bytes(head) + internal
    size = len(data) + 2
    length = -(-8 * size // 5)
    number = int.from_bytes(data + _checksum(data).to_bytes(2, "little"), "big") << (length * 5 - size * 8)
    pairs = _PAIRS
    if length & 1:
        number <<= 5
        text = "".join([pairs[number >> shift & 1023] for shift in range(length * 5 - 5, -1, -10)])
        return text[:-1]
    return "".join([pairs[number >> shift & 1023] for shift in range(length * 5 - 10, -1, -10)])


def decode_id(text: str) -> tuple[int, bytes]:
    """(table number, 16 internal bytes) of an id. Raises InvalidValue for every text that `encode_id` does not give."""
    length = len(text)
    size = _BYTES_BY_LENGTH.get(length)
    if size is None:
        raise _error(f"Invalid ID length {length}")
    try:
        number = int(text.encode("ascii").translate(_TO_PYTHON), 32)
    except ValueError:  # a UnicodeEncodeError is one, too
        raise _error("ID wasn't valid base32") from None
    spare = length * 5 - size * 8
    if number & ((1 << spare) - 1):
        raise _error("ID wasn't valid base32")
    data = (number >> spare).to_bytes(size, "big")
    table_number = shift = 0
    for position in range(5):
        byte = data[position]
        table_number |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    else:
        raise _error("Invalid table number")
    # A vint has one spelling: no zero at its end.
    if not 0 < table_number <= _MAX_TABLE_NUMBER or (position and not byte):
        raise _error("Invalid table number")
    if size != position + 19:
        raise _error(f"Invalid ID length {length}")
    found, expected = data[-2] | data[-1] << 8, _checksum(data[:-2])
    if found != expected:
        raise _error(f"Invalid ID version {found ^ expected} (expected 0)")
    return table_number, data[position + 1 : -2]


@lru_cache(maxsize=16_384)
def _table_number_of(text: str) -> int | None:
    try:
        return decode_id(text)[0]
    except InvalidValue:
        return None


def table_number_of(text: str) -> int | None:
    """The table number of an id, or None for what is not an id. The whole id is checked; recent answers are remembered."""
    # Nothing longer than an id is worth remembering, or hashing.
    return _table_number_of(text) if 31 <= len(text) <= 37 else None


def new_id(table_number: int, now_ns: int) -> str:
    """A fresh id: 112 random bits, and the day, by which ids of different ages can be told apart."""
    day = now_ns // _NANOSECONDS_PER_DAY & 0xFFFF
    return encode_id(table_number, os.urandom(14) + day.to_bytes(2, "big"))
