"""Clients that break the rules: each pays alone.

Every test runs through `SyncClient`, which checks on every frame the chain of versions (client-protocol 3), timestamps
(8), framing (10), and that responses answer requests of the same connection (28).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest

from tests.support.server import ReactorProcess
from tests.support.sync_client import SyncClient

pytestmark = pytest.mark.process

MakeClient = Callable[..., SyncClient]


@pytest.mark.parametrize(
    "message", [{"type": "ModifyQuerySet", "baseVersion": 7, "newVersion": 8, "modifications": []}]
)
async def test_a_wrong_base_version_is_fatal(raw: MakeClient, message: dict[str, object]) -> None:
    """client-protocol 18"""
    client = raw()
    await client.open()
    await client.send(message)
    await client.until_closed()
    assert client.fatal is not None
    assert "Base version 7 passed up doesn't match the current version 0" in client.fatal["error"]


@pytest.mark.parametrize(
    "frame",
    [
        "this is no JSON",
        '{"type":"Nonsense"}',
        '{"no":"type"}',
        "[]",
        "null",
        '{"type":"ModifyQuerySet","baseVersion":"0","newVersion":1,"modifications":[]}',
        '{"type":"Mutation","requestId":0,"udfPath":"messages:append"}',
        '{"type":"Mutation","requestId":-1,"udfPath":"messages:append","args":[{}]}',
        '{"type":"Mutation","requestId":0,"udfPath":5,"args":[{}]}',
        '{"type":"Connect","sessionId":"again","connectionCount":0}',
        '{"a":' * 20000,
        "{" + '"type":"Mutation",' * 3,
    ],
)
async def test_a_malformed_message_ends_its_own_connection_only(
    server: ReactorProcess, raw: MakeClient, channel: str, frame: str
) -> None:
    witness, culprit = raw(), raw()
    await witness.open()
    query = await witness.subscribe("messages:count", {"channel": channel})
    await culprit.open()
    await culprit.socket.send(frame)
    await culprit.until_closed()
    server.mutation("messages:send", {"channel": channel, "body": "unimpressed"})
    await witness.until_value(query, lambda count: count == 1)


async def test_a_binary_frame_ends_the_connection(raw: MakeClient) -> None:
    client = raw()
    await client.open()
    await client.socket.send(b'{"type":"Event"}')
    await client.until_closed()


async def test_messages_before_connect_are_refused(raw: MakeClient, channel: str) -> None:
    client = raw()
    await client.open(hello=False)
    await client.request("Mutation", "messages:append", {"channel": channel, "body": "too early"})
    await client.until_closed()


async def test_events_are_ignored(raw: MakeClient, channel: str) -> None:
    """client-protocol 1.10"""
    client = raw()
    await client.open()
    await client.send({"type": "Event", "eventType": "ClientConnect", "event": {"marks": [1, 2, {"x": None}]}})
    assert (await client.subscribe("messages:count", {"channel": channel})).value == 0


async def test_an_id_added_twice_ends_the_connection(raw: MakeClient, channel: str) -> None:
    """client-protocol 1.5"""
    client = raw()
    await client.open()
    query = await client.subscribe("messages:count", {"channel": channel})
    await client.modify({"type": "Add", "queryId": query.id, "udfPath": query.path, "args": [query.args]})
    await client.until_closed()


async def test_an_oversized_message_is_refused_and_costs_nobody_else(raw: MakeClient, channel: str) -> None:
    """client-protocol 50"""
    witness, culprit = raw(), raw()
    await witness.open()
    await culprit.open()
    with contextlib.suppress(Exception):  # closed while still being sent to: as good
        await culprit.socket.send(json.dumps({"type": "Event", "event": "x" * (40 * 1024 * 1024)}))
    await culprit.until_closed()
    assert (await witness.subscribe("messages:count", {"channel": channel})).value == 0
