"""Who is asking."""

from __future__ import annotations

from reactor import ApplicationError, QueryCtx, Struct, UserIdentity, query


class Me(Struct):
    user_id: str
    name: str | None
    email: str | None


@query
async def me(ctx: QueryCtx) -> Me | None:
    """The caller, as their token tells; None for who is not signed in."""
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        return None
    return Me(user_id=identity.token_identifier, name=identity.name, email=identity.email)


async def require_user(ctx: QueryCtx) -> UserIdentity:
    """The caller. Raises ApplicationError for who is not signed in."""
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        raise ApplicationError("Not authenticated")
    return identity
