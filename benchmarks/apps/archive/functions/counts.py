from reactor import MutationCtx, QueryCtx, mutation, query
from schema import Count, Event


@mutation
async def add(ctx: MutationCtx, name: str) -> int:
    found = await ctx.db.query(Count).with_index("by_name", name=name).first()
    if found is None:
        await ctx.db.insert(Count(name=name, value=1))
        return 1
    await ctx.db.patch(found, value=found.value + 1)
    return found.value + 1


@query
async def events(ctx: QueryCtx) -> int:
    return await ctx.db.query(Event).count()
