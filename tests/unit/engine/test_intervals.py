"""The interval set finds exactly the items whose interval contains a point (engine rule 16)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reactor.engine.intervals import PLAIN_MAX, IntervalSet

keys = st.binary(max_size=2)
intervals = st.tuples(keys, st.one_of(st.none(), keys), st.integers(0, 5)).filter(
    lambda interval: interval[1] is None or interval[0] < interval[1]
)


def naive(entries: set[tuple[bytes, bytes | None, int]], point: bytes) -> set[int]:
    return {item for start, end, item in entries if start <= point and (end is None or point < end)}


@given(
    steps=st.lists(st.tuples(st.booleans(), intervals), max_size=200),
    points=st.lists(keys, min_size=1, max_size=20),
)
def test_after_any_additions_and_removals_the_answer_is_that_of_a_plain_search(
    steps: list[tuple[bool, tuple[bytes, bytes | None, int]]], points: list[bytes]
) -> None:
    found: IntervalSet[int] = IntervalSet()
    there: set[tuple[bytes, bytes | None, int]] = set()

    for adding, entry in steps:
        if adding and entry not in there:
            found.add(*entry)
            there.add(entry)
        elif not adding and entry in there:
            found.remove(*entry)
            there.discard(entry)

    assert len(found) == len(there)
    assert [set(found.containing(point)) for point in points] == [naive(there, point) for point in points]


def test_many_intervals_are_kept_sorted_and_still_found_after_half_of_them_went() -> None:
    found: IntervalSet[int] = IntervalSet()
    entries = [(n.to_bytes(3), (n + 3).to_bytes(3), n) for n in range(40 * PLAIN_MAX)]
    for entry in entries:
        found.add(*entry)
    for entry in entries[::2]:
        found.remove(*entry)

    point = (501).to_bytes(3)

    assert sorted(found.containing(point)) == [499, 501]
    assert len(found) == len(entries) // 2
