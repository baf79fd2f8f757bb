"""What is taken, what is refused, and that nothing is taken twice."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from svix.webhooks import Webhook

from functions import events, users
from reactor.testing import Backend

CLERK_SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes, more or less...").decode()
EVENT = json.dumps({"id": "evt_1", "type": "job.done"}).encode()


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBACK_SECRET", "sesame")
    monkeypatch.setenv("HMAC_SECRET", "s3cret")
    monkeypatch.setenv("CLERK_WEBHOOK_SECRET", CLERK_SECRET)


def user_event(type: str, **data: Any) -> dict[str, Any]:
    user = {
        "id": "user_1",
        "first_name": "Ann",
        "last_name": "Lee",
        "primary_email_address_id": "idn_2",
        "email_addresses": [
            {"id": "idn_1", "email_address": "old@example.com"},
            {"id": "idn_2", "email_address": "ann@example.com"},
        ],
    }
    return {"type": type, "data": {**user, **data}}


async def from_clerk(
    backend: Backend, event: dict[str, Any], *, id: str = "msg_1", age: timedelta = timedelta(), forged: bool = False
) -> httpx.Response:
    sent = datetime.now(UTC) - age
    body = json.dumps(event)
    headers = {
        "svix-id": id,
        "svix-timestamp": str(int(sent.timestamp())),
        "svix-signature": Webhook(CLERK_SECRET).sign(id, sent, body),
    }
    return await backend.fetch("/clerk-webhook", "POST", content=body + " " * forged, headers=headers)


async def test_a_callback_needs_the_bearer_secret_and_counts_once(backend: Backend) -> None:
    for wrong in ({}, {"authorization": "Bearer open"}, {"authorization": "sesame"}):
        answer = await backend.fetch("/webhook/callback", "POST", content=EVENT, headers=wrong)
        assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
    assert await backend.query(events.count) == 0
    for new in (True, False):
        right = {"authorization": "Bearer sesame"}
        answer = await backend.fetch("/webhook/callback", "POST", content=EVENT, headers=right)
        assert (answer.status_code, answer.json()) == (200, {"new": new})
    assert await backend.query(events.count) == 1


async def test_a_signature_is_over_the_very_bytes_of_the_body(backend: Backend) -> None:
    signature = hmac.new(b"s3cret", EVENT, hashlib.sha256).hexdigest()
    for body, given in ((EVENT + b" ", signature), (EVENT, signature.upper()), (EVENT, ""), (EVENT, "ä")):
        headers = {b"x-signature": given.encode()}
        answer = await backend.fetch("/webhook/hmac", "POST", content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"error": "Invalid signature"})
    answer = await backend.fetch("/webhook/hmac", "POST", content=EVENT, headers={"x-signature": signature})
    assert (answer.status_code, answer.json()) == (200, {"new": True})


async def test_users_follow_clerk(backend: Backend) -> None:
    async with backend.subscribe(users.list_) as updates:
        assert await updates.next() == []
        assert (await from_clerk(backend, user_event("user.created"))).status_code == 200
        assert [(user.email, user.name) for user in await updates.next()] == [("ann@example.com", "Ann Lee")]

        renamed = user_event("user.updated", primary_email_address_id="idn_1", first_name=None, last_name=None)
        await from_clerk(backend, renamed, id="msg_2")
        assert [(user.email, user.name) for user in await updates.next()] == [("old@example.com", None)]

        # The first event again, late: nothing goes back to what it was.
        assert (await from_clerk(backend, user_event("user.created"))).status_code == 200
        await updates.assert_quiet()

        await from_clerk(backend, {"type": "user.deleted", "data": {"id": "user_1", "deleted": True}}, id="msg_3")
        assert await updates.next() == []
        assert (await from_clerk(backend, {"type": "session.created", "data": {}}, id="msg_4")).status_code == 200
        await updates.assert_quiet()


async def test_what_clerk_did_not_sign_just_now_is_refused(backend: Backend) -> None:
    event = user_event("user.created")
    refused = [
        await from_clerk(backend, event, forged=True),
        await from_clerk(backend, event, age=timedelta(minutes=6)),
        await from_clerk(backend, event, age=timedelta(minutes=-6)),
        await backend.fetch("/clerk-webhook", "POST", json=event),
        await backend.fetch(
            "/clerk-webhook",
            "POST",
            json=event,
            headers={"svix-id": "msg_1", "svix-timestamp": "now", "svix-signature": "v1"},
        ),
    ]
    assert [(answer.status_code, answer.text) for answer in refused] == [(400, "Invalid signature")] * len(refused)
    assert await backend.query(users.list_) == []
