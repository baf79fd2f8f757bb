"""Users as Clerk tells of them."""

from __future__ import annotations

from functions import events
from reactor import MutationCtx, QueryCtx, internal_mutation, query
from schema import User


@query
async def list_(ctx: QueryCtx) -> list[User]:
    """By e-mail address, the first hundred. A real app would ask who wants to know."""
    return await ctx.db.query(User).with_index("by_email").take(100)


@internal_mutation
async def upsert_from_clerk(
    ctx: MutationCtx, event_id: str, event_type: str, clerk_id: str, email: str, name: str | None = None
) -> None:
    if not await events.record(ctx, event_id=event_id, type=event_type):
        return
    known = await by_clerk_id(ctx, clerk_id)
    if known is None:
        await ctx.db.insert(User(clerk_id=clerk_id, email=email, name=name))
    else:
        await ctx.db.patch(known.id, email=email, name=name)


@internal_mutation
async def delete_from_clerk(ctx: MutationCtx, event_id: str, event_type: str, clerk_id: str) -> None:
    if not await events.record(ctx, event_id=event_id, type=event_type):
        return
    known = await by_clerk_id(ctx, clerk_id)
    if known is not None:
        await ctx.db.delete(known.id)


async def by_clerk_id(ctx: QueryCtx, clerk_id: str) -> User | None:
    return await ctx.db.query(User).with_index("by_clerkId", clerk_id=clerk_id).unique()
