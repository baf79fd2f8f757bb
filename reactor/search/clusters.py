"""Vectors sorted into clusters, so that a search of very many looks only where the nearest ones are likely to be.

Approximate by its nature, so it is measured on the very vectors: for some of them, where their true nearest lie, and in
how many clusters, nearest first, one has to look to find `RECALL` of these. Where that is most clusters, as for vectors
without any structure, looking at everything is as good, and is what happens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reactor.search.planes import Floats, Probe, dots

__all__ = ["Clusters", "View", "nearest_centroids", "train"]

RECALL: Final = 0.985
"""Share of the true nearest that the number of clusters to look in is chosen for, on average."""
DEPTHS: Final = (10, 100, 1000)
"""So many nearest it is chosen for; a filter that keeps a tenth makes ten nearest of the first hundred."""
QUERIES: Final = 100
ROUNDS: Final = 6
SAMPLE: Final = 40
"""Vectors a cluster that the centroids are found with."""
ROWS: Final = 4096

Slots = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class View:
    """The high planes of a set at some moment: blocks of rows, the scale of each row, and which rows are in use."""

    blocks: Sequence[NDArray[np.int8]]
    scale: Floats
    slots: Slots

    def rows(self, slots: Slots) -> Floats:
        """Vectors, off by their rounding; slots ascend."""
        size = len(self.blocks[0])
        out = np.empty((len(slots), self.blocks[0].shape[1]), np.float32)
        bounds = np.searchsorted(slots, np.arange(len(self.blocks) + 1) * size)
        for number, block in enumerate(self.blocks):
            start, end = bounds[number], bounds[number + 1]
            out[start:end] = block[slots[start:end] - number * size]
        out *= self.scale[slots][:, None]
        return out


@dataclass(slots=True)
class Clusters:
    """`of` has the cluster of each slot; `probes`, per depth, in how many clusters to look (0: in all)."""

    centroids: Floats
    of: NDArray[np.int32]
    probes: dict[int, int]
    size: int
    """How many vectors it was made for."""

    def near(self, unit: NDArray[np.float64], depth: float) -> NDArray[np.bool_] | None:
        """By cluster, whether to look there for the `depth` nearest; None when only looking everywhere will do."""
        count = next((count for known, count in self.probes.items() if known >= depth), 0)
        if not count:
            return None
        chosen = np.zeros(len(self.centroids), bool)
        order = np.argpartition(-(self.centroids @ unit.astype(np.float32)), count - 1)
        chosen[order[:count]] = True
        return chosen


def nearest_centroids(centroids: Floats, vectors: Floats) -> NDArray[np.int32]:
    return np.argmax(vectors @ centroids.T, axis=1).astype(np.int32)


def train(view: View, seed: int = 0) -> Clusters:
    """Find clusters for the vectors of a view, sort all of them in, and measure. Takes seconds; on a thread of its own."""
    dice = np.random.default_rng(seed)
    count = min(len(view.slots), max(16, round(2 * math.sqrt(len(view.slots)))))
    sample = view.rows(np.sort(dice.choice(view.slots, min(len(view.slots), SAMPLE * count), replace=False)))
    centroids = sample[dice.choice(len(sample), count, replace=False)].copy()
    for _ in range(ROUNDS):
        member = np.concatenate(
            [nearest_centroids(centroids, sample[i : i + ROWS]) for i in range(0, len(sample), ROWS)]
        )
        order = np.argsort(member, kind="stable")
        firsts = np.flatnonzero(np.diff(member[order], prepend=-1))
        sums = np.add.reduceat(sample[order], firsts)
        lengths = np.linalg.norm(sums, axis=1)
        good = lengths > 0
        centroids[member[order][firsts][good]] = sums[good] / lengths[good][:, None]
    of = np.zeros(len(view.scale), np.int32)
    for start in range(0, len(view.slots), ROWS):
        part = view.slots[start : start + ROWS]
        of[part] = nearest_centroids(centroids, view.rows(part))
    return Clusters(centroids, of, _measure(view, centroids, of, dice), len(view.slots))


def _measure(view: View, centroids: Floats, of: NDArray[np.int32], dice: np.random.Generator) -> dict[int, int]:
    chosen = np.sort(dice.choice(view.slots, min(QUERIES, len(view.slots)), replace=False))
    depths = [depth for depth in DEPTHS if depth < len(view.slots) // 4]
    # For each query, at which place in the order of nearness to it the cluster of each of its true nearest stands.
    places: list[NDArray[np.intp]] = []
    size = len(view.blocks[0])
    for slot, vector in zip(chosen, view.rows(chosen), strict=True):
        length = float(np.linalg.norm(vector))
        if not length or not depths:
            continue
        probe = Probe(vector.astype(np.float64) / length)
        near = np.empty(len(view.blocks) * size, np.float32)
        for number, block in enumerate(view.blocks):
            dots(probe, block, near[number * size : (number + 1) * size])
        near = near[view.slots] * view.scale[view.slots]
        best = np.argpartition(-near, depths[-1])[: depths[-1] + 1]
        best = view.slots[best[np.argsort(-near[best], kind="stable")]]
        order = np.argsort(-(centroids @ probe.single), kind="stable")
        place = np.empty(len(centroids), np.intp)
        place[order] = np.arange(len(centroids))
        places.append(place[of[best[best != slot][: depths[-1]]]])
    if not places:
        return {}
    found = np.stack([row[: depths[-1]] for row in places])
    return {depth: _probes(found[:, :depth], len(centroids)) for depth in depths}


def _probes(places: NDArray[np.intp], clusters: int) -> int:
    ordered = np.sort(places, axis=None)
    wanted = int(ordered[min(len(ordered) - 1, math.ceil(RECALL * len(ordered)) - 1)]) + 1
    return wanted if wanted <= clusters // 3 else 0
