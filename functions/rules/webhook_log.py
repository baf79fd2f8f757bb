"""What webhooks brought: every event once, and the subscriptions that wait for their user to become known.

Nothing here asks who is calling; that is settled before (`rules/access.py`).
"""

from __future__ import annotations

from typing import Any

from reactor import Id, MutationCtx, QueryCtx
from schema import PendingSubscription, WebhookEvent, WebhookEventStatus


async def event_of(ctx: QueryCtx, event_id: str) -> WebhookEvent | None:
    return await ctx.db.query(WebhookEvent).with_index("by_eventId", event_id=event_id).first()


async def log_event(ctx: MutationCtx, event_id: str, event_type: str, payload: Any) -> Id[WebhookEvent]:
    """Note an event. The first note stays: an event that comes again is the same event."""
    known = await event_of(ctx, event_id)
    if known is not None:
        return known.id
    return await ctx.db.insert(
        WebhookEvent(
            event_id=event_id,
            event_type=event_type,
            status="received",
            payload=payload,
            retry_count=0,
            created_at=ctx.now(),
        )
    )


async def set_status(
    ctx: MutationCtx, event_id: str, status: WebhookEventStatus, error: str | None = None
) -> Id[WebhookEvent] | None:
    """How it went. An earlier error is replaced or erased, and each `retrying` is counted. None for an unknown event."""
    known = await event_of(ctx, event_id)
    if known is None:
        return None
    await ctx.db.patch(
        known.id,
        status=status,
        error=error,
        processed_at=ctx.now() if status in ("processed", "failed") else None,
        retry_count=known.retry_count + (1 if status == "retrying" else 0),
    )
    return known.id


async def pending_of(ctx: QueryCtx, polar_subscription_id: str) -> PendingSubscription | None:
    return await (
        ctx.db.query(PendingSubscription)
        .with_index("by_polarSubscriptionId", polar_subscription_id=polar_subscription_id)
        .first()
    )


async def pending_of_customer(ctx: QueryCtx, customer_id: str) -> list[PendingSubscription]:
    """Those of a customer that still wait, oldest first."""
    return await (
        ctx.db.query(PendingSubscription)
        .with_index("by_customerId", customer_id=customer_id)
        .filter(lambda pending: pending.status == "pending")
        .collect()
    )


async def save_pending(
    ctx: MutationCtx, polar_subscription_id: str, customer_id: str, event_data: Any, error: str | None = None
) -> Id[PendingSubscription]:
    """Keep a subscription until its user is known. A newer event replaces what is kept, not how it stands."""
    known = await pending_of(ctx, polar_subscription_id)
    if known is not None:
        await ctx.db.patch(known.id, event_data=event_data, error=error)
        return known.id
    return await ctx.db.insert(
        PendingSubscription(
            polar_subscription_id=polar_subscription_id,
            customer_id=customer_id,
            event_data=event_data,
            status="pending",
            error=error,
            created_at=ctx.now(),
        )
    )


async def resolve_pending(ctx: MutationCtx, pending: PendingSubscription, user_id: str) -> None:
    await ctx.db.patch(pending.id, status="resolved", resolved_user_id=user_id, resolved_at=ctx.now())
