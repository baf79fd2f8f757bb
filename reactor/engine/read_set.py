"""What a query read: ids looked up, index intervals scanned, and names (tables, environment variables) it depends on.

Immutable and hashable inside, so that registering a re-run only applies the difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from reactor.engine.commit_record import CommitRecord

__all__ = ["EMPTY", "Interval", "ReadSet", "merge"]


class Interval(NamedTuple):
    """`start <= key < end` in one index; `prefix` holds the `depth` leading fields that are equal in all of it."""

    index_number: int
    depth: int
    prefix: bytes
    start: bytes
    end: bytes | None


@dataclass(frozen=True)
class ReadSet:
    points: frozenset[str] = frozenset()
    intervals: frozenset[Interval] = frozenset()
    names: frozenset[str] = frozenset()

    @cached_property
    def _by_index(self) -> dict[int, list[Interval]]:
        grouped: dict[int, list[Interval]] = {}
        for interval in self.intervals:
            grouped.setdefault(interval.index_number, []).append(interval)
        return grouped

    def touched_by(self, record: CommitRecord) -> bool:
        """Whether a commit wrote a document or changed a name that this read set contains."""
        if self.names and not self.names.isdisjoint(record.names):
            return True
        by_index = self._by_index
        for write in record.writes:
            if write.id in self.points:
                return True
            if not by_index:
                continue
            for change in write.keys:
                intervals = by_index.get(change.index_number)
                if intervals is None:
                    continue
                for parts in change.sides():
                    key = b"".join(parts)
                    for interval in intervals:
                        if interval.start <= key and (interval.end is None or key < interval.end):
                            return True
        return False

    @property
    def size(self) -> int:
        """Roughly how many bytes it takes."""
        return 100 * (len(self.points) + len(self.names)) + sum(
            200 + len(i.prefix) + len(i.start) + len(i.end or b"") for i in self.intervals
        )


EMPTY = ReadSet()


def merge(intervals: Iterable[Interval]) -> frozenset[Interval]:
    """Join intervals of one index and prefix that overlap or touch."""
    ordered = sorted(set(intervals), key=lambda i: (i.index_number, i.depth, i.prefix, i.start))
    merged: list[Interval] = []
    for interval in ordered:
        if interval.end is not None and interval.end <= interval.start:
            continue
        if merged:
            last = merged[-1]
            if last[:3] == interval[:3] and (last.end is None or interval.start <= last.end):
                if last.end is not None and (interval.end is None or interval.end > last.end):
                    merged[-1] = last._replace(end=interval.end)
                continue
        merged.append(interval)
    return frozenset(merged)
