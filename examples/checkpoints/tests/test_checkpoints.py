"""Versions, states and what pruning leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from functions.checkpoints import CheckpointWithUrl

from functions import checkpoints, sessions
from reactor import ApplicationError, MutationCtx, StoredFile
from reactor.testing import Backend


async def state_of(backend: Backend, checkpoint: CheckpointWithUrl | None) -> Any:
    assert checkpoint is not None
    assert checkpoint.url is not None
    return (await backend.fetch(checkpoint.url)).json()


async def stored_files(backend: Backend) -> int:
    async def count(ctx: MutationCtx) -> int:
        return await ctx.db.query(StoredFile).count()

    return await backend.run(count)


async def test_each_save_is_a_version_that_can_be_fetched(backend: Backend) -> None:
    session_id = await backend.mutation(sessions.create, name="a")
    async with backend.subscribe(checkpoints.latest, session_id=session_id) as updates:
        assert await updates.next() is None
        for version, state in enumerate([{"step": 1}, ["any", None, 1.5]], start=1):
            assert await backend.action(checkpoints.save, session_id=session_id, state=state) == version
            assert await state_of(backend, await updates.next()) == state
    first = await backend.query(checkpoints.at, session_id=session_id, version=1)
    assert await state_of(backend, first) == {"step": 1}
    assert await backend.query(checkpoints.at, session_id=session_id, version=3) is None
    history = await backend.query(checkpoints.history, session_id=session_id)
    assert [checkpoint.version for checkpoint in history] == [2, 1]


async def test_simultaneous_saves_get_different_versions(backend: Backend) -> None:
    one, other = [await backend.mutation(sessions.create, name=name) for name in ("one", "other")]
    saves = [backend.action(checkpoints.save, session_id=one, state=number) for number in range(20)]
    versions = await asyncio.gather(*saves, backend.action(checkpoints.save, session_id=other, state="apart"))
    assert sorted(versions[:-1]) == list(range(1, 21))
    assert versions[-1] == 1
    for number, version in enumerate(versions[:-1]):
        checkpoint = await backend.query(checkpoints.at, session_id=one, version=version)
        assert await state_of(backend, checkpoint) == number


async def test_pruning_keeps_the_newest_and_deletes_the_files_of_the_rest(backend: Backend) -> None:
    session_id = await backend.mutation(sessions.create, name="a")
    for number in range(5):
        await backend.action(checkpoints.save, session_id=session_id, state=number)
    assert await backend.mutation(checkpoints.prune, session_id=session_id, keep=2) == 3
    assert [c.version for c in await backend.query(checkpoints.history, session_id=session_id)] == [5, 4]
    assert await stored_files(backend) == 2
    assert await backend.mutation(checkpoints.prune, session_id=session_id, keep=2) == 0
    assert await backend.action(checkpoints.save, session_id=session_id, state="next") == 6
    with pytest.raises(ApplicationError, match="at least one"):
        await backend.mutation(checkpoints.prune, session_id=session_id, keep=0)


async def test_a_save_that_fails_leaves_no_file(backend: Backend) -> None:
    session_id = await backend.mutation(sessions.create, name="a")

    async def delete(ctx: MutationCtx) -> None:
        await ctx.db.delete(session_id)

    await backend.run(delete)
    with pytest.raises(ApplicationError, match="Session not found"):
        await backend.action(checkpoints.save, session_id=session_id, state={})
    assert await stored_files(backend) == 0
