"""Events that were taken. Services send one again until they hear that it arrived, and sometimes after that."""

from __future__ import annotations

from reactor import MutationCtx, QueryCtx, internal_mutation, query
from schema import Event


@internal_mutation
async def record(ctx: MutationCtx, event_id: str, type: str) -> bool:
    """Whether the event is new. Call it first in the mutation that acts on the event: both happen, or neither."""
    if await ctx.db.query(Event).with_index("by_eventId", event_id=event_id).first() is not None:
        return False
    await ctx.db.insert(Event(event_id=event_id, type=type))
    return True


@query
async def count(ctx: QueryCtx) -> int:
    return await ctx.db.query(Event).count()
