"""How a server leaves, and that only one has the data.

Every test runs through `SyncClient`, which checks on every frame the chain of versions (client-protocol 3), timestamps
(8), framing (10), and that responses answer requests of the same connection (28).
"""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from tests.support.server import ReactorProcess
from tests.support.sync_client import SyncClient

pytestmark = pytest.mark.process

MakeClient = Callable[..., SyncClient]


async def test_sigterm_closes_sockets_so_that_clients_come_back(own_server: ReactorProcess, channel: str) -> None:
    """client-protocol 9"""
    client = SyncClient(own_server.ws_url)
    await client.open()
    await client.subscribe("messages:count", {"channel": channel})
    pending = [
        await client.request("Mutation", "messages:append", {"channel": channel, "body": "x"}) for _ in range(20)
    ]
    await client.response(pending[0])
    assert own_server.terminate() == 0, own_server.log()
    code, reason = await client.until_closed()
    assert client.fatal is None
    assert code in (1001, 1011, 1012), (code, reason)
    acknowledged = [number for number in pending if number in client.responses]
    own_server.start()
    stored = own_server.query("messages:count", {"channel": channel})
    assert stored >= len(acknowledged)
    await client.abort()
    await client.open()
    await client.modify()
    for number in pending:  # what a JS client does
        answer = await client.mutation("messages:append", {"channel": channel, "body": "x"}, request_id=number)
        assert answer["success"]
    assert own_server.query("messages:count", {"channel": channel}) == 20
    await client.close()


async def test_a_second_process_on_the_same_data_is_refused(own_server: ReactorProcess) -> None:
    intruder = ReactorProcess(own_server.work)
    intruder.log_path = own_server.work / "intruder.log"
    intruder.start(ready=False)
    assert intruder.wait_exit() != 0
    assert "use" in intruder.log() or "lock" in intruder.log(), intruder.log()
    assert "Traceback" not in intruder.log()
    assert httpx.get(f"{own_server.url}/version").status_code == 200
