"""Functions that take the process with them: clients resend for ever, and the server must not die for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.driver import RemoteError, node_driver
from tests.support.server import ReactorProcess, running_server
from tests.support.sync_client import SyncClient

pytestmark = [pytest.mark.process, pytest.mark.timeout(150)]


def _deaths(server: ReactorProcess) -> int:
    return server.log(1_000_000).count("starting it again")


@pytest.mark.node
async def test_a_mutation_that_kills_the_process_is_refused_in_the_end(tmp_path: Path) -> None:
    """engine rule 20: found at two starts, it is answered with an error instead of run a third time"""
    with running_server(tmp_path / "reactor", mode="serve") as server:
        async with node_driver() as npm:
            await npm.call("newClient", name="c", url=server.url)
            await npm.call("subscribe", name="c", sub="n", path="messages:count", args={"channel": "x"})
            await npm.until_update("n", lambda value: value == 0)
            deadly = npm.send("mutation", name="c", path="unsafe:dies", args={"channel": "x"})
            with pytest.raises(RemoteError, match="Server Error"):
                await npm.answer(deadly, patience=90)
            append = {"path": "messages:append", "args": {"channel": "x", "body": "x"}}
            assert await npm.call("mutation", name="c", **append) == 0, "nothing of the deadly one stayed"
            await npm.until_update("n", lambda value: value == 1)
            npm.assert_calm()
        assert _deaths(server) == 2
        assert server.running


async def test_a_mutation_that_stops_everything_is_refused_in_the_end(tmp_path: Path) -> None:
    """engine rule 20: a C call that keeps the interpreter's lock; the parent ends the process, twice"""
    with running_server(tmp_path / "reactor", mode="serve", env={"REACTOR_HANG_AFTER_S": "2"}) as server:
        client = SyncClient(server.ws_url)
        await client.open()
        for _ in range(5):
            await client.modify()
            await client.request("Mutation", "unsafe:hangsInC", request_id=0)
            await client.until(lambda: client.closed is not None or 0 in client.responses, patience=60)
            if 0 in client.responses:
                break
            server.wait_ready()
            await client.abort()
            await client.open()
        assert client.responses[0]["success"] is False
        assert _deaths(server) == 2
        assert (await client.mutation("messages:append", {"channel": "x", "body": "x"}, request_id=1))["success"]
        await client.close()
