"""Who is asking."""

from typing import Any

from functions import messages
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


@query
async def when_asked(ctx: QueryCtx, channel: str) -> str:
    """Looks at the identity only while the newest message of the channel asks for it."""
    last = await messages.newest(ctx, channel=channel)
    if last is None or not last.body.startswith("who"):
        return f"nobody asked: {last.body if last else None}"
    if last.body == "who, nested":
        told = await ctx.run_query(whoami)
    elif last.body == "who, admin":
        return f"admin: {ctx.auth.is_admin}"
    else:
        told = await _describe(ctx)
    return f"asked: {told['subject'] if told else None}"
