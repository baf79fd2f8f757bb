"""What a query with `.select` depends on: keys of its range, and of the documents there the projection's fields (issue 6, item 4)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from reactor.engine.read_set import ReadSet
from reactor.engine.transaction import Transaction
from reactor.errors import LimitExceeded
from reactor.limits import DEFAULT_LIMITS
from reactor.runtime.execute import execute_query
from tests.unit.runtime.conftest import Project
from tests.unit.runtime.harness import Harness

SCHEMA = """
    from reactor import Document, Struct, define_schema, define_table

    class Stats(Struct):
        likes: int

    class Item(Document):
        bucket: str
        rank: int
        label: str
        weight: float | None = None
        stats: Stats

    schema = define_schema(items=define_table(Item).index("by_bucket_rank", "bucket", "rank"))
"""

FUNCTIONS = """
    from typing import Any
    from reactor import Id, MutationCtx, PaginationOptions, Projection, QueryCtx, mutation, query
    from reactor.kit import get_page
    from schema import Item, Stats

    class Label(Projection):
        id: Id[Item]
        label: str

    class Heavy(Projection):
        label: str
        weight: float | None = None

    class Likes(Projection):
        stats: Stats

    def bucket(ctx, name="a"):
        return ctx.db.query(Item).with_index("by_bucket_rank", bucket=name)

    @query
    async def documents(ctx: QueryCtx) -> Any:
        return await bucket(ctx).collect()

    @query
    async def labels(ctx: QueryCtx) -> Any:
        return await bucket(ctx).select(Label).collect()

    @query
    async def iterated(ctx: QueryCtx) -> Any:
        rows = ctx.db.query(Item).with_index("by_bucket_rank", lambda q: q.eq("bucket", "a").gte("rank", 2).lt("rank", 5))
        return [row async for row in rows.select(Label)]

    @query
    async def likes(ctx: QueryCtx) -> Any:
        return await bucket(ctx).select(Likes).collect()

    @query
    async def top(ctx: QueryCtx) -> Any:
        return await bucket(ctx).order("desc").select(Label).take(2)

    @query
    async def many(ctx: QueryCtx) -> Any:
        return await bucket(ctx).select(Label).take(20)

    @query
    async def first(ctx: QueryCtx) -> Any:
        return await bucket(ctx).select(Label).first()

    @query
    async def only(ctx: QueryCtx) -> Any:
        try:
            return await bucket(ctx, "rare").select(Label).unique()
        except Exception as error:
            return str(error)

    @query
    async def count(ctx: QueryCtx) -> Any:
        return await bucket(ctx).count()

    @query
    async def filtered_before(ctx: QueryCtx) -> Any:
        return await bucket(ctx).filter(lambda item: (item.weight or 0) > 4).select(Label).collect()

    @query
    async def filtered_behind(ctx: QueryCtx) -> Any:
        return await bucket(ctx).select(Heavy).filter(lambda item: (item.weight or 0) > 4).collect()

    @query
    async def count_filtered(ctx: QueryCtx) -> Any:
        return await bucket(ctx).select(Heavy).filter(lambda item: (item.weight or 0) > 4).count()

    @query
    async def page(ctx: QueryCtx) -> Any:
        return await bucket(ctx).select(Label).paginate(PaginationOptions(num_items=2, cursor=None))

    @query
    async def page_by_bytes(ctx: QueryCtx) -> Any:
        options = PaginationOptions(num_items=2, cursor=None, maximum_bytes_read=160)
        return await bucket(ctx).select(Label).paginate(options)

    @query
    async def kit_page(ctx: QueryCtx) -> Any:
        found = await get_page(bucket(ctx).select(Label), limit=2)
        return [found.items, found.cursors]

    @query
    async def measured(ctx: QueryCtx) -> Any:
        await bucket(ctx).select(Label).collect()
        return ctx.metrics.bytes_read.used

    @query
    async def labels_and_first_document(ctx: QueryCtx) -> Any:
        return [await bucket(ctx).select(Label).collect(), await bucket(ctx).first()]

    @query
    async def labels_and_likes(ctx: QueryCtx) -> Any:
        return [await bucket(ctx).select(Label).collect(), await bucket(ctx).select(Likes).collect()]

    @mutation
    async def change(ctx: MutationCtx, steps: Any) -> Any:
        for step in steps:
            if step["do"] == "insert":
                await ctx.db.insert("items", step["item"])
            elif step["do"] == "delete":
                await ctx.db.delete(step["id"])
            elif step["do"] == "replace":
                await ctx.db.replace(step["id"], step["item"])
            else:
                await ctx.db.patch(step["id"], step["item"])
"""

Row = dict[str, Any]
IsRead = Callable[[Row], bool]


def order_of(row: Row) -> tuple[int, float]:
    return row["rank"], row["_creationTime"]


def of(bucket: str) -> Callable[[list[Row]], IsRead]:
    return lambda rows: lambda row: row["bucket"] == bucket


def ranks(low: int, high: int) -> Callable[[list[Row]], IsRead]:
    return lambda rows: lambda row: row["bucket"] == "a" and low <= row["rank"] < high


def up_to(count: int, *, bucket: str = "a", reverse: bool = False) -> Callable[[list[Row]], IsRead]:
    """The start of the bucket down to the last of `count` rows, all of it when there are fewer."""

    def bounds(rows: list[Row]) -> IsRead:
        found = sorted((r for r in rows if r["bucket"] == bucket), key=order_of, reverse=reverse)
        if len(found) < count:
            return lambda row: row["bucket"] == bucket
        last = order_of(found[count - 1])
        return lambda row: row["bucket"] == bucket and (order_of(row) >= last if reverse else order_of(row) <= last)

    return bounds


class Reads(NamedTuple):
    """What a query depends on, by the rules: which keys, and which fields of the documents there (None: all)."""

    bounds: Callable[[list[Row]], IsRead]
    fields: set[str] | None


LABEL = {"label"}
QUERIES: dict[str, list[Reads]] = {
    "documents": [Reads(of("a"), None)],
    "labels": [Reads(of("a"), LABEL)],
    "iterated": [Reads(ranks(2, 5), LABEL)],
    "likes": [Reads(of("a"), {"stats"})],
    "top": [Reads(up_to(2, reverse=True), LABEL)],
    "many": [Reads(up_to(20), LABEL)],
    "first": [Reads(up_to(1), LABEL)],
    "only": [Reads(up_to(2, bucket="rare"), LABEL)],
    "count": [Reads(of("a"), set())],
    "filteredBefore": [Reads(of("a"), None)],
    "filteredBehind": [Reads(of("a"), {"label", "weight"})],
    "countFiltered": [Reads(of("a"), {"label", "weight"})],
    "page": [Reads(up_to(2), LABEL)],
    "kitPage": [Reads(up_to(2), LABEL)],
    "measured": [Reads(of("a"), None)],
    "labelsAndFirstDocument": [Reads(of("a"), LABEL), Reads(up_to(1), None)],
    "labelsAndLikes": [Reads(of("a"), {"label", "stats"})],
}


def must_touch(reads: Reads, rows: list[Row], changed: list[tuple[Row | None, Row | None]]) -> bool:
    is_read = reads.bounds(rows)
    for before, after in changed:
        if not any(row is not None and is_read(row) for row in (before, after)):
            continue
        if before is None or after is None or (before["bucket"], before["rank"]) != (after["bucket"], after["rank"]):
            return True
        if reads.fields is None or any(before.get(name) != after.get(name) for name in reads.fields):
            return True
    return False


def random_item(dice: random.Random) -> Row:
    item: Row = {
        "bucket": dice.choice(["a", "a", "b", "rare"]),
        "rank": dice.randrange(7),
        "label": dice.choice("xyz"),
        "stats": {"likes": dice.randrange(3)},
    }
    if dice.random() < 0.7:
        item["weight"] = dice.choice([1.0, 5.0, 8.0])
    return item


def random_step(dice: random.Random, rows: list[Row]) -> Row:
    do = dice.choice(["patch"] * 6 + ["insert", "delete", "replace"]) if rows else "insert"
    if do == "insert":
        return {"do": "insert", "item": random_item(dice)}
    step: Row = {"do": do, "id": dice.choice(rows)["_id"]}
    if do == "replace":
        step["item"] = random_item(dice)
    elif do == "patch":
        item = random_item(dice)
        names = dice.sample(sorted(item), dice.choice([1, 1, 1, 2]))
        step["item"] = {name: item[name] for name in names}
    return step


@pytest.fixture
async def app(project: Project) -> Harness:
    return await project({"schema.py": SCHEMA, "functions/items.py": FUNCTIONS})


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_query_is_never_stale_and_runs_again_only_when_the_rules_say_so(app: Harness, seed: int) -> None:
    dice = random.Random(seed)
    await app.mutation("items:change", steps=[{"do": "insert", "item": random_item(dice)} for _ in range(8)])
    records: list[Any] = []
    app.database.listen(records.append, lambda: None)
    spared = dict.fromkeys(QUERIES, 0)
    rows = await app.documents("items")
    results = {name: await app.query(f"items:{name}") for name in QUERIES}
    for _ in range(120):
        records.clear()
        steps = [random_step(dice, rows)]
        if dice.random() < 0.3:
            steps.append(random_step(dice, [r for r in rows if r["_id"] != steps[0].get("id")]))
        await app.mutation("items:change", steps=steps)
        before, after = ({r["_id"]: r for r in found} for found in (rows, await app.documents("items")))
        changed = [(before.get(id), after.get(id)) for id in before.keys() | after.keys()]
        changed = [(old, new) for old, new in changed if old != new]
        for name, dependencies in QUERIES.items():
            old = results[name]
            assert old.read_set is not None
            touched = any(old.read_set.touched_by(record) for record in records)
            assert touched is any(must_touch(reads, rows, changed) for reads in dependencies), (name, steps)
            fresh = results[name] = await app.query(f"items:{name}")
            if not touched:
                assert fresh.value == old.value, (name, steps)
                spared[name] += bool(changed)
        rows = list(after.values())
    assert spared["labels"] > spared["documents"] > 0
    assert spared["count"] > spared["labels"]


async def test_where_a_page_ends_for_its_bytes_depends_on_all_fields(app: Harness) -> None:
    item = {"bucket": "a", "rank": 1, "label": "x", "stats": {"likes": 0}}
    await app.mutation("items:change", steps=[{"do": "insert", "item": item} for _ in range(2)])
    ran = await app.query("items:pageByBytes")
    assert len(ran.value["page"]) == 2
    records: list[Any] = []
    app.database.listen(records.append, lambda: None)
    first = (await app.documents("items"))[0]
    large = {"do": "patch", "id": first["_id"], "item": {"stats": {"likes": 10**15}, "weight": 1.23456789012345e100}}
    await app.mutation("items:change", steps=[large])
    assert len((await app.query("items:pageByBytes")).value["page"]) == 1
    assert ran.read_set is not None
    assert ran.read_set.touched_by(records[0])


async def test_that_there_was_too_much_to_read_depends_on_all_fields(project: Project) -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, bytes_read=700)
    app = await project({"schema.py": SCHEMA, "functions/items.py": FUNCTIONS}, limits)
    item = {"bucket": "a", "rank": 1, "label": "x" * 300, "stats": {"likes": 0}}
    for _ in range(2):
        await app.mutation("items:change", steps=[{"do": "insert", "item": item}])
    seen: list[ReadSet] = []

    def run(tx: Transaction) -> None:
        try:
            execute_query(app.app, app.fn("items:likes"), b"{}", tx, app.caller, host=app.host)
        finally:
            seen.append(tx.read_set())

    with pytest.raises(LimitExceeded):
        await app.database.read(run)
    records: list[Any] = []
    app.database.listen(records.append, lambda: None)
    first = (await app.documents("items"))[0]
    await app.mutation("items:change", steps=[{"do": "patch", "id": first["_id"], "item": {"label": "x"}}])

    assert len((await app.query("items:likes")).value) == 2
    assert seen[0].touched_by(records[0])


async def test_ranges_of_a_narrower_projection_are_not_kept_beside_wider_ones(app: Harness) -> None:
    both = (await app.query("items:labelsAndFirstDocument")).read_set
    assert both is not None
    # The bucket is empty, so `first` read all of it too.
    assert [interval.fields for interval in both.intervals] == [None]
