"""Start the agent and watch it; and, for the agent itself, say how far it is."""

from __future__ import annotations

from functions import sandbox
from reactor import ApplicationError, Id, MutationCtx, QueryCtx, internal_mutation, mutation, query
from schema import Session, Status


@mutation
async def start(ctx: MutationCtx, prompt: str) -> Id[Session]:
    """The agent begins once this is committed; if it is not, the agent never hears of it."""
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        raise ApplicationError("Not authenticated")
    session_id = await ctx.db.insert(
        Session(user_id=identity.token_identifier, prompt=prompt, status="pending", started_at=ctx.now())
    )
    await ctx.scheduler.run_after(0, sandbox.run_agent, session_id=session_id, prompt=prompt)
    return session_id


@query
async def get(ctx: QueryCtx, session_id: Id[Session]) -> Session | None:
    """One of the caller's own; that of somebody else is as good as none."""
    identity = await ctx.auth.get_user_identity()
    session = await ctx.db.get(session_id)
    if identity is None or session is None or session.user_id != identity.token_identifier:
        return None
    return session


@query
async def list_mine(ctx: QueryCtx) -> list[Session]:
    """Newest first, the last fifty."""
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        return []
    mine = ctx.db.query(Session).with_index("by_userId", user_id=identity.token_identifier)
    return await mine.order("desc").take(50)


@internal_mutation
async def update_status(ctx: MutationCtx, session_id: Id[Session], status: Status, error: str | None = None) -> None:
    completed_at = ctx.now() if status in ("completed", "failed") else None
    await ctx.db.patch(session_id, status=status, error=error, completed_at=completed_at)


@internal_mutation
async def save_result(ctx: MutationCtx, session_id: Id[Session], result: str) -> None:
    await ctx.db.patch(session_id, status="completed", result=result, completed_at=ctx.now())
