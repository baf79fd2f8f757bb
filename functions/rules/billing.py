"""Subscriptions, and which user is which customer of the payment provider (Polar).

Nothing here asks who is calling; that is settled before (`rules/access.py`).
"""

from __future__ import annotations

from typing import Any

from reactor import ApplicationError, Id, MutationCtx, QueryCtx
from schema import PolarCustomer, Subscription


async def active_subscription(ctx: QueryCtx, user_id: str) -> Subscription | None:
    """The oldest active one; trials and unpaid ones don't count."""
    return await (
        ctx.db.query(Subscription)
        .with_index("by_userId", user_id=user_id)
        .filter(lambda subscription: subscription.status == "active")
        .first()
    )


async def subscription_of(ctx: QueryCtx, polar_subscription_id: str) -> Subscription | None:
    return await (
        ctx.db.query(Subscription)
        .with_index("by_polarSubscriptionId", polar_subscription_id=polar_subscription_id)
        .first()
    )


async def save(ctx: MutationCtx, subscription: Subscription) -> Id[Subscription]:
    """Insert, or replace all of what was known under this Polar id but the time of its creation."""
    existing = await subscription_of(ctx, subscription.polar_subscription_id)
    if existing is None:
        return await ctx.db.insert(subscription)
    await ctx.db.replace(existing.id, subscription.extend(Subscription, created_at=existing.created_at))
    return existing.id


async def change(ctx: MutationCtx, polar_subscription_id: str, **changes: Any) -> Id[Subscription]:
    existing = await subscription_of(ctx, polar_subscription_id)
    if existing is None:
        raise ApplicationError("Subscription not found")
    await ctx.db.patch(existing.id, {**changes, "updated_at": ctx.now()})
    return existing.id


async def cancel_later(ctx: MutationCtx, polar_subscription_id: str) -> Id[Subscription]:
    """It ends with the period that is paid for."""
    return await change(ctx, polar_subscription_id, cancel_at_period_end=True)


async def reactivate(ctx: MutationCtx, polar_subscription_id: str) -> Id[Subscription]:
    """Take `cancel_later` back. The status stays what it is."""
    return await change(ctx, polar_subscription_id, cancel_at_period_end=False)


async def revoke(ctx: MutationCtx, polar_subscription_id: str) -> Id[Subscription]:
    """It ends now."""
    return await change(ctx, polar_subscription_id, status="canceled", cancel_at_period_end=False)


async def customer(ctx: QueryCtx, polar_customer_id: str) -> PolarCustomer | None:
    return await (
        ctx.db.query(PolarCustomer).with_index("by_polarCustomerId", polar_customer_id=polar_customer_id).first()
    )


async def user_of_customer(ctx: QueryCtx, polar_customer_id: str) -> str | None:
    known = await customer(ctx, polar_customer_id)
    return None if known is None else known.user_id


async def sync_customer(ctx: MutationCtx, user_id: str, polar_customer_id: str) -> Id[PolarCustomer]:
    """Note whose customer id this is. The first user keeps it: a later one only moves `updated_at`."""
    now = ctx.now()
    known = await customer(ctx, polar_customer_id)
    if known is not None:
        await ctx.db.patch(known.id, updated_at=now)
        return known.id
    return await ctx.db.insert(
        PolarCustomer(user_id=user_id, polar_customer_id=polar_customer_id, created_at=now, updated_at=now)
    )
