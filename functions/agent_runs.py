"""Agent runs: work that the operator queues for a project, and that an agent claims, reports on and finishes.

    PENDING --claim_run--> RUNNING --complete_run--> COMPLETED
       |                      |
       +------fail_run--------+----> FAILED

Agents act as the project's owner (an agent in their browser) or as the operator (a worker that serves everybody). Exactly
one of those who claim a run at the same time gets it: mutations are serializable, so this takes no lock. A worker that
reports nothing for a while is taken for dead, and its run fails; that of an agent in a browser stays RUNNING until its user
fails it, as in the original. A run whose project is gone is `Unauthorized` for its former owner; the operator may still
fail it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from functions.rules import access, conversation, credits
from functions.rules.metadata import fields_of
from reactor import (
    UNSET,
    ApplicationError,
    Id,
    MutationCtx,
    QueryCtx,
    Struct,
    UnsetType,
    internal_mutation,
    mutation,
    query,
)
from schema import (
    AgentRun,
    AgentRunStatus,
    Fragment,
    Framework,
    Message,
    MessageStatus,
    MessageType,
    Project,
)

OPERATOR = "operator"
LOOKED_BACK = 25
PENDING_SHOWN = 100
SILENCE = timedelta(minutes=5)
RECENT_SHOWN = 20
SANDBOX_URL = "webcontainer://local"
FRAGMENT_TITLE = "WebContainer Run Result"
SOURCE = "webcontainer-runner"


class ClaimedRun(Struct):
    """All that an agent needs to begin. `base_files` are the project's latest files, by path."""

    run_id: Id[AgentRun]
    project_id: Id[Project]
    value: str
    model: str | None = None
    framework: Framework
    base_files: dict[str, str]


class CompletedRun(Struct):
    message_id: Id[Message]
    fragment_id: Id[Fragment]


async def _run_of(ctx: QueryCtx, run_id: Id[AgentRun], user_id: str | None) -> AgentRun:
    """The run, if its project is the user's; None is the operator, who may see them all."""
    run = await ctx.db.get(run_id)
    if run is None:
        raise ApplicationError("Run not found")
    if user_id is not None:
        await access.writable_project(ctx, run.project_id, user_id)
    return run


def _require(run: AgentRun, status: AgentRunStatus, refusal: str) -> None:
    if run.status != status:
        raise ApplicationError(refusal)


@mutation
async def enqueue_for_system(
    ctx: MutationCtx, project_id: Id[Project], value: str, model: str | None = None, framework: str | None = None
) -> Id[AgentRun]:
    """Queue work for any project. Only the operator, who has charged for it before.

    `framework` is kept as a note: the agent works with the framework of the project's latest files.
    """
    await access.require_system(ctx)
    project = await access.any_project(ctx, project_id)
    return await _enqueue(ctx, project.id, value, model, framework)


@mutation
async def ask(ctx: MutationCtx, project_id: Id[Project], value: str, model: str | None = None) -> Id[AgentRun]:
    """Ask for more in one's project: the credit, the message and the queued run, all or nothing.

    An addition to the original, for apps without a web tier that charges and queues.
    """
    user_id = await access.user(ctx)
    project = await access.writable_project(ctx, project_id, user_id)
    await credits.charge(ctx, user_id)
    await conversation.post_request(ctx, project.id, value, [])
    return await _enqueue(ctx, project.id, value, model)


async def _enqueue(
    ctx: MutationCtx, project_id: Id[Project], value: str, model: str | None, framework: str | None = None
) -> Id[AgentRun]:
    now = ctx.now()
    return await ctx.db.insert(
        AgentRun(
            project_id=project_id,
            value=value,
            model=model,
            framework=framework,
            status="PENDING",
            run_source="WEBCONTAINER",
            created_at=now,
            updated_at=now,
        )
    )


@mutation
async def claim_run(ctx: MutationCtx, run_id: Id[AgentRun]) -> ClaimedRun:
    """Take a pending run. Everybody else who tries is told that it is taken."""
    user_id = await access.user_or_system(ctx)
    run = await _run_of(ctx, run_id, user_id)
    project = await access.any_project(ctx, run.project_id)
    _require(run, "PENDING", "Run already claimed")
    await ctx.db.patch(run.id, status="RUNNING", claimed_by=user_id or OPERATOR, updated_at=ctx.now())
    if user_id is None:
        await ctx.scheduler.run_after(SILENCE, fail_if_silent, run_id=run.id)
    framework, files = await _base_of(ctx, project)
    return ClaimedRun(
        run_id=run.id,
        project_id=project.id,
        value=run.value,
        model=run.model,
        framework=framework,
        base_files=files,
    )


async def _base_of(ctx: QueryCtx, project: Project) -> tuple[Framework, dict[str, str]]:
    """The framework and the files to start from: those of the latest message that has any text files."""
    newest = ctx.db.query(Message).with_index("by_projectId_createdAt", project_id=project.id).order("desc")
    for message in await newest.take(LOOKED_BACK):
        fragment = await conversation.fragment_of(ctx, message.id)
        if fragment is not None and (files := conversation.text_files(fragment)):
            return fragment.framework, files
    return project.framework, {}


@mutation
async def report_progress(ctx: MutationCtx, run_id: Id[AgentRun], content: str) -> Id[Message]:
    """Show what the agent has so far, as the message that `complete_run` will finish. An addition to the original."""
    run = await _run_of(ctx, run_id, await access.user_or_system(ctx))
    _require(run, "RUNNING", "Run is not currently running")
    message_id = await _write(ctx, run, content, "STREAMING", "STREAMING")
    await ctx.db.patch(run.id, message_id=message_id, updated_at=ctx.now())
    return message_id


@mutation
async def complete_run(
    ctx: MutationCtx,
    run_id: Id[AgentRun],
    summary: str,
    files: dict[str, str],
    framework: Framework,
    message_type: MessageType = "RESULT",
    message_status: MessageStatus = "COMPLETE",
    metadata: Any | UnsetType = UNSET,
) -> CompletedRun:
    """Answer the user: a message with the summary, and a fragment with the files.

    The message is the one that progress was reported in, else a new one. Whoever may see the run may complete it, the
    claimer or not: it is the same user.
    """
    run = await _run_of(ctx, run_id, await access.user_or_system(ctx))
    _require(run, "RUNNING", "Run is not currently running")
    message_id = await _write(ctx, run, summary, message_type, message_status)
    origin = {"source": SOURCE} if run.model is None else {"source": SOURCE, "model": run.model}
    fragment_id = await conversation.save_fragment(
        ctx, message_id, SANDBOX_URL, FRAGMENT_TITLE, files, framework, {**origin, **fields_of(metadata)}
    )
    now = ctx.now()
    await ctx.db.patch(
        run.id,
        status="COMPLETED",
        message_id=message_id,
        fragment_id=fragment_id,
        updated_at=now,
        completed_at=now,
    )
    return CompletedRun(message_id=message_id, fragment_id=fragment_id)


@mutation
async def fail_run(ctx: MutationCtx, run_id: Id[AgentRun], error: str) -> Id[AgentRun]:
    """Give a run up. One that has ended stays as it ended; the original let it fail afterwards.

    A message that progress was reported in shows the error.
    """
    run = await _run_of(ctx, run_id, await access.user_or_system(ctx))
    if run.status in ("COMPLETED", "FAILED"):
        raise ApplicationError("Run already finished")
    return await _fail(ctx, run, error)


@internal_mutation
async def fail_if_silent(ctx: MutationCtx, run_id: Id[AgentRun]) -> None:
    """Give a run up whose worker has not been heard of for as long as `SILENCE`; else look again when it might be so."""
    run = await ctx.db.get(run_id)
    if run is None or run.status != "RUNNING":
        return
    patience_ends = run.updated_at + SILENCE.total_seconds() * 1000
    if ctx.now() < patience_ends:
        await ctx.scheduler.run_at(patience_ends, fail_if_silent, run_id=run.id)
    else:
        await _fail(ctx, run, "The agent fell silent")


async def _fail(ctx: MutationCtx, run: AgentRun, error: str) -> Id[AgentRun]:
    if await _progress_of(ctx, run) is not None:
        await _write(ctx, run, error, "ERROR", "COMPLETE")
    now = ctx.now()
    await ctx.db.patch(run.id, status="FAILED", error=error, updated_at=now, completed_at=now)
    return run.id


async def _write(
    ctx: MutationCtx, run: AgentRun, content: str, type: MessageType, status: MessageStatus
) -> Id[Message]:
    """Write the message that answers the run: the one that progress was reported in, else a new one."""
    message = await _progress_of(ctx, run)
    if message is None:
        project = await access.any_project(ctx, run.project_id)
        return await conversation.post(ctx, project.id, content, "ASSISTANT", type, status)
    await ctx.db.patch(message.id, content=content, type=type, status=status, updated_at=ctx.now())
    return message.id


async def _progress_of(ctx: QueryCtx, run: AgentRun) -> Message | None:
    return None if run.message_id is None else await ctx.db.get(run.message_id)


@query
async def list_pending_for_project(ctx: QueryCtx, project_id: Id[Project]) -> list[AgentRun]:
    """A project's runs that wait for an agent, oldest first."""
    project = await access.writable_project(ctx, project_id, await access.user(ctx))
    return await (
        ctx.db.query(AgentRun).with_index("by_projectId_status", project_id=project.id, status="PENDING").collect()
    )


@query
async def list_recent_for_project(ctx: QueryCtx, project_id: Id[Project]) -> list[AgentRun]:
    """A project's latest runs and how far they are, newest first. An addition to the original."""
    project = await access.writable_project(ctx, project_id, await access.user(ctx))
    newest = ctx.db.query(AgentRun).with_index("by_projectId_createdAt", project_id=project.id).order("desc")
    return await newest.take(RECENT_SHOWN)


@query
async def list_pending(ctx: QueryCtx) -> list[AgentRun]:
    """The oldest runs that wait for an agent, of all projects. Only the operator. An addition to the original."""
    await access.require_system(ctx)
    return await ctx.db.query(AgentRun).with_index("by_status", status="PENDING").take(PENDING_SHOWN)
