"""Writes that come right behind the switch of a deploy meet the new schema (engine rule 25)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from reactor.engine.deploy import deploy
from reactor.errors import InvalidDocument
from tests.unit.engine.conftest import Harness, Job
from tests.unit.engine.test_deploy import must_have, table


async def test_a_write_right_behind_the_switch_is_held_to_the_new_schema(engine: Harness) -> None:
    await engine.write(lambda tx: tx.insert("rows", {"n": 1, "m": 1}))
    original = engine.database.commit_alone
    jobs: list[Job] = []

    async def commit_alone(*args: Any) -> Any:
        if engine.database.pending_schema is None or len(args) < 2:  # not the switch
            return await original(*args)
        switching = asyncio.ensure_future(original(*args))
        await asyncio.sleep(0)
        jobs.append(engine.submit(lambda tx: tx.insert("rows", {"n": 2})))
        await asyncio.sleep(0)
        time.sleep(0.2)  # the event loop is busy, the writer goes on
        return await switching

    engine.database.commit_alone = commit_alone  # type: ignore[method-assign]
    await deploy(engine.database, table(check=must_have("m"), version=1))

    with pytest.raises(InvalidDocument):
        await jobs[0].done
