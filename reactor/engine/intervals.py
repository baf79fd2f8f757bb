"""A set of byte intervals that answers which of them contain a point, in time that does not grow with their number.

Up to 32 intervals are a plain list. Beyond that an array sorted by start, augmented with the greatest end of each
subtree (an implicit balanced tree: no nodes to rebalance), plus a short list of recent additions and a set of removals;
the array is rebuilt when those pass an eighth of it, so an update costs O(log n) spread over time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["IntervalSet"]

T = TypeVar("T")

PLAIN_MAX = 32


class IntervalSet(Generic[T]):
    """Items under half-open intervals `[start, end)`; `end=None` is unbounded. An (interval, item) pair is there once."""

    __slots__ = ("_added", "_greatest", "_removed", "_sorted", "_unbounded")

    def __init__(self) -> None:
        self._added: dict[tuple[bytes, bytes | None, T], None] = {}
        self._sorted: list[tuple[bytes, bytes, T]] = []
        self._greatest: list[bytes] = []
        self._unbounded: dict[tuple[bytes, T], None] = {}
        self._removed: set[tuple[bytes, bytes | None, T]] = set()

    def __len__(self) -> int:
        return len(self._added) + len(self._sorted) + len(self._unbounded) - len(self._removed)

    def add(self, start: bytes, end: bytes | None, item: T) -> None:
        entry = (start, end, item)
        if end is None:
            self._unbounded[start, item] = None
        elif entry in self._removed:
            self._removed.discard(entry)
        else:
            self._added[entry] = None
            if len(self._added) > max(PLAIN_MAX, len(self._sorted) // 8):
                self._rebuild()

    def remove(self, start: bytes, end: bytes | None, item: T) -> None:
        """Take one pair out; it must be there."""
        entry = (start, end, item)
        if end is None:
            del self._unbounded[start, item]
        elif entry in self._added:
            del self._added[entry]
        else:
            self._removed.add(entry)
            if len(self._removed) > max(PLAIN_MAX, len(self._sorted) // 8):
                self._rebuild()

    def containing(self, point: bytes) -> Iterator[T]:
        """Yield the items whose interval contains `point`; one item may come more than once."""
        for start, item in self._unbounded:
            if start <= point:
                yield item
        for start, end, item in self._added:
            if start <= point and end is not None and point < end:
                yield item
        if not self._sorted:
            return
        removed = self._removed
        stack = [(0, len(self._sorted))]
        while stack:
            low, high = stack.pop()
            if low >= high:
                continue
            middle = (low + high) // 2
            if self._greatest[middle] <= point:  # nothing in this subtree reaches beyond the point
                continue
            stack.append((low, middle))
            entry = self._sorted[middle]
            if entry[0] <= point:
                if point < entry[1] and (not removed or entry not in removed):
                    yield entry[2]
                stack.append((middle + 1, high))

    def _rebuild(self) -> None:
        entries: list[tuple[bytes, bytes, T]] = [e for e in self._sorted if e not in self._removed]
        entries += [(s, e, item) for s, e, item in self._added if e is not None]
        entries.sort(key=lambda entry: (entry[0], entry[1]))
        self._added.clear()
        self._removed.clear()
        self._sorted = entries
        self._greatest = [b""] * len(entries)
        if entries:
            self._augment()

    def _augment(self) -> None:
        # Children before parents: an explicit post-order walk, because depth-first recursion would cost more.
        order: list[tuple[int, int, int]] = []
        stack = [(0, len(self._sorted))]
        while stack:
            low, high = stack.pop()
            if low < high:
                middle = (low + high) // 2
                order.append((low, middle, high))
                stack.append((low, middle))
                stack.append((middle + 1, high))
        greatest = self._greatest
        for low, middle, high in reversed(order):
            best = self._sorted[middle][1]
            if low < middle:
                best = max(best, greatest[(low + middle) // 2])
            if middle + 1 < high:
                best = max(best, greatest[(middle + 1 + high) // 2])
            greatest[middle] = best
