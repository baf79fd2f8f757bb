"""Which read sets a commit touches (engine rules 9 and 16; server-semantics 32)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.engine.commit_record import CommitKind, CommitRecord, DocumentWrite, KeyChange, decode_record
from reactor.engine.intervals import IntervalSet
from reactor.engine.invalidation import InvalidationIndex
from reactor.engine.ranges import id_key, make_range
from reactor.engine.read_set import Fields, Interval, ReadSet, merge
from reactor.limits import LOG_KEY_MAX_BYTES
from reactor.store.catalogue import IndexInfo
from reactor.values.keys import encode_value

INDEX = IndexInfo(7, "messages", 10_001, "by_author_time", ("author", "time"))


def parts(author: str, time: float, name: str = "a") -> tuple[bytes, ...]:
    return encode_value(author), encode_value(time), encode_value(1.0), id_key(name)


def write(
    before: tuple[bytes, ...] | None,
    after: tuple[bytes, ...] | None,
    name: str = "a",
    fields: tuple[str, ...] = ("author",),
) -> CommitRecord:
    operation = "insert" if before is None else "delete" if after is None else "update"
    document = DocumentWrite(10_001, name, operation, [KeyChange(INDEX.number, before, after)], fields)
    return CommitRecord(5, CommitKind.MUTATION, [document])


def interval(*prefix: object, lower: object = None, upper: object = None, fields: Fields = None) -> Interval:
    range_ = make_range(
        INDEX, prefix, None if lower is None else (lower, True), None if upper is None else (upper, False)
    )
    return Interval(INDEX.number, range_.depth, range_.prefix, range_.start, range_.end, fields)


def reads(*intervals: Interval) -> ReadSet:
    return ReadSet(intervals=frozenset(intervals))


BODIES = interval("ann", fields=frozenset({"body"}))
KEYS = interval("ann", fields=frozenset())


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
        pytest.param(
            reads(BODIES), write(parts("ann", 1), parts("ann", 1)), False, id="patch-of-what-was-not-selected"
        ),
        pytest.param(
            reads(BODIES), write(parts("ann", 1), parts("ann", 1), fields=("x", "body")), True, id="patch-of-selected"
        ),
        pytest.param(reads(BODIES), write(parts("ann", 1), parts("ann", 2)), True, id="moves-within-a-selection"),
        pytest.param(reads(BODIES), write(parts("ann", 1), parts("bob", 1)), True, id="moves-out-of-a-selection"),
        pytest.param(reads(BODIES), write(parts("bob", 1), parts("ann", 1)), True, id="moves-into-a-selection"),
        pytest.param(reads(BODIES), write(None, parts("ann", 1)), True, id="insert-into-a-selection"),
        pytest.param(reads(BODIES), write(parts("ann", 1), None), True, id="delete-from-a-selection"),
        pytest.param(reads(KEYS), write(parts("ann", 1), parts("ann", 1)), False, id="patch-where-keys-count"),
        pytest.param(reads(KEYS), write(None, parts("ann", 1)), True, id="insert-where-keys-count"),
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


some_fields = st.sampled_from([None, frozenset(), frozenset({"body"}), frozenset({"body", "likes"})])
authors = st.sampled_from(["", "a", "a\0", "a\0b", "b"])
times = st.sampled_from([-1.0, 0.0, 1.0, 2.0])
some_intervals = st.one_of(
    st.builds(lambda f: interval(fields=f), some_fields),
    st.builds(lambda a, f: interval(a, fields=f), authors, some_fields),
    st.builds(lambda a, t, f: interval(a, t, fields=f), authors, times, some_fields),
    st.builds(lambda a, t, f: interval(a, lower=t, fields=f), authors, times, some_fields),
    st.builds(lambda a, t, f: interval(a, upper=t, fields=f), authors, times, some_fields),
    st.builds(lambda a, f: interval(lower=a, fields=f), authors, some_fields),
)
some_reads = st.lists(some_intervals, max_size=4).map(lambda found: reads(*merge(found)))
some_keys = st.one_of(st.none(), st.builds(parts, authors, times))
some_changes = st.lists(st.sampled_from(["author", "body", "likes", "views"]), unique=True).map(tuple)


@given(
    first=st.lists(some_reads, max_size=6),
    second=st.lists(some_reads, max_size=6),
    before=some_keys,
    after=some_keys,
    changed=some_changes,
)
def test_the_index_finds_exactly_the_watchers_whose_own_read_set_is_touched_also_after_they_registered_anew(
    first: list[ReadSet],
    second: list[ReadSet],
    before: tuple[bytes, ...] | None,
    after: tuple[bytes, ...] | None,
    changed: tuple[str, ...],
) -> None:
    index: InvalidationIndex[int] = InvalidationIndex()
    current: dict[int, ReadSet] = {}
    for number, read_set in [*enumerate(first), *enumerate(second)]:
        index.register(number, read_set)
        current[number] = read_set
    record = write(before, after, fields=changed)

    assert index.touched_by(record) == {n for n, own in current.items() if own.touched_by(record)}


def test_unregistering_everybody_leaves_nothing_behind() -> None:
    index: InvalidationIndex[int] = InvalidationIndex()
    for number in range(100):
        narrow = interval("ann", fields=frozenset({str(number % 3)}))
        index.register(number, reads(interval("ann", lower=float(number)), interval(str(number)), narrow))
    for number in range(100):
        index.unregister(number)

    assert len(index) == 0
    assert not index._ranges
    assert not index._points


@given(intervals=st.lists(some_intervals, max_size=8), before=some_keys, after=some_keys, changed=some_changes)
def test_merging_intervals_changes_nothing_about_what_touches_them(
    intervals: list[Interval],
    before: tuple[bytes, ...] | None,
    after: tuple[bytes, ...] | None,
    changed: tuple[str, ...],
) -> None:
    for record in (write(before, after, fields=changed), write(before, before, fields=changed)):
        assert reads(*merge(intervals)).touched_by(record) is reads(*intervals).touched_by(record)


def test_adjacent_pages_merge_into_one_interval() -> None:
    pages = [interval("ann", lower=float(n), upper=float(n + 1)) for n in range(10)]

    assert len(merge(pages)) == 1


def test_ranges_merge_where_the_same_fields_were_seen_and_vanish_where_more_were() -> None:
    body, more = frozenset({"body"}), frozenset({"body", "likes"})
    pages = [interval("ann", lower=float(n), upper=float(n + 1), fields=body) for n in range(4)]
    first = interval("ann", lower=0.0, upper=1.0)
    whole = interval("ann", lower=0.0, upper=4.0)

    assert merge(pages) == {whole._replace(fields=body)}
    assert merge([*pages, whole]) == {whole}
    assert merge([*pages, whole._replace(fields=more)]) == {whole._replace(fields=more)}
    assert merge([*pages, first]) == {whole._replace(fields=body), first}
    assert merge([*pages, interval("bob")]) == {whole._replace(fields=body), interval("bob")}


def test_what_a_patch_costs_does_not_grow_with_those_who_did_not_look_at_it() -> None:
    """A patch of what a projection leaves out visits none of the intervals filed under it (engine rule 16)."""
    index: InvalidationIndex[int] = InvalidationIndex()
    visited: list[int] = []

    class Noticing(IntervalSet[int]):
        __slots__ = ()

        def containing(self, point: bytes) -> Iterator[int]:
            for found in super().containing(point):
                visited.append(found)
                yield found

    for number in range(500):
        index.register(number, reads(interval("ann", fields=frozenset({"body"}))))
    index.register(500, reads(interval("ann")))
    for prefixes in index._ranges[INDEX.number].values():
        for prefix, found in prefixes.items():
            noticing = Noticing()
            for watcher in found.containing(b"".join(parts("ann", 1))):
                noticing.add(prefix, None, watcher)
            prefixes[prefix] = noticing

    assert index.touched_by(write(parts("ann", 1), parts("ann", 1), fields=("likes",))) == {500}
    assert visited == [500]


def test_a_stored_record_holds_keys_once_when_equal_and_cuts_long_ones() -> None:
    long = (encode_value("x" * 5000), encode_value(1.0), id_key("a"))
    record = decode_record(write(long, long).encode())

    assert record.writes[0].operation == "update"
    assert record.writes[0].keys == [[INDEX.number, b"".join(long)[:LOG_KEY_MAX_BYTES]]]
