"""Credits, as clients see them. The rules are in `rules/credits.py`."""

from __future__ import annotations

from functions.rules import access, credits
from functions.rules.credits import Balance, Consumed
from reactor import MutationCtx, QueryCtx, mutation, query


@mutation
async def check_and_consume_credit(ctx: MutationCtx) -> Consumed:
    """Take one of the caller's credits. Having none is an answer, not an error."""
    return await credits.consume(ctx, await access.user(ctx))


@mutation
async def check_and_consume_credit_for_user(ctx: MutationCtx, user_id: str) -> Consumed:
    """Take one of a user's credits: the operator for anyone, a user for themselves."""
    await access.require_user(ctx, user_id)
    return await credits.consume(ctx, user_id)


@mutation
async def reset_usage(ctx: MutationCtx, user_id: str) -> None:
    """Forget what a user has consumed. Only the operator."""
    await access.require_system(ctx)
    usage = await credits.record_of(ctx, user_id)
    if usage is not None:
        await ctx.db.delete(usage.id)


@query
async def get_usage(ctx: QueryCtx) -> Balance:
    """What the caller has left."""
    return await credits.balance(ctx, await access.user(ctx))


@query
async def get_usage_for_user(ctx: QueryCtx, user_id: str) -> Balance:
    """What a user has left: the operator for anyone, a user for themselves."""
    await access.require_user(ctx, user_id)
    return await credits.balance(ctx, user_id)
