"""Subscriptions and Polar customers: who writes them, and what each write does (sample app, sections 7 and 12)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from functions import polar, subscriptions
from reactor import UNSET, Id, InvalidArguments
from reactor.testing import Backend
from schema import Subscription
from tests.sample_app.scene import Wire, refused

TERMS: dict[str, Any] = {
    "polar_subscription_id": "sub_1",
    "customer_id": "cus_1",
    "product_id": "prod",
    "price_id": "price",
    "status": "active",
    "interval": "monthly",
    "current_period_start": 1.0,
    "current_period_end": 2.0,
    "cancel_at_period_end": False,
}


async def save(backend: Backend, **changes: Any) -> Id[Subscription]:
    saved = await backend.mutation(
        subscriptions.create_or_update_subscription, **{**TERMS, "user_id": "ann", **changes}
    )
    assert saved is not None
    return saved


async def by_polar_id(operator: Backend, polar_id: str = "sub_1") -> Subscription:
    found = await operator.query(subscriptions.get_subscription_by_polar_id, polar_subscription_id=polar_id)
    assert found is not None
    return found


async def test_the_polar_id_is_the_key_and_an_update_replaces_everything_else(
    operator: Backend, backend: Backend
) -> None:
    first_id = await save(operator, canceled_at=3, trial_start=4, trial_end=5, metadata={"a": 1})
    first = await by_polar_id(operator)
    await backend.advance(timedelta(seconds=1))

    second_id = await save(operator, user_id="bob", status="past_due", interval="yearly")

    second = await by_polar_id(operator)
    assert second_id == first_id
    assert (first.canceled_at, first.trial_start, first.trial_end, first.metadata) == (3, 4, 5, {"a": 1})
    assert (second.user_id, second.status, second.interval) == ("bob", "past_due", "yearly")
    assert (second.canceled_at, second.trial_start, second.trial_end, second.metadata) == (None, None, None, UNSET)
    assert (second.created_at, second.updated_at) == (first.created_at, backend.now())


async def test_what_was_not_given_is_absent_on_the_wire(operator: Backend) -> None:
    await save(operator)
    stored = await Wire(operator).query("subscriptions:getSubscriptionByPolarId", polarSubscriptionId="sub_1")
    assert not {"canceledAt", "trialStart", "trialEnd", "metadata"} & set(stored)


@pytest.mark.parametrize("nobody", [{}, {"user_id": ""}])
async def test_without_a_user_the_customer_record_decides(operator: Backend, nobody: dict[str, str]) -> None:
    save_it = subscriptions.create_or_update_subscription
    assert await operator.mutation(save_it, **TERMS, **nobody) is None
    assert await operator.query(subscriptions.get_subscription_by_polar_id, polar_subscription_id="sub_1") is None

    await operator.mutation(polar.sync_customer, user_id="ann", polar_customer_id="cus_1")

    assert await operator.mutation(save_it, **TERMS, **nobody) is not None
    assert (await by_polar_id(operator)).user_id == "ann"


async def test_sync_subscription_is_the_same_under_an_older_name(operator: Backend) -> None:
    saved = await operator.mutation(polar.sync_subscription, **TERMS, user_id="ann")
    assert saved == await save(operator)


async def test_cancellation_is_marked_taken_back_and_made_final(operator: Backend, backend: Backend) -> None:
    saved = await save(operator)
    await backend.advance(timedelta(seconds=1))

    async def after(change: Any) -> tuple[str, bool]:
        assert await operator.mutation(change, polar_subscription_id="sub_1") == saved
        found = await by_polar_id(operator)
        assert found.updated_at == backend.now()
        return found.status, found.cancel_at_period_end

    assert await after(subscriptions.mark_subscription_for_cancellation) == ("active", True)
    assert await after(subscriptions.reactivate_subscription) == ("active", False)
    assert await after(subscriptions.mark_subscription_for_cancellation) == ("active", True)
    assert await after(subscriptions.revoke_subscription) == ("canceled", False)
    assert await after(subscriptions.reactivate_subscription) == ("canceled", False)


@pytest.mark.parametrize("change", ["markSubscriptionForCancellation", "reactivateSubscription", "revokeSubscription"])
async def test_unknown_subscriptions_are_not_found(operator: Backend, change: str) -> None:
    with refused("Subscription not found"):
        await operator.mutation(f"subscriptions:{change}", polar_subscription_id="sub_9")


async def test_a_user_sees_their_oldest_active_subscription(operator: Backend, ann: Backend, bob: Backend) -> None:
    assert await ann.query(subscriptions.get_subscription) is None
    await save(operator, polar_subscription_id="sub_0", status="canceled")
    await save(operator, polar_subscription_id="sub_1")
    await save(operator, polar_subscription_id="sub_2")

    for seen in (
        await ann.query(subscriptions.get_subscription),
        await ann.query(polar.get_user_polar_subscription),
    ):
        assert seen is not None
        assert seen.polar_subscription_id == "sub_1"
    listed = await ann.query(subscriptions.get_user_subscriptions, user_id="ann")
    assert [one.polar_subscription_id for one in listed] == ["sub_0", "sub_1", "sub_2"]
    assert await operator.query(subscriptions.get_user_subscriptions, user_id="ann") == listed
    assert await bob.query(subscriptions.get_subscription) is None


async def test_the_anonymous_have_no_subscription(backend: Backend) -> None:
    with refused("Unauthorized"):
        await backend.query(subscriptions.get_subscription)
    assert await backend.query(polar.get_user_polar_subscription) is None


async def test_a_customer_keeps_its_first_user(operator: Backend, backend: Backend) -> None:
    first = await operator.mutation(polar.sync_customer, user_id="ann", polar_customer_id="cus_1")
    before = await operator.query(polar.get_customer_by_polar_id, polar_customer_id="cus_1")
    await backend.advance(timedelta(seconds=1))
    again = await operator.mutation(polar.sync_customer, user_id="bob", polar_customer_id="cus_1")
    after = await operator.query(polar.get_customer_by_polar_id, polar_customer_id="cus_1")

    assert before is not None
    assert after is not None
    assert again == first
    assert (after.user_id, after.created_at, after.updated_at) == ("ann", before.created_at, backend.now())


async def test_customer_ids_by_user(operator: Backend, ann: Backend) -> None:
    assert await ann.query(polar.get_customer_id_by_user_id, user_id="ann") is None
    await operator.mutation(polar.sync_customer, user_id="ann", polar_customer_id="cus_1")
    assert await ann.query(polar.get_customer_id_by_user_id, user_id="ann") == "cus_1"
    assert await operator.query(polar.get_customer_id_by_user_id, user_id="ann") == "cus_1"
    assert await operator.query(polar.get_customer_by_polar_id, polar_customer_id="cus_9") is None


async def test_only_the_operator_writes_and_looks_behind_ids(backend: Backend, ann: Backend) -> None:
    """With the original, anybody could give themselves a plan."""
    acting = backend.as_user("ann").as_admin()
    for stranger in (backend, ann):
        for write in ("subscriptions:createOrUpdateSubscription", "polar:syncSubscription"):
            with refused("Unauthorized"):
                await stranger.mutation(write, {**TERMS, "user_id": "ann"})
        for change in ("markSubscriptionForCancellation", "reactivateSubscription", "revokeSubscription"):
            with refused("Unauthorized"):
                await stranger.mutation(f"subscriptions:{change}", polar_subscription_id="sub_1")
        with refused("Unauthorized"):
            await stranger.mutation(polar.sync_customer, user_id="ann", polar_customer_id="cus_1")
        with refused("Unauthorized"):
            await stranger.query(subscriptions.get_subscription_by_polar_id, polar_subscription_id="sub_1")
        with refused("Unauthorized"):
            await stranger.query(polar.get_customer_by_polar_id, polar_customer_id="cus_1")
        for look in ("subscriptions:getUserSubscriptions", "polar:getCustomerIdByUserId"):
            with refused("Unauthorized"):
                await stranger.query(look, user_id="bob")
    assert await acting.mutation(polar.sync_customer, user_id="ann", polar_customer_id="cus_1")


@pytest.mark.parametrize("wrong", [{"status": "revoked"}, {"interval": "weekly"}, {"canceled_at": "now"}, {"extra": 1}])
async def test_wrong_terms_are_refused(operator: Backend, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments):
        await operator.mutation("subscriptions:createOrUpdateSubscription", {**TERMS, **wrong})
