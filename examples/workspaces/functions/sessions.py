"""The work of a workspace. No function here checks anything twice: the rules in `access.py` do."""

from __future__ import annotations

from functions.access import Reading, Writing, user_mutation, user_query
from reactor import Id
from schema import Session, Workspace


@user_query
async def list_(ctx: Reading, workspace_id: Id[Workspace]) -> list[Session]:
    """For strangers an error rather than nothing, so that a wrong link shows."""
    await ctx.caller.require_member(workspace_id)
    return await ctx.db.query(Session).with_index("by_workspaceId", workspace_id=workspace_id).collect()


@user_mutation
async def create(ctx: Writing, workspace_id: Id[Workspace], name: str) -> Id[Session]:
    return await ctx.db.insert(Session(workspace_id=workspace_id, name=name))


@user_mutation
async def rename(ctx: Writing, session_id: Id[Session], name: str) -> None:
    await ctx.db.patch(session_id, name=name)


@user_mutation
async def remove(ctx: Writing, session_id: Id[Session]) -> None:
    await ctx.db.delete(session_id)
