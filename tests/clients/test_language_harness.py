"""The cases that clients written for a hundred languages are judged by (client-protocol 57), one test each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.server import ReactorProcess
from tests.support.sync_client import SyncClient

pytestmark = pytest.mark.process


@pytest.fixture
def call(server: ReactorProcess) -> Callable[..., dict[str, Any]]:
    def post(kind: str, path: str, args: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        response = httpx.post(
            f"{server.url}/api/{kind}",
            json={"path": path, "args": args or {}, "format": "json"},
            headers={"Convex-Client": "brainlove-1.0.0", **headers},
        )
        return {**response.json(), "httpStatus": response.status_code}

    return post


def test_query(call: Callable[..., dict[str, Any]], channel: str) -> None:
    answer = call("query", "messages:bodies", {"channel": channel})
    assert answer == {"status": "success", "value": [], "httpStatus": 200}


def test_nested_json_and_logs(call: Callable[..., dict[str, Any]]) -> None:
    value = {"a": [{"b": {"c": [1, None, True, "x"]}}], "empty": {}, "list": []}
    answer = call("action", "actions:echo", {"value": value})
    assert answer["value"] == value
    assert any("in action" in line for line in answer["logLines"])


def test_mutation(call: Callable[..., dict[str, Any]], channel: str) -> None:
    assert call("mutation", "messages:append", {"channel": channel, "body": "x"})["value"] == 0
    assert call("query", "messages:bodies", {"channel": channel})["value"] == ["x"]


async def test_idempotent_mutation(raw: Callable[..., SyncClient], channel: str) -> None:
    client = raw()
    await client.open()
    await client.modify()
    args = {"channel": channel, "body": "x"}
    first = await client.mutation("messages:append", args, request_id=9)
    await client.abort()
    await client.open()
    await client.modify()
    assert (await client.mutation("messages:append", args, request_id=9))["result"] == first["result"] == 0


def test_document_id_string(call: Callable[..., dict[str, Any]], channel: str) -> None:
    id = call("mutation", "messages:send", {"channel": channel, "body": "x"})["value"]
    assert isinstance(id, str)
    assert call("query", "messages:get", {"id": id})["value"]["_id"] == id


def test_action(call: Callable[..., dict[str, Any]], channel: str) -> None:
    id = call("action", "actions:send", {"channel": channel, "body": "x"})["value"]
    assert call("query", "messages:get", {"id": id})["value"]["body"] == "x"
    assert call("action", "actions:askHidden", {"label": channel})["value"] == "1 remembered"


def test_structured_error(call: Callable[..., dict[str, Any]]) -> None:
    answer = call("mutation", "failures:inMutation", {"how": "object"})
    assert answer["httpStatus"] == 200
    assert answer["status"] == "error"
    assert answer["errorData"]["code"] == "BROKEN"


def test_utf8_round_trip(call: Callable[..., dict[str, Any]], channel: str) -> None:
    body = "žluťoučký kůň 日本語 😀 𝄞 \u2028 é"
    call("mutation", "messages:send", {"channel": channel, "body": body})
    assert call("query", "messages:bodies", {"channel": channel})["value"] == [body]


def test_bearer_token_lifecycle(call: Callable[..., dict[str, Any]], channel: str) -> None:
    """Without an identity provider every token is an error; without a token the caller is nobody."""
    assert call("query", "identity:whoami")["value"] is None
    for token in ("invalid-token-one", "invalid-token-two"):
        assert call("query", "identity:whoami", Authorization=f"Bearer {token}")["httpStatus"] == 401
    assert call("query", "identity:whoami")["value"] is None


async def test_live_initial_result_external_update_and_unsubscribe(
    call: Callable[..., dict[str, Any]], raw: Callable[..., SyncClient], channel: str
) -> None:
    client = raw()
    await client.open()
    query = await client.subscribe("messages:bodies", {"channel": channel})
    assert query.value == []
    call("mutation", "messages:send", {"channel": channel, "body": "x"})
    await client.until_value(query, lambda value: value == ["x"])
    await client.remove(query)
    call("mutation", "messages:send", {"channel": channel, "body": "y"})
    await client.barrier()
    assert query.value == ["x"]
