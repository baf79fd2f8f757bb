"""Found a workspace, invite others, give them roles, leave. These change who may do what, so their checks are explicit."""

from __future__ import annotations

from typing import Literal

from functions import access
from reactor import ApplicationError, Id, MutationCtx, QueryCtx, mutation, query
from schema import Membership, Role, Workspace

Grantable = Literal["admin", "member"]


class WorkspaceOfMine(Workspace):
    role: Role


@query
async def list_(ctx: QueryCtx) -> list[WorkspaceOfMine]:
    """Those that the caller belongs to, with their role in each; none for who is not signed in."""
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        return []
    mine: list[WorkspaceOfMine] = []
    async for membership in ctx.db.query(Membership).with_index("by_userId", user_id=identity.token_identifier):
        workspace = await ctx.db.get(membership.workspace_id)
        if workspace is not None:
            mine.append(workspace.extend(WorkspaceOfMine, role=membership.role))
    return mine


@mutation
async def create(ctx: MutationCtx, name: str) -> Id[Workspace]:
    """The caller becomes its owner."""
    user = await access.caller(ctx)
    workspace_id = await ctx.db.insert(Workspace(name=name, owner_id=user.user_id, created_at=ctx.now()))
    await ctx.db.insert(Membership(workspace_id=workspace_id, user_id=user.user_id, role="owner"))
    return workspace_id


@mutation
async def invite(
    ctx: MutationCtx, workspace_id: Id[Workspace], user_id: str, role: Grantable = "member"
) -> Id[Membership]:
    """Make somebody a member. Who is one already keeps their role."""
    user = await access.caller(ctx)
    await user.require_admin(workspace_id)
    membership = await access.membership_of(ctx, workspace_id, user_id)
    if membership is not None:
        return membership.id
    return await ctx.db.insert(Membership(workspace_id=workspace_id, user_id=user_id, role=role))


@mutation
async def set_role(ctx: MutationCtx, workspace_id: Id[Workspace], user_id: str, role: Grantable) -> None:
    user = await access.caller(ctx)
    await user.require_owner(workspace_id)
    membership = await access.membership_of(ctx, workspace_id, user_id)
    if membership is None:
        raise ApplicationError("Not a member of this workspace")
    if membership.role == "owner":
        raise ApplicationError("A workspace needs its owner")
    await ctx.db.patch(membership.id, role=role)


@mutation
async def leave(ctx: MutationCtx, workspace_id: Id[Workspace]) -> None:
    user = await access.caller(ctx)
    membership = await access.membership_of(ctx, workspace_id, user.user_id)
    if membership is None:
        raise ApplicationError("Not a member of this workspace")
    if membership.role == "owner":
        raise ApplicationError("A workspace needs its owner")
    await ctx.db.delete(membership.id)
