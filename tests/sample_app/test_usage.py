"""Credits: allowances, the window, plans, and who may take whose (sample app, sections 6 and 12)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from functions import usage
from functions.rules.credits import ALLOWANCE, Balance, Consumed
from reactor import MutationCtx
from reactor.testing import Backend
from schema import Usage
from tests.sample_app.scene import Subscriptions, Wire, refused

DAY_MS = 86_400_000.0


async def consume(user: Backend, times: int) -> list[float]:
    return [(await user.mutation(usage.check_and_consume_credit)).remaining for _ in range(times)]


async def stored(backend: Backend) -> list[Usage]:
    async def read(ctx: MutationCtx) -> list[Usage]:
        return await ctx.db.query(Usage).collect()

    return await backend.run(read)


async def test_a_free_user_has_five_credits(ann: Backend) -> None:
    assert await consume(ann, 5) == [4, 3, 2, 1, 0]


async def test_the_sixth_is_an_answer_not_an_error_and_says_when_there_will_be_more(ann: Backend) -> None:
    await consume(ann, 5)

    answer = await ann.mutation(usage.check_and_consume_credit)

    assert answer == Consumed(
        success=False, remaining=0, message="Insufficient credits. Your credits will reset in 1440 minutes."
    )


async def test_minutes_to_the_reset_are_rounded_up(ann: Backend, backend: Backend) -> None:
    await consume(ann, 5)
    await backend.advance(timedelta(hours=23, seconds=1))

    answer = await ann.mutation(usage.check_and_consume_credit)

    assert answer.message == "Insufficient credits. Your credits will reset in 60 minutes."


async def test_a_refusal_writes_nothing(ann: Backend, backend: Backend) -> None:
    await consume(ann, 5)
    before = await stored(backend)
    await consume(ann, 3)
    assert await stored(backend) == before


async def test_success_carries_no_message_on_the_wire(ann_wire: Wire) -> None:
    assert await ann_wire.mutation("usage:checkAndConsumeCredit") == {"success": True, "remaining": 4}


async def test_the_window_opens_with_the_first_credit_and_does_not_move(ann: Backend, backend: Backend) -> None:
    await consume(ann, 1)
    [first] = await stored(backend)
    await backend.advance(timedelta(hours=12))
    await consume(ann, 1)
    [second] = await stored(backend)
    assert (first.points, second.points) == (4, 3)
    assert first.expire == second.expire


async def test_a_window_is_over_only_after_its_last_millisecond(ann: Backend, backend: Backend) -> None:
    await consume(ann, 5)

    await backend.advance(timedelta(days=1))
    at_the_end = await ann.mutation(usage.check_and_consume_credit)
    await backend.advance(timedelta(milliseconds=1))
    after_it = await ann.mutation(usage.check_and_consume_credit)

    assert (at_the_end.success, at_the_end.message) == (
        False,
        "Insufficient credits. Your credits will reset in 0 minutes.",
    )
    assert (after_it.success, after_it.remaining) == (True, 4)


async def test_a_new_window_keeps_the_one_record_of_the_user(ann: Backend, backend: Backend) -> None:
    await consume(ann, 5)
    [old] = await stored(backend)
    await backend.advance(timedelta(days=2))
    await consume(ann, 1)
    [new] = await stored(backend)
    assert new.id == old.id
    assert new.expire is not None
    assert old.expire is not None
    assert new.expire == old.expire + 2 * DAY_MS


@pytest.mark.parametrize("end", [None, 0])
async def test_a_record_without_an_end_never_ends(ann: Backend, backend: Backend, end: float | None) -> None:
    async def insert(ctx: MutationCtx) -> None:
        await ctx.db.insert(Usage(user_id="ann", points=0, expire=end))

    await backend.run(insert)
    await backend.advance(timedelta(days=400))

    answer = await ann.mutation(usage.check_and_consume_credit)

    assert answer.message == "Insufficient credits. Your credits will reset in 0 minutes."
    assert (await ann.query(usage.get_usage)).ms_before_next == 0


async def test_balances_are_per_user(ann: Backend, bob: Backend) -> None:
    await consume(ann, 5)
    assert await consume(bob, 1) == [4]


@pytest.mark.parametrize("call", [usage.check_and_consume_credit, usage.get_usage], ids=lambda f: str(f))
async def test_strangers_are_refused(backend: Backend, call: object) -> None:
    with refused("Unauthorized"):
        if call is usage.get_usage:
            await backend.query(usage.get_usage)
        else:
            await backend.mutation(usage.check_and_consume_credit)


# Plans


@pytest.mark.parametrize(
    ("product_id", "left"),
    [("prod_pro", 99), ("prod_unlimited", 2**53 - 2), ("prod_else", 4)],
)
async def test_the_product_of_the_active_subscription_decides_the_allowance(
    ann: Backend, subscriptions: Subscriptions, product_id: str, left: int
) -> None:
    await subscriptions.add("ann", product_id)
    assert await consume(ann, 1) == [left]


@pytest.mark.parametrize("status", ["trialing", "past_due", "canceled", "unpaid"])
async def test_only_active_subscriptions_count(ann: Backend, subscriptions: Subscriptions, status: object) -> None:
    await subscriptions.add("ann", "prod_pro", status)  # type: ignore[arg-type]
    assert await consume(ann, 1) == [4]


async def test_of_two_active_subscriptions_the_older_one_is_looked_at(
    ann: Backend, subscriptions: Subscriptions
) -> None:
    await subscriptions.add("ann", "prod_else")
    await subscriptions.add("ann", "prod_pro")
    assert await consume(ann, 1) == [4]


async def test_an_upgrade_raises_the_ceiling_at_once_and_the_points_with_the_next_window(
    ann: Backend, backend: Backend, subscriptions: Subscriptions
) -> None:
    await consume(ann, 2)
    await subscriptions.add("ann", "prod_pro")

    upgraded = await ann.query(usage.get_usage)
    await backend.advance(timedelta(days=1, milliseconds=1))
    renewed = await ann.query(usage.get_usage)

    assert (upgraded.points, upgraded.max_points, upgraded.plan_type) == (3, 100, "free")
    assert (renewed.points, renewed.max_points, renewed.plan_type) == (100, 100, "pro")


async def test_a_new_window_is_stored_with_the_plan_as_of_then(
    ann: Backend, backend: Backend, subscriptions: Subscriptions
) -> None:
    await consume(ann, 2)
    await subscriptions.add("ann", "prod_pro")
    await backend.advance(timedelta(days=1, milliseconds=1))
    assert await consume(ann, 1) == [99]
    [usage_now] = await stored(backend)
    assert (usage_now.points, usage_now.plan_type) == (99, "pro")


async def test_upgraded_to_unlimited_with_nothing_left_is_let_through_and_never_goes_below_zero(
    ann: Backend, subscriptions: Subscriptions
) -> None:
    await consume(ann, 5)
    await subscriptions.add("ann", "prod_unlimited")

    answers = [await ann.mutation(usage.check_and_consume_credit) for _ in range(3)]

    assert answers == [Consumed(success=True, remaining=0)] * 3


async def test_a_canceled_plan_lowers_the_ceiling_at_once(ann: Backend, subscriptions: Subscriptions) -> None:
    await subscriptions.add("ann", "prod_pro")
    await consume(ann, 1)
    await subscriptions.cancel_all("ann")
    balance = await ann.query(usage.get_usage)
    assert (balance.points, balance.max_points, balance.plan_type) == (99, 5, "pro")


# Balances


async def test_an_untouched_balance_is_full_and_reading_it_writes_nothing(ann: Backend, backend: Backend) -> None:
    now = backend.now()
    assert await ann.query(usage.get_usage) == Balance(
        points=5,
        max_points=5,
        expire=now + DAY_MS,
        plan_type="free",
        remaining_points=5,
        credits_remaining=5,
        ms_before_next=DAY_MS,
    )
    assert await stored(backend) == []


async def test_a_balance_on_the_wire_has_all_seven_names(ann_wire: Wire) -> None:
    assert set(await ann_wire.query("usage:getUsage")) == {
        "points",
        "maxPoints",
        "expire",
        "planType",
        "remainingPoints",
        "creditsRemaining",
        "msBeforeNext",
    }


async def test_a_balance_counts_down_to_the_reset(ann: Backend, backend: Backend) -> None:
    await consume(ann, 2)
    await backend.advance(timedelta(hours=6))
    balance = await ann.query(usage.get_usage)
    assert (balance.points, balance.ms_before_next) == (3, DAY_MS * 3 / 4)
    assert (balance.remaining_points, balance.credits_remaining) == (3, 3)


async def test_a_subscriber_sees_the_balance_fall(ann: Backend) -> None:
    async with ann.subscribe(usage.get_usage) as updates:
        assert (await updates.next()).points == 5
        await consume(ann, 1)
        assert (await updates.next()).points == 4


# Who may


async def test_the_operator_takes_and_reads_anyones_credits(operator: Backend, ann: Backend) -> None:
    answer = await operator.mutation(usage.check_and_consume_credit_for_user, user_id="ann")
    assert answer.remaining == 4
    assert (await operator.query(usage.get_usage_for_user, user_id="ann")).points == 4
    assert (await ann.query(usage.get_usage)).points == 4


async def test_users_may_use_the_operators_functions_on_themselves_only(ann: Backend, bob: Backend) -> None:
    assert (await ann.mutation(usage.check_and_consume_credit_for_user, user_id="ann")).remaining == 4
    assert (await ann.query(usage.get_usage_for_user, user_id="ann")).points == 4
    with refused("Unauthorized"):
        await bob.mutation(usage.check_and_consume_credit_for_user, user_id="ann")
    with refused("Unauthorized"):
        await bob.query(usage.get_usage_for_user, user_id="ann")


async def test_the_anonymous_may_use_no_operators_function(backend: Backend) -> None:
    with refused("Unauthorized"):
        await backend.mutation(usage.check_and_consume_credit_for_user, user_id="ann")
    with refused("Unauthorized"):
        await backend.query(usage.get_usage_for_user, user_id="ann")
    with refused("Unauthorized"):
        await backend.mutation(usage.reset_usage, user_id="ann")


async def test_the_operator_resets_a_balance(operator: Backend, ann: Backend, backend: Backend) -> None:
    await consume(ann, 5)

    assert await operator.mutation(usage.reset_usage, user_id="ann") is None

    assert await stored(backend) == []
    assert await consume(ann, 1) == [4]


async def test_resetting_what_is_not_there_is_fine(operator: Backend) -> None:
    assert await operator.mutation(usage.reset_usage, user_id="nobody") is None


async def test_users_reset_nobody_not_even_themselves(ann: Backend) -> None:
    with refused("Unauthorized"):
        await ann.mutation(usage.reset_usage, user_id="ann")


async def test_an_operator_calls_plan_is_the_users(operator: Backend, subscriptions: Subscriptions) -> None:
    await subscriptions.add("ann", "prod_pro")
    answer = await operator.mutation(usage.check_and_consume_credit_for_user, user_id="ann")
    assert answer.remaining == ALLOWANCE["pro"] - 1


# At the same time


async def test_twenty_calls_at_once_take_five_credits(ann: Backend) -> None:
    answers = await asyncio.gather(*(ann.mutation(usage.check_and_consume_credit) for _ in range(20)))
    assert sorted(answer.remaining for answer in answers if answer.success) == [0, 1, 2, 3, 4]
    assert [answer.remaining for answer in answers if not answer.success] == [0] * 15


async def test_a_users_own_and_the_operators_calls_share_one_balance(ann: Backend, operator: Backend) -> None:
    own = (ann.mutation(usage.check_and_consume_credit) for _ in range(5))
    theirs = (operator.mutation(usage.check_and_consume_credit_for_user, user_id="ann") for _ in range(5))
    answers = await asyncio.gather(*own, *theirs)
    assert sorted(answer.remaining for answer in answers if answer.success) == [0, 1, 2, 3, 4]
