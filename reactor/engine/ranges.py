"""Index ranges: byte intervals of one index's keys, made from values.

A key is a concatenation of self-delimiting encodings, each beginning with a tag byte below 0x20 (`values.keys`). A string's
encoding ends in 00 and a NUL inside a string is written 00 ff, so "a" is a byte prefix of "a\\0b"; the successor of a
prefix is therefore the prefix followed by ff, which lies after every key that goes on with a tag and before "a\\0b".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from reactor.store.catalogue import IndexInfo
from reactor.values.keys import encode_key, encode_value

__all__ = ["IndexRange", "after_prefix", "id_key", "make_range"]


class IndexRange(msgspec.Struct, frozen=True, gc=False):
    """Keys `start <= key < end` of one index; `end=None` means to the end of the index.

    `prefix` is the encoding of the leading fields that the range holds equal, and `depth` how many they are: the
    invalidation index files the range under it.
    """

    index: IndexInfo
    start: bytes
    end: bytes | None
    prefix: bytes = b""
    depth: int = 0

    @property
    def is_empty(self) -> bool:
        return self.end is not None and self.end <= self.start


def after_prefix(prefix: bytes) -> bytes:
    """The least byte string greater than every key that begins with these whole fields."""
    return prefix + b"\xff"


def id_key(document_id: str) -> bytes:
    """The encoding of an id at the end of every index key, and its whole key in `by_id`."""
    return b"\x10" + document_id.encode() + b"\x00"


def make_range(
    index: IndexInfo,
    prefix: Sequence[Any] = (),
    lower: tuple[Any, bool] | None = None,
    upper: tuple[Any, bool] | None = None,
) -> IndexRange:
    """Build the range whose first fields equal `prefix` and whose next field lies within the bounds.

    A bound is (value, inclusive); `UNSET` stands for a missing field, before every value. No bound means no bound: a
    range with only an upper one includes documents that lack the field. An empty range is legal.
    """
    start_of = encode_key(prefix) if prefix else b""
    start, end = start_of, after_prefix(start_of) if start_of else None
    if lower is not None:
        value, inclusive = lower
        start = start_of + encode_value(value)
        if not inclusive:
            start = after_prefix(start)
    if upper is not None:
        value, inclusive = upper
        end = start_of + encode_value(value)
        if inclusive:
            end = after_prefix(end)
    return IndexRange(index, start, end, start_of, len(prefix))
