"""Rows in ordered buckets, read in every way there is: for the property test.

Every query takes a `nonce` that it ignores: with one of its own, a call can't be answered from another one's result.
"""

import itertools
from typing import Any

from reactor import Id, MutationCtx, PaginationOptions, PaginationResult, Projection, QueryCtx, mutation, query
from schema import Item

runs = itertools.count(1)


class Label(Projection):
    label: str


class Weight(Projection):
    id: Id[Item]
    weight: float | None = None


@query
async def everything(ctx: QueryCtx, nonce: str = "") -> list[Item]:
    return await ctx.db.query(Item).collect()


@query
async def in_bucket(ctx: QueryCtx, bucket: str, nonce: str = "") -> list[Item]:
    return await ctx.db.query(Item).with_index("by_bucket_rank", bucket=bucket).collect()


@query
async def ranked_between(ctx: QueryCtx, bucket: str, low: int, high: int, nonce: str = "") -> list[str]:
    rows = ctx.db.query(Item).with_index(
        "by_bucket_rank", lambda q: q.eq("bucket", bucket).gte("rank", low).lt("rank", high)
    )
    return [row.label async for row in rows]


@query
async def top(ctx: QueryCtx, bucket: str, count: int, nonce: str = "") -> list[Item]:
    return await ctx.db.query(Item).with_index("by_bucket_rank", bucket=bucket).order("desc").take(count)


@query
async def lowest(ctx: QueryCtx, at_least: int, nonce: str = "") -> Item | None:
    return await ctx.db.query(Item).with_index("by_rank", lambda q: q.gte("rank", at_least)).first()


@query
async def how_many(ctx: QueryCtx, bucket: str, nonce: str = "") -> int:
    return await ctx.db.query(Item).with_index("by_bucket_rank", bucket=bucket).count()


@query
async def heavy(ctx: QueryCtx, bucket: str, nonce: str = "") -> list[str]:
    """A Python predicate over a bucket."""
    rows = ctx.db.query(Item).with_index("by_bucket_rank", bucket=bucket)
    return [row.label for row in await rows.filter(lambda item: (item.weight or 0) > 5).collect()]


@query
async def labels(ctx: QueryCtx, bucket: str, nonce: str = "") -> list[str]:
    """A projection: patches of weights are none of its business."""
    rows = ctx.db.query(Item).with_index("by_bucket_rank", bucket=bucket)
    return [row.label for row in await rows.select(Label).collect()]


@query
async def labels_of_heavy(ctx: QueryCtx, bucket: str, nonce: str = "") -> list[str]:
    """A predicate on whole documents before the projection."""
    rows = ctx.db.query(Item).with_index("by_bucket_rank", bucket=bucket)
    return [row.label for row in await rows.filter(lambda item: (item.weight or 0) > 5).select(Label).take(2)]


@query
async def weights(ctx: QueryCtx, at_least: int, nonce: str = "") -> list[Weight]:
    rows = ctx.db.query(Item).with_index("by_rank", lambda q: q.gte("rank", at_least))
    return await rows.select(Weight).filter(lambda row: row.weight is not None).collect()


@query
async def labels_and_run(ctx: QueryCtx, bucket: str) -> dict[str, Any]:
    """Tells how often it ran: what no query should do, and a test needs."""
    rows = ctx.db.query(Item).with_index("by_bucket_rank", bucket=bucket)
    return {"labels": [row.label for row in await rows.select(Label).collect()], "run": next(runs)}


@query
async def count_and_run(ctx: QueryCtx, bucket: str) -> dict[str, Any]:
    return {"count": await ctx.db.query(Item).with_index("by_bucket_rank", bucket=bucket).count(), "run": next(runs)}


@query
async def total_weight(ctx: QueryCtx, nonce: str = "") -> float:
    return sum([row.weight or 0.0 async for row in ctx.db.query(Item)])


@query
async def get(ctx: QueryCtx, id: Id[Item], nonce: str = "") -> Item | None:
    return await ctx.db.get(id)


@query
async def get_many(ctx: QueryCtx, ids: list[Id[Item]], nonce: str = "") -> list[Item | None]:
    return await ctx.db.get_many(ids)


@query
async def first_two_labels_else_fail(ctx: QueryCtx, bucket: str, nonce: str = "") -> list[str]:
    """Fails while the bucket has fewer than two rows: errors are results too."""
    rows = await ctx.db.query(Item).with_index("by_bucket_rank", bucket=bucket).take(2)
    if len(rows) < 2:
        raise ValueError(f"only {len(rows)}")
    return [row.label for row in rows]


@query
async def page(
    ctx: QueryCtx, bucket: str, pagination_opts: PaginationOptions, nonce: str = ""
) -> PaginationResult[Item]:
    return await ctx.db.query(Item).with_index("by_bucket_rank", bucket=bucket).paginate(pagination_opts)


@query
async def labelled(ctx: QueryCtx, text: str, bucket: str | None = None, nonce: str = "") -> list[str]:
    """Ids and labels of the matches of a search, sorted: their rank may depend on items that don't match."""
    found = ctx.db.query(Item).with_search_index(
        "search_label",
        lambda q: q.search("label", text) if bucket is None else q.search("label", text).eq("bucket", bucket),
    )
    return sorted(f"{item.id} {item.label}" for item in await found.collect())


@query
async def search(ctx: QueryCtx, bucket: str, text: str) -> list[str]:
    """Labels, most relevant first."""
    found = ctx.db.query(Item).with_search_index("search_label", lambda q: q.search("label", text).eq("bucket", bucket))
    return [item.label for item in await found.take(10)]


@mutation
async def clear(ctx: MutationCtx) -> int:
    rows = await ctx.db.query(Item).collect()
    for row in rows:
        await ctx.db.delete(row)
    return len(rows)


@mutation
async def change(ctx: MutationCtx, steps: list[dict[str, Any]]) -> list[str | None]:
    """Several steps in one transaction; each gives the id it touched, None when its row is gone."""
    return [await _step(ctx, step) for step in steps]


async def _step(ctx: MutationCtx, step: dict[str, Any]) -> str | None:
    if step["do"] == "insert":
        return await ctx.db.insert(
            Item(bucket=step["bucket"], rank=step["rank"], label=step["label"], weight=step.get("weight"))
        )
    id = ctx.db.normalize_id(Item, step["id"])
    if id is None or await ctx.db.get(id) is None:
        return None
    if step["do"] == "delete":
        await ctx.db.delete(id)
    elif step["do"] == "move":
        await ctx.db.patch(id, bucket=step["bucket"], rank=step["rank"])
    elif step["do"] == "label":
        await ctx.db.patch(id, label=step["label"])
    elif step["do"] == "weigh":
        await ctx.db.patch(id, weight=step.get("weight"))
    elif step["do"] == "replace":
        await ctx.db.replace(id, Item(bucket=step["bucket"], rank=step["rank"], label=step["label"]))
    return id
