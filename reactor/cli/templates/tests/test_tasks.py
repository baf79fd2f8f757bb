from __future__ import annotations

import pytest

from functions import tasks
from reactor import ApplicationError
from reactor.testing import Backend


async def test_a_subscriber_sees_new_tasks(backend: Backend) -> None:
    async with backend.subscribe(tasks.list_) as updates:
        assert await updates.next() == []
        await backend.mutation(tasks.add, text="write a test")
        assert [task.text for task in await updates.next()] == ["write a test"]


async def test_a_done_task_is_no_longer_open(backend: Backend) -> None:
    task_id = await backend.mutation(tasks.add, text="ship it")
    assert await backend.query(tasks.count_open) == 1
    await backend.mutation(tasks.set_done, task_id=task_id, done=True)
    assert await backend.query(tasks.count_open) == 0


async def test_a_task_needs_a_text(backend: Backend) -> None:
    with pytest.raises(ApplicationError, match="needs a text"):
        await backend.mutation(tasks.add, text=" ")
