"""What a query read: ids looked up, index intervals scanned, and names (tables, environment variables) it depends on.

Immutable and hashable inside, so that registering a re-run only applies the difference.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from reactor.engine.commit_record import CommitRecord, DocumentWrite, Replaced, TextSide
from reactor.values.ids import table_number_of

__all__ = ["EMPTY", "Fields", "Hit", "Interval", "ReadSet", "TextRead", "merge"]

Fields = frozenset[str] | None
"""Top-level fields by wire name; None for all of them."""


class Interval(NamedTuple):
    """`start <= key < end` in one index; `prefix` holds the `depth` leading fields that are equal in all of it."""

    index_number: int
    depth: int
    prefix: bytes
    start: bytes
    end: bytes | None
    fields: Fields = None
    """What was looked at of the documents there. A change of others that leaves the key as it is touches nothing."""


class TextRead(NamedTuple):
    """What a search of one index asked for: documents with any of `words`, or a word that begins with `prefix`, which have
    all of `filters`, by the position of the filter field."""

    index_number: int
    filters: tuple[tuple[int, str], ...]
    words: frozenset[str]
    prefix: str
    fields: Fields = None
    """As in `Interval`."""

    def matches(self, side: TextSide) -> bool:
        """Whether a document that the index has so is found."""
        if any(side.filters[position] != value for position, value in self.filters):
            return False
        words = side.words
        return not self.words.isdisjoint(words) or any(word.startswith(self.prefix) for word in words)


class Hit(NamedTuple):
    """A name that changed, or a document that was written: at a point, or with `key` within `interval`."""

    name: str = ""
    write: DocumentWrite | None = None
    key: bytes = b""
    interval: Interval | None = None
    text: TextRead | None = None
    """The search that the document matches, or did."""
    replaced: bool = False
    """Instead: everything of a table that was read was replaced at once."""


@dataclass(frozen=True)
class ReadSet:
    points: frozenset[str] = frozenset()
    intervals: frozenset[Interval] = frozenset()
    names: frozenset[str] = frozenset()
    texts: frozenset[TextRead] = frozenset()

    @cached_property
    def _by_index(self) -> dict[int, list[Interval]]:
        grouped: dict[int, list[Interval]] = {}
        for interval in self.intervals:
            grouped.setdefault(interval.index_number, []).append(interval)
        return grouped

    def read_from(self, replaced: Replaced) -> bool:
        """Whether anything was read of these tables."""
        return any(table_number_of(point) in replaced.tables for point in self.points) or any(
            read.index_number in replaced.indexes for read in (*self.intervals, *self.texts)
        )

    def touched_by(self, record: CommitRecord) -> bool:
        """Whether a commit wrote a document or changed a name that this read set contains."""
        return self.first_hit(record) is not None

    def first_hit(self, record: CommitRecord) -> Hit | None:
        """What of a commit this read set contains, if anything: the first that is found."""
        if self.names and not self.names.isdisjoint(record.names):
            return Hit(next(name for name in record.names if name in self.names))
        if record.replaced is not None and self.read_from(record.replaced):
            return Hit(replaced=True)
        by_index = self._by_index
        for write in record.writes:
            if write.id in self.points:
                return Hit(write=write)
            if self.texts and write.texts and (text := self._text_hit(write)) is not None:
                return Hit(write=write, text=text)
            if not by_index:
                continue
            for change in write.keys:
                intervals = by_index.get(change.index_number)
                if intervals is None:
                    continue
                moved = change.moved
                for parts in change.sides():
                    key = b"".join(parts)
                    for interval in intervals:
                        if (
                            interval.start <= key
                            and (interval.end is None or key < interval.end)
                            and (moved or (fields := interval.fields) is None or not fields.isdisjoint(write.fields))
                        ):
                            return Hit("", write, key, interval)
        return None

    def _text_hit(self, write: DocumentWrite) -> TextRead | None:
        for change in write.texts:
            for read in self.texts:
                if (
                    read.index_number == change.index_number
                    and (change.moved or read.fields is None or not read.fields.isdisjoint(write.fields))
                    and any(read.matches(side) for side in change.sides())
                ):
                    return read
        return None

    @property
    def size(self) -> int:
        """Roughly how many bytes it takes."""
        return (
            100 * (len(self.points) + len(self.names))
            + sum(200 + len(i.prefix) + len(i.start) + len(i.end or b"") for i in self.intervals)
            + sum(500 + 100 * (len(t.words) + len(t.filters)) for t in self.texts)
        )


EMPTY = ReadSet()


def merge(intervals: Iterable[Interval]) -> frozenset[Interval]:
    """Join intervals of one index, prefix and fields that overlap or touch; drop those that wider fields cover."""
    groups: dict[Fields, set[Interval]] = {}
    for interval in intervals:
        fields = interval.fields
        if fields in groups:
            groups[fields].add(interval)
        else:
            groups[fields] = {interval}
    if len(groups) == 1:
        return frozenset(_joined(groups.popitem()[1]))
    joined = {fields: _joined(found) for fields, found in groups.items()}
    kept: list[Interval] = []
    for fields, found in joined.items():
        kept += _uncovered(found, [wider for others, wider in joined.items() if _is_wider(others, fields)])
    return frozenset(kept)


def _joined(intervals: Iterable[Interval]) -> list[Interval]:
    """Of one `fields`: ordered, and neither overlapping nor touching where index and prefix are the same."""
    merged: list[Interval] = []
    for interval in sorted(intervals, key=_order):
        if interval.end is not None and interval.end <= interval.start:
            continue
        if merged:
            last = merged[-1]
            if last[:3] == interval[:3] and (last.end is None or interval.start <= last.end):
                if last.end is not None and (interval.end is None or interval.end > last.end):
                    merged[-1] = last._replace(end=interval.end)
                continue
        merged.append(interval)
    return merged


def _order(interval: Interval) -> tuple[int, int, bytes, bytes]:
    return interval[:4]


def _is_wider(fields: Fields, than: Fields) -> bool:
    return than is not None and (fields is None or fields > than)


def _uncovered(intervals: list[Interval], wider: list[list[Interval]]) -> list[Interval]:
    """Those that lie in no interval of the `wider` lists, each as `_joined` gives them."""
    for covers in wider:
        kept: list[Interval] = []
        for interval in intervals:
            at = bisect_right(covers, _order(interval), key=_order) - 1
            if at >= 0:
                cover = covers[at]
                if cover[:3] == interval[:3] and (
                    cover.end is None or (interval.end is not None and interval.end <= cover.end)
                ):
                    continue
            kept.append(interval)
        intervals = kept
    return intervals
