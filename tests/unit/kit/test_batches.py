"""Batched work over a table: every document once, whatever happens in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from reactor.errors import SchemaError
from reactor.kit import batched
from reactor.testing import Backend
from tests.unit.kit.conftest import Project

SCHEMA = """
    from reactor import Document, define_schema, define_table

    class Item(Document):
        number: int
        done: int = 0

    schema = define_schema(items=define_table(Item).index("by_number", "number"))
"""

APP = """
    from datetime import timedelta
    from typing import Any

    from reactor import ActionCtx, MutationCtx, QueryCtx, action, mutation, query
    from reactor.kit import BatchStatus, batched
    from schema import Item

    broken: set[int] = set()
    seen: list[int] = []

    @batched(Item, size=10)
    async def mark(ctx: MutationCtx, item: Item) -> None:
        \"\"\"Mark every item.\"\"\"
        if item.number in broken:
            raise ValueError(f"item {item.number} is broken")
        seen.append(item.number)
        await ctx.db.patch(item, done=item.done + 1)

    @batched(Item, size=10, index="by_number", pause=timedelta(seconds=5))
    async def slowly(ctx: MutationCtx, item: Item) -> None:
        seen.append(item.number)

    @batched("items", size=3)
    async def empty_out(ctx: MutationCtx, item: Any) -> None:
        await ctx.db.delete(item)

    @batched(Item, size=10)
    async def stops_itself(ctx: MutationCtx, item: Item) -> None:
        if item.number == 14:
            await stops_itself.cancel(ctx)

    @mutation
    async def fill(ctx: MutationCtx, count: int, first: int = 0) -> None:
        for number in range(first, first + count):
            await ctx.db.insert(Item(number=number))

    @mutation
    async def start(ctx: MutationCtx, restart: bool = False) -> BatchStatus:
        return await mark.start(ctx, restart=restart)

    @mutation
    async def start_all(ctx: MutationCtx) -> None:
        await slowly.start(ctx)
        await empty_out.start(ctx)

    @mutation
    async def start_slowly(ctx: MutationCtx) -> None:
        await slowly.start(ctx)

    @mutation
    async def cancel(ctx: MutationCtx) -> None:
        await slowly.cancel(ctx)

    @query
    async def status(ctx: QueryCtx, slow: bool = False) -> BatchStatus:
        return await (slowly if slow else mark).status(ctx)

    @query
    async def done(ctx: QueryCtx) -> list[int]:
        return sorted({item.done for item in await ctx.db.query(Item).collect()})

    @query
    async def count(ctx: QueryCtx) -> int:
        return await ctx.db.query(Item).count()

    @query
    async def state_of_self_stopping(ctx: QueryCtx) -> BatchStatus:
        return await stops_itself.status(ctx)

    @action
    async def from_an_action(ctx: ActionCtx) -> str:
        await slowly.start(ctx)
        await slowly.cancel(ctx)
        return (await slowly.status(ctx)).state

    @query
    async def what_was_seen(ctx: QueryCtx) -> list[int]:
        return list(seen)

    @mutation
    async def break_item(ctx: MutationCtx, number: int | None) -> None:
        broken.clear()
        if number is not None:
            broken.add(number)
"""

NOW = timedelta(0)


async def status(backend: Backend, **args: Any) -> tuple[str, int]:
    found = await backend.query("f:status", **args)
    return found.state, found.processed


async def test_every_document_is_done_once(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.mutation("f:fill", count=35)
        assert await status(backend) == ("not started", 0)
        assert (await backend.mutation("f:start")).state == "running"
        await backend.advance(NOW)
        assert await status(backend) == ("done", 35)
        assert await backend.query("f:done") == [1]
        assert (await backend.mutation("f:start")).state == "done"
        await backend.advance(NOW)
        assert await backend.query("f:done") == [1], "starting it again does nothing"
        await backend.mutation("f:start", restart=True)
        await backend.advance(NOW)
        assert await backend.query("f:done") == [2]


async def test_progress_can_be_followed(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.mutation("f:fill", count=25)
        async with backend.subscribe("f:status", slow=True) as updates:
            assert (await updates.next()).state == "not started"
            await backend.mutation("f:startSlowly")
            await backend.advance(NOW)
            assert (await updates.next()).processed == 10
            await backend.advance(timedelta(seconds=5))
            assert (await updates.next()).processed == 20
            await backend.advance(timedelta(seconds=5))
            last = await updates.next()
            assert (last.state, last.processed) == ("done", 25)
            assert last.ended_at == pytest.approx(last.started_at + 10_000, abs=1)


async def test_documents_that_come_meanwhile_are_done_too(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.mutation("f:fill", count=15)
        await backend.mutation("f:startSlowly")
        await backend.advance(NOW)
        await backend.mutation("f:fill", count=3, first=100)
        await backend.advance(timedelta(seconds=5))
        assert await status(backend, slow=True) == ("done", 18)


async def test_a_failed_batch_is_undone_and_the_job_goes_on_from_there(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.mutation("f:fill", count=30)
        await backend.mutation("f:breakItem", number=14)
        await backend.mutation("f:start")
        await backend.advance(NOW)
        failed = await backend.query("f:status")
        assert (failed.state, failed.processed) == ("failed", 10)
        assert "item 14 is broken" in failed.error
        assert await backend.query("f:done") == [0, 1]
        await backend.mutation("f:breakItem", number=None)
        await backend.mutation("f:start")
        await backend.advance(NOW)
        assert await status(backend) == ("done", 30)
        assert await backend.query("f:done") == [1]


async def test_a_canceled_job_stops_and_can_go_on(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.mutation("f:fill", count=25)
        await backend.mutation("f:startSlowly")
        await backend.advance(NOW)
        await backend.mutation("f:cancel")
        await backend.advance(timedelta(minutes=1))
        assert await status(backend, slow=True) == ("canceled", 10)
        await backend.mutation("f:startSlowly")
        await backend.advance(NOW)
        await backend.advance(timedelta(seconds=5))
        assert await status(backend, slow=True) == ("done", 25)
        assert await backend.query("f:whatWasSeen") == list(range(25))


async def test_a_job_may_cancel_itself_with_its_batch_done(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.mutation("f:fill", count=30)
        await backend.mutation("f:stopsItself")
        await backend.advance(NOW)
        found = await backend.query("f:stateOfSelfStopping")
        assert (found.state, found.processed) == ("canceled", 20)


async def test_deleting_behind_it_is_safe_and_names_of_tables_do(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.mutation("f:fill", count=10)
        await backend.mutation("f:startAll")
        await backend.advance(NOW)
        await backend.advance(timedelta(seconds=5))
        assert await backend.query("f:count") == 0


async def test_it_is_an_internal_mutation_of_its_own_and_actions_may_start_it(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.mutation("f:fill", count=12)
        assert (await backend.mutation("f:mark")).state == "running"
        await backend.advance(NOW)
        assert await status(backend) == ("done", 12)
        assert await backend.action("f:fromAnAction") == "canceled"


def test_a_size_is_one_at_least() -> None:
    with pytest.raises(SchemaError, match="`size` is a positive number, not 0"):
        batched("items", size=0)
