"""Which watchers a commit touches: read sets on one side, written keys on the other.

A range is filed under its index, the number of leading fields it holds equal, and the bytes of those fields; a written key
probes one hash per number of fields in use in its index (and per projection: what was seen of the documents there). Points and names are dictionaries. So the cost of a commit
depends on what it wrote and whom it touches, not on how many others are watching.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from reactor.engine.commit_record import CommitRecord
from reactor.engine.intervals import IntervalSet
from reactor.engine.read_set import EMPTY, Fields, Interval, ReadSet
from reactor.engine.text_watch import TextWatchers

__all__ = ["InvalidationIndex"]

W = TypeVar("W", bound=Hashable)


class InvalidationIndex(Generic[W]):
    """Watchers (hashable, compared by identity or value) and their read sets."""

    def __init__(self) -> None:
        self._registered: dict[W, ReadSet] = {}
        self._points: dict[str, set[W]] = {}
        self._names: dict[str, set[W]] = {}
        self._texts: TextWatchers[W] = TextWatchers()
        # index number -> depth and fields -> prefix -> intervals
        self._ranges: dict[int, dict[tuple[int, Fields], dict[bytes, IntervalSet[W]]]] = {}

    def __len__(self) -> int:
        return len(self._registered)

    def register(self, watcher: W, read_set: ReadSet) -> None:
        """Watch `read_set` for `watcher`, instead of what it watched before. Only the difference is applied."""
        old = self._registered.get(watcher, EMPTY)
        self._registered[watcher] = read_set
        if old is read_set:
            return
        _replace(self._points, watcher, old.points, read_set.points)
        _replace(self._names, watcher, old.names, read_set.names)
        if old.texts != read_set.texts:
            for text in old.texts - read_set.texts:
                self._texts.remove(watcher, text)
            for text in read_set.texts - old.texts:
                self._texts.add(watcher, text)
        if old.intervals != read_set.intervals:
            for interval in old.intervals - read_set.intervals:
                self._remove(watcher, interval)
            for interval in read_set.intervals - old.intervals:
                self._add(watcher, interval)

    def unregister(self, watcher: W) -> None:
        """Stop watching; a watcher that is not registered is ignored."""
        if watcher in self._registered:
            self.register(watcher, EMPTY)
            del self._registered[watcher]

    def touched_by(self, record: CommitRecord) -> set[W]:
        """The watchers whose read set contains something that this commit wrote."""
        found: set[W] = set()
        if not self._registered:
            return found
        for name in record.names:
            found.update(self._names.get(name, ()))
        if record.replaced is not None:  # rare: a look at every watcher is as good as an index for it
            found.update(w for w, read_set in self._registered.items() if read_set.read_from(record.replaced))
        points, ranges = self._points, self._ranges
        for write in record.writes:
            if (at_point := points.get(write.id)) is not None:
                found |= at_point
            if write.texts:
                found.update(self._texts.touched_by(write))
            for change in write.keys:
                shapes = ranges.get(change.index_number)
                if shapes is None:
                    continue
                moved = change.moved
                for parts in change.sides():
                    key = b"".join(parts)
                    for (depth, fields), prefixes in shapes.items():
                        if not moved and fields is not None and fields.isdisjoint(write.fields):
                            continue
                        bucket = prefixes.get(b"".join(parts[:depth]) if depth else b"")
                        if bucket is not None:
                            found.update(bucket.containing(key))
        return found

    def _add(self, watcher: W, interval: Interval) -> None:
        shape = interval.depth, interval.fields
        prefixes = self._ranges.setdefault(interval.index_number, {}).setdefault(shape, {})
        bucket = prefixes.get(interval.prefix)
        if bucket is None:
            bucket = prefixes[interval.prefix] = IntervalSet()
        bucket.add(interval.start, interval.end, watcher)

    def _remove(self, watcher: W, interval: Interval) -> None:
        shapes = self._ranges[interval.index_number]
        shape = interval.depth, interval.fields
        prefixes = shapes[shape]
        bucket = prefixes[interval.prefix]
        bucket.remove(interval.start, interval.end, watcher)
        if not len(bucket):
            del prefixes[interval.prefix]
            if not prefixes:
                del shapes[shape]
                if not shapes:
                    del self._ranges[interval.index_number]


def _replace(table: dict[str, set[W]], watcher: W, old: frozenset[str], new: frozenset[str]) -> None:
    if old == new:
        return
    for key in old - new:
        watchers = table[key]
        watchers.discard(watcher)
        if not watchers:
            del table[key]
    for key in new - old:
        table.setdefault(key, set()).add(watcher)
