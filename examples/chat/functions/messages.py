"""Say something, read along, and let the assistant answer word by word."""

from __future__ import annotations

import asyncio

from reactor import (
    ActionCtx,
    Id,
    MutationCtx,
    PaginationOptions,
    PaginationResult,
    QueryCtx,
    action,
    internal_mutation,
    mutation,
    query,
)
from schema import Message

WORD_PAUSE_S = 0.05


@query
async def list_(ctx: QueryCtx, session_id: str) -> list[Message]:
    """The latest hundred messages of a session, oldest first."""
    newest = await ctx.db.query(Message).with_index("by_sessionId", session_id=session_id).order("desc").take(100)
    return newest[::-1]


@query
async def list_paginated(
    ctx: QueryCtx, session_id: str, pagination_opts: PaginationOptions
) -> PaginationResult[Message]:
    """Newest first, page by page."""
    return await (
        ctx.db.query(Message).with_index("by_sessionId", session_id=session_id).order("desc").paginate(pagination_opts)
    )


@mutation
async def send(ctx: MutationCtx, session_id: str, content: str) -> Id[Message]:
    return await ctx.db.insert(Message(session_id=session_id, role="user", content=content))


@action
async def stream_reply(ctx: ActionCtx, session_id: str, prompt: str) -> Id[Message]:
    """Answer a prompt. A real app would call a model here; actions may wait for whatever they like."""
    words = f"You said: {prompt}".split()
    message_id = await ctx.run_mutation(begin_reply, session_id=session_id)
    for count in range(1, len(words) + 1):
        await asyncio.sleep(WORD_PAUSE_S)
        await ctx.run_mutation(write_reply, message_id=message_id, content=" ".join(words[:count]))
    return message_id


@internal_mutation
async def begin_reply(ctx: MutationCtx, session_id: str) -> Id[Message]:
    return await ctx.db.insert(Message(session_id=session_id, role="assistant", content=""))


@internal_mutation
async def write_reply(ctx: MutationCtx, message_id: Id[Message], content: str) -> None:
    await ctx.db.patch(message_id, content=content)
