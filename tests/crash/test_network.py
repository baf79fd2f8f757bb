"""Connections that are reset, stalled and swallowed at random moments under load: every mutation happens once."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from tests.support.driver import node_driver
from tests.support.proxy import BreakingProxy, breaking_proxy
from tests.support.server import ReactorProcess
from tests.support.writers import Writer, all_acknowledged, check_ledger, ledger_state

pytestmark = [pytest.mark.process, pytest.mark.timeout(150)]

LEDGER = "network"


async def _torment(proxy: BreakingProxy, dice: random.Random) -> None:
    """One of the things that networks do."""
    match dice.randrange(5):
        case 0:
            proxy.cut()
        case 1:  # the server hears, the client does not
            proxy.hold_answers()
            await asyncio.sleep(dice.uniform(0, 0.1))
            proxy.cut()
        case 2:  # the client speaks, the server does not hear
            proxy.hold_requests()
            await asyncio.sleep(dice.uniform(0, 0.1))
            proxy.cut()
        case 3:  # only late
            proxy.hold_answers()
            await asyncio.sleep(dice.uniform(0, 0.1))
        case 4:
            proxy.refuse = True
            proxy.cut()
            await asyncio.sleep(dice.uniform(0, 0.1))
    proxy.refuse = False
    proxy.flow()


async def test_a_bad_network_under_load(server: ReactorProcess) -> None:
    """client-protocol 19, 22, 23, 25"""
    seed = int(os.environ.get("REACTOR_TEST_SEED", random.randrange(2**32)))
    print(f"REACTOR_TEST_SEED={seed}")
    dice = random.Random(seed)
    async with breaking_proxy(server.port) as proxy:
        writers = [Writer(f"ws://127.0.0.1:{proxy.port}/api/1.48.0/sync", LEDGER, f"w{number}") for number in range(6)]
        done = asyncio.gather(*(writer.write(1_000_000) for writer in writers))
        for _ in range(40):
            await asyncio.sleep(dice.uniform(0.01, 0.1))
            assert not done.done(), done.exception()
            await _torment(proxy, dice)
        known = all_acknowledged(writers)
        check_ledger(await asyncio.to_thread(ledger_state, server, LEDGER), writers, known)
        for writer in writers:
            writer.finish()
        await done
    check_ledger(state := ledger_state(server, LEDGER), writers)
    assert state["count"] == sum(writer.sent for writer in writers)
    assert sum(writer.resent for writer in writers) > 0


@pytest.mark.node
async def test_a_bad_network_for_the_npm_client(server: ReactorProcess) -> None:
    """client-protocol 19, 22, 23, by the official client"""
    seed = int(os.environ.get("REACTOR_TEST_SEED", random.randrange(2**32)))
    print(f"REACTOR_TEST_SEED={seed}")
    dice = random.Random(seed)
    async with node_driver() as npm, breaking_proxy(server.port) as proxy:
        await npm.call("newClient", name="c", url=proxy.url)
        await npm.call("subscribe", name="c", sub="n", path="counters:read", args={"name": LEDGER})
        await npm.until_update("n", lambda value: value == 0)
        answers = []
        for burst in range(8):
            calls = [["ledger:record", {"ledger": LEDGER, "entry": f"npm/{burst * 20 + n}"}] for n in range(20)]
            answers.append(npm.send("mutations", name="c", calls=calls))
            await asyncio.sleep(dice.uniform(0, 0.02))
            await _torment(proxy, dice)
        results = [answer["ok"] for burst in answers for answer in await npm.answer(burst, patience=90)]
        assert results == list(range(1, 161))
        await npm.until_update("n", lambda value: value == 160)
        assert npm.updates("n") == sorted(npm.updates("n"))
        assert ledger_state(server, LEDGER)["entries"] == [f"npm/{n}" for n in range(160)]
        npm.assert_calm()
