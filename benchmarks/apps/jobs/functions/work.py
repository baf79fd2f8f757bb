from reactor import MutationCtx, QueryCtx, internal_mutation, mutation, query
from schema import Result, Tick


@internal_mutation
async def one(ctx: MutationCtx, number: int) -> None:
    await ctx.db.insert(Result(number=number))


@mutation
async def schedule(ctx: MutationCtx, start: int, count: int, due: float) -> None:
    for number in range(start, start + count):
        await ctx.scheduler.run_at(due, one, number=number)


@query
async def done(ctx: QueryCtx) -> int:
    return await ctx.db.query(Result).count()


@mutation
async def tick(ctx: MutationCtx, number: int) -> None:
    await ctx.db.insert(Tick(number=number))


@query
async def newest(ctx: QueryCtx) -> int:
    tick = await ctx.db.query(Tick).order("desc").first()
    return 0 if tick is None else tick.number
