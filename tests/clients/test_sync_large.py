"""Results of many megabytes, and clients that do not read them.

Every test runs through `SyncClient`, which checks on every frame the chain of versions (client-protocol 3), timestamps
(8), framing (10), and that responses answer requests of the same connection (28).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.proxy import BreakingProxy, breaking_proxy
from tests.support.server import ReactorProcess, running_server
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


def _resident_mb(server: ReactorProcess) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


async def test_a_client_that_never_reads_costs_little_memory(own_server: ReactorProcess, channel: str) -> None:
    """Bounded (promise 7): 400 MB of updates for ten clients that take none of them"""
    async with breaking_proxy(own_server.port) as proxy:
        lazy = [SyncClient(f"ws://127.0.0.1:{proxy.port}/api/1.48.0/sync") for _ in range(10)]
        for number, client in enumerate(lazy):
            await client.open()
            await client.subscribe("values:bigLive", {"megabytes": 1, "label": f"{channel} {number}"})
        proxy.hold_answers()
        before = _resident_mb(own_server)
        busy = SyncClient(own_server.ws_url)
        await busy.open()
        await busy.modify()
        for _ in range(40):
            for number in range(10):
                await busy.mutation("values:store", {"label": f"{channel} {number}", "content": None})
        await busy.close()
        assert _resident_mb(own_server) - before < 200
        proxy.cut()
        for client in lazy:
            await client.until_closed()


async def test_a_client_that_reads_nothing_is_dropped(tmp_path: Path, channel: str) -> None:
    """Bounded (promise 7), with a shorter time"""
    with running_server(tmp_path / "reactor", env={"REACTOR_LIMITS_SEND_STALL_S": "1"}) as server:
        async with breaking_proxy(server.port) as proxy:
            client, witness = SyncClient(f"ws://127.0.0.1:{proxy.port}/api/1.48.0/sync"), SyncClient(server.ws_url)
            await client.open()
            await witness.open()
            await client.subscribe("values:bigLive", {"megabytes": 12, "label": channel})
            count = await witness.subscribe("messages:count", {"channel": channel})
            proxy.hold_answers()
            server.mutation("values:store", {"label": channel, "content": None})
            await asyncio.sleep(4)  # the behaviour is about time itself, and what is in the kernel's buffers hides it
            proxy.flow()
            code, _ = await client.until_closed()
            assert code in (1013, 1006)  # 1006: the server had given up on saying goodbye, too
            server.mutation("messages:send", {"channel": channel, "body": "x"})
            await witness.until_value(count, lambda value: value == 1)
            await witness.close()
            await client.abort()


async def test_a_client_that_answers_no_ping_is_dropped(tmp_path: Path, channel: str) -> None:
    """client-protocol 7, with shorter times"""
    env = {"REACTOR_LIMITS_CLIENT_SILENCE_S": "2", "REACTOR_LIMITS_PING_INTERVAL_S": "0.2"}
    with running_server(tmp_path / "reactor", env=env) as server:
        async with breaking_proxy(server.port) as proxy:
            client, witness = SyncClient(f"ws://127.0.0.1:{proxy.port}/api/1.48.0/sync"), SyncClient(server.ws_url)
            await client.open()
            await witness.open()
            await client.subscribe("messages:count", {"channel": channel})
            count = await witness.subscribe("messages:count", {"channel": channel})
            proxy.hold_requests()
            await client.until_closed()
            assert client.fatal is None
            server.mutation("messages:send", {"channel": channel, "body": "x"})
            await witness.until_value(count, lambda value: value == 1)
            await witness.close()
            await client.abort()
