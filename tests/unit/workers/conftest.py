"""An app with everything that is scheduled in these tests, on a backend whose clock stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader
from reactor.testing import Backend
from reactor.testing import backend as make_backend
from tests.unit.runtime.harness import write_files

FILES = {
    "schema.py": """
        from reactor import Document, define_schema, define_table

        class Entry(Document):
            text: str
            at: float

        schema = define_schema(entries=define_table(Entry))
    """,
    "functions/work.py": """
        import asyncio
        from datetime import datetime, timedelta, UTC
        from typing import Any

        from reactor import (
            ActionCtx, ApplicationError, Id, Int64, MutationCtx, QueryCtx, ScheduledFunction, action, internal_action,
            internal_mutation, mutation, query,
        )
        from schema import Entry

        gates: dict[str, asyncio.Event] = {}
        started: dict[str, asyncio.Event] = {}


        @internal_mutation
        async def note(ctx: MutationCtx, text: str) -> None:
            await ctx.db.insert(Entry(text=text, at=ctx.now()))

        @query
        async def notes(ctx: QueryCtx) -> list[str]:
            return [entry.text for entry in await ctx.db.query(Entry).collect()]

        @query
        async def entries(ctx: QueryCtx) -> list[Entry]:
            return await ctx.db.query(Entry).collect()

        @query
        async def jobs(ctx: QueryCtx) -> list[ScheduledFunction]:
            return await ctx.db.system.query("_scheduled_functions").collect()

        @query
        async def job(ctx: QueryCtx, id: Id[ScheduledFunction]) -> ScheduledFunction | None:
            return await ctx.db.system.get(id)

        @mutation
        async def later(ctx: MutationCtx, delay: float, text: str) -> Id[ScheduledFunction]:
            return await ctx.scheduler.run_after(delay, note, text=text)

        @mutation
        async def at(ctx: MutationCtx, time: float, text: str) -> Id[ScheduledFunction]:
            return await ctx.scheduler.run_at(time, note, text=text)

        @mutation
        async def by_path(ctx: MutationCtx, path: str, args: Any = None, delay: float = 0) -> Id[ScheduledFunction]:
            return await ctx.scheduler.run_after(delay, path, args)

        @mutation
        async def cancel(ctx: MutationCtx, id: str) -> None:
            await ctx.scheduler.cancel(id)

        @internal_mutation
        async def fails(ctx: MutationCtx, text: str) -> None:
            await ctx.db.insert(Entry(text=text, at=0))
            raise ApplicationError({"why": text})

        @internal_mutation
        async def crashes(ctx: MutationCtx) -> None:
            raise ZeroDivisionError("by zero")

        @internal_mutation
        async def sees_itself(ctx: MutationCtx) -> None:
            [own] = [j for j in await ctx.db.system.query("_scheduled_functions").collect() if j.name.endswith("seesItself")]
            await ctx.db.insert(Entry(text=own.state.kind, at=ctx.now()))

        @internal_mutation
        async def cancels_itself(ctx: MutationCtx) -> None:
            [own] = [j for j in await ctx.db.system.query("_scheduled_functions").collect() if j.name.endswith("cancelsItself")]
            await ctx.scheduler.cancel(own.id)
            await ctx.db.insert(Entry(text="went on", at=ctx.now()))

        @internal_mutation
        async def who(ctx: MutationCtx) -> None:
            identity = await ctx.auth.get_user_identity()
            await ctx.db.insert(Entry(text=f"{identity} {ctx.auth.is_admin}", at=ctx.now()))

        @internal_action
        async def who_action(ctx: ActionCtx) -> None:
            identity = await ctx.auth.get_user_identity()
            await ctx.run_mutation(note, text=f"action {identity}")
            await ctx.run_mutation(who)

        @internal_mutation
        async def again(ctx: MutationCtx, left: int) -> None:
            await ctx.db.insert(Entry(text=f"left {left}", at=ctx.now()))
            if left:
                await ctx.scheduler.run_after(timedelta(minutes=10), again, left=left - 1)

        @internal_mutation
        async def for_ever(ctx: MutationCtx) -> None:
            await ctx.scheduler.run_after(timedelta(minutes=1), for_ever)

        @internal_mutation
        async def keep(ctx: MutationCtx, number: Int64, raw: bytes, values: dict[str, Any]) -> None:
            assert type(number) is Int64
            await ctx.db.insert(Entry(text=f"{number} {raw!r} {values}", at=ctx.now()))

        @mutation
        async def schedule_values(ctx: MutationCtx) -> Id[ScheduledFunction]:
            values = {"n": Int64(3), "b": b"\\x00\\xff", "f": -0.5, "none": None, "list": [1, "a"]}
            return await ctx.scheduler.run_after(0, keep, number=Int64(2**62), raw=b"\\x01\\x02", values=values)

        @mutation
        async def many(ctx: MutationCtx, count: int, size: int = 0, delay: float = 0) -> None:
            for number in range(count):
                await ctx.scheduler.run_after(delay, note, text=f"{number}" + "x" * size)

        @mutation
        async def then_throw(ctx: MutationCtx) -> None:
            await ctx.scheduler.run_after(0, note, text="never")
            raise ApplicationError("thrown")

        @mutation
        async def catches(ctx: MutationCtx) -> None:
            try:
                await ctx.run_mutation(then_throw)
            except ApplicationError:
                pass
            await ctx.scheduler.run_after(0, note, text="from the parent")

        @mutation
        async def sees_at_once(ctx: MutationCtx) -> str:
            id = await ctx.scheduler.run_after(timedelta(hours=1), note, text="x")
            job = await ctx.db.system.get(id)
            assert job is not None
            return job.state.kind

        @action
        async def schedule_then_throw(ctx: ActionCtx) -> None:
            await ctx.scheduler.run_after(0, note, text="stays")
            raise ApplicationError("thrown")

        @action
        async def from_action(ctx: ActionCtx, text: str) -> Id[ScheduledFunction]:
            id = await ctx.scheduler.run_after(timedelta(hours=1), note, text=text)
            await ctx.scheduler.run_at(datetime.fromtimestamp(ctx.now() / 1000, UTC) + timedelta(hours=2), note, text=text + " 2")
            return id

        @action
        async def cancel_in_action(ctx: ActionCtx, id: str) -> None:
            await ctx.scheduler.cancel(id)

        @internal_action
        async def gated(ctx: ActionCtx, name: str) -> None:
            gate = gates.setdefault(name, asyncio.Event())
            started.setdefault(name, asyncio.Event()).set()
            await ctx.run_mutation(note, text=f"{name} began")
            await gate.wait()
            await ctx.scheduler.run_after(0, note, text=f"{name} scheduled")
            await ctx.run_mutation(later, delay=0, text=f"{name} scheduled in a mutation")
            await ctx.scheduler.run_after(0, gated, name=f"{name} again")
            await ctx.run_mutation(note, text=f"{name} ended")

        @internal_action
        async def breaks(ctx: ActionCtx) -> None:
            raise ValueError("out of luck")
    """,
    "functions/helpers.py": "def helper(): ...",
}


@pytest.fixture(scope="session")
def work_app(tmp_path_factory: pytest.TempPathFactory) -> App:
    return AppLoader(write_files(tmp_path_factory.mktemp("work"), FILES)).load()


@pytest.fixture
async def work(work_app: App) -> AsyncIterator[Backend]:
    module = work_app.modules["work"]
    module.gates.clear()
    module.started.clear()
    async with make_backend(work_app) as running:
        yield running
