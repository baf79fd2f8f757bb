"""Rate limits: so many calls per key in a window that opens with the first of them.

Open to everybody, as clients ask before they have an identity, so a key is no secret: whoever knows one can use it up.
Keys of users are therefore checked on a server (an action, the web tier) that makes them, `user_<id>_<action>`,
`ip_<ip>_<action>` or `endpoint_<path>`. A window that is open keeps the limit it was opened with, whatever later calls
say: a stranger can't widen it. Strangers can also leave records behind, one per key that they invent; the hourly
cron takes them away when their windows end.
"""

from __future__ import annotations

import math

from reactor import ApplicationError, MutationCtx, QueryCtx, Struct, internal_mutation, mutation, query
from schema import RateLimit

SWEEP_BATCH = 2000


class Checked(Struct):
    """The answer to one call. `message` is there when it is one too many; times are milliseconds since the epoch."""

    success: bool
    remaining: float
    reset_time: float
    message: str | None = None


class RateLimitStatus(Struct):
    count: float
    limit: float
    window_start: float
    reset_time: float
    remaining: float


async def _record_of(ctx: QueryCtx, key: str) -> RateLimit | None:
    return await ctx.db.query(RateLimit).with_index("by_key", key=key).first()


@mutation
async def check_rate_limit(ctx: MutationCtx, key: str, limit: float, window_ms: float) -> Checked:
    """Count one call, or refuse it.

    The call that opens a window always passes, so a limit of 0 lets through one per window, with -1 remaining: clients
    of the original rely on that answer, and whoever wants none at all does not ask.
    """
    if not (math.isfinite(limit) and math.isfinite(window_ms)):
        raise ApplicationError("limit and windowMs must be finite numbers")
    now = ctx.now()
    record = await _record_of(ctx, key)

    if record is None or now - record.window_start >= record.window_ms:
        fresh = RateLimit(key=key, count=1, window_start=now, limit=limit, window_ms=window_ms)
        if record is None:
            await ctx.db.insert(fresh)
        else:
            await ctx.db.replace(record.id, fresh)
        return Checked(success=True, remaining=limit - 1, reset_time=now + window_ms)

    reset_time = record.window_start + record.window_ms
    if record.count >= record.limit:
        seconds = math.ceil((reset_time - now) / 1000)
        return Checked(
            success=False,
            remaining=0,
            reset_time=reset_time,
            message=f"Rate limit exceeded. Try again in {seconds} seconds.",
        )
    await ctx.db.patch(record.id, count=record.count + 1)
    return Checked(success=True, remaining=record.limit - record.count - 1, reset_time=reset_time)


@mutation
async def reset_expired_rate_limits(ctx: MutationCtx) -> int:
    """Delete records whose window is over; how many. Harmless in anybody's hands: the next call would restart them.

    Of very many it deletes a batch and leaves the rest to transactions of their own.
    """
    return await sweep(ctx, after=None)


@internal_mutation
async def sweep(ctx: MutationCtx, after: float | None) -> int:
    """Look at one batch of records, those whose windows opened after `after`, and go on behind it."""
    now = ctx.now()
    deleted = seen = 0
    records = ctx.db.query(RateLimit).with_index(
        "by_windowStart", lambda q: q if after is None else q.gt("window_start", after)
    )
    async for record in records:
        if record.window_start + record.window_ms < now:
            await ctx.db.delete(record.id)
            deleted += 1
        seen += 1
        if seen == SWEEP_BATCH:
            await ctx.scheduler.run_after(0, sweep, after=record.window_start)
            break
    return deleted


@query
async def get_rate_limit_status(ctx: QueryCtx, key: str) -> RateLimitStatus | None:
    """The record as it stands; whether its window is over is for the reader to see."""
    record = await _record_of(ctx, key)
    if record is None:
        return None
    return RateLimitStatus(
        count=record.count,
        limit=record.limit,
        window_start=record.window_start,
        reset_time=record.window_start + record.window_ms,
        remaining=max(0, record.limit - record.count),
    )
