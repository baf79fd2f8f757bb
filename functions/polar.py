"""Customers of the payment provider, and its view of subscriptions. Its webhook is in `http.py`."""

from __future__ import annotations

from functions import subscriptions
from functions.rules import access, billing
from reactor import Id, MutationCtx, QueryCtx, mutation, query
from schema import PolarCustomer, Subscription

sync_subscription = mutation(subscriptions.create_or_update_subscription.handler)
"""An older name of `subscriptions.create_or_update_subscription`."""


@mutation
async def sync_customer(ctx: MutationCtx, user_id: str, polar_customer_id: str) -> Id[PolarCustomer]:
    """Note whose customer id this is. One that is known already keeps its user."""
    await access.require_system(ctx)
    return await billing.sync_customer(ctx, user_id, polar_customer_id)


@query
async def get_customer_id_by_user_id(ctx: QueryCtx, user_id: str) -> str | None:
    """The user's customer id at Polar."""
    await access.require_user(ctx, user_id)
    customer = await ctx.db.query(PolarCustomer).with_index("by_userId", user_id=user_id).first()
    return None if customer is None else customer.polar_customer_id


@query
async def get_customer_by_polar_id(ctx: QueryCtx, polar_customer_id: str) -> PolarCustomer | None:
    await access.require_system(ctx)
    return await billing.customer(ctx, polar_customer_id)


@query
async def get_user_polar_subscription(ctx: QueryCtx) -> Subscription | None:
    """The caller's oldest active subscription. Null for the anonymous, too."""
    identity = await ctx.auth.get_user_identity()
    return None if identity is None else await billing.active_subscription(ctx, identity.subject)
