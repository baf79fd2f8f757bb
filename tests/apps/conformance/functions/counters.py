"""Two counters that every mutation changes together: whoever sees them differ has seen two points in time."""

from reactor import MutationCtx, QueryCtx, mutation, query
from schema import Counter


async def add(ctx: MutationCtx, name: str, by: int) -> int:
    row = await ctx.db.query(Counter).with_index("by_name", name=name).unique()
    if row is None:
        await ctx.db.insert(Counter(name=name, value=by))
        return by
    await ctx.db.patch(row.id, value=row.value + by)
    return row.value + by


@query
async def read(ctx: QueryCtx, name: str) -> int:
    row = await ctx.db.query(Counter).with_index("by_name", name=name).unique()
    return row.value if row is not None else 0


@mutation
async def increment(ctx: MutationCtx, name: str, by: int = 1) -> int:
    return await add(ctx, name, by)


@mutation
async def increment_both(ctx: MutationCtx, left: str, right: str, by: int = 1) -> int:
    await add(ctx, left, by)
    return await add(ctx, right, by)


@mutation
async def transfer(ctx: MutationCtx, source: str, target: str, amount: int) -> None:
    """Moves an amount; the sum stays."""
    await add(ctx, source, -amount)
    await add(ctx, target, amount)


@query
async def total(ctx: QueryCtx) -> int:
    return sum([row.value async for row in ctx.db.query(Counter)])
