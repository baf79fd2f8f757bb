"""Webhooks as they come in over HTTP: signed, replayed, out of order, broken (sample app, section 15)."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as StandardWebhook
from svix import Webhook as SvixWebhook

from functions import polar, subscriptions, usage, webhooks
from reactor.testing import Backend
from schema import PendingSubscription, Subscription, WebhookEvent
from tests.sample_app.scene import Subscriptions

POLAR_SECRET = "polar_whs_a text, as Polar makes them"
CLERK_SECRET = "whsec_" + base64.b64encode(b"clerk's secret, twenty-four").decode()
ISO_START, START = "2026-01-01T00:00:00Z", 1_767_225_600_000
ISO_END, END = "2026-02-01T00:00:00+00:00", 1_769_904_000_000


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLAR_WEBHOOK_SECRET", POLAR_SECRET)
    monkeypatch.setenv("CLERK_WEBHOOK_SECRET", CLERK_SECRET)


def signed(backend: Backend, body: str, event_id: str, secret: str = POLAR_SECRET, age_s: float = 0) -> dict[str, str]:
    """What Polar sends: it takes the text of the secret for the key."""
    at = datetime.fromtimestamp(backend.now() / 1000 - age_s, UTC)
    key = secret if secret.startswith("whsec_") else base64.b64encode(secret.encode()).decode()
    signature = StandardWebhook(key).sign(event_id, at, body)
    return {"webhook-id": event_id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


async def send(backend: Backend, event_type: str, data: dict[str, Any], event_id: str = "evt_1") -> httpx.Response:
    body = json.dumps({"type": event_type, "data": data})
    headers = signed(backend, body, event_id)
    return await backend.fetch("/api/webhooks/polar", "POST", content=body, headers=headers)


async def received(backend: Backend, event_type: str, data: dict[str, Any], event_id: str = "evt_1") -> None:
    answer = await send(backend, event_type, data, event_id)
    assert (answer.status_code, answer.json()) == (200, {"received": True})


async def event(operator: Backend, event_id: str = "evt_1") -> WebhookEvent:
    found = await operator.query(webhooks.get_webhook_event, event_id=event_id)
    assert found is not None
    return found


async def subscription(operator: Backend, polar_id: str = "sub_1") -> Subscription | None:
    return await operator.query(subscriptions.get_subscription_by_polar_id, polar_subscription_id=polar_id)


async def saved(operator: Backend) -> Subscription:
    found = await subscription(operator)
    assert found is not None
    return found


def paid(**changes: Any) -> dict[str, Any]:
    """A subscription as Polar describes it."""
    return {
        "id": "sub_1",
        "customerId": "cus_1",
        "productId": "prod_pro",
        "priceId": "price_1",
        "price": {"id": "price_1", "recurringInterval": "month"},
        "status": "active",
        "currentPeriodStart": ISO_START,
        "currentPeriodEnd": ISO_END,
        "cancelAtPeriodEnd": False,
        "metadata": {"userId": "ann"},
        **changes,
    }


# Who sends


async def test_without_a_signature_nothing_is_read(backend: Backend, operator: Backend) -> None:
    answer = await backend.fetch("/api/webhooks/polar", "POST", content="{}")
    assert (answer.status_code, answer.json()) == (401, {"error": "Missing webhook signature"})


async def test_without_a_secret_nothing_can_be_checked(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLAR_WEBHOOK_SECRET")
    answer = await send(backend, "order.created", {})
    assert (answer.status_code, answer.json()) == (500, {"error": "Webhook secret not configured"})


@pytest.mark.parametrize(
    "forged",
    [
        {"webhook-signature": "v1," + base64.b64encode(b"0" * 32).decode()},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,not base64 at all"},
        {"webhook-signature": "nothing"},
        {"webhook-id": "evt_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": "1"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "9" * 400},
    ],
)
async def test_forged_deliveries_are_refused(backend: Backend, operator: Backend, forged: dict[str, str]) -> None:
    body = json.dumps({"type": "subscription.created", "data": paid()})
    headers = signed(backend, body, "evt_1") | forged
    answer = await backend.fetch("/api/webhooks/polar", "POST", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"error": "Invalid webhook signature"})
    assert await operator.query(webhooks.get_recent_webhook_events) == []
    assert await subscription(operator) is None


async def test_changed_bodies_and_other_secrets_are_refused(backend: Backend) -> None:
    body = json.dumps({"type": "order.created", "data": {}})
    changed = await backend.fetch(
        "/api/webhooks/polar", "POST", content=body + " ", headers=signed(backend, body, "evt_1")
    )
    other = await backend.fetch(
        "/api/webhooks/polar", "POST", content=body, headers=signed(backend, body, "evt_1", secret="polar_whs_else")
    )
    assert (changed.status_code, other.status_code) == (401, 401)


@pytest.mark.parametrize(("age_s", "status"), [(299, 200), (301, 401), (-299, 200), (-301, 401)])
async def test_a_signature_is_good_for_five_minutes(backend: Backend, age_s: float, status: int) -> None:
    body = json.dumps({"type": "order.created", "data": {}})
    headers = signed(backend, body, "evt_1", age_s=age_s)
    answer = await backend.fetch("/api/webhooks/polar", "POST", content=body, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("old_first", [True, False])
async def test_while_a_secret_is_replaced_either_signature_will_do(backend: Backend, old_first: bool) -> None:
    body = json.dumps({"type": "order.created", "data": {}})
    headers = signed(backend, body, "evt_1")
    other = signed(backend, body, "evt_1", secret="polar_whs_else")["webhook-signature"]
    both = [other, headers["webhook-signature"]]
    headers["webhook-signature"] = " ".join(both if old_first else both[::-1])
    answer = await backend.fetch("/api/webhooks/polar", "POST", content=body, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("secret", [CLERK_SECRET, CLERK_SECRET.removeprefix("whsec_")])
async def test_secrets_in_the_standards_form_are_taken_too(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("POLAR_WEBHOOK_SECRET", secret)
    body = json.dumps({"type": "order.created", "data": {}})
    headers = signed(backend, body, "evt_1", secret=CLERK_SECRET)
    answer = await backend.fetch("/api/webhooks/polar", "POST", content=body, headers=headers)
    assert answer.status_code == 200


async def test_an_empty_secret_opens_nothing(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    import hmac

    monkeypatch.setenv("POLAR_WEBHOOK_SECRET", "whsec_")
    body, at = b"{}", str(int(backend.now() / 1000))
    signature = base64.b64encode(hmac.digest(b"", f"evt_1.{at}.".encode() + body, hashlib.sha256)).decode()
    headers = {"webhook-id": "evt_1", "webhook-timestamp": at, "webhook-signature": f"v1,{signature}"}
    answer = await backend.fetch("/api/webhooks/polar", "POST", content=body, headers=headers)
    assert answer.status_code == 401


# Subscriptions


@pytest.mark.parametrize("event_type", ["subscription.created", "subscription.updated", "subscription.active"])
async def test_a_subscription_is_written_with_its_customer(
    backend: Backend, operator: Backend, event_type: str
) -> None:
    await received(
        backend, event_type, paid(canceledAt=ISO_END, trialStart=ISO_START, metadata={"userId": "ann", "x": 1})
    )
    row = await saved(operator)
    assert (row.user_id, row.customer_id, row.product_id, row.price_id) == ("ann", "cus_1", "prod_pro", "price_1")
    assert (row.status, row.interval, row.cancel_at_period_end) == ("active", "monthly", False)
    assert (row.current_period_start, row.current_period_end) == (START, END)
    assert (row.canceled_at, row.trial_start, row.trial_end) == (END, START, None)
    assert row.metadata == {"userId": "ann", "x": 1, "polarCustomerId": "cus_1", "source": "polar"}
    assert await operator.query(polar.get_customer_id_by_user_id, user_id="ann") == "cus_1"
    noted = await event(operator)
    assert (noted.status, noted.event_type, noted.error) == ("processed", event_type, None)
    assert noted.payload["data"]["id"] == "sub_1"


async def test_snake_case_is_taken_too(backend: Backend, operator: Backend) -> None:
    data = {
        "id": "sub_1",
        "customer_id": "cus_1",
        "product_id": "prod_pro",
        "price_id": "price_1",
        "price": {"recurring_interval": "year"},
        "status": "trialing",
        "current_period_start": ISO_START,
        "current_period_end": ISO_END,
        "cancel_at_period_end": True,
        "metadata": {"userId": "ann"},
    }
    await received(backend, "subscription.created", data)
    row = await saved(operator)
    assert (row.interval, row.status, row.cancel_at_period_end) == ("yearly", "trialing", True)
    assert (row.current_period_start, row.current_period_end) == (START, END)


@pytest.mark.parametrize(
    ("polars", "ours"),
    [
        ("active", "active"),
        ("past_due", "past_due"),
        ("canceled", "canceled"),
        ("unpaid", "unpaid"),
        ("trialing", "trialing"),
        ("revoked", "canceled"),
        ("something new", "active"),
        ("incomplete", "unpaid"),
        ("incomplete_expired", "unpaid"),
    ],
)
async def test_polars_statuses_become_ours(backend: Backend, operator: Backend, polars: str, ours: str) -> None:
    await received(backend, "subscription.updated", paid(status=polars))
    assert (await saved(operator)).status == ours


async def test_without_a_period_it_is_thirty_days_from_now(backend: Backend, operator: Backend) -> None:
    await received(backend, "subscription.created", paid(currentPeriodStart=None, currentPeriodEnd=None, priceId=None))
    row = await saved(operator)
    assert row.current_period_start == backend.now()
    assert row.current_period_end == backend.now() + timedelta(days=30).total_seconds() * 1000
    assert row.price_id == "price_1"


async def test_the_customers_user_is_taken_when_the_metadata_names_none(backend: Backend, operator: Backend) -> None:
    await operator.mutation(polar.sync_customer, user_id="ann", polar_customer_id="cus_1")
    await received(backend, "subscription.created", paid(metadata={}))
    assert (await saved(operator)).user_id == "ann"


async def test_a_payment_changes_the_allowance(backend: Backend, ann: Backend, subscriptions: Subscriptions) -> None:
    assert (await ann.query(usage.get_usage)).max_points == 5
    await received(backend, "subscription.created", paid())
    assert (await ann.query(usage.get_usage)).max_points == 100
    await received(backend, "subscription.revoked", paid(status="canceled"), "evt_2")
    assert (await ann.query(usage.get_usage)).max_points == 5


async def test_subscriptions_are_canceled_revoked_and_taken_back(backend: Backend, operator: Backend) -> None:
    await received(backend, "subscription.created", paid())

    async def after(change: str) -> tuple[str, bool]:
        await received(backend, f"subscription.{change}", paid(), f"evt_{change}")
        assert (await event(operator, f"evt_{change}")).status == "processed"
        row = await saved(operator)
        return row.status, row.cancel_at_period_end

    assert await after("canceled") == ("active", True)
    assert await after("uncanceled") == ("active", False)
    assert await after("revoked") == ("canceled", False)


@pytest.mark.parametrize("change", ["canceled", "revoked", "uncanceled"])
async def test_a_change_to_an_unknown_subscription_is_noted_as_failed(
    backend: Backend, operator: Backend, change: str
) -> None:
    await received(backend, f"subscription.{change}", paid())
    noted = await event(operator)
    assert (noted.status, noted.error) == ("failed", "Subscription not found")


async def test_other_events_are_noted_and_nothing_else(backend: Backend, operator: Backend) -> None:
    await received(backend, "benefit.granted", {"id": "b"})
    assert (await event(operator)).status == "processed"


# Before the user is known


async def wait_for_user(backend: Backend, operator: Backend) -> PendingSubscription:
    answer = await send(backend, "subscription.created", paid(metadata={}), "evt_pending")
    [pending] = await operator.query(webhooks.get_all_pending_subscriptions)
    assert answer.status_code == 200
    assert answer.json() == {
        "received": True,
        "warning": webhooks.UNKNOWN_USER,
        "pendingSubscriptionId": pending.id,
    }
    return pending


async def test_a_subscription_of_nobody_known_is_kept(backend: Backend, operator: Backend) -> None:
    pending = await wait_for_user(backend, operator)
    noted = await event(operator, "evt_pending")
    assert (pending.polar_subscription_id, pending.customer_id, pending.status) == ("sub_1", "cus_1", "pending")
    assert pending.event_data["productId"] == "prod_pro"
    assert (noted.status, noted.error) == ("failed", webhooks.UNKNOWN_USER)
    assert await subscription(operator) is None


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("order.created", {"customerId": "cus_1", "metadata": {"userId": "ann"}}),
        ("checkout.updated", {"status": "succeeded", "customer_id": "cus_1", "metadata": {"userId": "ann"}}),
        ("checkout.updated", {"status": "confirmed", "customerId": "cus_1", "metadata": {"userId": "ann"}}),
    ],
)
async def test_it_comes_into_force_when_its_customer_is_known(
    backend: Backend, operator: Backend, event_type: str, data: dict[str, Any]
) -> None:
    await wait_for_user(backend, operator)
    await received(backend, event_type, data)
    [pending] = await operator.query(webhooks.get_all_pending_subscriptions)
    row = await saved(operator)
    assert (row.user_id, row.product_id, row.current_period_end) == ("ann", "prod_pro", END)
    assert (pending.status, pending.resolved_user_id, pending.resolved_at) == ("resolved", "ann", backend.now())
    assert await operator.query(polar.get_customer_id_by_user_id, user_id="ann") == "cus_1"


async def test_it_comes_into_force_when_a_later_event_names_its_user(backend: Backend, operator: Backend) -> None:
    await wait_for_user(backend, operator)
    await received(backend, "subscription.updated", paid())
    [pending] = await operator.query(webhooks.get_all_pending_subscriptions)
    assert (await saved(operator)).user_id == "ann"
    assert (pending.status, pending.resolved_user_id) == ("resolved", "ann")


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("checkout.updated", {"status": "open", "customerId": "cus_1", "metadata": {"userId": "ann"}}),
        ("order.created", {"customerId": "cus_1", "metadata": {}}),
        ("order.created", {"customerId": "cus_2", "metadata": {"userId": "ann"}}),
        ("order.created", {"metadata": {"userId": "ann"}}),
        ("order.created", {"customerId": "cus_1", "metadata": {"userId": 7}}),
        ("order.created", {}),
    ],
)
async def test_it_goes_on_waiting_for_anything_less(
    backend: Backend, operator: Backend, event_type: str, data: dict[str, Any]
) -> None:
    await wait_for_user(backend, operator)
    await received(backend, event_type, data)
    assert len(await operator.query(webhooks.get_pending_subscriptions)) == 1
    assert await subscription(operator) is None


async def test_what_the_operator_kept_comes_into_force_too(backend: Backend, operator: Backend) -> None:
    await operator.mutation(
        webhooks.save_pending_subscription,
        polar_subscription_id="sub_1",
        customer_id="cus_1",
        event_data={"productId": "prod_pro"},
    )
    await received(backend, "order.created", {"customerId": "cus_1", "metadata": {"userId": "ann"}})
    row = await saved(operator)
    assert (row.user_id, row.customer_id, row.product_id, row.status) == ("ann", "cus_1", "prod_pro", "active")


async def test_one_that_is_revoked_while_it_waits_is_not_given_away_later(backend: Backend, operator: Backend) -> None:
    await wait_for_user(backend, operator)
    await received(backend, "subscription.revoked", paid(status="revoked", metadata={}), "evt_revoked")
    await received(backend, "order.created", {"customerId": "cus_1", "metadata": {"userId": "ann"}}, "evt_order")
    assert (await saved(operator)).status == "canceled"


# Again, at once, and broken


async def test_a_replayed_event_changes_nothing(backend: Backend, operator: Backend) -> None:
    body = json.dumps({"type": "subscription.created", "data": paid()})
    headers = signed(backend, body, "evt_1")
    for round in range(3):
        answer = await backend.fetch("/api/webhooks/polar", "POST", content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"received": True})
        if round == 0:
            await operator.mutation(subscriptions.revoke_subscription, polar_subscription_id="sub_1")
    assert (await saved(operator)).status == "canceled"
    assert (await event(operator)).retry_count == 0


async def test_simultaneous_deliveries_of_one_event_are_one(backend: Backend, operator: Backend) -> None:
    answers = await asyncio.gather(*(send(backend, "subscription.created", paid()) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(await operator.query(subscriptions.get_user_subscriptions, user_id="ann")) == 1
    assert len(await operator.query(webhooks.get_recent_webhook_events)) == 1


async def test_an_event_that_failed_is_tried_again(backend: Backend, operator: Backend) -> None:
    await received(backend, "subscription.canceled", paid())
    assert (await event(operator)).status == "failed"
    await received(backend, "subscription.created", paid(), "evt_2")
    await received(backend, "subscription.canceled", paid())
    noted = await event(operator)
    assert (noted.status, noted.retry_count, noted.error) == ("processed", 1, None)
    assert (await saved(operator)).cancel_at_period_end is True


@pytest.mark.parametrize(
    ("event_type", "data", "error"),
    [
        ("subscription.created", paid(currentPeriodEnd="soon"), "Not an ISO date: soon"),
        ("subscription.created", paid(id=None), "The subscription has no id"),
        ("subscription.updated", paid(id=None, metadata={}), "The subscription has no id"),
    ],
)
async def test_what_can_not_be_processed_is_noted_and_leaves_nothing_behind(
    backend: Backend, operator: Backend, event_type: str, data: dict[str, Any], error: str
) -> None:
    answer = await send(backend, event_type, data)
    noted = await event(operator)
    assert (answer.status_code, answer.json()) == (500, {"error": "Webhook processing failed"})
    assert (noted.status, noted.error) == ("failed", error)
    assert await subscription(operator) is None
    assert await operator.query(polar.get_customer_by_polar_id, polar_customer_id="cus_1") is None


@pytest.mark.parametrize(
    "body", ["not json", '{"type": "x", "data": {"n": 99999999999999999999}}', '{"$a": 1}', "\ufeff"]
)
async def test_bodies_that_can_not_be_stored_are_noted_as_text(backend: Backend, operator: Backend, body: str) -> None:
    headers = signed(backend, body, "evt_1")
    answer = await backend.fetch("/api/webhooks/polar", "POST", content=body.encode(), headers=headers)
    noted = await event(operator)
    assert (answer.status_code, answer.json()) == (500, {"error": "Webhook processing failed"})
    assert (noted.status, noted.payload) == ("failed", body)


@pytest.mark.parametrize("body", ["[]", "3", "null", '{"type": 7}', '{"data": []}'])
async def test_bodies_that_say_nothing_are_received(backend: Backend, operator: Backend, body: str) -> None:
    headers = signed(backend, body, "evt_1")
    answer = await backend.fetch("/api/webhooks/polar", "POST", content=body, headers=headers)
    assert answer.status_code == 200
    assert (await event(operator)).payload == json.loads(body)


# Health


async def test_health_says_what_is_configured(backend: Backend, subscriptions: Subscriptions) -> None:
    answer = await backend.fetch("/api/webhooks/polar")
    assert answer.json() == {
        "status": "healthy",
        "checks": {"webhookSecret": True, "proProduct": True, "unlimitedProduct": True},
    }


async def test_health_is_degraded_without_a_secret(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLAR_WEBHOOK_SECRET")
    answer = (await backend.fetch("/api/webhooks/polar")).json()
    assert answer["status"] == "degraded"
    assert answer["checks"]["webhookSecret"] is False


# Clerk


def by_svix(backend: Backend, body: str, secret: str = CLERK_SECRET) -> dict[str, str]:
    at = datetime.fromtimestamp(int(backend.now() / 1000), UTC)
    signature = SvixWebhook(secret).sign("msg_1", at, body)
    return {"svix-id": "msg_1", "svix-timestamp": str(int(at.timestamp())), "svix-signature": signature}


@pytest.mark.parametrize("body", ['{"type": "user.created", "data": {"id": "user_1"}}', '{"type": "else"}', "[]", "no"])
async def test_clerks_events_are_taken_note_of(backend: Backend, body: str) -> None:
    answer = await backend.fetch("/api/webhooks/clerk", "POST", content=body, headers=by_svix(backend, body))
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("missing", ["svix-id", "svix-timestamp", "svix-signature"])
async def test_clerk_must_sign(backend: Backend, missing: str) -> None:
    headers = by_svix(backend, "{}")
    del headers[missing]
    answer = await backend.fetch("/api/webhooks/clerk", "POST", content="{}", headers=headers)
    assert (answer.status_code, answer.text) == (400, "Missing Svix headers")


async def test_clerks_signature_must_be_right(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await backend.fetch("/api/webhooks/clerk", "POST", content="{ }", headers=by_svix(backend, "{}"))
    assert (answer.status_code, answer.text) == (400, "Invalid signature")
    monkeypatch.delenv("CLERK_WEBHOOK_SECRET")
    answer = await backend.fetch("/api/webhooks/clerk", "POST", content="{}", headers=by_svix(backend, "{}"))
    assert (answer.status_code, answer.text) == (500, "Webhook secret not configured")
