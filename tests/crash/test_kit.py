"""`kill -9` in the middle of batched work and of a work pool's run: nothing twice, nothing left out, nothing forgotten."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.server import ReactorProcess

pytestmark = pytest.mark.process

SCHEMA = """
from reactor import Document, define_schema, define_table

class Item(Document):
    times: int = 0

schema = define_schema(items=define_table(Item))
"""
WORK = """
import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

from reactor import ActionCtx, Id, MutationCtx, QueryCtx, internal_action, internal_mutation, mutation, query
from reactor.kit import Aggregate, Retry, WorkPool, batched
from schema import Item

pool = WorkPool("crash", max_parallelism=3)
by_times = Aggregate(Item, "times")

@mutation
async def fill(ctx: MutationCtx, count: int) -> None:
    for _ in range(count):
        await ctx.db.insert(Item())

@batched(Item, size=20)
async def touch(ctx: MutationCtx, item: Item) -> None:
    await ctx.db.patch(item, times=item.times + 1)

@internal_mutation
async def touch_one(ctx: MutationCtx, item: Id[Item]) -> None:
    found = await ctx.db.get(item)
    await ctx.db.patch(item, times=found.times + 1)

@internal_action
async def act(ctx: ActionCtx, item: Id[Item]) -> None:
    await ctx.run_mutation(touch_one, item=item)
    if not (Path(__file__).parent / "go-on").exists():
        await asyncio.Event().wait()

@mutation
async def start_actions(ctx: MutationCtx) -> None:
    again = pool.with_options(retry=Retry(attempts=2, first=timedelta(milliseconds=10)))
    for number, item in enumerate(await ctx.db.query(Item).take(4)):
        await (again if number % 2 else pool).enqueue(ctx, act, item=item.id)

@query
async def outcomes(ctx: QueryCtx) -> dict[str, int]:
    return await pool.counts(ctx)

@mutation
async def start_batches(ctx: MutationCtx) -> None:
    await touch.start(ctx)

@mutation
async def start_pool(ctx: MutationCtx) -> None:
    for item in await ctx.db.query(Item).collect():
        await pool.enqueue(ctx, touch_one, item=item.id)

@query
async def progress(ctx: QueryCtx) -> dict[str, Any]:
    items = await ctx.db.query(Item).collect()
    status, counts = await touch.status(ctx), await pool.counts(ctx)
    left = status.state == "running" or counts["pending"] + counts["running"] > 0
    times = sorted({item.times for item in items})
    kept = [await by_times.count(ctx, eq=value) for value in (0, 1, 2)]
    return {"left": left, "times": times, "kept": kept, "state": status.state, "success": counts["success"]}
"""


def wait_for(look: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 20
    while not done(found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def make_app(tmp_path: Path) -> Path:
    app = tmp_path / "app"
    (app / "functions").mkdir(parents=True)
    (app / "functions" / "__init__.py").touch()
    (app / "schema.py").write_text(SCHEMA)
    (app / "functions" / "work.py").write_text(WORK)
    return app


@pytest.mark.parametrize("start", ["startBatches", "startPool"])
@pytest.mark.parametrize("point", ["scheduler.marked", "scheduler.ran"])
def test_a_kill_in_the_middle_leaves_every_document_done_once(tmp_path: Path, start: str, point: str) -> None:
    app = make_app(tmp_path)
    server = ReactorProcess(tmp_path / "reactor", app=app, mode="serve", options=("--no-supervise",))
    server.expected_exit = True
    try:
        server.start()
        server.mutation("work:fill", {"count": 100})
        server.terminate()
        server.start(env={"REACTOR_FAULTS": f"{point}=kill:3"})
        # Its answer may be lost with the server; what it scheduled was committed before.
        with contextlib.suppress(httpx.HTTPError):
            server.mutation(f"work:{start}")
        assert server.wait_exit() == -signal.SIGKILL, server.log()
        server.start(env={"REACTOR_FAULTS": f"{point}=kill:2"}, ready=False)
        assert server.wait_exit() == -signal.SIGKILL, server.log()
        server.start()
        found = wait_for(lambda: server.query("work:progress"), lambda progress: not progress["left"])
        assert (found["times"], found["kept"]) == ([1], [0, 100, 0]), server.log()
    finally:
        server.close()


def test_actions_that_died_with_the_server_have_failed_and_are_tried_again(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    server = ReactorProcess(tmp_path / "reactor", app=app, mode="serve", options=("--no-supervise",))
    server.expected_exit = True
    try:
        server.start()
        server.mutation("work:fill", {"count": 4})
        server.mutation("work:startActions")
        # Three run (the fourth waits for room), and stay.
        kept = wait_for(lambda: server.query("work:progress")["kept"], lambda kept: kept == [1, 3, 0])
        assert kept == [1, 3, 0]
        server.kill()
        (app / "functions" / "go-on").touch()
        server.start()
        found = wait_for(lambda: server.query("work:outcomes"), lambda counts: counts["success"] == 2)
        assert (found["success"], found["failed"]) == (2, 2), server.log()
    finally:
        server.close()
