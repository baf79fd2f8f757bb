"""The vectors of an index in memory, against all of them ranked by numpy; clusters, by what they find of the nearest."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from reactor.search.clusters import train
from reactor.search.planes import Probe, dots, quantise
from reactor.search.vectors import BLOCK, VectorSet, ranked, unit_vector

Truth = dict[str, tuple[bytes, bytes]]


def entry(dice: np.random.Generator, dimensions: int) -> bytes:
    kind = dice.random()
    if kind < 0.05:
        vector = np.zeros(dimensions)
    elif kind < 0.3:
        vector = dice.integers(-1, 2, dimensions).astype(float)  # many equal ones
    else:
        vector = dice.standard_normal(dimensions)
    return unit_vector(vector).astype("<f4").tobytes()


def search(vectors: VectorSet, truth: Truth, unit: Any, limit: int, any_of: Any = None) -> list[tuple[str, float]]:
    candidates = vectors.candidates(unit, limit, any_of)
    assert len(set(candidates)) == len(candidates)
    return ranked(unit, [(id, truth[id][0]) for id in candidates], limit)


@pytest.mark.parametrize("dimensions", [2, 3, 65, 768])
def test_what_is_found_is_what_ranking_all_of_them_gives(dimensions: int) -> None:
    rng, dice = np.random.default_rng(dimensions), random.Random(dimensions)
    vectors, truth = VectorSet(dimensions, 1), dict[str, tuple[bytes, bytes]]()
    for _ in range(6):
        batch = {
            f"{dice.randrange(2000):06d}": (entry(rng, dimensions), bytes([dice.randrange(5)])) for _ in range(500)
        }
        vectors.put([(id, vector, [key]) for id, (vector, key) in batch.items()])
        truth |= batch
        gone = dice.sample(sorted(truth), len(truth) // 8)
        vectors.remove([*gone, "never there"])
        for id in gone:
            del truth[id]
        assert len(vectors) == len(truth)
        for limit in (1, 10, 256):
            for any_of in (None, [(0, b"\x01")], [(0, b"\x01"), (0, b"\x02"), (0, b"none")], []):
                unit = np.frombuffer(entry(rng, dimensions), "<f4").astype(np.float64)
                kept = [(id, v) for id, (v, key) in truth.items() if any_of is None or (0, key) in any_of]
                assert search(vectors, truth, unit, limit, any_of) == ranked(unit, kept, limit)


def test_blocks_fill_one_after_the_other_and_rows_are_used_again() -> None:
    rng = np.random.default_rng(1)
    vectors, truth = VectorSet(4, 0), dict[str, tuple[bytes, bytes]]()
    for start in range(0, 5 * BLOCK, 4000):
        batch = {f"{n}": (entry(rng, 4), b"") for n in range(start, start + 4000)}
        vectors.put([(id, vector, ()) for id, (vector, _) in batch.items()])
        truth |= batch
    memory = vectors.memory_bytes
    gone = list(truth)[1000:3000]
    vectors.remove(gone)
    vectors.put([(f"again {id}", truth[id][0], ()) for id in gone])
    truth |= {f"again {id}": truth.pop(id) for id in gone}
    assert vectors.memory_bytes == memory
    unit = unit_vector(rng.standard_normal(4))
    assert search(vectors, truth, unit, 10) == ranked(unit, [(id, v) for id, (v, _) in truth.items()], 10)


def test_the_bounds_of_products_hold() -> None:
    rng = np.random.default_rng(7)
    for dimensions in (2, 100, 4096):
        rows = rng.standard_normal((200, dimensions)) * np.exp(rng.standard_normal((200, dimensions)))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows.astype(np.float32)
        unit = unit_vector(rng.standard_normal(dimensions))
        exact = rows.astype(np.float64) @ unit
        planes, probe = quantise(rows), Probe(unit)
        near = np.empty(200, np.float32)
        dots(probe, planes.high, near)
        off = planes.error_high * (1 + probe.error) + probe.error
        assert np.all(np.abs(near * planes.scale * probe.scale - exact) <= off)
        assert np.all(np.abs(probe.both(planes.high, planes.low, planes.scale) - exact) <= planes.error + 1e-5)


def test_products_count_their_references() -> None:
    """Python 3.11 ends the process once None has been given away too often."""
    probe, rows, out = Probe(np.ones(64) / 8), np.ones((100, 64), np.int8), np.empty(100, np.float32)
    dots(probe, rows, out)
    counts = [sys.getrefcount(thing) for thing in (None, rows, out, probe.bytes)]
    for _ in range(200):
        dots(probe, rows, out)
    after = [sys.getrefcount(thing) for thing in (None, rows, out, probe.bytes)]
    assert all(abs(now - before) < 50 for before, now in zip(counts, after, strict=True))


def structured(rng: np.random.Generator, count: int, dimensions: int, *, seed: int = 3) -> Any:
    """Like embeddings: far fewer directions than dimensions, in groups, and noise."""
    shape = np.random.default_rng(seed)
    groups, directions = shape.standard_normal((60, 12)), shape.standard_normal((12, dimensions))
    rows = (groups[rng.integers(0, 60, count)] + 0.6 * rng.standard_normal((count, 12))) @ directions
    rows += 0.8 * rng.standard_normal((count, dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")


def recall(vectors: VectorSet, rows: dict[str, Any], queries: Any, any_of: Any = None) -> tuple[float, float]:
    """Of the ten nearest, the share found; and the share of all that was given back as candidates."""
    ids, matrix = list(rows), np.stack(list(rows.values()))
    found, looked = [], []
    for query in queries:
        unit = query.astype(np.float64)
        wanted = {ids[n] for n in np.argsort(-(matrix @ query))[:10]}
        candidates = vectors.candidates(unit, 10, any_of)
        found.append(len(wanted.intersection(candidates)) / 10)
        looked.append(len(candidates) / len(ids))
    return float(np.mean(found)), float(np.mean(looked))


def test_clusters_find_nearly_all_of_the_nearest_also_when_much_has_changed_and_under_filters() -> None:
    rng = np.random.default_rng(5)
    vectors = VectorSet(32, 1, exact_up_to=2000)
    rows = {f"{n}": row for n, row in enumerate(structured(rng, 12_000, 32))}

    def put(some: dict[str, Any]) -> None:
        vectors.put([(id, row.tobytes(), [b"even" if int(id) % 2 == 0 else b"odd"]) for id, row in some.items()])

    put(dict(list(rows.items())[:10_000]))
    assert vectors.wants_clusters
    view = vectors.begin_clusters()
    assert not vectors.wants_clusters
    put(dict(list(rows.items())[9_000:]))  # while they are being found
    vectors.remove([f"{n}" for n in range(500)])
    vectors.use_clusters(train(view))
    assert not vectors.wants_clusters
    clusters = vectors._clusters
    assert clusters is not None
    assert clusters.probes[10] > 0, "what has structure need not be looked at everywhere"
    rows = {id: row for id, row in rows.items() if int(id) >= 500}
    later = {f"{20_000 + n}": row for n, row in enumerate(structured(rng, 3000, 32))}
    put(later)
    rows |= later
    queries = structured(rng, 100, 32)
    assert recall(vectors, rows, queries)[0] >= 0.95
    even = {id: row for id, row in rows.items() if int(id) % 2 == 0}
    assert recall(vectors, even, queries, [(0, b"even")])[0] >= 0.95
    chosen = clusters.near(queries[0].astype(np.float64), 10)
    assert chosen is not None
    assert 0 < chosen.sum() < len(chosen) / 2


def test_vectors_without_structure_are_all_looked_at() -> None:
    rng = np.random.default_rng(6)
    rows = rng.standard_normal((3000, 48))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")
    vectors = VectorSet(48, 0, exact_up_to=1000)
    vectors.put([(f"{n}", row.tobytes(), ()) for n, row in enumerate(rows)])
    vectors.use_clusters(train(vectors.begin_clusters()))
    assert recall(vectors, {f"{n}": row for n, row in enumerate(rows)}, rows[:50])[0] == 1


def test_equal_vectors_and_zeros_make_clusters_too() -> None:
    one = unit_vector([1.0, 2.0]).astype("<f4").tobytes()
    zero = np.zeros(2, "<f4").tobytes()
    vectors = VectorSet(2, 0, exact_up_to=10)
    vectors.put([(f"{n:03d}", one if n % 2 else zero, ()) for n in range(400)])
    vectors.use_clusters(train(vectors.begin_clusters()))
    assert len(vectors.candidates(unit_vector([1.0, 2.0]), 10)) >= 10


def test_a_filter_that_leaves_few_is_searched_exactly() -> None:
    rng = np.random.default_rng(8)
    rows = {f"{n}": row for n, row in enumerate(structured(rng, 4000, 16))}
    vectors = VectorSet(16, 1, exact_up_to=1000)
    vectors.put([(id, row.tobytes(), [b"rare" if int(id) % 10 == 0 else b"rest"]) for id, row in rows.items()])
    vectors.use_clusters(train(vectors.begin_clusters()))
    rare = {id: row for id, row in rows.items() if int(id) % 10 == 0}
    assert recall(vectors, rare, structured(rng, 50, 16), [(0, b"rare")])[0] == 1


def test_an_app_without_vector_indexes_loads_no_numpy() -> None:
    code = (
        "import sys, reactor.server, reactor.runtime.backend, reactor.runtime.actions, reactor.engine.vector_indexes\n"
        "print(sorted({'numpy', 'simsimd', 'reactor.search.vectors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
