"""Who may see and change what.

A user is the `subject` of a verified identity. The *system* is the operator: a call with the admin key that acts as
nobody. Every refusal is an `ApplicationError`, so that its text reaches the client in production too.
"""

from __future__ import annotations

from reactor import ActionCtx, ApplicationError, Id, QueryCtx
from schema import Message, Project

UNAUTHORIZED = "Unauthorized"


async def user(ctx: QueryCtx | ActionCtx) -> str:
    """The id of the user who calls. Raises `Unauthorized` for everybody else."""
    identity = await ctx.auth.get_user_identity()
    if identity is None or not identity.subject:
        raise ApplicationError(UNAUTHORIZED)
    return identity.subject


async def require_system(ctx: QueryCtx | ActionCtx) -> None:
    """Pass only the operator: the admin key, acting as nobody."""
    if not ctx.auth.is_admin or await ctx.auth.get_user_identity() is not None:
        raise ApplicationError(UNAUTHORIZED)


async def require_user(ctx: QueryCtx | ActionCtx, user_id: str) -> None:
    """Pass the user `user_id` themselves, and the operator on their behalf."""
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        await require_system(ctx)
    elif not identity.subject or identity.subject != user_id:
        raise ApplicationError(UNAUTHORIZED)


async def user_or_system(ctx: QueryCtx | ActionCtx) -> str | None:
    """The id of the user who calls, or None for the operator. Raises `Unauthorized` for everybody else."""
    if ctx.auth.is_admin and await ctx.auth.get_user_identity() is None:
        return None
    return await user(ctx)


async def any_project(ctx: QueryCtx, project_id: Id[Project]) -> Project:
    """The project, whoever's it is: for the operator."""
    project = await ctx.db.get(project_id)
    if project is None:
        raise ApplicationError("Project not found")
    return project


async def project_of(ctx: QueryCtx, project_id: Id[Project], user_id: str) -> Project:
    """The project, if it is there and theirs. Says which of the two is wrong."""
    project = await any_project(ctx, project_id)
    if project.user_id != user_id:
        raise ApplicationError(UNAUTHORIZED)
    return project


async def writable_project(ctx: QueryCtx, project_id: Id[Project], user_id: str) -> Project:
    """Like `project_of`, but a stranger can't tell a project that is not theirs from one that is not there."""
    project = await ctx.db.get(project_id)
    if project is None or project.user_id != user_id:
        raise ApplicationError(UNAUTHORIZED)
    return project


async def message_of(ctx: QueryCtx, message_id: Id[Message], user_id: str) -> tuple[Message, Project]:
    """The message and its project, if the project is theirs."""
    message = await ctx.db.get(message_id)
    if message is None:
        raise ApplicationError("Message not found")
    return message, await writable_project(ctx, message.project_id, user_id)
