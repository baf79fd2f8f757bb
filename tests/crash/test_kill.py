"""`kill -9`, at any moment and at the worst moments: what was acknowledged is there, once, and nothing is half there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import httpx
import pytest
import websockets

from tests.support.driver import node_driver
from tests.support.server import ReactorProcess, running_server
from tests.support.sync_client import SyncClient, ts_of
from tests.support.writers import Writer, all_acknowledged, check_ledger, ledger_state

pytestmark = [pytest.mark.process, pytest.mark.timeout(150)]

LEDGER = "crash"


async def _watch(url: str, seen: list[tuple[int, int]]) -> None:
    """Follows the count through every crash; notes (timestamp, count)."""
    client = SyncClient(url)
    query = client.new_query("counters:read", {"name": LEDGER})
    while True:
        with contextlib.suppress(OSError, EOFError, AssertionError):
            await client.reopen()
            noted = 0
            while True:
                await client.until(lambda noted=noted: len(client.transitions) > noted, patience=120)
                noted = len(client.transitions)
                if query.updates:
                    seen.append((ts_of(client.version["ts"]), query.value))
        if client.error is not None:
            raise client.error
        await asyncio.sleep(0.05)


def _assert_forward(seen: list[tuple[int, int]]) -> None:
    assert seen == sorted(seen), "time or the count went back"


async def test_kills_at_random_moments_under_load(server: ReactorProcess) -> None:
    """client-protocol 8, 22, 23; design promises 1, 2 and 4"""
    seed = int(os.environ.get("REACTOR_TEST_SEED", random.randrange(2**32)))
    print(f"REACTOR_TEST_SEED={seed}")
    dice = random.Random(seed)
    writers = [Writer(server.ws_url, LEDGER, f"w{number}") for number in range(6)]
    seen: list[tuple[int, int]] = []
    watcher = asyncio.create_task(_watch(server.ws_url, seen))
    done = asyncio.gather(*(writer.write(1_000_000) for writer in writers))
    for _ in range(6):
        await asyncio.sleep(dice.uniform(0.05, 0.3))
        assert not done.done(), done.exception()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        known = all_acknowledged(writers)
        check_ledger(await asyncio.to_thread(ledger_state, server, LEDGER), writers, known)
    for writer in writers:
        writer.finish()
    await done
    check_ledger(state := ledger_state(server, LEDGER), writers)
    assert state["count"] == sum(writer.sent for writer in writers)
    assert sum(writer.resent for writer in writers) > 0
    assert not watcher.done(), watcher.exception()
    while not seen or seen[-1][1] != state["count"]:
        assert not watcher.done(), watcher.exception()
        await asyncio.sleep(0.02)
    watcher.cancel()
    _assert_forward(seen)


@pytest.mark.parametrize(
    "point", ["committer.after_run", "store.before_commit", "store.after_commit", "committer.before_publish"]
)
@pytest.mark.parametrize("count", [1, 4, 10])
async def test_a_kill_around_the_commit(server: ReactorProcess, point: str, count: int) -> None:
    """client-protocol 22 (after the commit) and 23 (before it), with several mutations in one batch"""
    warm = Writer(server.ws_url, LEDGER, "warm")
    await warm.write(5)
    server.terminate()
    server.start(
        env={"REACTOR_FAULTS": f"{point}=kill:{count}"}, ready=False
    )  # the first commits are those of starting
    writers = [Writer(server.ws_url, LEDGER, f"w{number}") for number in range(4)]
    done = asyncio.gather(*(writer.write(100) for writer in writers))
    code = await asyncio.to_thread(server.wait_exit)
    assert code == -signal.SIGKILL, server.log()
    assert not done.done()
    server.start()
    check_ledger(ledger_state(server, LEDGER), [warm, *writers])
    await done
    check_ledger(state := ledger_state(server, LEDGER), [warm, *writers])
    assert state["count"] == 5 + 4 * 100


async def test_a_commit_that_fails_leaves_no_half_and_no_lie(tmp_path: Path) -> None:
    """engine rule 7: the outcome of a failed COMMIT is unknown; resends decide, and nothing is there twice"""
    with running_server(tmp_path / "reactor", mode="serve", options=("--no-supervise",)) as server:
        server.restart(env={"REACTOR_FAULTS": "store.before_commit=raise:10"})
        answered: list[int] = []
        clients = [SyncClient(server.ws_url) for _ in range(2)]
        for client in clients:
            await client.open()
            await client.modify()
        for number in range(30):
            for client in clients:
                if client.closed is not None:
                    continue
                entry = {"ledger": LEDGER, "entry": f"{client.session}/{number}"}
                with contextlib.suppress(OSError, websockets.WebSocketException):
                    request = await client.request("Mutation", "ledger:record", entry)
                    await client.until(lambda c=client, r=request: c.closed is not None or r in c.responses)
                    if (answer := client.responses.get(request)) is not None and answer["success"]:
                        answered.append(answer["result"])
        server.expected_exit = True  # ending over a broken disk is one right answer
        if server.running and clients[0].closed is None and clients[1].closed is None:
            assert len(answered) >= 55, "one failed commit must not stop everything that comes after"
        state = None
        while state is None:
            if not server.running:
                server.close()
                server.start()
            try:
                state = ledger_state(server, LEDGER)
            except httpx.TransportError:  # on its way out, not yet gone
                await asyncio.sleep(0.05)
        assert state["count"] == len(state["entries"]) == len(set(state["entries"])) == len(state["twins"])
        assert set(answered) <= set(range(1, int(state["count"]) + 1))
        assert len(set(answered)) == len(answered)
        for client in clients:
            await client.abort()


@pytest.mark.node
async def test_the_npm_client_never_notices(server: ReactorProcess) -> None:
    """client-protocol 22 and 23, by the official client"""
    async with node_driver() as npm:
        await npm.call("newClient", name="c", url=server.url)
        await npm.call("subscribe", name="c", sub="n", path="counters:read", args={"name": LEDGER})
        await npm.until_update("n", lambda value: value == 0)
        calls = [["ledger:record", {"ledger": LEDGER, "entry": f"npm/{number}"}] for number in range(300)]
        answers = npm.send("mutations", name="c", calls=calls)
        for wanted in (1, 100):
            await npm.until(lambda wanted=wanted: any(v >= wanted for v in npm.updates("n")))
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        results = [answer["ok"] for answer in await npm.answer(answers, patience=60)]
        assert results == list(range(1, 301))
        state = ledger_state(server, LEDGER)
        assert state["entries"] == [f"npm/{number}" for number in range(300)]
        await npm.until_update("n", lambda value: value == 300)
        assert npm.updates("n") == sorted(npm.updates("n"))
        npm.assert_calm()


async def test_a_supervised_server_comes_back_by_itself(tmp_path: Path) -> None:
    """engine rule 20: the parent starts the child again, on the same port and data"""
    with running_server(
        tmp_path / "reactor", mode="serve", env={"REACTOR_FAULTS": "store.after_commit=kill:12"}
    ) as server:
        writer = Writer(server.ws_url, LEDGER, "w")
        await writer.write(20)
        server.wait_ready()
        check_ledger(ledger_state(server, LEDGER), [writer])
        assert server.running, "the parent is still the same process"
        assert server.terminate() == 0, server.log()


async def test_a_kill_right_after_each_acknowledgement_lose_nothing(server: ReactorProcess) -> None:
    for number in range(1, 6):
        assert server.mutation("ledger:record", {"ledger": LEDGER, "entry": f"http/{number}"}) == number
        server.kill()
        server.start()
    assert ledger_state(server, LEDGER)["count"] == 5
