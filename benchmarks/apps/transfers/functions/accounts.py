from reactor import ApplicationError, MutationCtx, QueryCtx, mutation, query
from schema import Account


@mutation
async def fill(ctx: MutationCtx, start: int, count: int) -> None:
    for number in range(start, start + count):
        await ctx.db.insert(Account(number=number, balance=1000))


@mutation
async def transfer(ctx: MutationCtx, source: int, target: int, amount: int) -> None:
    payer = await ctx.db.query(Account).with_index("by_number", number=source).unique()
    payee = await ctx.db.query(Account).with_index("by_number", number=target).unique()
    if payer is None or payee is None:
        raise ApplicationError("no such account")
    await ctx.db.patch(payer, balance=payer.balance - amount)
    await ctx.db.patch(payee, balance=payee.balance + amount)


@query
async def balance(ctx: QueryCtx, number: int) -> int | None:
    account = await ctx.db.query(Account).with_index("by_number", number=number).unique()
    return None if account is None else account.balance


@query
async def range_sum(ctx: QueryCtx, start: int, end: int) -> int:
    total = 0
    async for account in ctx.db.query(Account).with_index(
        "by_number", lambda q: q.gte("number", start).lt("number", end)
    ):
        total += account.balance
    return total


@query
async def busy(ctx: QueryCtx, seed: int, rounds: int) -> int:
    """Computes, and reads nothing."""
    total = seed
    for number in range(rounds):
        total ^= number
    return total
