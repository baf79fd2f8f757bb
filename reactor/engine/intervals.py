"""A set of byte intervals that answers which of them contain a point, in time that does not grow with their number.

Up to 32 intervals are a plain list. Beyond that they move to levels, each at least twice the size of the next smaller one
(Bentley and Saxe's way to make a static structure dynamic): an array sorted by start, augmented with the greatest end of
each subtree of the implicit balanced tree. Removals are remembered and carried out when levels merge.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["IntervalSet"]

T = TypeVar("T")

PLAIN_MAX = 32


class IntervalSet(Generic[T]):
    """Items under half-open intervals `[start, end)`; `end=None` is unbounded. An (interval, item) pair is there once."""

    __slots__ = ("_levels", "_plain", "_removed", "_unbounded")

    def __init__(self) -> None:
        self._plain: dict[tuple[bytes, bytes, T], None] = {}
        self._levels: list[_Level[T]] = []
        """Largest first."""
        self._unbounded: dict[tuple[bytes, T], None] = {}
        self._removed: set[tuple[bytes, bytes, T]] = set()

    def __len__(self) -> int:
        return len(self._plain) + sum(map(len, self._levels)) - len(self._removed) + len(self._unbounded)

    def add(self, start: bytes, end: bytes | None, item: T) -> None:
        if end is None:
            self._unbounded[start, item] = None
            return
        entry = (start, end, item)
        if entry in self._removed:
            self._removed.discard(entry)
            return
        self._plain[entry] = None
        if len(self._plain) > PLAIN_MAX:
            entries = list(self._plain)
            self._plain.clear()
            while self._levels and len(self._levels[-1]) <= 2 * len(entries):
                entries += self._kept(self._levels.pop())
            self._levels.append(_Level(entries))

    def remove(self, start: bytes, end: bytes | None, item: T) -> None:
        """Take one pair out; it must be there."""
        if end is None:
            del self._unbounded[start, item]
            return
        entry = (start, end, item)
        if entry in self._plain:
            del self._plain[entry]
            return
        self._removed.add(entry)
        if len(self._removed) * 2 > sum(map(len, self._levels)):
            entries = [e for level in self._levels for e in self._kept(level)]
            self._removed.clear()
            self._levels = [_Level(entries)] if entries else []

    def containing(self, point: bytes) -> Iterator[T]:
        """Yield the items whose interval contains `point`; one item may come more than once."""
        for start, item in self._unbounded:
            if start <= point:
                yield item
        for start, end, item in self._plain:
            if start <= point < end:
                yield item
        removed = self._removed
        for level in self._levels:
            for entry in level.containing(point):
                if not removed or entry not in removed:
                    yield entry[2]

    def _kept(self, level: _Level[T]) -> list[tuple[bytes, bytes, T]]:
        """A level's entries without the removed ones, which are then forgotten."""
        removed = self._removed
        if not removed:
            return level.entries
        kept = [e for e in level.entries if e not in removed]
        if len(kept) < len(level.entries):
            removed.difference_update(level.entries)
        return kept


class _Level(Generic[T]):
    """An immutable set of intervals as an implicit tree: the middle of a slice is the root of its entries."""

    __slots__ = ("_greatest", "entries")

    def __init__(self, entries: list[tuple[bytes, bytes, T]]) -> None:
        self.entries = sorted(entries, key=lambda entry: entry[:2])
        self._greatest = [b""] * len(entries)
        # Children before parents: the order in which a walk from the root meets them, backwards.
        met: list[tuple[int, int, int]] = []
        stack = [(0, len(entries))]
        while stack:
            low, high = stack.pop()
            if low < high:
                middle = (low + high) // 2
                met.append((low, middle, high))
                stack.append((low, middle))
                stack.append((middle + 1, high))
        greatest = self._greatest
        for low, middle, high in reversed(met):
            best = self.entries[middle][1]
            if low < middle:
                best = max(best, greatest[(low + middle) // 2])
            if middle + 1 < high:
                best = max(best, greatest[(middle + 1 + high) // 2])
            greatest[middle] = best

    def __len__(self) -> int:
        return len(self.entries)

    def containing(self, point: bytes) -> Iterator[tuple[bytes, bytes, T]]:
        entries, greatest = self.entries, self._greatest
        stack = [(0, len(entries))]
        while stack:
            low, high = stack.pop()
            while low < high:
                middle = (low + high) // 2
                if greatest[middle] <= point:  # nothing in this subtree reaches beyond the point
                    break
                entry = entries[middle]
                if entry[0] <= point:
                    if point < entry[1]:
                        yield entry
                    stack.append((middle + 1, high))
                high = middle
