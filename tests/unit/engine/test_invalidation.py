"""Which read sets a commit touches (engine rules 9 and 16; server-semantics 32)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.engine.commit_record import CommitKind, CommitRecord, DocumentWrite, KeyChange, decode_record
from reactor.engine.invalidation import InvalidationIndex
from reactor.engine.ranges import id_key, make_range
from reactor.engine.read_set import Interval, ReadSet, merge
from reactor.limits import LOG_KEY_MAX_BYTES
from reactor.store.catalogue import IndexInfo
from reactor.values.keys import encode_value

INDEX = IndexInfo(7, "messages", 10_001, "by_author_time", ("author", "time"))


def parts(author: str, time: float, name: str = "a") -> tuple[bytes, ...]:
    return encode_value(author), encode_value(time), encode_value(1.0), id_key(name)


def write(before: tuple[bytes, ...] | None, after: tuple[bytes, ...] | None, name: str = "a") -> CommitRecord:
    operation = "insert" if before is None else "delete" if after is None else "update"
    document = DocumentWrite(10_001, name, operation, [KeyChange(INDEX.number, before, after)], ("author",))
    return CommitRecord(5, CommitKind.MUTATION, [document])


def interval(*prefix: object, lower: object = None, upper: object = None) -> Interval:
    range_ = make_range(
        INDEX, prefix, None if lower is None else (lower, True), None if upper is None else (upper, False)
    )
    return Interval(INDEX.number, range_.depth, range_.prefix, range_.start, range_.end)


def reads(*intervals: Interval) -> ReadSet:
    return ReadSet(intervals=frozenset(intervals))


@pytest.mark.parametrize(
    ("read_set", "record", "touched"),
    [
        pytest.param(reads(interval("ann")), write(None, parts("ann", 1)), True, id="insert-into-equality"),
        pytest.param(reads(interval("ann")), write(None, parts("bob", 1)), False, id="insert-beside-equality"),
        pytest.param(reads(interval("a")), write(None, parts("a\0b", 1)), False, id="nul-is-not-the-end-of-a-string"),
        pytest.param(reads(interval("ann")), write(parts("ann", 1), None), True, id="delete-from-equality"),
        pytest.param(reads(interval("ann")), write(parts("ann", 1), parts("bob", 1)), True, id="moves-out"),
        pytest.param(reads(interval("bob")), write(parts("ann", 1), parts("bob", 1)), True, id="moves-in"),
        pytest.param(reads(interval("ann")), write(parts("ann", 1), parts("ann", 1)), True, id="unindexed-patch"),
        pytest.param(reads(interval("ann", lower=2.0)), write(None, parts("ann", 2)), True, id="at-the-lower-bound"),
        pytest.param(reads(interval("ann", upper=2.0)), write(None, parts("ann", 2)), False, id="at-the-upper-bound"),
        pytest.param(reads(interval()), write(None, parts("zoe", 9)), True, id="whole-index"),
        pytest.param(ReadSet(points=frozenset({"a"})), write(None, parts("ann", 1)), True, id="missing-id-appears"),
        pytest.param(ReadSet(points=frozenset({"b"})), write(None, parts("ann", 1)), False, id="another-id"),
        pytest.param(
            ReadSet(names=frozenset({"table:x"})), CommitRecord(5, CommitKind.DEPLOY, [], ("table:x",)), True, id="name"
        ),
    ],
)
def test_a_commit_touches_what_overlaps_its_keys_before_or_after(
    read_set: ReadSet, record: CommitRecord, touched: bool
) -> None:
    index: InvalidationIndex[str] = InvalidationIndex()
    index.register("watcher", read_set)

    assert read_set.touched_by(record) is touched
    assert index.touched_by(record) == ({"watcher"} if touched else set())


authors = st.sampled_from(["", "a", "a\0", "a\0b", "b"])
times = st.sampled_from([-1.0, 0.0, 1.0, 2.0])
some_intervals = st.one_of(
    st.builds(lambda: interval()),
    st.builds(interval, authors),
    st.builds(interval, authors, times),
    st.builds(lambda a, t: interval(a, lower=t), authors, times),
    st.builds(lambda a, t: interval(a, upper=t), authors, times),
    st.builds(lambda a: interval(lower=a), authors),
)
some_reads = st.lists(some_intervals, max_size=4).map(lambda found: reads(*merge(found)))
some_keys = st.one_of(st.none(), st.builds(parts, authors, times))


@given(
    first=st.lists(some_reads, max_size=6),
    second=st.lists(some_reads, max_size=6),
    before=some_keys,
    after=some_keys,
)
def test_the_index_finds_exactly_the_watchers_whose_own_read_set_is_touched_also_after_they_registered_anew(
    first: list[ReadSet], second: list[ReadSet], before: tuple[bytes, ...] | None, after: tuple[bytes, ...] | None
) -> None:
    index: InvalidationIndex[int] = InvalidationIndex()
    current: dict[int, ReadSet] = {}
    for number, read_set in [*enumerate(first), *enumerate(second)]:
        index.register(number, read_set)
        current[number] = read_set
    record = write(before, after)

    assert index.touched_by(record) == {n for n, own in current.items() if own.touched_by(record)}


def test_unregistering_everybody_leaves_nothing_behind() -> None:
    index: InvalidationIndex[int] = InvalidationIndex()
    for number in range(100):
        index.register(number, reads(interval("ann", lower=float(number)), interval(str(number))))
    for number in range(100):
        index.unregister(number)

    assert len(index) == 0
    assert not index._ranges
    assert not index._points


@given(intervals=st.lists(some_intervals, max_size=8), key=st.builds(parts, authors, times))
def test_merging_intervals_changes_nothing_about_what_they_contain(
    intervals: list[Interval], key: tuple[bytes, ...]
) -> None:
    record = write(None, key)

    assert reads(*merge(intervals)).touched_by(record) is reads(*intervals).touched_by(record)


def test_adjacent_pages_merge_into_one_interval() -> None:
    pages = [interval("ann", lower=float(n), upper=float(n + 1)) for n in range(10)]

    assert len(merge(pages)) == 1


def test_a_stored_record_holds_keys_once_when_equal_and_cuts_long_ones() -> None:
    long = (encode_value("x" * 5000), encode_value(1.0), id_key("a"))
    record = decode_record(write(long, long).encode())

    assert record.writes[0].operation == "update"
    assert record.writes[0].keys == [[INDEX.number, b"".join(long)[:LOG_KEY_MAX_BYTES]]]
