"""The work pool: never more at a time than it allows, retries, outcomes, callbacks, cancelling, recovery."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from reactor.errors import DatabaseError, FunctionError, SchemaError
from reactor.kit import Retry, WorkPool
from reactor.testing import Backend
from tests.unit.kit.conftest import Project

SCHEMA = """
    from reactor import Document, define_schema, define_table

    class Sent(Document):
        to: str

    class Outcome(Document):
        work_id: str
        state: str
        text: str

    schema = define_schema(sents=define_table(Sent), outcomes=define_table(Outcome))
"""

APP = """
    import asyncio
    from datetime import timedelta
    from typing import Any

    from reactor import ActionCtx, MutationCtx, QueryCtx, action, internal_action, internal_mutation, mutation, query
    from reactor.kit import Retry, WorkPool, WorkResult, WorkStatus
    from schema import Outcome, Sent

    pool = WorkPool("mail", max_parallelism=3)
    stubborn = pool.with_options(retry=Retry(attempts=3, first=timedelta(seconds=10)))

    gates: dict[str, asyncio.Event] = {}
    running: list[str] = []
    most: list[int] = []
    failures: dict[str, int] = {}

    @internal_mutation
    async def record(ctx: MutationCtx, to: str) -> str:
        await ctx.db.insert(Sent(to=to))
        left = failures.get(to, 0)
        if left:
            failures[to] = left - 1
            raise ValueError(f"can't reach {to}")
        return to.upper()

    @internal_action
    async def send(ctx: ActionCtx, to: str) -> dict[str, Any]:
        gate = gates.setdefault(to, asyncio.Event())
        running.append(to)
        most.append(len(running))
        try:
            await gate.wait()
        finally:
            running.remove(to)
        if failures.get(to, 0):
            failures[to] -= 1
            raise ValueError(f"can't reach {to}")
        return {"to": to}

    @internal_mutation
    async def finished(ctx: MutationCtx, result: WorkResult) -> None:
        text = f"{result.context}: {result.value if result.error is None else result.error}"
        await ctx.db.insert(Outcome(work_id=result.work_id, state=result.state, text=text))

    @internal_mutation
    async def takes_nothing(ctx: MutationCtx) -> None:
        pass

    @query
    async def nothing(ctx: QueryCtx) -> None:
        pass

    @mutation
    async def add(
        ctx: MutationCtx, to: str, act: bool = True, retry: bool = False, delay: float = 0, callback: str = "f:finished"
    ) -> str:
        chosen = (stubborn if retry else pool).with_options(
            on_complete=callback, context=f"for {to}", delay=timedelta(seconds=delay)
        )
        if act:
            return await chosen.enqueue(ctx, send, to=to)
        return await chosen.enqueue(ctx, record, to)

    @mutation
    async def add_and_fail(ctx: MutationCtx) -> None:
        await pool.enqueue(ctx, record, to="x")
        raise ValueError("no")

    @mutation
    async def add_query(ctx: MutationCtx) -> None:
        await pool.enqueue(ctx, "f:nothing")

    @action
    async def add_from_action(ctx: ActionCtx) -> list[Any]:
        work_id = await pool.enqueue(ctx, "f:record", {"to": "act"})
        return [work_id, await pool.status(ctx, work_id) is not None]

    @mutation
    async def cancel(ctx: MutationCtx, work_id: str) -> bool:
        return await pool.cancel(ctx, work_id)

    @mutation
    async def cancel_all(ctx: MutationCtx) -> int:
        return await pool.cancel_all(ctx)

    @query
    async def status(ctx: QueryCtx, work_id: str) -> WorkStatus | None:
        return await pool.status(ctx, work_id)

    @query
    async def counts(ctx: QueryCtx) -> dict[str, int]:
        return await pool.counts(ctx)

    @query
    async def outcomes(ctx: QueryCtx) -> list[str]:
        return [f"{o.state} {o.text}" for o in await ctx.db.query(Outcome).collect()]

    @query
    async def sent(ctx: QueryCtx) -> list[str]:
        return [s.to for s in await ctx.db.query(Sent).collect()]

    @action
    async def facts(ctx: ActionCtx) -> list[Any]:
        return [list(running), max(most, default=0)]

    @action
    async def open_gate(ctx: ActionCtx, to: str) -> None:
        gates.setdefault(to, asyncio.Event()).set()

    @action
    async def set_failures(ctx: ActionCtx, to: str, count: int) -> None:
        failures[to] = count
"""

NOW = timedelta(0)


async def running(backend: Backend, *names: str) -> None:
    """Return once exactly these actions are running."""
    async with asyncio.timeout(5):
        while (await backend.action("f:facts"))[0] != list(names):
            await backend.settle()


async def state(backend: Backend, work_id: str) -> tuple[str, int]:
    found = await backend.query("f:status", workId=work_id)
    return found.state, found.attempts


async def test_a_mutation_runs_once_and_its_value_can_be_asked_for(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        work_id = await backend.mutation("f:add", to="ann", act=False)
        await backend.advance(NOW)
        found = await backend.query("f:status", workId=work_id)
        assert (found.state, found.attempts, found.value, found.error) == ("success", 1, "ANN", None)
        assert await backend.query("f:outcomes") == ["success for ann: ANN"]
        assert await backend.query("f:sent") == ["ann"]


async def test_work_of_a_mutation_that_fails_is_none(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        with pytest.raises(ValueError, match="no"):
            await backend.mutation("f:addAndFail")
        await backend.advance(NOW)
        assert await backend.query("f:sent") == []


async def test_no_more_run_at_a_time_than_allowed_and_the_oldest_come_first(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        for number in range(8):
            await backend.mutation("f:add", to=str(number))
        await running(backend, "0", "1", "2")
        assert await backend.query("f:counts") == {
            "waiting": 0, "pending": 5, "running": 3, "success": 0, "failed": 0, "canceled": 0,
        }  # fmt: skip
        await backend.action("f:openGate", to="1")
        await running(backend, "0", "2", "3")
        for number in range(8):
            await backend.action("f:openGate", to=str(number))
        await backend.advance(NOW)
        assert (await backend.query("f:counts"))["success"] == 8
        assert (await backend.action("f:facts"))[1] == 3


async def test_failures_are_tried_again_with_longer_pauses(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.action("f:setFailures", to="bob", count=2)
        await backend.action("f:openGate", to="bob")
        work_id = await backend.mutation("f:add", to="bob", retry=True)
        await backend.advance(NOW)
        assert await state(backend, work_id) == ("waiting", 1)
        await backend.advance(timedelta(seconds=4.9))
        assert await state(backend, work_id) == ("waiting", 1)
        await backend.advance(timedelta(seconds=5.1))
        assert await state(backend, work_id) == ("waiting", 2)
        await backend.advance(timedelta(seconds=4.9))
        assert await state(backend, work_id) == ("waiting", 2)
        await backend.advance(timedelta(seconds=15.1))
        assert await state(backend, work_id) == ("success", 3)
        assert await backend.query("f:outcomes") == ["success for bob: {'to': 'bob'}"]


@pytest.mark.parametrize("act", [False, True])
async def test_after_the_last_attempt_it_has_failed(project: Project, act: bool) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.action("f:setFailures", to="bob", count=9)
        await backend.action("f:openGate", to="bob")
        work_id = await backend.mutation("f:add", to="bob", retry=True, act=act)
        for _ in range(5):
            await backend.advance(timedelta(minutes=1))
        found = await backend.query("f:status", workId=work_id)
        assert (found.state, found.attempts, found.error) == ("failed", 3, "ValueError: can't reach bob")
        assert await backend.query("f:outcomes") == ["failed for bob: ValueError: can't reach bob"]
        assert await backend.query("f:sent") == [], "what failed attempts wrote is undone"


async def test_without_retries_one_attempt_is_all(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.action("f:setFailures", to="bob", count=1)
        work_id = await backend.mutation("f:add", to="bob", act=False)
        await backend.advance(NOW)
        assert await state(backend, work_id) == ("failed", 1)


async def test_work_can_wait_for_its_time_without_taking_a_slot(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        work_id = await backend.mutation("f:add", to="ann", act=False, delay=60)
        await backend.advance(timedelta(seconds=59))
        assert await state(backend, work_id) == ("waiting", 0)
        await backend.advance(timedelta(seconds=1))
        assert await state(backend, work_id) == ("success", 1)


async def test_what_is_canceled_before_it_began_never_begins(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        ids = [await backend.mutation("f:add", to=str(number)) for number in range(4)]
        late = await backend.mutation("f:add", to="late", delay=60)
        await backend.settle()
        assert await backend.mutation("f:cancel", workId=ids[3])
        assert await backend.mutation("f:cancel", workId=late)
        assert not await backend.mutation("f:cancel", workId=late)
        for number in range(4):
            await backend.action("f:openGate", to=str(number))
        await backend.advance(timedelta(minutes=2))
        assert [await state(backend, work_id) for work_id in (ids[3], late)] == [("canceled", 0), ("canceled", 0)]
        assert sorted(await backend.query("f:outcomes"))[:2] == ["canceled for 3: None", "canceled for late: None"]


async def test_an_action_that_is_canceled_goes_on_and_is_not_tried_again(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.action("f:setFailures", to="bob", count=9)
        work_id = await backend.mutation("f:add", to="bob", retry=True)
        await backend.settle()
        assert await backend.mutation("f:cancel", workId=work_id)
        assert await state(backend, work_id) == ("running", 1)
        await backend.action("f:openGate", to="bob")
        await backend.advance(NOW)
        assert await state(backend, work_id) == ("canceled", 1)


async def test_all_can_be_canceled(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        for number in range(5):
            await backend.mutation("f:add", to=str(number), act=False, delay=60)
        assert await backend.mutation("f:cancelAll") == 5
        assert await backend.mutation("f:cancelAll") == 0
        assert (await backend.query("f:counts"))["canceled"] == 5


async def test_a_run_that_ended_without_a_word_has_failed(project: Project) -> None:
    """What a crash leaves behind: the action's job is marked failed at the next start, and nobody told the pool."""
    async with project(APP, SCHEMA) as backend:
        work_id = await backend.mutation("f:add", to="bob")
        await backend.settle()
        assert await state(backend, work_id) == ("running", 1)
        for task in backend.reactor.scheduler._actions.values():
            task.cancel()
        await backend.settle()
        assert await state(backend, work_id) == ("running", 1)
        await backend.advance(timedelta(seconds=30))
        assert await state(backend, work_id) == ("failed", 1)
        assert await backend.query("f:outcomes") == ["failed for bob: Transient error while executing action"]


async def test_status_can_be_followed(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        work_id = await backend.mutation("f:add", to="bob")
        async with backend.subscribe("f:status", workId=work_id) as updates:
            assert (await updates.next()).state == "running"
            await backend.action("f:openGate", to="bob")
            assert (await updates.next()).state == "success"


async def test_outcomes_are_forgotten_after_a_while(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        first = await backend.mutation("f:add", to="ann", act=False)
        await backend.advance(timedelta(days=2))
        for _ in range(2):
            await backend.mutation("f:add", to="ann", act=False)
            await backend.advance(NOW)
        assert await backend.query("f:status", workId=first) is None
        assert (await backend.query("f:counts"))["success"] == 2


async def test_a_callback_that_takes_no_result_fails_alone(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        work_id = await backend.mutation("f:add", to="ann", act=False, callback="f:record")
        other = await backend.mutation("f:add", to="ann", act=False, callback="f:takesNothing")
        await backend.advance(NOW)
        assert await state(backend, work_id) == await state(backend, other) == ("success", 1)


async def test_actions_enqueue_too(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        work_id, known = await backend.action("f:addFromAction")
        assert known
        await backend.advance(NOW)
        assert await state(backend, work_id) == ("success", 1)


async def test_mistakes_are_told(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        with pytest.raises(FunctionError, match="only mutations and actions can be enqueued"):
            await backend.mutation("f:addQuery")
        with pytest.raises(DatabaseError, match="is not the id of a work item"):
            await backend.query("f:status", workId="nonsense")


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"first": timedelta(seconds=-1)}, {"base": 0.5}])
def test_retries_that_make_no_sense_are_refused(wrong: Any) -> None:
    with pytest.raises(SchemaError, match="at least one attempt"):
        Retry(**wrong)


def test_a_pool_runs_something_at_a_time() -> None:
    with pytest.raises(SchemaError, match="`max_parallelism` is 1 to 1000, not 0"):
        WorkPool("x", max_parallelism=0)
