"""What events of the payment provider (Polar) mean for subscriptions and customers.

A subscription belongs to the user that the checkout named in its metadata, else to its customer's user. While neither is
known it is kept as pending, and comes into force when a checkout or an order says whose customer this is.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from functions.rules import billing, webhook_log
from functions.rules.dates import milliseconds
from functions.rules.metadata import fields_of
from reactor import ApplicationError, Id, MutationCtx
from schema import PendingSubscription, Subscription, SubscriptionStatus

PERIOD_MS: Final = 30 * 24 * 60 * 60 * 1000
"""Of a subscription that doesn't say until when it is paid for."""

STATUS: Final[dict[str, SubscriptionStatus]] = {
    "active": "active",
    "past_due": "past_due",
    "canceled": "canceled",
    "unpaid": "unpaid",
    "trialing": "trialing",
    "revoked": "canceled",
    # Not paid for yet, or never: the original took these for active and gave the plan away.
    "incomplete": "unpaid",
    "incomplete_expired": "unpaid",
}

STATE_CHANGES: Final[dict[str, Callable[[MutationCtx, str], Awaitable[Id[Subscription]]]]] = {
    "subscription.canceled": billing.cancel_later,
    "subscription.revoked": billing.revoke,
    "subscription.uncanceled": billing.reactivate,
}


class PolarObject:
    """An object of Polar's. Its fields come in camelCase or in snake_case; what has the wrong type is absent."""

    def __init__(self, value: object) -> None:
        self.fields = fields_of(value)

    def get(self, name: str) -> Any:
        """A field by its camelCase name; None when it is absent."""
        value = self.fields.get(name)
        return self.fields.get(_snake(name)) if value is None else value

    def text(self, name: str) -> str:
        """Empty when it is absent."""
        value = self.get(name)
        return value if isinstance(value, str) else ""

    def time(self, name: str) -> float | None:
        """In milliseconds."""
        text = self.text(name)
        return milliseconds(text) if text else None

    def part(self, name: str) -> PolarObject:
        """Without fields when it is absent."""
        return PolarObject(self.get(name))


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


async def apply(ctx: MutationCtx, event_type: str, data: PolarObject) -> Id[PendingSubscription] | None:
    """Do what an event says. Answers the pending subscription, if its user is not known; types we don't use do nothing."""
    match event_type:
        case "checkout.updated" if data.text("status") in ("succeeded", "confirmed"):
            await _link_customer(ctx, data)
        case "order.created":
            await _link_customer(ctx, data)
        case "subscription.created" | "subscription.updated" | "subscription.active":
            return await _save_or_keep(ctx, data)
        case "subscription.canceled" | "subscription.revoked" | "subscription.uncanceled":
            await STATE_CHANGES[event_type](ctx, data.text("id"))
        case _:
            ctx.log(f"Nothing to do for {event_type}")
    return None


async def keep_newest(ctx: MutationCtx, event_type: str, data: PolarObject) -> None:
    """Of a pending subscription that is canceled or revoked meanwhile, or one that is not any more, keep that."""
    if event_type in STATE_CHANGES:
        pending = await webhook_log.pending_of(ctx, data.text("id"))
        if pending is not None and pending.status == "pending":
            await ctx.db.patch(pending.id, event_data=data.fields)


async def _link_customer(ctx: MutationCtx, data: PolarObject) -> None:
    """A checkout or an order says whose customer this is: what waited for that comes into force."""
    user_id, customer_id = data.part("metadata").text("userId"), data.text("customerId")
    if not user_id or not customer_id:
        return
    await billing.sync_customer(ctx, user_id, customer_id)
    for pending in await webhook_log.pending_of_customer(ctx, customer_id):
        data = PolarObject(pending.event_data)
        await _save(ctx, pending.polar_subscription_id, pending.customer_id, data, user_id)


async def _save_or_keep(ctx: MutationCtx, data: PolarObject) -> Id[PendingSubscription] | None:
    polar_id, customer_id = data.text("id"), data.text("customerId")
    if not polar_id:
        raise ApplicationError("The subscription has no id")
    user_id = data.part("metadata").text("userId") or await billing.user_of_customer(ctx, customer_id)
    if user_id is None:
        return await webhook_log.save_pending(ctx, polar_id, customer_id, data.fields)
    if customer_id:
        await billing.sync_customer(ctx, user_id, customer_id)
    await _save(ctx, polar_id, customer_id, data, user_id)
    return None


async def _save(ctx: MutationCtx, polar_id: str, customer_id: str, data: PolarObject, user_id: str) -> None:
    now = ctx.now()
    price = data.part("price")
    interval = price.text("recurringInterval") or data.text("recurringInterval")
    start = data.time("currentPeriodStart")
    end = data.time("currentPeriodEnd")
    await billing.save(
        ctx,
        Subscription(
            user_id=user_id,
            polar_subscription_id=polar_id,
            customer_id=customer_id,
            product_id=data.text("productId"),
            price_id=data.text("priceId") or price.text("id"),
            status=STATUS.get(data.text("status"), "active"),
            interval="yearly" if interval == "year" else "monthly",
            current_period_start=now if start is None else start,
            current_period_end=now + PERIOD_MS if end is None else end,
            cancel_at_period_end=data.get("cancelAtPeriodEnd") is True,
            canceled_at=data.time("canceledAt"),
            trial_start=data.time("trialStart"),
            trial_end=data.time("trialEnd"),
            metadata={**data.part("metadata").fields, "polarCustomerId": customer_id, "source": "polar"},
            created_at=now,
            updated_at=now,
        ),
    )
    pending = await webhook_log.pending_of(ctx, polar_id)
    if pending is not None and pending.status == "pending":
        await webhook_log.resolve_pending(ctx, pending, user_id)
