"""What values cost: nanoseconds per operation of wire JSON, index keys and ids, against bare msgspec where that compares.

python benchmarks/values.py
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import msgspec

from reactor.values import formats, ids, keys, size, wire
from reactor.values.types import Int64

ID = "j57000820c20a1g7104gm2rc1m70ynr8"
DOCUMENT = {
    "_id": ID,
    "_creationTime": 1700000000000.5,
    "body": "A message of usual length, as people write them to each other. " * 2,
    "edited": True,
    "likes": 3,
    "projectId": ID,
    "position": {"x": 1, "y": None},
    "score": 1.5,
    "tags": ["a", "b"],
    "title": "hello world",
}
SPECIAL = {**DOCUMENT, "large": Int64(5), "raw": b"\1\2\3"}
PAGE = [DOCUMENT] * 50
VECTOR = [random.Random(number).random() for number in range(1536)]
ROW = [ID, 1700000000000.5, ID]

_plain_encode = msgspec.json.Encoder().encode
_plain_decode = msgspec.json.Decoder().decode


def nanoseconds(operation: Callable[[], Any]) -> float:
    """The best of several short runs, which is the one that was disturbed least."""
    count = 1
    while True:
        start = time.perf_counter_ns()
        for _ in range(count):
            operation()
        if (spent := time.perf_counter_ns() - start) > 5_000_000:
            break
        count *= 4
    best = spent / count
    for _ in range(9):
        start = time.perf_counter_ns()
        for _ in range(count):
            operation()
        best = min(best, (time.perf_counter_ns() - start) / count)
    return best


def rows() -> list[tuple[str, Callable[[], Any], Callable[[], Any] | None]]:
    """(name, ours, the same with msgspec alone)."""
    document, special, page, vector = map(wire.encode, (DOCUMENT, SPECIAL, PAGE, VECTOR))
    key = keys.encode_key(ROW)
    return [
        ("wire.decode, document", lambda: wire.decode(document), lambda: _plain_decode(document)),
        ("wire.decode, with Int64 and bytes", lambda: wire.decode(special), lambda: _plain_decode(special)),
        ("wire.decode, 50 documents", lambda: wire.decode(page), lambda: _plain_decode(page)),
        ("wire.decode, 1536 floats", lambda: wire.decode(vector), lambda: _plain_decode(vector)),
        ("wire.encode, document", lambda: wire.encode(DOCUMENT), lambda: _plain_encode(DOCUMENT)),
        ("wire.encode, with Int64 and bytes", lambda: wire.encode(SPECIAL), None),
        ("wire.encode, 50 documents", lambda: wire.encode(PAGE), lambda: _plain_encode(PAGE)),
        ("wire.encode, 1536 floats", lambda: wire.encode(VECTOR), lambda: _plain_encode(VECTOR)),
        ("formats.encoded_json, document", lambda: formats.encoded_json(document), None),
        ("size.check_document_limits", lambda: size.check_document_limits(DOCUMENT), None),
        ("size.check_document_limits, with its JSON", lambda: size.check_document_limits(DOCUMENT, document), None),
        ("keys.encode_key [str, float, str]", lambda: keys.encode_key(ROW), lambda: _plain_encode(ROW)),
        ("keys.decode_key [str, float, str]", lambda: keys.decode_key(key), None),
        ("ids.table_number_of, seen before", lambda: ids.table_number_of(ID), None),
        ("ids.decode_id", lambda: ids.decode_id(ID), None),
        ("ids.new_id", lambda: ids.new_id(10001, 1_700_000_000_000_000_000), None),
    ]


def main() -> None:
    print(f"{'operation':44}{'ns':>10}{'msgspec':>10}{'ratio':>8}")
    for name, ours, theirs in rows():
        spent = nanoseconds(ours)
        if theirs is None:
            print(f"{name:44}{spent:10,.0f}")
        else:
            base = nanoseconds(theirs)
            print(f"{name:44}{spent:10,.0f}{base:10,.0f}{spent / base:8.1f}")


if __name__ == "__main__":
    main()
