"""A report a day, about the day before."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TypeVar

from reactor import Document, MutationCtx, QueryCtx, internal_mutation, query
from schema import HealthCheck, Report, Sample

T = TypeVar("T", bound=Document)


@query
async def latest(ctx: QueryCtx) -> Report | None:
    """Live: a page that shows it has the new one at midnight."""
    return await ctx.db.query(Report).order("desc").first()


@internal_mutation
async def generate_daily(ctx: MutationCtx) -> None:
    day = datetime.fromtimestamp(ctx.now() / 1000, UTC).date() - timedelta(days=1)
    samples = await of_day(ctx, Sample, day)
    checks = await of_day(ctx, HealthCheck, day)
    await ctx.db.insert(
        Report(
            day=day.isoformat(),
            most_sessions=max((sample.sessions for sample in samples), default=0),
            checks=len(checks),
            failed_checks=sum(not check.ok for check in checks),
        )
    )


async def of_day(ctx: QueryCtx, table: type[T], day: date) -> list[T]:
    """The rows that came to be on that day."""
    midnight = datetime.combine(day, time(), UTC)
    start, end = (at.timestamp() * 1000 for at in (midnight, midnight + timedelta(days=1)))
    rows = ctx.db.query(table)
    return await rows.with_index(
        "by_creation_time", lambda q: q.gte("creation_time", start).lt("creation_time", end)
    ).collect()
