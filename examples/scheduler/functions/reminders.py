"""Reminders: each is a row and a job, which come to be together and know each other."""

from __future__ import annotations

from functions.users import require_caller
from reactor import ApplicationError, Id, MutationCtx, QueryCtx, internal_mutation, mutation, query
from schema import Reminder


class ReminderWithState(Reminder):
    state: str | None = None
    """What the scheduler says: pending, inProgress, success, failed, canceled. It forgets jobs a week after their end."""


@mutation
async def create(ctx: MutationCtx, text: str, at: float) -> Id[Reminder]:
    """`at` is in milliseconds, as `Date.now()` gives them. What is past fires at once."""
    caller = await require_caller(ctx)
    reminder_id = await ctx.db.insert(Reminder(user_id=caller.token_identifier, text=text, at=at))
    scheduled_id = await ctx.scheduler.run_at(at, fire, reminder_id=reminder_id)
    await ctx.db.patch(reminder_id, scheduled_id=scheduled_id)
    return reminder_id


@mutation
async def cancel(ctx: MutationCtx, reminder_id: Id[Reminder]) -> None:
    """One that was sent or cancelled before stays as it is."""
    caller = await require_caller(ctx)
    reminder = await ctx.db.get(reminder_id)
    if reminder is None or reminder.user_id != caller.token_identifier:
        raise ApplicationError("Reminder not found")
    if reminder.status != "scheduled":
        return
    if reminder.scheduled_id is not None:
        await ctx.scheduler.cancel(reminder.scheduled_id)
    await ctx.db.patch(reminder_id, status="cancelled")


@query
async def list_(ctx: QueryCtx) -> list[ReminderWithState]:
    """The caller's newest hundred, each with the state of its job, which is a row of a table like any other."""
    caller = await require_caller(ctx)
    mine = ctx.db.query(Reminder).with_index("by_userId", user_id=caller.token_identifier)
    found: list[ReminderWithState] = []
    for reminder in await mine.order("desc").take(100):
        job = await ctx.db.get(reminder.scheduled_id) if reminder.scheduled_id else None
        found.append(reminder.extend(ReminderWithState, state=job.state.kind if job else None))
    return found


@internal_mutation
async def fire(ctx: MutationCtx, reminder_id: Id[Reminder]) -> None:
    """Runs exactly once, being a mutation: what it writes and that it ran are one commit."""
    reminder = await ctx.db.get(reminder_id)
    if reminder is not None and reminder.status == "scheduled":
        await ctx.db.patch(reminder_id, status="sent")
