"""Opening, keeping and ending a sync connection, frame by frame against a real server process.

Every test runs through `SyncClient`, which checks on every frame the chain of versions (client-protocol 3), timestamps
(8), framing (10), and that responses answer requests of the same connection (28).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from websockets import InvalidStatus
from websockets.asyncio.client import connect

from tests.support.server import ADMIN_KEY, ReactorProcess
from tests.support.sync_client import ZERO, SyncClient

pytestmark = pytest.mark.process

MakeClient = Callable[..., SyncClient]


@pytest.mark.parametrize(
    "path",
    [
        "/api/sync",
        "/api/1.45.0/sync",
        "/api/1.48.0/sync",
        "/api/sync?clientVersion=x",
        "//api/1.48.0/sync",
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Convex-Client": "rust-0.10.2"}])
async def test_every_spelling_of_the_sync_path_upgrades(
    server: ReactorProcess, raw: MakeClient, path: str, headers: dict[str, str], channel: str
) -> None:
    """client-protocol 1"""
    client = raw(f"ws://127.0.0.1:{server.port}{path}", headers=headers)
    await client.open()
    query = await client.subscribe("messages:count", {"channel": channel})
    assert query.value == 0
    assert client.transitions[0]["startVersion"] == ZERO


async def test_a_client_without_a_version_is_refused_unless_it_has_a_header(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 1.1: the header takes precedence over the path"""
    url = f"ws://127.0.0.1:{server.port}/api/nonsense/sync"
    with pytest.raises(InvalidStatus, match="400"):
        async with connect(url):
            pass
    client = raw(url, headers={"Convex-Client": "rust-0.10.2"})
    await client.open()
    assert (await client.subscribe("messages:count", {"channel": channel})).value == 0


async def test_a_socket_that_only_connects_and_leaves_disturbs_nobody(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 2"""
    witness = raw()
    await witness.open()
    query = await witness.subscribe("messages:count", {"channel": channel})
    for hello in (True, False):
        visitor = raw()
        await visitor.open(hello=hello)
        await visitor.close()
        visitor = raw()
        await visitor.open(hello=hello)
        await visitor.abort()
    server.mutation("messages:send", {"channel": channel, "body": "still here"})
    await witness.until_value(query, lambda count: count == 1)


async def test_a_silent_socket_is_kept_and_pinged_and_may_speak_late(raw: MakeClient, channel: str) -> None:
    """client-protocol 2 and 6: an application Ping within 15 s of silence, and Connect may come late (a client that pauses)."""
    silent, connected = raw(), raw()
    await silent.open(hello=False)
    await connected.open()
    await connected.until(lambda: any(frame["type"] == "Ping" for frame in connected.frames), patience=18)
    await silent.hello()
    query = await silent.subscribe("messages:count", {"channel": channel})
    assert query.value == 0


async def test_connect_and_authenticate_alone_bring_no_transition_before_the_first_query_set(
    raw: MakeClient, channel: str
) -> None:
    """client-protocol 4: one Transition {0,0} → {1,1}"""
    client = raw()
    await client.open(hello=False)
    await client.hello()
    await client.authenticate(tokenType="Admin", value=ADMIN_KEY)
    query = client.new_query("identity:isAdmin")
    await client.modify({"type": "Add", "queryId": query.id, "udfPath": query.path, "args": [{}]})
    await client.until(lambda: client.version["querySet"] == 1)
    assert len(client.transitions) == 1, client.transitions
    assert client.transitions[0]["endVersion"]["identity"] == 1
    assert query.value is True


async def test_a_client_without_a_query_set_gets_its_mutation_resolved(raw: MakeClient, channel: str) -> None:
    """client-protocol 5 and 20"""
    client = raw(headers={"Convex-Client": "python-0.8.1"})
    await client.open()
    await client.authenticate(tokenType="None")
    answer = await client.mutation("messages:append", {"channel": channel, "body": "hi"})
    assert answer["success"]
    assert answer["result"] == 0


async def test_a_client_that_only_authenticates_learns_that_it_was_accepted(raw: MakeClient) -> None:
    """client-protocol 5: without a query set the hold on the first Transition ends by itself"""
    client = raw(headers={"Convex-Client": "python-0.8.1"})
    await client.open()
    await client.authenticate(tokenType="Admin", value=ADMIN_KEY)
    await client.until(lambda: client.version["identity"] == 1)
