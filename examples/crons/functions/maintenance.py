"""Throwing away what nobody needs any more."""

from __future__ import annotations

from datetime import timedelta

from reactor import MutationCtx, internal_mutation
from schema import HealthCheck, Sample, Session

SESSION_MS = timedelta(hours=1) / timedelta(milliseconds=1)
KEPT_MS = timedelta(days=7) / timedelta(milliseconds=1)


@internal_mutation
async def cleanup_stale_sessions(ctx: MutationCtx, batch: int) -> None:
    """Remove sessions that were not seen for an hour: a batch now, and the next right after, so that others get their turn."""
    before = ctx.now() - SESSION_MS
    by_age = ctx.db.query(Session).with_index("by_lastSeenAt", lambda q: q.lt("last_seen_at", before))
    stale = await by_age.take(batch)
    for session in stale:
        await ctx.db.delete(session.id)
    if len(stale) == batch:
        await ctx.scheduler.run_after(0, cleanup_stale_sessions, batch=batch)


@internal_mutation
async def weekly_cleanup(ctx: MutationCtx) -> None:
    """Remove measurements that are older than a week. Reports stay."""
    before = ctx.now() - KEPT_MS
    for table in (Sample, HealthCheck):
        old = ctx.db.query(table).with_index("by_creation_time", lambda q: q.lt("creation_time", before))
        async for row in old:
            await ctx.db.delete(row.id)
