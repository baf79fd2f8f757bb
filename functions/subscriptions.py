"""Subscriptions: written by the operator as the payment provider reports them, read by the users they belong to.

The original let anybody write them, and so give themselves any plan. Here only the operator may.
"""

from __future__ import annotations

from typing import Any

from functions.rules import access, billing
from reactor import UNSET, Id, MutationCtx, QueryCtx, UnsetType, mutation, query
from schema import Subscription, SubscriptionInterval, SubscriptionStatus


@mutation
async def create_or_update_subscription(
    ctx: MutationCtx,
    polar_subscription_id: str,
    customer_id: str,
    product_id: str,
    price_id: str,
    status: SubscriptionStatus,
    interval: SubscriptionInterval,
    current_period_start: float,
    current_period_end: float,
    cancel_at_period_end: bool,
    canceled_at: float | None = None,
    trial_start: float | None = None,
    trial_end: float | None = None,
    metadata: Any | UnsetType = UNSET,
    user_id: str | None = None,
) -> Id[Subscription] | None:
    """Write all of a subscription; what is left out is erased. Without `user_id` it belongs to the customer's user.

    Null, and nothing written, when that customer is not known either.
    """
    await access.require_system(ctx)
    owner = user_id or await billing.user_of_customer(ctx, customer_id)
    if owner is None:
        ctx.log(f"No user is known for the customer {customer_id}")
        return None
    now = ctx.now()
    return await billing.save(
        ctx,
        Subscription(
            user_id=owner,
            polar_subscription_id=polar_subscription_id,
            customer_id=customer_id,
            product_id=product_id,
            price_id=price_id,
            status=status,
            interval=interval,
            current_period_start=current_period_start,
            current_period_end=current_period_end,
            cancel_at_period_end=cancel_at_period_end,
            canceled_at=canceled_at,
            trial_start=trial_start,
            trial_end=trial_end,
            metadata=metadata,
            created_at=now,
            updated_at=now,
        ),
    )


@mutation
async def mark_subscription_for_cancellation(ctx: MutationCtx, polar_subscription_id: str) -> Id[Subscription]:
    await access.require_system(ctx)
    return await billing.cancel_later(ctx, polar_subscription_id)


@mutation
async def reactivate_subscription(ctx: MutationCtx, polar_subscription_id: str) -> Id[Subscription]:
    await access.require_system(ctx)
    return await billing.reactivate(ctx, polar_subscription_id)


@mutation
async def revoke_subscription(ctx: MutationCtx, polar_subscription_id: str) -> Id[Subscription]:
    await access.require_system(ctx)
    return await billing.revoke(ctx, polar_subscription_id)


@query
async def get_subscription(ctx: QueryCtx) -> Subscription | None:
    """The caller's oldest active subscription: the one that decides their plan."""
    return await billing.active_subscription(ctx, await access.user(ctx))


@query
async def get_subscription_by_polar_id(ctx: QueryCtx, polar_subscription_id: str) -> Subscription | None:
    await access.require_system(ctx)
    return await billing.subscription_of(ctx, polar_subscription_id)


@query
async def get_user_subscriptions(ctx: QueryCtx, user_id: str) -> list[Subscription]:
    """Oldest first, whatever their status."""
    await access.require_user(ctx, user_id)
    return await ctx.db.query(Subscription).with_index("by_userId", user_id=user_id).collect()
