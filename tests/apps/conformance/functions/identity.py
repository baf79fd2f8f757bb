"""Who is asking."""

from typing import Any

from reactor import ActionCtx, MutationCtx, QueryCtx, action, mutation, query


async def _describe(ctx: QueryCtx | MutationCtx | ActionCtx) -> dict[str, Any] | None:
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        return None
    return {"subject": identity.subject, "issuer": identity.issuer, "tokenIdentifier": identity.token_identifier}


@query
async def whoami(ctx: QueryCtx) -> dict[str, Any] | None:
    return await _describe(ctx)


@mutation
async def whoami_mutation(ctx: MutationCtx) -> dict[str, Any] | None:
    return await _describe(ctx)


@action
async def whoami_action(ctx: ActionCtx) -> dict[str, Any] | None:
    return await _describe(ctx)


@query
async def is_admin(ctx: QueryCtx) -> bool:
    return ctx.auth.is_admin
