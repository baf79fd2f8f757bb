"""Sessions: whoever calls `touch` now and then is here."""

from __future__ import annotations

from reactor import MutationCtx, mutation
from schema import Session


@mutation
async def touch(ctx: MutationCtx, user: str) -> None:
    known = await ctx.db.query(Session).with_index("by_user", user=user).unique()
    if known is None:
        await ctx.db.insert(Session(user=user, last_seen_at=ctx.now()))
    else:
        await ctx.db.patch(known.id, last_seen_at=ctx.now())
