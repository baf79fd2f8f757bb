"""Results of many megabytes, and clients that do not read them.

Every test runs through `SyncClient`, which checks on every frame the chain of versions (client-protocol 3), timestamps
(8), framing (10), and that responses answer requests of the same connection (28).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.proxy import BreakingProxy
from tests.support.server import ReactorProcess
from tests.support.sync_client import SyncClient

pytestmark = pytest.mark.process

MakeClient = Callable[..., SyncClient]


async def test_a_12_mb_result_comes_in_chunks_to_npm_clients(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 56: the strict client fails when anything but Ping comes between"""
    client, other = raw(), raw()
    await client.open()
    big = client.new_query("values:bigLive", {"megabytes": 12, "label": channel})
    small = client.new_query("messages:count", {"channel": channel})
    await client.modify(*({"type": "Add", "queryId": q.id, "udfPath": q.path, "args": [q.args]} for q in (big, small)))
    await other.open()
    await other.modify()
    for _ in range(5):  # other traffic while the chunks are under way
        await other.mutation("messages:append", {"channel": channel, "body": "x"})
    await client.until_value(small, lambda count: count == 5)
    chunks = [frame for frame in client.frames if frame["type"] == "TransitionChunk"]
    assert chunks[0]["totalParts"] == 3
    assert len(big.value["rows"]) == 12_000_000 // 100_000
    assert set(big.value["rows"]) == {"aé€😀" * 10_000}
    await other.mutation("values:store", {"label": channel, "content": None})
    await client.until_value(big, lambda value: value["mark"] == "1")


@pytest.mark.parametrize("path", ["/api/sync", "/api/1.27.0/sync"])
async def test_a_12_mb_result_comes_in_fragments_to_other_clients(
    server: ReactorProcess, raw: MakeClient, path: str
) -> None:
    """client-protocol 56"""
    client = raw(f"ws://127.0.0.1:{server.port}{path}")
    await client.open()
    big = await client.subscribe("values:big", {"megabytes": 12})
    assert len(big.value["rows"]) == 120
    assert not [frame for frame in client.frames if frame["type"] == "TransitionChunk"]


async def test_a_client_that_never_reads_costs_nobody_else(
    server: ReactorProcess, raw: MakeClient, proxy: BreakingProxy, channel: str
) -> None:
    """Bounded (promise 7): results wait as versions, not as copies, for a client whose socket is full."""
    lazy, busy = raw(f"ws://127.0.0.1:{proxy.port}/api/1.48.0/sync"), raw()
    await lazy.open()
    big = await lazy.subscribe("values:bigLive", {"megabytes": 4, "label": channel})
    proxy.hold_answers()
    await busy.open()
    count = await busy.subscribe("messages:count", {"channel": channel})
    for number in range(1, 16):
        await busy.mutation("values:store", {"label": channel, "content": None})
        await busy.mutation("messages:append", {"channel": channel, "body": "x"})
        assert count.value == number
    proxy.flow()
    await lazy.until_value(big, lambda value: value["mark"] == "15")
    assert len(big.updates) < 15, "a slow client gets the newest state, not the backlog"
