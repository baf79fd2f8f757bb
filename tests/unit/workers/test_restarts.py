"""What jobs become over restarts, reloads and troubles of the store. server-semantics 6.1 and 6.3."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reactor import faults
from reactor.clock import ManualClock
from reactor.errors import Unavailable
from reactor.server import Reactor
from reactor.testing import Backend
from reactor.workers.job_run import MARKED
from tests.unit.runtime.harness import write_files
from tests.unit.workers.conftest import FILES


class Server:
    """A deployment in a directory that outlives it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = ManualClock()
        write_files(root / "app", FILES)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Backend]:
        options: dict[str, Any] = {"dev": True, "synchronous": "OFF", "data": self.root / "data", "stop_grace_s": 0.05}
        async with Reactor(self.root / "app", clock=self.clock, **options) as reactor:
            yield Backend(reactor)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    yield
    faults.disarm_all()


async def test_6_3_pending_jobs_survive_and_overdue_ones_run_oldest_first(server: Server) -> None:
    """checklist 40"""
    async with server.running() as backend:
        for delay in (3000, 1000, 2000, 3_600_000):
            await backend.mutation("work:later", delay=delay, text=f"{delay}")
    server.clock.advance(60 * 10**9)
    async with server.running() as backend:
        await backend.settle()
        assert await backend.query("work:notes") == ["1000", "2000", "3000"]
        await backend.advance(timedelta(hours=1))
        assert await backend.query("work:notes") == ["1000", "2000", "3000", "3600000"]


async def test_6_3_an_action_that_a_stop_interrupts_has_failed_and_is_not_run_again(server: Server) -> None:
    async with server.running() as backend:
        await backend.mutation("work:byPath", path="work:gated", args={"name": "one"})
        await backend.settle()
    async with server.running() as backend:
        await backend.finish_in_progress()
        [job] = await backend.query("work:jobs")
        assert (job.state.kind, job.state.error) == ("failed", "Transient error while executing action")
        assert await backend.query("work:notes") == ["one began"]


async def test_6_1_the_code_is_that_of_the_day_it_runs(server: Server) -> None:
    async with server.running() as backend:
        await backend.mutation("work:later", delay=1000, text="a")
        await backend.mutation("work:byPath", path="work:who", delay=1000)
        changed = FILES["functions/work.py"].replace(
            "Entry(text=text, at=ctx.now())", 'Entry(text="new " + text, at=ctx.now())', 1
        )
        changed = changed.replace("async def who(ctx: MutationCtx)", "async def who_else(ctx: MutationCtx)").replace(
            "run_mutation(who)", "run_mutation(who_else)"
        )
        write_files(server.root / "app", {"functions/work.py": changed})
        await backend.reactor.reload()
        await backend.advance(timedelta(seconds=1))
        assert await backend.query("work:notes") == ["new a"]
        gone = next(job for job in await backend.query("work:jobs") if job.name == "work.js:who")
        assert gone.state.kind == "failed"
        assert "Could not find function for 'work:who'" in gone.state.error


async def test_6_3_trouble_of_ours_is_no_failure_and_the_job_is_tried_again(server: Server) -> None:
    troubles = 0

    def trouble() -> None:
        nonlocal troubles
        troubles += 1
        if troubles <= 3:
            raise Unavailable("the disk is full")

    async with server.running() as backend:
        faults.arm(MARKED, trouble)
        job_id = await backend.mutation("work:later", delay=0, text="a")
        await backend.settle()
        assert (await backend.query("work:job", id=job_id)).state.kind == "pending"
        began = backend.now()
        await backend.advance(timedelta(seconds=10))
        [entry] = await backend.query("work:entries")
        assert troubles == 4
        assert entry.at - began == 500 + 1000 + 2000
        assert (await backend.query("work:job", id=job_id)).state.kind == "success"


async def test_jobs_do_not_run_before_there_is_code(server: Server) -> None:
    """A job must not fail because the app did not load."""
    async with server.running() as backend:
        await backend.mutation("work:later", delay=1000, text="a")
    server.clock.advance(10**10)
    write_files(server.root / "app", {"functions/work.py": "this is no Python"})
    reactor = Reactor(server.root / "app", clock=server.clock, dev=True, synchronous="OFF", data=server.root / "data")
    await reactor.start(tolerate_broken_app=True)
    try:
        backend = Backend(reactor)
        await backend.settle()
        assert reactor.broken is not None
        write_files(server.root / "app", FILES)
        await reactor.reload()
        await backend.settle()
        assert await backend.query("work:notes") == ["a"]
    finally:
        await reactor.stop()


async def test_closing_is_not_held_up_by_what_can_not_be_written_down(server: Server) -> None:
    async with server.running() as backend:
        scheduler = backend.reactor.scheduler
        write = backend.reactor.database.write

        async def full(*args: Any, **options: Any) -> Any:
            raise Unavailable("the disk is full")

        await backend.mutation("work:byPath", path="work:crashes", delay=1000)
        backend.reactor.database.write = full  # type: ignore[method-assign]
        backend.clock.advance(10**9)
        while not scheduler._tasks:
            await asyncio.sleep(0.001)
        await asyncio.wait_for(scheduler.close(), 5)
        backend.reactor.database.write = write  # type: ignore[method-assign]
    async with server.running() as backend:
        await backend.settle()
        [job] = await backend.query("work:jobs")
        assert job.state.kind == "failed"
