"""Mails, each a row first: what is queued and was not sent can be seen."""

from __future__ import annotations

import httpx

from reactor import (
    ActionCtx,
    Environment,
    Id,
    MutationCtx,
    QueryCtx,
    internal_action,
    internal_mutation,
    internal_query,
)
from schema import Email


class Env(Environment):
    MAIL_URL: str | None = None
    MAIL_KEY: str = "test"


@internal_action
async def send_welcome(ctx: ActionCtx, email_id: Id[Email]) -> None:
    """Hand a mail to the mail service; without one (`MAIL_URL`), to the log.

    A scheduled action runs once at most: nobody knows how far it came when the server dies in it, so it is not repeated.
    Where that is not enough, `reactor.kit.WorkPool` tries again.
    """
    email = await ctx.run_query(get, email_id=email_id)
    if email is None or email.status == "sent":
        return
    env = ctx.env(Env)
    if env.MAIL_URL is None:
        print(f"To {email.to}: {email.subject}")
    else:
        mail = {"to": email.to, "subject": email.subject}
        # With the id as its key, a service that has seen it before does not send it again.
        headers = {"Authorization": f"Bearer {env.MAIL_KEY}", "Idempotency-Key": email_id}
        async with httpx.AsyncClient(timeout=20) as service:
            (await service.post(env.MAIL_URL, json=mail, headers=headers)).raise_for_status()
    await ctx.run_mutation(mark_sent, email_id=email_id)


@internal_query
async def get(ctx: QueryCtx, email_id: Id[Email]) -> Email | None:
    return await ctx.db.get(email_id)


@internal_mutation
async def mark_sent(ctx: MutationCtx, email_id: Id[Email]) -> None:
    await ctx.db.patch(email_id, status="sent")


@internal_query
async def to(ctx: QueryCtx, address: str) -> list[Email]:
    """For the operator: the newest hundred mails to an address."""
    return await ctx.db.query(Email).with_index("by_to", to=address).order("desc").take(100)
