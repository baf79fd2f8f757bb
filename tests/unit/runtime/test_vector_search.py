"""`ctx.vector_search` on a real database (server-semantics 10.2 and the vector part of its TEST list; issue 6, item 2)."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reactor.engine.commit_record import CommitKind, CommitRecord
from reactor.engine.vector_indexes import VectorIndexes, require_libraries
from reactor.errors import DatabaseError, FunctionError, LimitExceeded, SchemaError, Unavailable
from reactor.limits import Limits
from reactor.search import vectors
from reactor.search.vectors import VectorSet
from reactor.store.protocol import Writer
from tests.unit.runtime.conftest import Project
from tests.unit.runtime.harness import Harness

SCHEMA = """
    from reactor import Document, Int64, define_schema, define_table

    class Food(Document):
        name: str
        cuisine: str | None = None
        price: int = 0
        stock: Int64 | None = None
        embedding: list[float] | None = None

    schema = define_schema(
        foods=define_table(Food)
        .index("by_name", "name")
        .vector_index("by_embedding", "embedding", dimensions={dimensions},
                      filter_fields=["cuisine", "price", "stock", "_creationTime"])
        .vector_index("by_later", "embedding", dimensions=5, staged=True),
    )
"""

FUNCTIONS = """
    from typing import Any
    from reactor import UNSET, ActionCtx, Id, Int64, MutationCtx, QueryCtx, VectorHit, VectorMatch, action, mutation, query
    from schema import Food

    @mutation
    async def change(ctx: MutationCtx, steps: list[Any]) -> list[Any]:
        done = []
        for step in steps:
            if step["do"] == "insert":
                done.append(await ctx.db.insert("foods", step["food"]))
            elif step["do"] == "delete":
                await ctx.db.delete(step["id"])
            else:
                await ctx.db.patch(step["id"], {k: UNSET if v is None else v for k, v in step["food"].items()})
        return done

    @mutation
    async def change_and_fail(ctx: MutationCtx, steps: list[Any]) -> None:
        await change(ctx, steps)
        raise ValueError("no")

    @action
    async def nearest(ctx: ActionCtx, vector: Any, limit: Any = 10, any_of: Any = None) -> Any:
        chosen = None
        if any_of is not None:
            chosen = lambda q: q.or_(*[q.eq(field, value) for field, value in any_of])
        hits = await ctx.vector_search(Food, "by_embedding", vector, limit=limit, filter=chosen)
        return [[hit.id, hit.score] for hit in hits]

    @action
    async def look(ctx: ActionCtx, code: str, vector: Any) -> Any:
        scope: dict[str, Any] = dict(ctx=ctx, vector=vector, Food=Food, Int64=Int64, UNSET=UNSET)
        exec("async def f():\\n" + "\\n".join("    " + line for line in code.split("\\n")), scope)
        return await scope["f"]()

    @action
    async def hits(ctx: ActionCtx, vector: list[float]) -> list[VectorHit[Food]]:
        return await ctx.vector_search(Food, "by_embedding", vector)

    @action
    async def matches(ctx: ActionCtx, vector: list[float]) -> list[VectorMatch[Food]]:
        return await ctx.vector_search(Food, "by_embedding", vector, documents=True)

    @query
    async def in_a_query(ctx: QueryCtx) -> Any:
        return await ctx.vector_search(Food, "by_embedding", [1.0])

    @mutation
    async def in_a_mutation(ctx: MutationCtx) -> Any:
        return await ctx.vector_search(Food, "by_embedding", [1.0])

    @mutation
    async def as_an_index(ctx: MutationCtx) -> Any:
        return await ctx.db.query(Food).with_index("by_embedding").collect()
"""


def files(dimensions: int = 3) -> dict[str, str]:
    return {"schema.py": SCHEMA.format(dimensions=dimensions), "functions/foods.py": FUNCTIONS}


@pytest.fixture
async def app(project: Project) -> Harness:
    return await project(files())


async def add(app: Harness, *foods: dict[str, Any]) -> list[str]:
    steps = [{"do": "insert", "food": {"name": f"food {n}", "price": 0.0, **food}} for n, food in enumerate(foods)]
    return (await app.mutation("foods:change", steps=steps)).value


async def nearest(app: Harness, vector: list[float], **args: Any) -> list[tuple[str, float]]:
    return [(id, score) for id, score in (await app.action("foods:nearest", vector=vector, **args)).value]


async def look(app: Harness, code: str, vector: Any = (1.0, 0.0, 0.0)) -> Any:
    return (await app.action("foods:look", code=code, vector=list(vector))).value


async def test_the_nearest_come_first_with_their_cosine(app: Harness) -> None:
    a, b, c = await add(app, {"embedding": [2, 0, 0]}, {"embedding": [1, 1, 0]}, {"embedding": [-3, 0, 0]})
    found = await nearest(app, [5, 0, 0])
    assert [id for id, _ in found] == [a, b, c]
    assert [score for _, score in found] == pytest.approx([1, math.sqrt(0.5), -1], abs=1e-6)
    assert [id for id, _ in await nearest(app, [5, 0, 0], limit=1)] == [a]


async def test_equal_scores_are_ordered_by_id(app: Harness) -> None:
    ids = await add(app, *[{"embedding": [1, 2, 3]} for _ in range(20)], {"embedding": [3, 2, 1]})
    found = await nearest(app, [1, 2, 3], limit=5)
    assert [id for id, _ in found] == sorted(ids[:20])[:5]


async def test_documents_without_a_fitting_vector_are_not_there_until_they_have_one(app: Harness) -> None:
    """server-semantics 10.2 TEST: a wrong dimension stored"""
    good, missing, short, infinite = await add(
        app, {"embedding": [1, 0, 0]}, {}, {"embedding": [1, 0]}, {"embedding": [1, math.inf, 0]}
    )
    assert [id for id, _ in await nearest(app, [1, 0, 0])] == [good]
    steps = [{"do": "patch", "id": id, "food": {"embedding": [0, 1, 0]}} for id in (missing, short, infinite)]
    await app.mutation("foods:change", steps=steps)
    assert {id for id, _ in await nearest(app, [1, 0, 0])} == {good, missing, short, infinite}
    await app.mutation("foods:change", steps=[{"do": "patch", "id": good, "food": {"embedding": None}}])
    assert good not in {id for id, _ in await nearest(app, [1, 0, 0])}


async def test_zero_vectors_are_at_right_angles_to_everything(app: Harness) -> None:
    """server-semantics 10.2 TEST: a zero vector"""
    near, zero, far = await add(app, {"embedding": [1, 1, 1]}, {"embedding": [0, 0, 0]}, {"embedding": [-1, -1, -1]})
    assert [id for id, _ in await nearest(app, [1, 1, 1])] == [near, zero, far]
    assert (await nearest(app, [1, 1, 1]))[1] == (zero, 0)
    assert await nearest(app, [0, 0, 0]) == [(id, 0) for id in sorted([near, zero, far])]


async def test_vectors_of_any_length_are_compared_by_direction(app: Harness) -> None:
    huge, tiny = await add(app, {"embedding": [1.7e308, 1.7e308, 0]}, {"embedding": [5e-324, 0, 0]})
    assert [score for _, score in await nearest(app, [1e300, 1e300, 0])] == pytest.approx([1, math.sqrt(0.5)])
    assert [id for id, _ in await nearest(app, [1e-320, 0, 0])] == [tiny, huge]


async def test_filters_are_equalities_joined_by_or_over_any_fields(app: Harness) -> None:
    """server-semantics 10.2: a true OR across fields; undefined is missing"""
    thai, soup, plain, counted = await add(
        app,
        {"embedding": [1, 0, 0], "cuisine": "thai", "price": 3.0},
        {"embedding": [1, 0.1, 0], "cuisine": "french", "price": 7.0},
        {"embedding": [1, 0.2, 0]},
        {"embedding": [1, 0.3, 0], "cuisine": "x" * 200, "stock": None},
    )

    async def found(condition: str) -> list[str]:
        search = f'ctx.vector_search(Food, "by_embedding", vector, filter=lambda q: {condition})'
        return await look(app, f"return [hit.id for hit in await {search}]")

    assert await found('q.eq("cuisine", "thai")') == [thai]
    assert await found('q.or_(q.eq("cuisine", "thai"), q.eq("price", 7))') == [thai, soup]
    assert await found('q.or_(q.eq("cuisine", "thai"), q.or_(q.eq("price", 7), q.eq("cuisine", "none")))') == [
        thai,
        soup,
    ]
    assert await found('q.eq("cuisine", None)') == [plain]
    assert await found('q.eq("cuisine", UNSET)') == [plain]
    assert await found(f'q.eq("cuisine", "{"x" * 200}")') == [counted]
    assert await found(f'q.eq("cuisine", "{"x" * 201}")') == []
    assert await found("q.or_()") == []
    stocked = await app.mutation(
        "foods:change", steps=[{"do": "insert", "food": {"name": "s", "price": 1.0, "embedding": [1, 1, 1]}}]
    )
    assert stocked.value[0] in await found('q.eq("stock", None)')
    await app.mutation("foods:change", steps=[{"do": "patch", "id": thai, "food": {"cuisine": "french"}}])
    assert await found('q.eq("cuisine", "thai")') == []
    assert await found('q.eq("cuisine", "french")') == [thai, soup]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ('"by_embedding", []', "`vector` must be a non-empty Array in vectorSearch", "InvalidVector"),
        ('"by_embedding", "abc"', "`vector` must be a non-empty Array in vectorSearch", "InvalidVector"),
        ('"by_embedding", [1.0] * 4', "Expected a vector with dimensions 3, received 4.", "VectorDimensionsMismatch"),
        ('"by_embedding", [1, "x", 0]', "finite numbers; at position 1 it has 'x'", "InvalidVector"),
        ('"by_embedding", [1, 0, float("nan")]', "at position 2 it has nan", "InvalidVector"),
        ('"by_embedding", vector, limit=0', "`limit` must be a whole number from 1 to 256, not 0", None),
        (
            '"by_embedding", vector, limit=257',
            "Vector queries can fetch at most 256 results, requested 257.",
            "VectorLimitTooLargeError",
        ),
        (
            '"by_embedding", vector, filter=lambda q: q.eq("name", "x")',
            r'Vector query against foods\.by_embedding contains an equality filter on "name" but that field isn\'t '
            "indexed for filtering in `filterFields`",
            "IncorrectVectorFilterField",
        ),
        ('"by_embedding", vector, filter=lambda q: q.eq("nope", 1)', "nope", None),
        (
            '"by_embedding", vector, filter=lambda q: True',
            "Filters should be a combination of `q.eq` and `q.or_`.",
            "InvalidVectorFilter",
        ),
        (
            '"by_embedding", vector, filter=lambda q: q.or_(q.eq("price", 1), 3)',
            "Filters should be",
            "InvalidVectorFilter",
        ),
        (
            '"by_embedding", vector, filter=lambda q: q.or_(*[q.eq("price", n) for n in range(65)])',
            "at most 64 equality filters, this one has 65",
            "TooManyVectorFilters",
        ),
        ('"by_embeddin", vector', r"Did you mean 'by_embedding'\?", "IndexNotFound"),
        ('"by_name", vector', "foods.by_name is not a vector index", "WrongIndexKind"),
        ('"by_later", vector', "foods.by_later is currently staged", "IndexStaged"),
    ],
)
async def test_what_is_wrong_is_told(app: Harness, arguments: str, message: str, code: str | None) -> None:
    """server-semantics 10.2 TEST: limit 0 and 257"""
    with pytest.raises(DatabaseError, match=message) as caught:
        await look(app, f"return await ctx.vector_search(Food, {arguments})")
    assert code is None or caught.value.code == code


async def test_64_equalities_and_256_results_are_allowed(app: Harness) -> None:
    """server-semantics 10.2 TEST: limit 256"""
    ids = await add(app, *[{"embedding": [1, n / 100, 0], "price": float(n % 70)} for n in range(300)])
    assert [id for id, _ in await nearest(app, [1, 0, 0], limit=256)] == ids[:256]
    any_of = [["price", float(n)] for n in range(64)]
    wanted = [id for n, id in enumerate(ids) if n % 70 < 64]
    assert [id for id, _ in await nearest(app, [1, 0, 0], limit=256, anyOf=any_of)] == wanted[:256]


@pytest.mark.parametrize("function", ["inAQuery", "inAMutation"])
async def test_queries_and_mutations_are_told_where_to_search(app: Harness, function: str) -> None:
    """server-semantics 10.2 TEST: calling from a query"""
    run = app.query if function == "inAQuery" else app.mutation
    with pytest.raises(FunctionError, match=r"ctx\.vector_search is for actions"):
        await run(f"foods:{function}")


async def test_hits_are_structs_and_documents_come_on_request(app: Harness) -> None:
    (id,) = await add(app, {"embedding": [1, 0, 0], "cuisine": "thai"})
    assert (await app.action("foods:hits", vector=[1.0, 0.0, 0.0])).value == [{"_id": id, "_score": 1}]
    (match,) = (await app.action("foods:matches", vector=[1.0, 0.0, 0.0])).value
    assert (match["_id"], match["_score"], match["document"]["cuisine"]) == (id, 1, "thai")
    assert match["document"]["_id"] == id
    code = 'hits = await ctx.vector_search("foods", "by_embedding", vector, documents=True)\nreturn type(hits[0].document).__name__'
    assert await look(app, code) == "Food"


async def test_a_failed_mutation_leaves_nothing_behind(app: Harness) -> None:
    (id,) = await add(app, {"embedding": [1, 0, 0]})
    with pytest.raises(ValueError, match="no"):
        await app.mutation(
            "foods:changeAndFail",
            steps=[
                {"do": "delete", "id": id},
                {"do": "insert", "food": {"name": "x", "price": 0.0, "embedding": [1, 0, 0]}},
            ],
        )
    assert await nearest(app, [1, 0, 0]) == [(id, 1)]


async def test_too_much_for_the_memory_that_is_allowed_is_an_error_and_nothing_is_lost(project: Project) -> None:
    app = await project(files(), limits=Limits(vector_memory_bytes=1000))
    await nearest(app, [1, 0, 0])  # the index is loaded, as long as it is empty
    await add(app, {"embedding": [1, 0, 0]})
    await nearest(app, [1, 0, 0])  # it finds out how much it takes
    with pytest.raises(LimitExceeded, match="vector_memory_bytes"):
        await nearest(app, [1, 0, 0])
    assert len(await app.documents("foods")) == 1
    await add(app, {"embedding": [1, 0, 0]})
    assert [f.changed for f in app.vectors._followed.values()] == [{}], "what nobody will read is not gathered"


async def replace_index(app: Harness, *, successor: bool) -> None:
    """What a deploy does to the index; with `successor`, and to declare another one by its name in the next."""

    def drop(writer: Writer) -> CommitRecord:
        writer.change_indexes(add=(), drop=[app.database.catalogue.tables["foods"].vector["by_embedding"]])
        return CommitRecord(0, CommitKind.DEPLOY, [])

    await app.database.commit_alone(drop)
    if successor:
        await app.deploy()


@pytest.mark.parametrize("successor", [False, True])
async def test_an_index_that_is_dropped_just_before_it_is_searched_is_looked_up_again(
    app: Harness, monkeypatch: pytest.MonkeyPatch, successor: bool
) -> None:
    (id,) = await add(app, {"embedding": [1, 0, 0]})
    search, late = app.vectors.search, 0

    async def after_a_deploy(*args: Any, **options: Any) -> Any:
        nonlocal late
        late += 1
        if late == 1:
            await replace_index(app, successor=successor)
        return await search(*args, **options)

    monkeypatch.setattr(app.vectors, "search", after_a_deploy)
    if successor:
        assert await nearest(app, [1, 0, 0]) == [(id, 1)]
    else:
        with pytest.raises(DatabaseError, match=r"Index foods\.by_embedding not found") as caught:
            await nearest(app, [1, 0, 0])
        assert caught.value.code == "IndexNotFound"


async def test_a_search_under_way_outlives_its_index(app: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones are searched by several threads, which end only with the last search."""
    ids = await add(app, *[{"embedding": [1, n / 10, 0]} for n in range(30)])
    await nearest(app, [1, 0, 0])
    monkeypatch.setattr(vectors, "PARALLEL_FROM", 1)
    monkeypatch.setattr(vectors, "THREADS", 2)
    reached, go_on = threading.Event(), threading.Event()

    class Pool(ThreadPoolExecutor):
        def map(self, *args: Any, **options: Any) -> Any:
            reached.set()
            go_on.wait()
            return super().map(*args, **options)

    (followed,) = app.vectors._followed.values()
    assert followed.vectors is not None
    followed.vectors._threads = Pool(2)
    searching = asyncio.create_task(nearest(app, [1, 0, 0], limit=3))
    await asyncio.to_thread(reached.wait)
    await replace_index(app, successor=False)
    assert app.vectors.counts == {}
    go_on.set()
    assert [id for id, _ in await searching] == ids[:3]
    with pytest.raises(DatabaseError, match=r"Index foods\.by_embedding not found"):
        await nearest(app, [1, 0, 0])


async def test_what_could_not_be_loaded_is_tried_again_later(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by every search, and not sooner when it failed again."""
    read_all, loads, fails = VectorIndexes._read_all, 0, True

    async def read(self: VectorIndexes, followed: Any) -> None:
        nonlocal loads
        loads += 1
        if fails:
            raise Unavailable("no memory, say")
        await read_all(self, followed)

    monkeypatch.setattr(VectorIndexes, "_read_all", read)
    app = await project(files())
    ids = await add(app, *[{"embedding": [1, n / 10, 0]} for n in range(3)])

    async def must_fail() -> None:
        with pytest.raises(Unavailable, match="no memory, say"):
            await nearest(app, [1, 0, 0])

    (followed,) = app.vectors._followed.values()
    for attempt in (1, 2):
        for _ in range(3):
            await must_fail()
            assert loads == attempt
        followed.retry_at = 0.0  # it is later
    fails = False
    late = await add(app, {"embedding": [1, 0.5, 0]})
    searches = [asyncio.create_task(nearest(app, [1, 0, 0])) for _ in range(3)]
    for search in searches:
        assert [id for id, _ in await search] == ids + late
    assert loads == 3
    assert caplog.text.count("can't be loaded") == 2
    more = await add(app, {"embedding": [1, 0.6, 0]})
    assert [id for id, _ in await nearest(app, [1, 0, 0])] == ids + late + more


def cosines(rows: dict[str, list[float]], vector: list[float]) -> list[tuple[str, float]]:
    """What the rules say, by numpy in double precision."""

    def unit(entries: list[float]) -> Any:
        array = np.array(entries, np.float64)
        length = np.linalg.norm(array)
        return array / length if length else array

    query = unit(vector)
    scored = [(id, float(unit(entries) @ query)) for id, entries in rows.items()]
    return sorted(scored, key=lambda hit: (-hit[1], hit[0]))


def assert_same(found: list[tuple[str, float]], wanted: list[tuple[str, float]], limit: int) -> None:
    """Equal but for what single precision can't tell apart."""
    assert [score for _, score in found] == pytest.approx([score for _, score in wanted[:limit]], abs=5e-7)
    by_id = dict(wanted)
    assert all(score == pytest.approx(by_id[id], abs=5e-7) for id, score in found)
    assert len({id for id, _ in found}) == len(found)


@pytest.mark.parametrize(("dimensions", "seed"), [(2, 1), (3, 2), (32, 3)])
async def test_searches_equal_brute_force_whatever_was_written(project: Project, dimensions: int, seed: int) -> None:
    """Recall 1.0, through mutations and actions: inserts, patches, deletes, several of them in one transaction"""
    app = await project(files(dimensions))
    dice = random.Random(seed)

    def vector() -> list[float]:
        kind = dice.random()
        if kind < 0.3:
            return [float(dice.randrange(-1, 2)) for _ in range(dimensions)]
        return [dice.gauss(0, 1) for _ in range(dimensions)]

    def food() -> dict[str, Any]:
        made: dict[str, Any] = {"name": "x", "price": float(dice.randrange(3)), "embedding": vector()}
        if dice.random() < 0.1:
            made["embedding"] = vector()[1:]
        if dice.random() < 0.6:
            made["cuisine"] = dice.choice(["thai", "french"])
        return made

    for _ in range(25):
        known = [row["_id"] for row in await app.documents("foods")]
        dice.shuffle(known)
        steps: list[dict[str, Any]] = [{"do": "insert", "food": food()} for _ in range(dice.randrange(30))]
        for id in known[: dice.randrange(12)]:
            do = dice.choice(["delete", "patch", "patch"])
            made = food()
            name = dice.choice(["embedding", "price", "cuisine"])
            steps.append({"do": do, "id": id, "food": {name: made.get(name)}})
        await app.mutation("foods:change", steps=steps)
        rows = await app.documents("foods")
        for limit in (1, 10, 256):
            for any_of in (None, [["cuisine", "thai"]], [["cuisine", "french"], ["price", 1.0]]):
                kept = {
                    row["_id"]: row["embedding"]
                    for row in rows
                    if len(row["embedding"]) == dimensions
                    and (any_of is None or any(row.get(field) == value for field, value in any_of))
                }
                query = vector()
                found = await nearest(app, query, limit=limit, **({} if any_of is None else {"anyOf": any_of}))
                assert_same(found, cosines(kept, query), limit)


async def test_searches_beside_writers_see_what_was_committed_before_them(app: Harness) -> None:
    """Each search sees its predecessors' commits, whole transactions, and no document twice."""
    lost: list[str] = []

    async def write(number: int) -> None:
        for step in range(15):
            pair = [{"embedding": [1, number, step], "cuisine": f"{number}-{step}"} for _ in range(2)]
            ids = await add(app, *pair)
            found = {id for id, _ in await nearest(app, [1, number, step], anyOf=[["cuisine", f"{number}-{step}"]])}
            if found != set(ids):
                lost.append(f"{number}-{step}: {found} instead of {ids}")
            if step % 3 == 0:
                await app.mutation("foods:change", steps=[{"do": "delete", "id": id} for id in ids])

    async def watch() -> None:
        while not done.is_set():
            hits = await app.action("foods:nearest", vector=[1, 1, 1], limit=256)
            assert len(hits.value) % 2 == 0, "half of a transaction"
            await asyncio.sleep(0)

    done = asyncio.Event()
    watching = asyncio.create_task(watch())
    await asyncio.gather(*[write(number) for number in range(4)])
    done.set()
    await watching
    assert lost == []


async def test_an_index_is_loaded_at_the_next_start_and_dropped_with_its_declaration(
    tmp_path: Path, project: Project
) -> None:
    app = await project(files())
    ids = await add(app, *[{"embedding": [1, n / 10, 0]} for n in range(40)])
    await app.close()
    again = await Harness.open(tmp_path / "0")
    try:
        assert [id for id, _ in await nearest(again, [1, 0, 0], limit=256)] == ids
        assert again.vectors.counts == {"foods.by_embedding": 40}
        assert again.vectors.memory_bytes > 40 * 2 * 3
    finally:
        await again.close()


async def test_more_than_are_searched_exactly_get_clusters_while_they_are_searched_and_written(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactor.search.vectors.VectorSet", partial(VectorSet, exact_up_to=300))
    app = await project(files(8))
    dice = random.Random(4)

    def near(group: int) -> list[float]:
        return [10.0 * (group == n) + dice.gauss(0, 1) for n in range(8)]

    await add(app, *[{"embedding": near(n % 8)} for n in range(400)])
    (followed,) = app.vectors._followed.values()
    await nearest(app, near(0))
    clustering = followed.clustering
    assert clustering is not None, "400 are more than 300"
    late = await add(app, *[{"embedding": near(n % 8)} for n in range(100)])
    await app.mutation("foods:change", steps=[{"do": "delete", "id": id} for id in late[:50]])
    await nearest(app, near(1))
    await clustering
    assert followed.vectors is not None
    assert followed.vectors._clusters is not None
    assert followed.clustering is None
    await add(app, *[{"embedding": near(n % 8)} for n in range(100)])
    rows = {row["_id"]: row["embedding"] for row in await app.documents("foods")}
    shares = []
    for group in range(8):
        query = near(group)
        found = {id for id, _ in await nearest(app, query)}
        shares.append(len(found & {id for id, _ in cosines(rows, query)[:10]}) / 10)
    assert sum(shares) / len(shares) >= 0.95
    assert app.vectors.counts == {"foods.by_embedding": len(rows)}


def test_without_its_libraries_a_vector_index_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SchemaError, match=r"need numpy and simsimd: .*pip install 'reactor\[vectors\]'"):
        require_libraries()
