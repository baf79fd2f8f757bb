"""The webhooks example on a real server: a webhook arrives, and the official client sees what it did."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from svix.webhooks import Webhook

from tests.support.driver import Driver
from tests.support.examples import EXAMPLES, next_but
from tests.support.server import running_server

pytestmark = pytest.mark.process

SECRET = "whsec_" + base64.b64encode(b"the secret of this test").decode()


async def test_a_subscriber_sees_what_a_webhook_did(tmp_path: Path, pypi: Driver) -> None:
    environment = {"CLERK_WEBHOOK_SECRET": SECRET}
    with running_server(tmp_path, app=EXAMPLES / "webhooks", env=environment) as server:
        await pypi.call("new_client", name="c", url=server.url)
        await pypi.call("subscribe", name="c", sub="users", path="users:list")
        assert await pypi.call("next", sub="users") == []

        address = {"id": "idn_1", "email_address": "ann@example.com"}
        user = {"id": "user_1", "primary_email_address_id": "idn_1", "email_addresses": [address]}
        body, now = json.dumps({"type": "user.created", "data": user}), datetime.now(UTC)
        headers = {
            "svix-id": "msg_1",
            "svix-timestamp": str(int(now.timestamp())),
            "svix-signature": Webhook(SECRET).sign("msg_1", now, body),
        }
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.site_port}") as clerk:
            assert (await clerk.post("/clerk-webhook", content=body + " ", headers=headers)).status_code == 400
            assert (await clerk.post("/clerk-webhook", content=body, headers=headers)).status_code == 200

        users = await next_but(pypi, "users", [])
        assert [(user["clerkId"], user["email"]) for user in users] == [("user_1", "ann@example.com")]
        assert "name" not in users[0]
