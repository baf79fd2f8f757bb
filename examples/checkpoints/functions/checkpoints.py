"""Save the state of a session, and find it again: the newest, or as it was at some version."""

from __future__ import annotations

import json
from typing import Any

from reactor import (
    ActionCtx,
    ApplicationError,
    Id,
    MutationCtx,
    QueryCtx,
    StoredFile,
    action,
    internal_mutation,
    mutation,
    query,
)
from schema import Checkpoint, Session


class CheckpointWithUrl(Checkpoint):
    url: str | None
    """Where the state can be fetched from, as JSON."""


@action
async def save(ctx: ActionCtx, session_id: Id[Session], state: Any) -> int:
    """Store the state, and return its version."""
    storage_id = await ctx.storage.store(json.dumps(state).encode(), content_type="application/json")
    try:
        return await ctx.run_mutation(record, session_id=session_id, storage_id=storage_id)
    except Exception:
        await ctx.storage.delete(storage_id)  # an action undoes nothing by itself
        raise


@internal_mutation
async def record(ctx: MutationCtx, session_id: Id[Session], storage_id: Id[StoredFile]) -> int:
    """Give a stored state the next version. One mutation runs after another, so no two get the same."""
    if await ctx.db.get(session_id) is None:
        raise ApplicationError("Session not found")
    newest = await newest_of(ctx, session_id)
    version = newest.version + 1 if newest else 1
    await ctx.db.insert(Checkpoint(session_id=session_id, storage_id=storage_id, version=version, created_at=ctx.now()))
    return version


@query
async def latest(ctx: QueryCtx, session_id: Id[Session]) -> CheckpointWithUrl | None:
    newest = await newest_of(ctx, session_id)
    return await with_url(ctx, newest) if newest else None


@query
async def at(ctx: QueryCtx, session_id: Id[Session], version: int) -> CheckpointWithUrl | None:
    checkpoint = await (
        ctx.db.query(Checkpoint).with_index("by_sessionId_version", session_id=session_id, version=version).unique()
    )
    return await with_url(ctx, checkpoint) if checkpoint else None


@query
async def history(ctx: QueryCtx, session_id: Id[Session]) -> list[CheckpointWithUrl]:
    """Newest first, the last hundred."""
    newest = ctx.db.query(Checkpoint).with_index("by_sessionId_version", session_id=session_id).order("desc")
    return [await with_url(ctx, checkpoint) for checkpoint in await newest.take(100)]


@mutation
async def prune(ctx: MutationCtx, session_id: Id[Session], keep: int) -> int:
    """Keep the newest `keep`, at least one, and delete the rest with their files. Returns how many that were."""
    if keep < 1:
        raise ApplicationError("Keep at least one checkpoint")
    newest = await newest_of(ctx, session_id)
    if newest is None:
        return 0
    last_version_to_go = newest.version - keep
    old = ctx.db.query(Checkpoint).with_index(
        "by_sessionId_version", lambda q: q.eq("session_id", session_id).lte("version", last_version_to_go)
    )
    count = 0
    async for checkpoint in old:
        await ctx.storage.delete(checkpoint.storage_id)
        await ctx.db.delete(checkpoint.id)
        count += 1
    return count


async def newest_of(ctx: QueryCtx, session_id: Id[Session]) -> Checkpoint | None:
    return await (
        ctx.db.query(Checkpoint).with_index("by_sessionId_version", session_id=session_id).order("desc").first()
    )


async def with_url(ctx: QueryCtx, checkpoint: Checkpoint) -> CheckpointWithUrl:
    return checkpoint.extend(CheckpointWithUrl, url=await ctx.storage.get_url(checkpoint.storage_id))
