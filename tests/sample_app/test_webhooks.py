"""The log of webhooks and the subscriptions that wait for their user, for the operator (sample app, sections 12 and 14)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from functions import webhooks
from functions.webhooks import Resolved
from reactor import InvalidArguments
from reactor.testing import Backend
from schema import PendingSubscription, WebhookEvent
from tests.sample_app.scene import Wire, refused


async def log(operator: Backend, event_id: str = "evt", event_type: str = "order.created", payload: Any = None) -> Any:
    return await operator.mutation(
        webhooks.log_webhook_event, event_id=event_id, event_type=event_type, payload=payload
    )


async def event(operator: Backend, event_id: str = "evt") -> WebhookEvent:
    found = await operator.query(webhooks.get_webhook_event, event_id=event_id)
    assert found is not None
    return found


async def test_the_first_note_of_an_event_stays(operator: Backend, backend: Backend) -> None:
    first = await log(operator, payload={"n": 1})
    await backend.advance(timedelta(seconds=1))
    assert await log(operator, event_type="other", payload={"n": 2}) == first
    noted = await event(operator)
    assert (noted.event_type, noted.payload, noted.status, noted.retry_count) == (
        "order.created",
        {"n": 1},
        "received",
        0,
    )
    assert noted.created_at == backend.now() - 1000
    assert await operator.query(webhooks.get_webhook_event, event_id="else") is None


async def test_the_status_says_when_it_was_settled_and_counts_retries(operator: Backend, backend: Backend) -> None:
    async def after(status: Any, **error: str) -> tuple[Any, ...]:
        await backend.advance(timedelta(seconds=1))
        answer = await operator.mutation(webhooks.update_webhook_event_status, event_id="evt", status=status, **error)
        noted = await event(operator)
        assert answer == noted.id
        settled = None if noted.processed_at is None else noted.processed_at == backend.now()
        return noted.status, noted.error, settled, noted.retry_count

    await log(operator)
    assert await after("failed", error="no user") == ("failed", "no user", True, 0)
    assert await after("retrying") == ("retrying", None, None, 1)
    assert await after("failed", error="again") == ("failed", "again", True, 1)
    assert await after("retrying", error="still") == ("retrying", "still", None, 2)
    assert await after("processed") == ("processed", None, True, 2)


async def test_what_is_erased_is_absent_on_the_wire(operator: Backend) -> None:
    wire = Wire(operator)
    await log(operator)
    await wire.mutation("webhooks:updateWebhookEventStatus", eventId="evt", status="failed", error="x")
    await wire.mutation("webhooks:updateWebhookEventStatus", eventId="evt", status="retrying")
    noted = await wire.query("webhooks:getWebhookEvent", eventId="evt")
    assert set(noted) == {
        *("_id", "_creationTime", "eventId", "eventType", "status", "payload", "retryCount", "createdAt")
    }


async def test_the_status_of_an_unknown_event_is_null(operator: Backend) -> None:
    answer = await operator.mutation(webhooks.update_webhook_event_status, event_id="evt", status="processed")
    assert answer is None


async def test_failed_events_are_listed_oldest_first_and_recent_ones_newest_first(
    operator: Backend, backend: Backend
) -> None:
    for n in range(4):
        await log(operator, f"{n}")
        await backend.advance(timedelta(seconds=1))
    for n in ("3", "1"):
        await operator.mutation(webhooks.update_webhook_event_status, event_id=n, status="failed")
    failed = await operator.query(webhooks.get_failed_webhook_events)
    recent = await operator.query(webhooks.get_recent_webhook_events, limit=3)
    assert [one.event_id for one in failed] == ["1", "3"]
    assert [one.event_id for one in await operator.query(webhooks.get_failed_webhook_events, limit=1)] == ["1"]
    assert [one.event_id for one in recent] == ["3", "2", "1"]
    assert len(await operator.query(webhooks.get_recent_webhook_events)) == 4


async def keep(operator: Backend, polar_id: str = "sub_1", data: Any = None, **more: Any) -> Any:
    return await operator.mutation(
        webhooks.save_pending_subscription,
        polar_subscription_id=polar_id,
        customer_id="cus_1",
        event_data=data,
        **more,
    )


async def all_pending(operator: Backend) -> list[PendingSubscription]:
    return await operator.query(webhooks.get_all_pending_subscriptions)


async def test_a_newer_event_replaces_the_data_and_the_error_only(operator: Backend) -> None:
    first = await keep(operator, data={"n": 1}, error="no user")
    await operator.mutation(webhooks.mark_pending_subscription_failed, polar_subscription_id="sub_1", error="gone")
    again = await operator.mutation(
        webhooks.save_pending_subscription, polar_subscription_id="sub_1", customer_id="cus_2", event_data={"n": 2}
    )
    [kept] = await all_pending(operator)
    assert again == first == kept.id
    assert (kept.event_data, kept.error, kept.status, kept.customer_id) == ({"n": 2}, None, "failed", "cus_1")


async def test_resolving_hands_over_what_was_kept(operator: Backend, backend: Backend) -> None:
    pending_id = await keep(operator, data={"n": 1})
    await backend.advance(timedelta(seconds=1))
    resolve = webhooks.resolve_pending_subscription
    assert await operator.mutation(resolve, polar_subscription_id="sub_9", user_id="ann") is None
    answer = await operator.mutation(resolve, polar_subscription_id="sub_1", user_id="ann")
    [kept] = await all_pending(operator)
    assert answer == Resolved(pending_id=pending_id, event_data={"n": 1})
    assert (kept.status, kept.resolved_user_id, kept.resolved_at) == ("resolved", "ann", backend.now())


async def test_failing_keeps_the_reason(operator: Backend) -> None:
    fail = webhooks.mark_pending_subscription_failed
    assert await operator.mutation(fail, polar_subscription_id="sub_1", error="x") is None
    pending_id = await keep(operator)
    assert await operator.mutation(fail, polar_subscription_id="sub_1", error="x") == pending_id
    [kept] = await all_pending(operator)
    assert (kept.status, kept.error) == ("failed", "x")


async def test_pending_ones_are_found_by_status_and_by_customer(operator: Backend) -> None:
    assert await operator.query(webhooks.get_pending_subscription_by_customer_id, customer_id="cus_1") is None
    for n in range(3):
        await keep(operator, f"sub_{n}")
    await operator.mutation(webhooks.resolve_pending_subscription, polar_subscription_id="sub_0", user_id="ann")

    waiting = await operator.query(webhooks.get_pending_subscriptions)
    resolved = await operator.query(webhooks.get_pending_subscriptions_by_status, status="resolved")
    first = await operator.query(webhooks.get_pending_subscription_by_customer_id, customer_id="cus_1")

    assert [one.polar_subscription_id for one in waiting] == ["sub_1", "sub_2"]
    assert [one.polar_subscription_id for one in resolved] == ["sub_0"]
    assert first == waiting[0]
    assert len(await all_pending(operator)) == 3


MUTATIONS: dict[str, dict[str, Any]] = {
    "logWebhookEvent": {"event_id": "e", "event_type": "t", "payload": 1},
    "updateWebhookEventStatus": {"event_id": "e", "status": "failed"},
    "savePendingSubscription": {"polar_subscription_id": "s", "customer_id": "c", "event_data": 1},
    "resolvePendingSubscription": {"polar_subscription_id": "s", "user_id": "ann"},
    "markPendingSubscriptionFailed": {"polar_subscription_id": "s", "error": "x"},
}
QUERIES: dict[str, dict[str, Any]] = {
    "getWebhookEvent": {"event_id": "e"},
    "getFailedWebhookEvents": {},
    "getRecentWebhookEvents": {},
    "getPendingSubscriptions": {},
    "getPendingSubscriptionByCustomerId": {"customer_id": "c"},
    "getPendingSubscriptionsByStatus": {"status": "pending"},
    "getAllPendingSubscriptions": {},
}


async def test_only_the_operator_may_look_or_write(backend: Backend, ann: Backend) -> None:
    for stranger in (backend, ann):
        for name, args in MUTATIONS.items():
            with refused("Unauthorized"):
                await stranger.mutation(f"webhooks:{name}", args)
        for name, args in QUERIES.items():
            with refused("Unauthorized"):
                await stranger.query(f"webhooks:{name}", args)


async def test_enumerations_are_closed(operator: Backend) -> None:
    with pytest.raises(InvalidArguments):
        await operator.mutation("webhooks:updateWebhookEventStatus", event_id="e", status="done")
    with pytest.raises(InvalidArguments):
        await operator.query("webhooks:getPendingSubscriptionsByStatus", status="received")
