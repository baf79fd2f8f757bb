"""New code under load: every Transition is from one generation of it, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.support.server import CONFORMANCE_APP, running_server
from tests.support.sync_client import SyncClient
from tests.support.writers import Writer, check_ledger, ledger_state

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

GENERATION = """
from reactor import QueryCtx, query
from functions import ledger, counters

GENERATION = {number}

@query
async def left(ctx: QueryCtx, name: str) -> list[int]:
    return [GENERATION, await counters.read(ctx, name=name)]

@query
async def right(ctx: QueryCtx, name: str) -> list[int]:
    return [GENERATION, await counters.read(ctx, name=name)]
"""


async def test_no_transition_mixes_two_generations_of_the_code(tmp_path: Path) -> None:
    """client-protocol 14; engine rule 25"""
    app = tmp_path / "app"
    shutil.copytree(CONFORMANCE_APP, app, ignore=shutil.ignore_patterns("__pycache__"))
    code = app / "functions" / "generation.py"
    code.write_text(GENERATION.format(number=0))
    with running_server(tmp_path / "reactor", app=app) as server:
        reader = SyncClient(server.ws_url)
        await reader.open()
        left, right = await reader.add(("generation:left", {"name": "load"}), ("generation:right", {"name": "load"}))
        writers = [Writer(server.ws_url, "load", f"w{number}") for number in range(3)]
        writing = asyncio.gather(*(writer.write(1_000_000) for writer in writers))
        for number in range(1, 6):
            code.write_text(GENERATION.format(number=number))
            await reader.until(lambda number=number: left.value[0] == number)
            assert not writing.done(), writing.exception()
        for writer in writers:
            writer.finish()
        await writing
        await reader.barrier()
        assert reader.connection_count == 1
        now: dict[int, object] = {}
        for transition in reader.transitions:
            now.update({change["queryId"]: change["value"] for change in transition["modifications"]})
            assert now[left.id] == now[right.id], transition
        state = ledger_state(server, "load")
        check_ledger(state, writers)
        assert left.value == [5, state["count"]]
        await reader.close()
