"""Measuring: how many sessions there are, and whether a web site that the app needs is up."""

from __future__ import annotations

import httpx

from reactor import ActionCtx, Environment, MutationCtx, QueryCtx, internal_action, internal_mutation, query
from schema import HealthCheck, Sample, Session


class Env(Environment):
    CHECKED_URL: str | None = None


@query
async def latest(ctx: QueryCtx) -> Sample | None:
    return await ctx.db.query(Sample).order("desc").first()


@internal_mutation
async def count_sessions(ctx: MutationCtx) -> None:
    await ctx.db.insert(Sample(sessions=await ctx.db.query(Session).count()))


@internal_action
async def health_check(ctx: ActionCtx) -> None:
    """Look whether `CHECKED_URL` answers well. Nothing, where it is not set."""
    url = ctx.env(Env).CHECKED_URL
    if url is None:
        return
    try:
        async with httpx.AsyncClient(timeout=10) as client:
            answer = await client.get(url)
        ok, detail = answer.is_success, f"status {answer.status_code}"
    except httpx.HTTPError as error:
        ok, detail = False, type(error).__name__
    await ctx.run_mutation(record, ok=ok, detail=detail)


@internal_mutation
async def record(ctx: MutationCtx, ok: bool, detail: str) -> None:
    await ctx.db.insert(HealthCheck(ok=ok, detail=detail))
