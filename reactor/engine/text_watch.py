"""Which watchers of searches a written document touches.

A search is filed by its index, by the filter fields that it uses and their values, and there by its words and the prefix. A
document probes one hash per set of filter fields in use, then one per word it has and one per prefix length in use: what
that costs does not grow with the searches that it does not touch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from reactor.engine.commit_record import DocumentWrite, TextSide
from reactor.engine.read_set import Fields, TextRead

__all__ = ["TextWatchers"]

W = TypeVar("W", bound=Hashable)

_Shape = tuple[tuple[int, ...], Fields]
"""The positions of filter fields, and what is looked at of the documents."""


class TextWatchers(Generic[W]):
    def __init__(self) -> None:
        self._indexes: dict[int, dict[_Shape, dict[tuple[str, ...], _Bucket[W]]]] = {}

    def add(self, watcher: W, read: TextRead) -> None:
        shapes = self._indexes.setdefault(read.index_number, {})
        buckets = shapes.setdefault(_shape(read), {})
        values = tuple(value for _, value in read.filters)
        bucket = buckets.get(values)
        if bucket is None:
            bucket = buckets[values] = _Bucket()
        bucket.add((read, watcher))

    def remove(self, watcher: W, read: TextRead) -> None:
        """Take out what was added; it must be there."""
        shapes = self._indexes[read.index_number]
        buckets = shapes[_shape(read)]
        values = tuple(value for _, value in read.filters)
        bucket = buckets[values]
        bucket.remove((read, watcher))
        if not bucket.prefixes:
            del buckets[values]
            if not buckets:
                del shapes[_shape(read)]
                if not shapes:
                    del self._indexes[read.index_number]

    def touched_by(self, write: DocumentWrite) -> Iterator[W]:
        """Yield the watchers of searches that this document matches, before or after; one may come more than once."""
        if not self._indexes:
            return
        for change in write.texts:
            shapes = self._indexes.get(change.index_number)
            if shapes is None:
                continue
            moved = change.moved
            for side in change.sides():
                for (positions, fields), buckets in shapes.items():
                    if not moved and fields is not None and fields.isdisjoint(write.fields):
                        continue
                    tokens = side.filters
                    bucket = buckets.get(tuple([tokens[position] for position in positions]))
                    if bucket is not None:
                        yield from bucket.matching(side)


def _shape(read: TextRead) -> _Shape:
    return tuple(position for position, _ in read.filters), read.fields


class _Bucket(Generic[W]):
    """Searches with the same filters."""

    __slots__ = ("_lengths", "_words", "prefixes")

    def __init__(self) -> None:
        self._words: dict[str, set[tuple[TextRead, W]]] = {}
        self.prefixes: dict[str, set[tuple[TextRead, W]]] = {}
        """Every search has one."""
        self._lengths: Counter[int] = Counter()
        """How many different prefixes there are, by length."""

    def add(self, item: tuple[TextRead, W]) -> None:
        read = item[0]
        for word in read.words:
            self._words.setdefault(word, set()).add(item)
        if read.prefix not in self.prefixes:
            self._lengths[len(read.prefix)] += 1
        self.prefixes.setdefault(read.prefix, set()).add(item)

    def remove(self, item: tuple[TextRead, W]) -> None:
        read = item[0]
        for word in read.words:
            self._words[word].remove(item)
            if not self._words[word]:
                del self._words[word]
        self.prefixes[read.prefix].remove(item)
        if not self.prefixes[read.prefix]:
            del self.prefixes[read.prefix]
            self._lengths[len(read.prefix)] -= 1
            if not self._lengths[len(read.prefix)]:
                del self._lengths[len(read.prefix)]

    def matching(self, side: TextSide) -> Iterator[W]:
        words, prefixes = self._words, self.prefixes
        for word in side.words:
            if word in words:
                for _, watcher in words[word]:
                    yield watcher
            for length in self._lengths:
                if len(word) >= length and (found := prefixes.get(word[:length])) is not None:
                    for _, watcher in found:
                        yield watcher
