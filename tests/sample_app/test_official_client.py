"""The sample app as `make dev` serves it, through the official npm client, acting as its users with the admin key."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.support.driver import Driver, RemoteError, node_driver
from tests.support.server import ADMIN_KEY, ReactorProcess, running_server

REPOSITORY = Path(__file__).parents[2]
POLAR_SECRET = "whsec_" + base64.b64encode(b"polar's secret").decode()

pytestmark = [pytest.mark.node, pytest.mark.process]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReactorProcess]:
    env = {"POLAR_WEBHOOK_SECRET": POLAR_SECRET, "NEXT_PUBLIC_POLAR_PRO_PRODUCT_ID": "prod_pro"}
    with running_server(tmp_path / "server", app=REPOSITORY, env=env) as server:
        yield server


@pytest.fixture
async def npm() -> AsyncIterator[Driver]:
    async with node_driver() as driver:
        yield driver
        driver.assert_calm()


async def sign_in(npm: Driver, server: ReactorProcess, name: str) -> None:
    await npm.call("newClient", name=name, url=server.url)
    identity = {"subject": name, "issuer": "https://issuer.example"}
    await npm.call("setAdminAuth", name=name, token=ADMIN_KEY, identity=identity)


async def test_an_answer_streams_to_every_window_of_its_owner(server: ReactorProcess, npm: Driver) -> None:
    await sign_in(npm, server, "ann")
    started = await npm.call("action", name="ann", path="projects:createWithMessage", args={"value": "a shop"})
    project = {"projectId": started["id"]}
    await npm.call("newClient", name="second window", url=server.url)
    identity = {"subject": "ann", "issuer": "https://issuer.example"}
    await npm.call("setAdminAuth", name="second window", token=ADMIN_KEY, identity=identity)
    for name in ("ann", "second window"):
        await npm.call("subscribe", name=name, sub=name, path="messages:list", args=project)
        await npm.until_update(name, lambda messages: [m["content"] for m in messages] == ["a shop"])

    answer = {**project, "content": "", "role": "ASSISTANT", "type": "RESULT", "status": "STREAMING"}
    message_id = await npm.call("mutation", name="ann", path="messages:create", args=answer)
    for text in ("I", "I am", "I am done"):
        update = {"messageId": message_id, "content": text}
        await npm.call("mutation", name="ann", path="messages:updateMessage", args=update)
    complete = {"messageId": message_id, "status": "COMPLETE"}
    await npm.call("mutation", name="ann", path="messages:updateStatus", args=complete)

    def is_done(messages: list[dict[str, Any]]) -> bool:
        return len(messages) == 2 and (messages[1]["content"], messages[1]["status"]) == ("I am done", "COMPLETE")

    for name in ("ann", "second window"):
        messages = await npm.until_update(name, is_done)
        assert (messages[1]["Fragment"], messages[1]["Attachment"]) == (None, [])


async def test_strangers_get_the_texts_that_their_screens_show(server: ReactorProcess, npm: Driver) -> None:
    await sign_in(npm, server, "ann")
    await sign_in(npm, server, "bob")
    project = await npm.call("mutation", name="ann", path="projects:create", args={"name": "Shop", "framework": "VUE"})

    with pytest.raises(RemoteError) as refused:
        await npm.call("query", name="bob", path="projects:get", args={"projectId": project})

    assert refused.value.data == "Unauthorized"


async def test_eight_at_once_on_five_credits_make_five_projects(server: ReactorProcess, npm: Driver) -> None:
    await sign_in(npm, server, "ann")
    await npm.call("subscribe", name="ann", sub="usage", path="usage:getUsage", args={})
    await npm.call("subscribe", name="ann", sub="projects", path="projects:list", args={})

    calls = [
        npm.send("action", name="ann", path="projects:createWithMessage", args={"value": f"{n}"}) for n in range(8)
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    refusals = [outcome for outcome in outcomes if isinstance(outcome, RemoteError)]
    assert [refusal.data for refusal in refusals] == ["You have run out of credits"] * 3
    await npm.until_update("usage", lambda balance: balance["points"] == 0)
    await npm.until_update("projects", lambda projects: len(projects) == 5)


async def test_a_payment_shows_in_an_open_window(server: ReactorProcess, npm: Driver) -> None:
    await sign_in(npm, server, "ann")
    await npm.call("subscribe", name="ann", sub="usage", path="usage:getUsage", args={})
    await npm.until_update("usage", lambda balance: balance["maxPoints"] == 5)

    data = {"id": "sub_1", "customerId": "cus_1", "productId": "prod_pro", "status": "active"}
    body = json.dumps({"type": "subscription.created", "data": {**data, "metadata": {"userId": "ann"}}})
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(POLAR_SECRET).sign("evt_1", now, body),
    }
    async with httpx.AsyncClient() as polar:
        url = f"http://127.0.0.1:{server.site_port}/api/webhooks/polar"
        answer = await polar.post(url, content=body, headers=headers)

    assert (answer.status_code, answer.json()) == (200, {"received": True})
    await npm.until_update("usage", lambda balance: balance["maxPoints"] == 100)
