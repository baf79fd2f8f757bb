"""Imports from elsewhere (Figma, GitHub) into a project, and how far each has come.

Any status may follow any other, and an `error` stays after a later success: the row says what happened, not what holds.
"""

from __future__ import annotations

from typing import Any

from functions.rules import access
from functions.rules.metadata import is_given, merged
from reactor import UNSET, ApplicationError, Id, MutationCtx, QueryCtx, UnsetType, mutation, query
from schema import Import, ImportSource, ImportStatus, Message, Project


async def _project_of(ctx: QueryCtx, project_id: Id[Project]) -> tuple[Project, str]:
    """The caller's project, and the caller."""
    user_id = await access.user(ctx)
    project = await ctx.db.get(project_id)
    if project is None or project.user_id != user_id:
        raise ApplicationError("Project not found or unauthorized")
    return project, user_id


async def _import_of(ctx: QueryCtx, import_id: Id[Import]) -> Import:
    """The import, if the caller made it."""
    user_id = await access.user(ctx)
    found = await ctx.db.get(import_id)
    if found is None or found.user_id != user_id:
        raise ApplicationError("Import not found or unauthorized")
    return found


async def _set_status(ctx: MutationCtx, import_id: Id[Import], status: ImportStatus, **changes: Any) -> None:
    await ctx.db.patch(import_id, {**changes, "status": status, "updated_at": ctx.now()})


@mutation
async def create_import(
    ctx: MutationCtx,
    project_id: Id[Project],
    source: ImportSource,
    source_id: str,
    source_name: str,
    source_url: str,
    message_id: Id[Message] | None = None,
    metadata: Any | UnsetType = UNSET,
) -> Id[Import]:
    """Note an import that is about to begin. `message_id` is kept as given: nothing is ever read through it."""
    project, user_id = await _project_of(ctx, project_id)
    now = ctx.now()
    return await ctx.db.insert(
        Import(
            user_id=user_id,
            project_id=project.id,
            message_id=message_id,
            source=source,
            source_id=source_id,
            source_name=source_name,
            source_url=source_url,
            status="PENDING",
            metadata=metadata,
            created_at=now,
            updated_at=now,
        )
    )


@mutation
async def update_status(
    ctx: MutationCtx,
    import_id: Id[Import],
    status: ImportStatus,
    error: str | None = None,
    metadata: Any | UnsetType = UNSET,
) -> None:
    """Set the status; an error unless it is empty; metadata over what is there, field by field."""
    found = await _import_of(ctx, import_id)
    changes: dict[str, Any] = {}
    if error:
        changes["error"] = error
    if is_given(metadata):
        changes["metadata"] = merged(found.metadata, metadata)
    await _set_status(ctx, found.id, status, **changes)


@mutation
async def mark_processing(ctx: MutationCtx, import_id: Id[Import]) -> None:
    found = await _import_of(ctx, import_id)
    await _set_status(ctx, found.id, "PROCESSING")


@mutation
async def mark_complete(ctx: MutationCtx, import_id: Id[Import], metadata: Any | UnsetType = UNSET) -> None:
    """Metadata replaces what is there; without any, that stays."""
    found = await _import_of(ctx, import_id)
    await _set_status(ctx, found.id, "COMPLETE", metadata=metadata if is_given(metadata) else found.metadata)


@mutation
async def mark_failed(ctx: MutationCtx, import_id: Id[Import], error: str) -> None:
    found = await _import_of(ctx, import_id)
    await _set_status(ctx, found.id, "FAILED", error=error)


@query
async def get_import(ctx: QueryCtx, import_id: Id[Import]) -> Import:
    return await _import_of(ctx, import_id)


@query
async def list_by_project(ctx: QueryCtx, project_id: Id[Project]) -> list[Import]:
    """Oldest first."""
    project, _ = await _project_of(ctx, project_id)
    return await ctx.db.query(Import).with_index("by_projectId", project_id=project.id).collect()


@query
async def list_by_user(ctx: QueryCtx) -> list[Import]:
    """The caller's, oldest first."""
    return await ctx.db.query(Import).with_index("by_userId", user_id=await access.user(ctx)).collect()
