"""What checkpoints are of."""

from __future__ import annotations

from reactor import Id, MutationCtx, mutation
from schema import Session


@mutation
async def create(ctx: MutationCtx, name: str) -> Id[Session]:
    return await ctx.db.insert(Session(name=name))
