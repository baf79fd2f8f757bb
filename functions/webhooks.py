"""The log of webhooks: what came, how it went, and which subscriptions wait for their user.

Anybody could call the public functions in the original; here only the operator can. Deliveries come in through `http.py`.
"""

from __future__ import annotations

from typing import Any

from functions.rules import access, polar_events, webhook_log
from functions.rules.polar_events import PolarObject
from reactor import ApplicationError, Id, MutationCtx, QueryCtx, Struct, internal_mutation, mutation, query
from schema import PendingSubscription, PendingSubscriptionStatus, WebhookEvent, WebhookEventStatus

UNKNOWN_USER = "No user is known for this subscription; it is kept as pending"
KEPT_CHARACTERS = 100_000


class Resolved(Struct):
    pending_id: Id[PendingSubscription]
    event_data: Any


class Received(Struct):
    """The answer to a delivery."""

    received: bool
    warning: str | None = None
    pending_subscription_id: Id[PendingSubscription] | None = None


@internal_mutation
async def receive_polar_event(ctx: MutationCtx, event_id: str, event_type: str, payload: Any) -> Received:
    """Note an event and do what it says, in one transaction. One that was processed before changes nothing.

    A change to a subscription that is not there is noted as failed, not refused: to send it again would not help.
    """
    known = await webhook_log.event_of(ctx, event_id)
    if known is None:
        await webhook_log.log_event(ctx, event_id, event_type, payload)
    elif known.status == "processed":
        return Received(received=True)
    else:
        await webhook_log.set_status(ctx, event_id, "retrying")

    data = PolarObject(payload).part("data")
    try:
        pending_id = await polar_events.apply(ctx, event_type, data)
    except ApplicationError as error:
        if event_type not in polar_events.STATE_CHANGES:
            raise
        await polar_events.keep_newest(ctx, event_type, data)
        await webhook_log.set_status(ctx, event_id, "failed", str(error.data))
        return Received(received=True)
    if pending_id is not None:
        await webhook_log.set_status(ctx, event_id, "failed", UNKNOWN_USER)
        return Received(received=True, warning=UNKNOWN_USER, pending_subscription_id=pending_id)
    await webhook_log.set_status(ctx, event_id, "processed")
    return Received(received=True)


@internal_mutation
async def polar_event_failed(ctx: MutationCtx, event_id: str, event_type: str, body: str, error: str) -> None:
    """Note that an event could not be received, with what was sent. It is to be sent again."""
    await webhook_log.log_event(ctx, event_id, event_type, body[:KEPT_CHARACTERS])
    await webhook_log.set_status(ctx, event_id, "failed", error)


@mutation
async def log_webhook_event(ctx: MutationCtx, event_id: str, event_type: str, payload: Any) -> Id[WebhookEvent]:
    """Note an event; one that is known already stays as it was first noted."""
    await access.require_system(ctx)
    return await webhook_log.log_event(ctx, event_id, event_type, payload)


@mutation
async def update_webhook_event_status(
    ctx: MutationCtx, event_id: str, status: WebhookEventStatus, error: str | None = None
) -> Id[WebhookEvent] | None:
    """Note how an event went. Null for an unknown one."""
    await access.require_system(ctx)
    return await webhook_log.set_status(ctx, event_id, status, error)


@query
async def get_webhook_event(ctx: QueryCtx, event_id: str) -> WebhookEvent | None:
    await access.require_system(ctx)
    return await webhook_log.event_of(ctx, event_id)


@query
async def get_failed_webhook_events(ctx: QueryCtx, limit: int = 100) -> list[WebhookEvent]:
    """Oldest first."""
    await access.require_system(ctx)
    return await ctx.db.query(WebhookEvent).with_index("by_status", status="failed").take(limit)


@query
async def get_recent_webhook_events(ctx: QueryCtx, limit: int = 50) -> list[WebhookEvent]:
    """Newest first."""
    await access.require_system(ctx)
    return await ctx.db.query(WebhookEvent).with_index("by_createdAt").order("desc").take(limit)


@mutation
async def save_pending_subscription(
    ctx: MutationCtx, polar_subscription_id: str, customer_id: str, event_data: Any, error: str | None = None
) -> Id[PendingSubscription]:
    """Keep a subscription until its user is known; a second call replaces the data and the error only."""
    await access.require_system(ctx)
    return await webhook_log.save_pending(ctx, polar_subscription_id, customer_id, event_data, error)


@mutation
async def resolve_pending_subscription(ctx: MutationCtx, polar_subscription_id: str, user_id: str) -> Resolved | None:
    """Its user is known: hand over what was kept. Null when nothing was."""
    await access.require_system(ctx)
    pending = await webhook_log.pending_of(ctx, polar_subscription_id)
    if pending is None:
        return None
    await webhook_log.resolve_pending(ctx, pending, user_id)
    return Resolved(pending_id=pending.id, event_data=pending.event_data)


@mutation
async def mark_pending_subscription_failed(
    ctx: MutationCtx, polar_subscription_id: str, error: str
) -> Id[PendingSubscription] | None:
    await access.require_system(ctx)
    pending = await webhook_log.pending_of(ctx, polar_subscription_id)
    if pending is None:
        return None
    await ctx.db.patch(pending.id, status="failed", error=error)
    return pending.id


@query
async def get_pending_subscriptions(ctx: QueryCtx) -> list[PendingSubscription]:
    """Those that still wait, oldest first."""
    return await get_pending_subscriptions_by_status(ctx, status="pending")


@query
async def get_pending_subscription_by_customer_id(ctx: QueryCtx, customer_id: str) -> PendingSubscription | None:
    """The first that still waits."""
    await access.require_system(ctx)
    waiting = await webhook_log.pending_of_customer(ctx, customer_id)
    return waiting[0] if waiting else None


@query
async def get_pending_subscriptions_by_status(
    ctx: QueryCtx, status: PendingSubscriptionStatus
) -> list[PendingSubscription]:
    """Oldest first."""
    await access.require_system(ctx)
    return await ctx.db.query(PendingSubscription).with_index("by_status", status=status).collect()


@query
async def get_all_pending_subscriptions(ctx: QueryCtx) -> list[PendingSubscription]:
    await access.require_system(ctx)
    return await ctx.db.query(PendingSubscription).collect()
