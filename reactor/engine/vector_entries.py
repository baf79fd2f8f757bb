"""What a document becomes in a vector index: its vector at length one, and the keys of its filter fields.

A document without the field, with something else there, or with a vector of another length or with entries that are not
finite, is not in the index (server-semantics 10.2). A vector of zeros is: it is at right angles to everything.
"""

from __future__ import annotations

import hashlib
import math
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from reactor.engine.index_keys import field_at
from reactor.store.catalogue import IndexInfo
from reactor.store.protocol import Writer
from reactor.values.keys import encode_value

__all__ = ["VectorMaintainer", "filter_key", "filter_keys", "unit_bytes"]

_NUMBERS: Final = frozenset({float, int})
_KEY_MAX: Final = 64
"""Longer keys are kept as a digest."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[bytes]).decode


def unit_bytes(value: Any, dimensions: int) -> bytes | None:
    """The vector of a document at length one, as little-endian float32; None when it is no vector of that length."""
    if type(value) is not list or len(value) != dimensions or not _NUMBERS.issuperset(map(type, value)):
        return None
    length = math.hypot(*value)  # scales, so that no square overflows or vanishes
    if not math.isfinite(length):
        if not all(map(math.isfinite, value)):
            return None
        value = [entry / sys.float_info.max for entry in value]
        length = math.hypot(*value)
    unit = array("f", [entry / length for entry in value] if length else [0.0] * dimensions)
    if sys.byteorder == "big":
        unit.byteswap()
    return unit.tobytes()


def filter_key(value: Any) -> bytes:
    """What stands for the value of a filter field (`UNSET` where it is missing): equal for equal values, else not."""
    key = encode_value(value)
    # The first byte of a key is below 0x20, so no key is taken for a digest.
    return key if len(key) <= _KEY_MAX else b"\xff" + hashlib.blake2b(key, digest_size=32).digest()


def filter_keys(stored: bytes) -> Sequence[bytes]:
    """The keys of the filter fields as a row of the index has them."""
    return _decode(stored)


class VectorMaintainer:
    """See `index_kinds.Maintainer`."""

    def change(
        self, writer: Writer, index: IndexInfo, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> None:
        if after is not None:
            assert index.dimensions is not None
            vector = unit_bytes(field_at(after, index.fields[0]), index.dimensions)
            if vector is not None:
                keys = [filter_key(field_at(after, path)) for path in index.fields[1:]]
                writer.put_vector(index, after["_id"], vector, _encode(keys))
                return
        if before is not None:
            writer.remove_vector(index, before["_id"])
