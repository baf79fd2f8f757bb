"""(o) Nearest vectors: time of a search and recall at ten, against numpy in single precision over all of them.

768 dimensions; vectors like embeddings (some hundred groups in fewer directions, and noise) and vectors without any structure.
The last rows go through an action on a database: what a caller waits for. Beyond 100,000 vectors searches are approximate.

    python benchmarks/vectors.py [--sizes 10000,100000,200000] [--dimensions 768] [--stored 20000]
"""

from __future__ import annotations

import os

os.environ.pop("OPENBLAS_CORETYPE", None)  # where it is set, numpy does without its fastest instructions

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from reactor.search.clusters import train
from reactor.search.vectors import VectorSet, ranked, unit_vector

QUERIES = 60


def embeddings(count: int, dimensions: int, rng: np.random.Generator) -> Any:
    shape = np.random.default_rng(11)
    groups, directions = shape.standard_normal((400, 48)), shape.standard_normal((48, dimensions))
    rows = (groups[rng.integers(0, 400, count)] + 0.8 * rng.standard_normal((count, 48))) @ directions
    return _unit(rows + 1.5 * rng.standard_normal((count, dimensions)))


def noise(count: int, dimensions: int, rng: np.random.Generator) -> Any:
    return _unit(rng.standard_normal((count, dimensions)))


def _unit(rows: Any) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")


def measure(name: str, make: Any, size: int, dimensions: int) -> None:
    rng = np.random.default_rng(5)
    matrix = np.concatenate([make(min(5000, size - at), dimensions, rng) for at in range(0, size, 5000)])
    queries = make(QUERIES, dimensions, rng)
    vectors = VectorSet(dimensions, 1)
    for at in range(0, size, 500):
        vectors.put(
            [(f"{n}", matrix[n].tobytes(), [b"odd" if n % 2 else b"even"]) for n in range(at, min(size, at + 500))]
        )
    found_in = ""
    if vectors.wants_clusters:
        began = time.process_time()
        clusters = train(vectors.begin_clusters())
        vectors.use_clusters(clusters)
        found_in = f"   {clusters.probes.get(10) or 'all'} of {len(clusters.centroids)} clusters, found in {time.process_time() - began:.0f} s"
    odd = np.arange(1, size, 2)
    for label, chosen, any_of in (("", np.arange(size), None), (" half of them", odd, [(0, b"odd")])):
        times, cpu, base, recall = [], [], [], []
        subset = matrix if any_of is None else matrix[chosen]
        true: list[set[int]] = []
        for query in queries:
            began = time.perf_counter()
            nearest = chosen[np.argpartition(-(subset @ query), 10)[:10]]
            base.append(time.perf_counter() - began)
            true.append(set(nearest.tolist()))
        time.sleep(0.5)  # numpy's threads go on spinning for a while
        for query, nearest in zip(queries, true, strict=True):
            unit = unit_vector(query)
            began, used = time.perf_counter(), time.process_time()
            candidates = vectors.candidates(unit, 10, any_of)
            hits = ranked(unit, [(id, matrix[int(id)].tobytes()) for id in candidates], 10)
            times.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
            recall.append(len({int(id) for id, _ in hits} & nearest) / 10)
        took, numpy = statistics.median(times), statistics.median(base)
        print(
            f"  {name:10} {size:9,}{label:13} {took * 1e3:7.1f} ms   processor {statistics.median(cpu) * 1e3:6.1f} ms"
            f"   numpy {numpy * 1e3:7.1f} ms   {took / numpy:5.2f} x   recall {statistics.mean(recall):.3f}"
            f"   {vectors.memory_bytes / size:6.0f} bytes each{found_in}",
            flush=True,
        )
    vectors.close()


APP = {
    "schema.py": """
from reactor import Document, define_schema, define_table

class Article(Document):
    category: int
    embedding: list[float]

schema = define_schema(articles=define_table(Article).vector_index(
    "by_embedding", "embedding", dimensions={dimensions}, filter_fields=["category"]))
""",
    "functions/articles.py": """
from reactor import ActionCtx, MutationCtx, action, mutation
from schema import Article

@mutation
async def add(ctx: MutationCtx, embeddings: list[list[float]]) -> None:
    for number, embedding in enumerate(embeddings):
        await ctx.db.insert(Article(category=number % 10, embedding=embedding))

@action
async def nearest(ctx: ActionCtx, vector: list[float], documents: bool) -> int:
    if documents:
        return len(await ctx.vector_search(Article, "by_embedding", vector, documents=True))
    return len(await ctx.vector_search(Article, "by_embedding", vector))
""",
}


async def stored(size: int, dimensions: int) -> None:
    """Through mutations and actions, on a database."""
    import json

    from reactor.auth.identity import ANONYMOUS
    from reactor.server import Reactor

    rng = np.random.default_rng(6)
    with tempfile.TemporaryDirectory() as directory:
        app = Path(directory) / "app"
        for name, text in APP.items():
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            (app / name).write_text(text.replace("{dimensions}", str(dimensions)))
        (app / "functions" / "__init__.py").touch()
        async with Reactor(app, data=Path(directory) / "data", dev=False) as reactor:
            backend = reactor.backend

            async def add(rows: Any) -> None:
                done = asyncio.get_running_loop().create_future()
                body = json.dumps({"embeddings": rows.tolist()}).encode()
                backend.mutation("articles:add", body, ANONYMOUS, done.set_result)
                outcome = await done
                assert hasattr(outcome, "value"), outcome

            began = time.perf_counter()
            for at in range(0, size, 250):
                await add(embeddings(min(250, size - at), dimensions, rng))
            wrote = size / (time.perf_counter() - began)

            async def search(documents: bool) -> float:
                args = {"vector": embeddings(1, dimensions, rng)[0].tolist(), "documents": documents}
                began = time.perf_counter()
                outcome = await backend.action("articles:nearest", json.dumps(args).encode(), ANONYMOUS)
                took = time.perf_counter() - began
                assert getattr(outcome, "value", b"") == b"10", outcome
                return took

            await search(False)
            for documents in (False, True):
                times = [await search(documents) for _ in range(QUERIES)]
                what = "with documents" if documents else "ids and scores"
                print(f"  an action, {size:,} stored, {what}: {statistics.median(times) * 1e3:.1f} ms", flush=True)
            times = []
            for _ in range(20):
                await add(embeddings(1, dimensions, rng))
                times.append(await search(False))
            print(f"  … right after a write: {statistics.median(times) * 1e3:.1f} ms; {wrote:,.0f} documents/s written")
        began = time.perf_counter()
        async with Reactor(app, data=Path(directory) / "data", dev=False) as reactor:
            backend = reactor.backend
            up = time.perf_counter() - began
            await search(False)
            print(
                f"  a start: up after {up:.2f} s, the first search answered after {time.perf_counter() - began:.2f} s"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,200000")
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--stored", type=int, default=20_000)
    options = parser.parse_args()
    for size in map(int, options.sizes.split(",")):
        measure("embeddings", embeddings, size, options.dimensions)
        if size <= 100_000:
            measure("noise", noise, size, options.dimensions)
    if options.stored:
        asyncio.run(stored(options.stored, options.dimensions))


if __name__ == "__main__":
    main()
