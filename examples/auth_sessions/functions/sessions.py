"""Everybody's own sessions. No argument says whose: the token does."""

from __future__ import annotations

from functions.users import require_user
from reactor import ApplicationError, Id, MutationCtx, QueryCtx, mutation, query
from schema import Session


@query
async def list_my_sessions(ctx: QueryCtx) -> list[Session]:
    """The caller's newest fifty; none for who is not signed in, so that a page can show the list before that is settled."""
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        return []
    mine = ctx.db.query(Session).with_index("by_userId", user_id=identity.token_identifier)
    return await mine.order("desc").take(50)


@mutation
async def create_session(ctx: MutationCtx, title: str) -> Id[Session]:
    user = await require_user(ctx)
    return await ctx.db.insert(Session(user_id=user.token_identifier, title=title))


@mutation
async def end_session(ctx: MutationCtx, session_id: Id[Session]) -> None:
    """To others, a session is as good as none."""
    user = await require_user(ctx)
    session = await ctx.db.get(session_id)
    if session is None or session.user_id != user.token_identifier:
        raise ApplicationError("Session not found")
    await ctx.db.delete(session_id)
