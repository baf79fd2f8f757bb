"""What a generation costs, and who has how much left.

Each plan has an allowance per window of 24 hours. The window opens with the first credit taken and does not move when
more are. An upgrade changes the ceiling at once and the balance with the next window, except that the unlimited plan
never refuses.
"""

from __future__ import annotations

import math
from typing import Final

from functions.rules import billing
from reactor import ApplicationError, Environment, MutationCtx, QueryCtx, Struct
from schema import PlanType, Usage

WINDOW_MS: Final = 24 * 60 * 60 * 1000
ALLOWANCE: Final[dict[PlanType, int]] = {"free": 5, "pro": 100, "unlimited": 2**53 - 1}
OUT_OF_CREDITS: Final = "You have run out of credits"


class Products(Environment):
    """Which product of the payment provider means which plan."""

    NEXT_PUBLIC_POLAR_PRO_PRODUCT_ID: str | None = None
    NEXT_PUBLIC_POLAR_UNLIMITED_PRODUCT_ID: str | None = None


class Consumed(Struct):
    """The answer to taking a credit. `message` is there when there was none to take."""

    success: bool
    remaining: float
    message: str | None = None


class Balance(Struct):
    """What a user has left. `remaining_points` and `credits_remaining` are older names of `points`."""

    points: float
    max_points: float
    expire: float | None = None
    plan_type: PlanType
    remaining_points: float
    credits_remaining: float
    ms_before_next: float


async def plan_of(ctx: QueryCtx, user_id: str) -> PlanType:
    """The plan of the user's oldest active subscription."""
    subscription = await billing.active_subscription(ctx, user_id)
    if subscription is None:
        return "free"
    products = ctx.env(Products)
    if subscription.product_id == products.NEXT_PUBLIC_POLAR_PRO_PRODUCT_ID:
        return "pro"
    if subscription.product_id == products.NEXT_PUBLIC_POLAR_UNLIMITED_PRODUCT_ID:
        return "unlimited"
    return "free"


async def record_of(ctx: QueryCtx, user_id: str) -> Usage | None:
    return await ctx.db.query(Usage).with_index("by_userId", user_id=user_id).first()


def is_over(usage: Usage, now: float) -> bool:
    """Whether the window has ended. One without an end (none, or 0) never does."""
    return usage.expire is not None and 0 < usage.expire < now


async def consume(ctx: MutationCtx, user_id: str) -> Consumed:
    """Take one credit, or say when there will be some again. Decides and writes in one transaction."""
    now = ctx.now()
    plan = await plan_of(ctx, user_id)
    usage = await record_of(ctx, user_id)

    if usage is None or is_over(usage, now):
        points = ALLOWANCE[plan] - 1
        fresh = Usage(user_id=user_id, points=points, expire=now + WINDOW_MS, plan_type=plan)
        if usage is None:
            await ctx.db.insert(fresh)
        else:
            await ctx.db.replace(usage.id, fresh)
        return Consumed(success=True, remaining=points)

    if usage.points < 1:
        if plan != "unlimited":
            return Consumed(success=False, remaining=usage.points, message=_refusal(usage, now))
        # Upgraded with nothing left: let through, and the balance must not go below what it is.
        return Consumed(success=True, remaining=usage.points)

    await ctx.db.patch(usage.id, points=usage.points - 1)
    return Consumed(success=True, remaining=usage.points - 1)


async def charge(ctx: MutationCtx, user_id: str) -> None:
    """Take one credit or raise; the caller's transaction is rolled back with it."""
    if not (await consume(ctx, user_id)).success:
        raise ApplicationError(OUT_OF_CREDITS)


async def balance(ctx: QueryCtx, user_id: str) -> Balance:
    """What is left, without writing: a window that is over shows as a full one."""
    now = ctx.now()
    plan = await plan_of(ctx, user_id)
    usage = await record_of(ctx, user_id)
    if usage is None or is_over(usage, now):
        usage = Usage(user_id=user_id, points=ALLOWANCE[plan], expire=now + WINDOW_MS, plan_type=plan)
    return Balance(
        points=usage.points,
        max_points=ALLOWANCE[plan],
        expire=usage.expire,
        plan_type=usage.plan_type or plan,
        remaining_points=usage.points,
        credits_remaining=usage.points,
        ms_before_next=usage.expire - now if usage.expire else 0,
    )


def _refusal(usage: Usage, now: float) -> str:
    minutes = math.ceil((usage.expire - now) / 60_000) if usage.expire else 0
    return f"Insufficient credits. Your credits will reset in {minutes} minutes."
