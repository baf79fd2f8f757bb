"""Tasks. Each function here is reachable as "tasks:<name>"."""

from __future__ import annotations

from reactor import ApplicationError, Id, MutationCtx, QueryCtx, mutation, query
from schema import Task


@query
async def list_(ctx: QueryCtx) -> list[Task]:
    """All tasks, newest first. Whoever subscribes sees every change."""
    return await ctx.db.query(Task).order("desc").take(100)


@query
async def count_open(ctx: QueryCtx) -> int:
    return await ctx.db.query(Task).with_index("by_done", done=False).count()


@mutation
async def add(ctx: MutationCtx, text: str) -> Id[Task]:
    if not text.strip():
        raise ApplicationError("A task needs a text")
    return await ctx.db.insert(Task(text=text.strip()))


@mutation
async def set_done(ctx: MutationCtx, task_id: Id[Task], done: bool) -> None:
    await ctx.db.patch(task_id, done=done)


@mutation
async def remove(ctx: MutationCtx, task_id: Id[Task]) -> None:
    await ctx.db.delete(task_id)
