"""(c) N subscriptions on disjoint index ranges: what a commit that touches one of them costs, for N from 100 to 100,000.

Three shapes of ranges: equality on the first field, bounds on the second field under one shared equality, and pages of one
index; and searches for the same words, each with a filter of its own. Also what one registered subscription weighs.

    python benchmarks/invalidate.py
"""

from __future__ import annotations

import gc
import random
import resource
import statistics
import time
from collections.abc import Callable

from reactor.engine.commit_record import (
    CommitKind,
    CommitRecord,
    DocumentWrite,
    KeyChange,
    TextChange,
    TextSide,
)
from reactor.engine.invalidation import InvalidationIndex
from reactor.engine.ranges import IndexRange, id_key, make_range
from reactor.engine.read_set import Interval, ReadSet, TextRead
from reactor.search.text import filter_token
from reactor.store.catalogue import IndexInfo
from reactor.values.keys import encode_value

INDEX = IndexInfo(7, "messages", 10_001, "by_channel_time", ("channel", "time"))
ROUNDS = 3000


def reading(found: IndexRange) -> ReadSet:
    interval = Interval(found.index.number, found.depth, found.prefix, found.start, found.end)
    return ReadSet(intervals=frozenset([interval]))


def searching(n: int) -> ReadSet:
    """Everybody searches their own channel for the same words."""
    read = TextRead(INDEX.number, ((0, filter_token(0, float(n))),), frozenset({"hello"}), "wor")
    return ReadSet(texts=frozenset([read]))


def commit_text(n: int) -> CommitRecord:
    side = TextSide("Some text of a few words, one of which is searched for: world", (filter_token(0, float(n)),))
    write = DocumentWrite(10_001, "x", "insert", [], (), [TextChange(INDEX.number, None, side)])
    return CommitRecord(1, CommitKind.MUTATION, [write])


def commit(values: tuple[object, object]) -> CommitRecord:
    key = (
        encode_value(values[0]),
        encode_value(values[1]),
        encode_value(1.0),
        id_key("j57000820c20a1g7104gm2rc1m70ynr8"),
    )
    return CommitRecord(1, CommitKind.MUTATION, [DocumentWrite(10_001, "x", "insert", [KeyChange(7, None, key)], ())])


SHAPES: dict[str, tuple[Callable[[int], ReadSet], Callable[[int], CommitRecord]]] = {
    "equality": (lambda n: reading(make_range(INDEX, [float(n)])), lambda n: commit((float(n), 5.0))),
    "bounds": (
        lambda n: reading(make_range(INDEX, ["c"], (float(n), True), (float(n + 1), False))),
        lambda n: commit(("c", n + 0.5)),
    ),
    "pages": (
        lambda n: reading(make_range(INDEX, [], (float(n), True), (float(n + 1), False))),
        lambda n: commit((n + 0.5, 1.0)),
    ),
    "searches": (searching, commit_text),
}


def main() -> None:
    for shape, (read, write) in SHAPES.items():
        print(shape)
        base = 0.0
        for count in (100, 1_000, 10_000, 100_000):
            index: InvalidationIndex[int] = InvalidationIndex()
            gc.collect()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for n in range(count):
                index.register(n, read(n))
            memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / count
            rng = random.Random(3)
            wanted = [rng.randrange(count) for _ in range(ROUNDS)]
            records = [write(n) for n in wanted]
            index.touched_by(records[0])  # the first look-up after many registrations may build the tree
            times = []
            for _ in range(5):
                began = time.perf_counter()
                for n, record in zip(wanted, records, strict=True):
                    assert index.touched_by(record) == {n}
                times.append((time.perf_counter() - began) / ROUNDS)
            cost = statistics.median(times)
            base = base or cost
            grown = f"{memory:6.0f} bytes each" if count == 100_000 else ""
            print(f"  {count:7,} subscriptions   {cost * 1e6:6.2f} us a commit   {cost / base:5.2f} x   {grown}")


if __name__ == "__main__":
    main()
