"""Who is asking, by functions that look and functions that don't; each run of a query has a mark of its own."""

import secrets
from typing import Any

from reactor import ActionCtx, MutationCtx, QueryCtx, action, internal_query, mutation, query


@query
async def whoami(ctx: QueryCtx) -> Any:
    identity = await ctx.auth.get_user_identity()
    return None if identity is None else identity.to_value()


@mutation
async def whoami_mutation(ctx: MutationCtx) -> Any:
    return await ctx.run_query(whoami)


@action
async def whoami_action(ctx: ActionCtx) -> Any:
    return await ctx.run_query(whoami)


@query
async def indifferent(ctx: QueryCtx) -> str:
    return secrets.token_hex()


@query
async def looking(ctx: QueryCtx) -> str:
    """Looks at the identity and says nothing about it."""
    await ctx.auth.get_user_identity()
    return secrets.token_hex()


@internal_query
async def looking_inside(ctx: QueryCtx) -> None:
    await ctx.auth.get_user_identity()


@query
async def looking_through_another(ctx: QueryCtx) -> str:
    await ctx.run_query(looking_inside)
    return secrets.token_hex()


@query
async def asking_for_the_operator(ctx: QueryCtx) -> list[Any]:
    return [ctx.auth.is_admin, secrets.token_hex()]


@mutation
async def write(ctx: MutationCtx, text: str) -> None:
    await ctx.db.insert("lines", {"text": text})


@query
async def lines(ctx: QueryCtx) -> list[str]:
    return [line["text"] for line in await ctx.db.query("lines").collect()]
