"""Pages: sealed cursors, boundaries, stability under change, splitting (server-semantics 3.5, client-protocol 5)."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactor.engine.pagination import CursorSealer, InvalidCursor, Page, fingerprint, read_page
from reactor.engine.ranges import IndexRange, make_range
from reactor.engine.transaction import Transaction
from reactor.errors import DatabaseError
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.store.catalogue import Catalogue, IndexInfo, TableInfo
from reactor.values.keys import encode_key

BY_RANK = IndexInfo(3, "items", 10_001, "by_rank", ("rank",))
TABLE = TableInfo(10_001, "items", {"by_rank": BY_RANK}, (BY_RANK,))
CATALOGUE = Catalogue(1, {"items": TABLE}, {10_001: TABLE})
SEALER = CursorSealer(b"k" * 32)
WHOLE = IndexRange(BY_RANK, b"", None)


class Rows:
    """A reader over sorted (key, body) pairs in memory."""

    ts = 1

    def __init__(self, ranks: list[int]) -> None:
        self.rows = {encode_key([float(rank), float(rank), f"id{rank:04}"]): str(rank).encode() for rank in ranks}

    def scan(
        self, index: IndexInfo, start: bytes, end: bytes | None, *, reverse: bool, limit: int
    ) -> list[tuple[bytes, bytes]]:
        found = [(k, b) for k, b in sorted(self.rows.items()) if k >= start and (end is None or k < end)]
        return (found[::-1] if reverse else found)[:limit]


def page(ranks: list[int], range_: IndexRange = WHOLE, **options: Any) -> tuple[list[int], Page]:
    reverse = options.pop("reverse", False)
    keep = options.pop("keep", lambda rank: True)
    limits = options.pop("limits", DEFAULT_LIMITS)
    tx = Transaction(Rows(ranks), CATALOGUE, 0.0, limits)  # type: ignore[arg-type]
    result = read_page(
        tx,
        range_,
        lambda key, body: (keep(int(body)), int(body)),
        sealer=SEALER,
        query=options.pop("query", fingerprint(range_, reverse=reverse)),
        reverse=reverse,
        limits=limits,
        **{
            "num_items": 2,
            "cursor": None,
            "end_cursor": None,
            "maximum_rows_read": None,
            "maximum_bytes_read": None,
            **options,
        },
    )
    return result.items, result


def test_pages_follow_each_other_and_a_full_page_is_not_done_even_if_nothing_follows() -> None:
    items, first = page([1, 2, 3, 4])
    assert (items, first.is_done) == ([1, 2], False)
    items, second = page([1, 2, 3, 4], cursor=first.end)
    assert (items, second.is_done) == ([3, 4], False)
    items, third = page([1, 2, 3, 4], cursor=second.end)
    assert (items, third.is_done) == ([], True)
    assert isinstance(third.end, str)
    items, after = page([1, 2, 3, 4, 5], cursor=third.end)
    assert (items, after.is_done, after.end) == ([], True, third.end)


def test_a_short_page_is_done() -> None:
    items, only = page([1], num_items=5)
    assert (items, only.is_done) == ([1], True)


def test_descending_pages_are_the_exact_reverse() -> None:
    items, first = page([1, 2, 3], reverse=True)
    assert items == [3, 2]
    items, second = page([1, 2, 3], reverse=True, cursor=first.end)
    assert (items, second.is_done) == ([1], True)


def test_a_page_is_filled_after_filters() -> None:
    items, first = page(list(range(10)), keep=lambda rank: rank % 3 == 0)
    assert (items, first.is_done) == ([0, 3], False)
    assert page(list(range(10)), keep=lambda rank: rank % 3 == 0, cursor=first.end)[0] == [6, 9]


def test_a_deleted_cursor_row_is_harmless() -> None:
    _, first = page([1, 2, 3, 4])
    assert page([1, 3, 4], cursor=first.end)[0] == [3, 4]


def test_with_an_end_cursor_the_page_is_all_up_to_it_whatever_the_numbers_say() -> None:
    """client-protocol 54"""
    _, first = page([10, 20, 30])
    items, again = page([10, 11, 12, 20, 21, 30], end_cursor=first.end)
    assert (items, again.is_done, again.end) == ([10, 11, 12, 20], False, first.end)
    _, done = page([10, 20], num_items=5)
    items, again = page([10, 20, 30], end_cursor=done.end)
    assert (items, again.is_done, again.end) == ([10, 20, 30], True, done.end)


def test_cursors_are_opaque_and_can_not_be_changed_or_used_with_another_query() -> None:
    """client-protocol 55"""
    _, first = page([1, 2, 3])
    assert b"id0002" not in first.end.encode()
    for damaged in (
        first.end[:-2] + ("AA" if first.end[-2:] != "AA" else "BB"),
        "",
        "garbage",
        "é",
        first.end + "A" * 40,
    ):
        with pytest.raises(InvalidCursor):
            page([1, 2, 3], cursor=damaged)
    other = make_range(BY_RANK, [2])
    with pytest.raises(InvalidCursor) as caught:
        page([1, 2, 3], other, cursor=first.end)
    assert caught.value.data == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
    assert "InvalidCursor: Tried to run a query starting from a cursor" in str(caught.value)
    with pytest.raises(InvalidCursor):
        page([1, 2, 3], reverse=True, cursor=first.end)
    with pytest.raises(InvalidCursor):
        page([1, 2, 3], end_cursor="garbage")
    with pytest.raises(InvalidCursor):
        SEALER_2.open(first.end, fingerprint(WHOLE, reverse=False))


SEALER_2 = CursorSealer(os.urandom(32))


def test_equal_pages_have_equal_cursors() -> None:
    assert page([1, 2, 3])[1] == page([1, 2, 3])[1]


def test_the_fingerprint_knows_range_order_and_operators() -> None:
    prints = {
        fingerprint(WHOLE, reverse=False),
        fingerprint(WHOLE, reverse=True),
        fingerprint(WHOLE, reverse=False, operators=["filter"]),
        fingerprint(make_range(BY_RANK, [1]), reverse=False),
        fingerprint(make_range(BY_RANK, [], lower=(1, True)), reverse=False),
    }
    assert len(prints) == 5


def test_reaching_a_maximum_ends_the_page_and_requires_a_split() -> None:
    ranks = list(range(20))
    items, cut = page(ranks, num_items=10, maximum_rows_read=4)
    assert (items, cut.page_status, cut.is_done) == ([0, 1, 2, 3], "SplitRequired", False)
    assert page(ranks, num_items=3, cursor=cut.end)[0] == [4, 5, 6]
    items, cut = page(ranks, num_items=10, maximum_bytes_read=1)
    assert (items, cut.page_status) == ([0], "SplitRequired")


def test_a_split_cursor_is_the_middle_row_and_absent_for_up_to_two_rows() -> None:
    assert page([1, 2], num_items=2)[1].split_cursor is None
    _, whole = page([1, 2, 3, 4], num_items=4)
    assert whole.page_status is None
    left, _ = page([1, 2, 3, 4], end_cursor=whole.split_cursor)
    right, _ = page([1, 2, 3, 4], cursor=whole.split_cursor, end_cursor=whole.end)
    assert (left, right) == ([1, 2], [3, 4])


def test_a_split_is_recommended_near_the_limits() -> None:
    limits = Limits(documents_read=8)
    assert page(list(range(20)), num_items=6, limits=limits)[1].page_status is None
    assert page(list(range(20)), num_items=7, limits=limits)[1].page_status == "SplitRecommended"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_items": 0}, "Must request at least 1 document while paginating"),
        ({"num_items": -1}, "must be a positive number"),
        ({"num_items": 32_001}, "Requested too many items: 32001"),
        ({"maximum_rows_read": 0}, "must be greater than 0"),
        ({"maximum_bytes_read": 0}, "must be greater than 0"),
    ],
)
def test_impossible_numbers_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(DatabaseError, match=message):
        page([1], **options)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    ranks=st.sets(st.integers(0, 60), max_size=30),
    later=st.sets(st.integers(0, 60), max_size=30),
    size=st.integers(1, 7),
    reverse=st.booleans(),
)
def test_pages_held_in_place_have_neither_gaps_nor_overlaps_however_the_rows_change(
    ranks: set[int], later: set[int], size: int, reverse: bool
) -> None:
    """client-protocol 52"""
    pages: list[tuple[str | None, str]] = []
    cursor: str | None = None
    while True:
        _, current = page(sorted(ranks), num_items=size, cursor=cursor, reverse=reverse)
        pages.append((cursor, current.end))
        cursor = current.end
        if current.is_done:
            break
    seen: list[int] = []
    for start, end in pages:
        items, again = page(sorted(later), num_items=size, cursor=start, end_cursor=end, reverse=reverse)
        assert again.end == end
        seen += items
    assert seen == sorted(later, reverse=reverse)
