"""The vectors of one index in memory: which documents may be among the nearest ones.

`candidates` looks at all vectors (or those that the filters leave) by their high planes, keeps those whose bounds reach
the limit-th best, narrows these by both planes, and gives the few that are left; whoever has the vectors themselves then
ranks them (`ranked`). About two bytes a dimension are kept, and no vector itself.

Up to `exact_up_to` vectors none of the nearest is ever left out. With more, `search.clusters` say where to look.

Not thread-safe: the caller lets one in at a time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reactor.search.clusters import Clusters, View, nearest_centroids
from reactor.search.planes import SLACK, Floats, Probe, dots, quantise

__all__ = ["Entry", "VectorSet", "ranked", "unit_vector"]

EXACT_UP_TO: Final = 100_000
BLOCK: Final = 8192
"""Rows that are kept together; memory grows by so many."""
PARALLEL_FROM: Final = 4 * BLOCK
"""From so many rows on, several threads look at them."""
GATHER_BELOW: Final = 0.5
"""Below this share of all rows the wanted ones are copied out first."""
THREADS: Final = max(1, min(4, os.cpu_count() or 1))

Slots = NDArray[np.intp]
Entry = tuple[str, bytes, Sequence[bytes]]
"""A document's id, its unit vector (little-endian float32), and the keys of its filter fields."""
_STORED: Final = np.dtype("<f4")


def unit_vector(vector: Sequence[float]) -> NDArray[np.float64]:
    """The vector at length one; zeros stay zeros. Entries must be finite."""
    exact = np.asarray(vector, dtype=np.float64)
    greatest = float(np.abs(exact).max())
    if greatest == 0:
        return exact
    exact = exact / greatest  # so that no square overflows or vanishes
    return exact / np.linalg.norm(exact)


def ranked(unit: NDArray[np.float64], rows: Iterable[tuple[str, bytes]], limit: int) -> list[tuple[str, float]]:
    """(id, cosine) of the best `limit` rows (id, unit vector): best first, equal ones by id."""
    # One product at a time: equal vectors then give equal scores, wherever they stand.
    scored = [(id, _cosine(np.frombuffer(vector, _STORED).astype(np.float64), unit)) for id, vector in rows]
    scored.sort(key=lambda found: (-found[1], found[0]))
    return scored[:limit]


def _cosine(vector: NDArray[np.float64], unit: NDArray[np.float64]) -> float:
    square = float(np.dot(vector, vector))  # one, but for what single precision has rounded
    return max(-1.0, min(1.0, float(np.dot(vector, unit)) / math.sqrt(square))) if square else 0.0


class VectorSet:
    """Planes and filter keys of an index of `dimensions` and so many filter `fields`, by document id."""

    def __init__(self, dimensions: int, fields: int, exact_up_to: int = EXACT_UP_TO) -> None:
        self.dimensions = dimensions
        self._exact_up_to = exact_up_to
        self._clusters: Clusters | None = None
        self._put_since: set[int] | None = None
        """While clusters are being found: the slots that were written since."""
        self._high: list[NDArray[np.int8]] = []
        self._low: list[NDArray[np.int8]] = []
        self._scale: Floats = np.empty(0, np.float32)
        self._error_high: Floats = np.empty(0, np.float32)
        self._error: Floats = np.empty(0, np.float32)
        self._alive = np.zeros(0, bool)
        self._keys = [np.empty(0, np.int32) for _ in range(fields)]
        self._codes: list[dict[bytes, int]] = [{} for _ in range(fields)]
        """By filter field: its keys, numbered as they were first met."""
        self._codes_bytes = 0
        self._ids: list[str | None] = []
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._threads: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._slots)

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    @property
    def memory_bytes(self) -> int:
        """About how much memory it takes."""
        rows = len(self._high) * BLOCK
        if self._clusters is not None:
            rows += 2 * len(self._clusters.centroids)  # four bytes a dimension each, twice what a row takes
        return rows * (2 * self.dimensions + 17 + 4 * len(self._keys)) + 250 * len(self._ids) + self._codes_bytes

    # Changes

    def put(self, entries: Sequence[Entry]) -> None:
        """Enter documents, or replace them. An id must not come twice in one call."""
        if not entries:
            return
        vectors = np.frombuffer(b"".join([vector for _, vector, _ in entries]), _STORED)
        planes = quantise(vectors.reshape(len(entries), self.dimensions))
        slots = np.fromiter((self._slot_of(id) for id, _, _ in entries), np.intp, len(entries))
        for block in np.unique(slots // BLOCK):
            here = slots // BLOCK == block
            rows = slots[here] % BLOCK
            self._high[block][rows] = planes.high[here]
            self._low[block][rows] = planes.low[here]
        self._scale[slots] = planes.scale
        self._error_high[slots] = planes.error_high
        self._error[slots] = planes.error
        self._alive[slots] = True
        if self._put_since is not None:
            self._put_since.update(slots.tolist())
        if self._clusters is not None:
            self._clusters.of[slots] = nearest_centroids(
                self._clusters.centroids, vectors.reshape(len(entries), self.dimensions)
            )
        for field, (column, codes) in enumerate(zip(self._keys, self._codes, strict=True)):
            for slot, (_, _, keys) in zip(slots, entries, strict=True):
                key = keys[field]
                code = codes.get(key)
                if code is None:
                    code = codes[key] = len(codes)
                    self._codes_bytes += 200 + len(key)
                column[slot] = code

    def remove(self, ids: Iterable[str]) -> None:
        """Take documents out; those that are not there are ignored."""
        for id in ids:
            slot = self._slots.pop(id, None)
            if slot is not None:
                self._alive[slot] = False
                self._ids[slot] = None
                self._free.append(slot)

    def _slot_of(self, id: str) -> int:
        slot = self._slots.get(id)
        if slot is None:
            if self._free:
                slot = self._free.pop()
                self._ids[slot] = id
            else:
                slot = len(self._ids)
                self._ids.append(id)
                if slot == len(self._high) * BLOCK:
                    self._grow()
            self._slots[id] = slot
        return slot

    def _grow(self) -> None:
        self._high.append(np.zeros((BLOCK, self.dimensions), np.int8))
        self._low.append(np.zeros((BLOCK, self.dimensions), np.int8))
        self._scale, self._error_high, self._error = (
            np.concatenate([column, np.zeros(BLOCK, np.float32)])
            for column in (self._scale, self._error_high, self._error)
        )
        self._alive = np.concatenate([self._alive, np.zeros(BLOCK, bool)])
        self._keys = [np.concatenate([column, np.full(BLOCK, -1, np.int32)]) for column in self._keys]
        if self._clusters is not None:
            self._clusters.of = np.concatenate([self._clusters.of, np.zeros(BLOCK, np.int32)])

    # Clusters

    @property
    def wants_clusters(self) -> bool:
        """Whether there are more vectors than are searched exactly, and many more than clusters were found for."""
        made_for = 0 if self._clusters is None else self._clusters.size
        return self._put_since is None and len(self) > max(self._exact_up_to, 2 * made_for)

    def begin_clusters(self) -> View:
        """What to find clusters for (`clusters.train`), which may happen on another thread, while this set is in use."""
        self._put_since = set()
        return View(list(self._high), self._scale, np.flatnonzero(self._alive))

    def use_clusters(self, clusters: Clusters | None) -> None:
        """Search by these; what was written while they were found is sorted in. None: finding them has failed."""
        since, self._put_since = self._put_since, None
        if clusters is None:
            return
        missing = len(self._scale) - len(clusters.of)
        clusters.of = np.concatenate([clusters.of, np.zeros(missing, np.int32)])
        slots = np.array(sorted(since or ()), np.intp)
        view = View(self._high, self._scale, slots)
        for start in range(0, len(slots), BLOCK):
            part = slots[start : start + BLOCK]
            clusters.of[part] = nearest_centroids(clusters.centroids, view.rows(part))
        self._clusters = clusters

    # Search

    def candidates(
        self, unit: NDArray[np.float64], limit: int, any_of: Sequence[tuple[int, bytes]] | None = None
    ) -> list[str]:
        """Ids among which are the `limit` nearest (and whoever is as near as the last of them).

        With `any_of` only documents count that have one of these (filter field, key).
        """
        slots = self._chosen(any_of)
        if len(slots) > self._exact_up_to and (clusters := self._clusters) is not None:
            near = clusters.near(unit, limit * len(self) / len(slots))
            if near is not None:
                close = slots[near[clusters.of[slots]]]
                slots = close if len(close) >= limit else slots
        if len(slots) <= limit:
            return [id for slot in slots if (id := self._ids[slot]) is not None]
        probe = Probe(unit)
        slots = self._by_high(probe, slots, limit)
        if len(slots) > limit:
            slots = self._by_both(probe, slots, limit)
        return [id for slot in slots if (id := self._ids[slot]) is not None]

    def _chosen(self, any_of: Sequence[tuple[int, bytes]] | None) -> Slots:
        alive = self._alive[: len(self._ids)]
        if any_of is None:
            return np.flatnonzero(alive)
        wanted = np.zeros(len(alive), bool)
        by_field: dict[int, set[int]] = {}
        for field, key in any_of:
            code = self._codes[field].get(key)
            if code is not None:
                by_field.setdefault(field, set()).add(code)
        for field, codes in by_field.items():
            column = self._keys[field][: len(alive)]
            if len(codes) == 1:
                wanted |= column == codes.pop()
            else:
                wanted |= np.isin(column, np.fromiter(codes, np.int32, len(codes)))
        return np.flatnonzero(wanted & alive)

    def _by_high(self, probe: Probe, slots: Slots, limit: int) -> Slots:
        near = self._products(probe, slots)
        near *= self._scale[slots] * np.float32(probe.scale)
        # The other side's rounding shifts both bounds of all of them, but for its product with their errors.
        off = self._error_high[slots] * np.float32(1 + probe.error)
        return slots[_reaching(near, off + np.float32(probe.error + SLACK), limit)]

    def _by_both(self, probe: Probe, slots: Slots, limit: int) -> Slots:
        near = np.empty(len(slots), np.float32)
        for start in range(0, len(slots), 1024):
            part = slots[start : start + 1024]
            near[start : start + 1024] = probe.both(
                self._rows(self._high, part), self._rows(self._low, part), self._scale[part]
            )
        return slots[_reaching(near, self._error[slots] + np.float32(SLACK + self.dimensions * 1.2e-7), limit)]

    def _products(self, probe: Probe, slots: Slots) -> Floats:
        out = np.empty(len(slots), np.float32)
        bounds = np.searchsorted(slots, np.arange(len(self._high) + 1) * BLOCK)

        def look(block: int) -> None:
            start, end = int(bounds[block]), int(bounds[block + 1])
            if start == end:
                return
            rows = slots[start:end] - block * BLOCK
            plane = self._high[block]
            used = min(BLOCK, len(self._ids) - block * BLOCK)
            if end - start < used * GATHER_BELOW:
                dots(probe, plane[rows], out[start:end])
            elif end - start == used:
                dots(probe, plane[:used], out[start:end])
            else:
                every = np.empty(used, np.float32)
                dots(probe, plane[:used], every)
                out[start:end] = every[rows]

        blocks = range(len(self._high))
        if len(slots) < PARALLEL_FROM or THREADS == 1:
            for block in blocks:
                look(block)
        else:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(THREADS, "reactor-vectors")
            list(self._threads.map(look, blocks))
        return out

    def _rows(self, planes: list[NDArray[np.int8]], slots: Slots) -> NDArray[np.int8]:
        """`slots` ascend."""
        out = np.empty((len(slots), self.dimensions), np.int8)
        bounds = np.searchsorted(slots, np.arange(len(planes) + 1) * BLOCK)
        for block, plane in enumerate(planes):
            start, end = bounds[block], bounds[block + 1]
            if start != end:
                out[start:end] = plane[slots[start:end] - block * BLOCK]
        return out


def _reaching(near: Floats, off: Floats, limit: int) -> NDArray[np.bool_]:
    """Which of the values `near ± off` may be among the `limit` greatest."""
    least = near - off
    threshold = np.partition(least, len(least) - limit)[len(least) - limit]
    return near + off >= threshold
