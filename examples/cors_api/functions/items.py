"""Items, for the routes in `http.py` and for the official clients alike."""

from __future__ import annotations

from reactor import ApplicationError, Id, MutationCtx, QueryCtx, internal_query, mutation, query
from schema import Item


@query
async def list_(ctx: QueryCtx) -> list[Item]:
    """The newest hundred."""
    return await ctx.db.query(Item).order("desc").take(100)


@mutation
async def add(ctx: MutationCtx, name: str, text: str = "") -> Id[Item]:
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        raise ApplicationError("Not authenticated")
    return await ctx.db.insert(Item(name=name, text=text, added_by=identity.token_identifier))


@internal_query
async def newest_called(ctx: QueryCtx, name: str) -> Item | None:
    return await ctx.db.query(Item).with_index("by_name", name=name).order("desc").first()
