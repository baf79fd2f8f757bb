"""What happens later, what does not, and what can be seen of it meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest
from mail_service import MailService

from functions import emails, reminders, users
from reactor import ApplicationError, MutationCtx
from reactor.testing import Backend
from schema import Email, User

HOUR = timedelta(hours=1)


def in_an_hour(backend: Backend) -> float:
    return backend.now() + HOUR / timedelta(milliseconds=1)


async def states(user: Backend) -> list[tuple[str, str, str | None]]:
    return [(r.text, r.status, r.state) for r in await user.query(reminders.list_)]


async def test_a_reminder_fires_at_its_time_and_its_list_is_live(backend: Backend) -> None:
    ann = backend.as_user("ann")
    await ann.mutation(reminders.create, text="tea", at=in_an_hour(backend))
    async with ann.subscribe(reminders.list_) as updates:
        assert [(r.status, r.state) for r in await updates.next()] == [("scheduled", "pending")]
        await backend.advance(HOUR - timedelta(seconds=1))
        await updates.assert_quiet()
        await backend.advance(timedelta(seconds=1))
        assert [(r.status, r.state) for r in await updates.next()] == [("sent", "success")]


async def test_a_reminder_for_a_time_that_is_past_fires_at_once(backend: Backend) -> None:
    ann = backend.as_user("ann")
    await ann.mutation(reminders.create, text="late", at=backend.now() - 1)
    await backend.advance(timedelta(0))
    assert await states(ann) == [("late", "sent", "success")]


async def test_a_cancelled_reminder_never_fires(backend: Backend) -> None:
    ann = backend.as_user("ann")
    reminder_id = await ann.mutation(reminders.create, text="tea", at=in_an_hour(backend))
    for _ in range(2):
        await ann.mutation(reminders.cancel, reminder_id=reminder_id)
        assert await states(ann) == [("tea", "cancelled", "canceled")]
    await backend.advance(2 * HOUR)
    assert await states(ann) == [("tea", "cancelled", "canceled")]


async def test_a_reminder_that_was_sent_can_not_be_cancelled(backend: Backend) -> None:
    ann = backend.as_user("ann")
    reminder_id = await ann.mutation(reminders.create, text="tea", at=in_an_hour(backend))
    await backend.advance(HOUR)
    await ann.mutation(reminders.cancel, reminder_id=reminder_id)
    assert await states(ann) == [("tea", "sent", "success")]


async def test_reminders_belong_to_who_made_them(backend: Backend) -> None:
    ann, bob = backend.as_user("ann"), backend.as_user("bob")
    reminder_id = await ann.mutation(reminders.create, text="tea", at=in_an_hour(backend))
    with pytest.raises(ApplicationError, match="Reminder not found"):
        await bob.mutation(reminders.cancel, reminder_id=reminder_id)
    assert await states(bob) == []
    with pytest.raises(ApplicationError, match="Not authenticated"):
        await backend.query(reminders.list_)


async def test_after_a_week_the_scheduler_has_forgotten_the_job(backend: Backend) -> None:
    ann = backend.as_user("ann")
    await ann.mutation(reminders.create, text="tea", at=in_an_hour(backend))
    await backend.advance(timedelta(days=9))
    assert await states(ann) == [("tea", "sent", None)]


async def test_who_signs_up_is_welcomed_once(backend: Backend) -> None:
    with MailService() as service:
        await backend.set_environment(MAIL_URL=service.url)
        ann = backend.as_user("ann")
        await ann.mutation(users.sign_up, email="ann@example.com")
        with pytest.raises(ApplicationError, match="Already signed up"):
            await ann.mutation(users.sign_up, email="ann@example.com")
        await backend.advance(timedelta(0))
        [email] = await backend.query(emails.to, address="ann@example.com")
        assert (email.status, service.mails) == ("sent", [{"to": "ann@example.com", "subject": "Welcome"}])
        assert service.keys == [email.id]


async def test_what_is_undone_schedules_nothing(backend: Backend) -> None:
    async def sign_up_and_fail(ctx: MutationCtx) -> None:
        email_id = await ctx.db.insert(Email(to="ann@example.com", subject="Welcome"))
        await ctx.scheduler.run_after(0, emails.send_welcome, email_id=email_id)
        raise ApplicationError("after all not")

    async def rows(ctx: MutationCtx) -> tuple[int, int, int]:
        scheduled = await ctx.db.system.query("_scheduled_functions").collect()
        return await ctx.db.query(User).count(), await ctx.db.query(Email).count(), len(scheduled)

    with pytest.raises(ApplicationError, match="after all not"):
        await backend.run(sign_up_and_fail)
    await backend.advance(HOUR)
    assert await backend.run(rows) == (0, 0, 0)


async def test_a_mail_that_the_service_refused_stays_queued_and_is_not_tried_again(backend: Backend) -> None:
    with MailService() as service:
        service.status = 503
        await backend.set_environment(MAIL_URL=service.url)
        await backend.as_user("ann").mutation(users.sign_up, email="ann@example.com")
        await backend.advance(HOUR)
        [email] = await backend.query(emails.to, address="ann@example.com")
        assert (email.status, len(service.mails)) == ("queued", 1)
