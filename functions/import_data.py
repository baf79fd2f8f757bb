"""Data from an earlier database comes in: rows with their old ids and ISO dates, each answered with its new id.

The mutations are internal; each has an action of the same name that only the operator may call. `import_usage` is also
the only way to give somebody a window of credits with a chosen end.
"""

from __future__ import annotations

from typing import Any, Literal, ParamSpec, TypeVar

from functions.rules import access, credits
from functions.rules.dates import milliseconds
from reactor import (
    UNSET,
    Action,
    ActionCtx,
    Id,
    Mutation,
    MutationCtx,
    Struct,
    UnsetType,
    action,
    internal_mutation,
    wraps,
)
from schema import (
    Attachment,
    Fragment,
    FragmentDraft,
    Framework,
    Message,
    MessageRole,
    MessageStatus,
    MessageType,
    Project,
    Usage,
)

CLEARED = (Attachment, Fragment, FragmentDraft, Message, Project, Usage)
"""In an order in which nothing is left that refers to what is gone."""

P = ParamSpec("P")
R = TypeVar("R")


class Imported(Struct):
    """Old and new id of a row."""

    old_id: str
    new_id: str


class ImportedUsage(Struct):
    user_id: str
    new_id: Id[Usage]


class Cleared(Struct):
    success: bool
    message: str


def _by_operator(target: Mutation[MutationCtx, P, R]) -> Action[ActionCtx, P, R]:
    """The public action of an internal mutation: same arguments, same answer, for the operator only."""

    @action
    @wraps(target.handler)
    async def run(ctx: ActionCtx, /, *args: P.args, **kwargs: P.kwargs) -> R:
        await access.require_system(ctx)
        return await ctx.run_mutation(target, *args, **kwargs)

    return run


@internal_mutation
async def import_project(
    ctx: MutationCtx, old_id: str, name: str, user_id: str, framework: Framework, created_at: str, updated_at: str
) -> Imported:
    new_id = await ctx.db.insert(
        Project(
            name=name,
            user_id=user_id,
            framework=framework,
            created_at=milliseconds(created_at),
            updated_at=milliseconds(updated_at),
        )
    )
    return Imported(old_id=old_id, new_id=new_id)


@internal_mutation
async def import_message(
    ctx: MutationCtx,
    old_id: str,
    content: str,
    role: MessageRole,
    type: MessageType,
    status: MessageStatus,
    old_project_id: str,
    new_project_id: Id[Project],
    created_at: str,
    updated_at: str,
) -> Imported:
    new_id = await ctx.db.insert(
        Message(
            content=content,
            role=role,
            type=type,
            status=status,
            project_id=new_project_id,
            created_at=milliseconds(created_at),
            updated_at=milliseconds(updated_at),
        )
    )
    return Imported(old_id=old_id, new_id=new_id)


@internal_mutation
async def import_fragment(
    ctx: MutationCtx,
    old_id: str,
    old_message_id: str,
    new_message_id: Id[Message],
    sandbox_url: str,
    title: str,
    files: Any,
    framework: Framework,
    created_at: str,
    updated_at: str,
    metadata: Any | UnsetType = UNSET,
) -> Imported:
    new_id = await ctx.db.insert(
        Fragment(
            message_id=new_message_id,
            sandbox_url=sandbox_url,
            title=title,
            files=files,
            metadata=metadata,
            framework=framework,
            created_at=milliseconds(created_at),
            updated_at=milliseconds(updated_at),
        )
    )
    return Imported(old_id=old_id, new_id=new_id)


@internal_mutation
async def import_fragment_draft(
    ctx: MutationCtx,
    old_id: str,
    old_project_id: str,
    new_project_id: Id[Project],
    files: Any,
    framework: Framework,
    created_at: str,
    updated_at: str,
) -> Imported:
    new_id = await ctx.db.insert(
        FragmentDraft(
            project_id=new_project_id,
            files=files,
            framework=framework,
            created_at=milliseconds(created_at),
            updated_at=milliseconds(updated_at),
        )
    )
    return Imported(old_id=old_id, new_id=new_id)


@internal_mutation
async def import_attachment(
    ctx: MutationCtx,
    old_id: str,
    type: Literal["IMAGE"],
    url: str,
    size: float,
    old_message_id: str,
    new_message_id: Id[Message],
    created_at: str,
    updated_at: str,
    width: float | None = None,
    height: float | None = None,
) -> Imported:
    new_id = await ctx.db.insert(
        Attachment(
            type=type,
            url=url,
            width=width,
            height=height,
            size=size,
            message_id=new_message_id,
            created_at=milliseconds(created_at),
            updated_at=milliseconds(updated_at),
        )
    )
    return Imported(old_id=old_id, new_id=new_id)


@internal_mutation
async def import_usage(
    ctx: MutationCtx, key: str, user_id: str, points: float, expire: str | None = None
) -> ImportedUsage:
    """Set a user's balance and the end of the window; without `expire` it never ends. `key` is the old row's."""
    end = milliseconds(expire) if expire else None
    existing = await credits.record_of(ctx, user_id)
    if existing is None:
        new_id = await ctx.db.insert(Usage(user_id=user_id, points=points, expire=end))
    else:
        new_id = existing.id
        await ctx.db.patch(new_id, points=points, expire=end)
    return ImportedUsage(user_id=user_id, new_id=new_id)


@internal_mutation
async def clear_all_data(ctx: MutationCtx) -> Cleared:
    """Delete all projects with what they hold, and all balances, in one transaction: for development, where data is small."""
    for table in CLEARED:
        async for document in ctx.db.query(table):
            await ctx.db.delete(document.id)
    return Cleared(success=True, message="All data cleared")


import_project_action = _by_operator(import_project)
import_message_action = _by_operator(import_message)
import_fragment_action = _by_operator(import_fragment)
import_fragment_draft_action = _by_operator(import_fragment_draft)
import_attachment_action = _by_operator(import_attachment)
import_usage_action = _by_operator(import_usage)
