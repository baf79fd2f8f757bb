"""server-semantics 6.1 to 6.4: what is scheduled, when it runs, what becomes of it. Checklist 38 and 40."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reactor import (
    ApplicationError,
    DatabaseError,
    FunctionError,
    FunctionNotFound,
    InvalidArguments,
    LimitExceeded,
    MutationCtx,
)
from reactor.runtime.app import App
from reactor.testing import Backend
from reactor.testing import backend as make_backend

HOUR = timedelta(hours=1)


async def states(work: Backend) -> dict[str, str]:
    return {f"{j.name} {j.args[0]}": j.state.kind for j in await work.query("work:jobs")}


# 6.1


async def test_6_1_a_mutation_is_run_after_its_delay(work: Backend) -> None:
    await work.mutation("work:later", delay=60_000, text="a")
    await work.advance(timedelta(seconds=59))
    assert await work.query("work:notes") == []
    await work.advance(timedelta(seconds=1))
    [entry] = await work.query("work:entries")
    assert (entry.text, entry.at) == ("a", work.now())


async def test_6_1_run_after_zero_runs_right_after_the_commit_and_sees_it(work: Backend) -> None:
    async def both(ctx: MutationCtx) -> None:
        await ctx.db.insert("entries", {"text": "mine", "at": 0})
        await ctx.scheduler.run_after(0, "work:seesItself")

    await work.run(both)
    await work.settle()
    assert await work.query("work:notes") == ["mine", "inProgress"]


@pytest.mark.parametrize("delay", ["5", None, True, [1]])
async def test_6_1_a_delay_is_a_number(work: Backend, delay: Any) -> None:
    async def schedule(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(delay, "work:note", text="x")

    with pytest.raises(FunctionError, match=r"`delayMs` must be a number"):
        await work.run(schedule)


@pytest.mark.parametrize("delay", [math.nan, math.inf, -math.inf])
async def test_6_1_a_delay_is_finite(work: Backend, delay: float) -> None:
    async def schedule(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(delay, "work:note", text="x")

    with pytest.raises(FunctionError, match=r"`delayMs` must be a finite number"):
        await work.run(schedule)


@pytest.mark.parametrize("delay", [-1, -0.5, timedelta(seconds=-1)])
async def test_6_1_a_delay_is_not_negative(work: Backend, delay: Any) -> None:
    async def schedule(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(delay, "work:note", text="x")

    with pytest.raises(FunctionError, match=r"`delayMs` must be non-negative"):
        await work.run(schedule)


@pytest.mark.parametrize("time", ["now", None, math.nan, datetime(2030, 1, 1)])  # noqa: DTZ001
async def test_6_1_a_time_is_a_timestamp_or_an_aware_datetime(work: Backend, time: Any) -> None:
    async def schedule(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_at(time, "work:note", text="x")

    with pytest.raises(FunctionError, match="The invoke time must a Date or a timestamp"):
        await work.run(schedule)


async def test_6_1_a_past_time_runs_at_once_and_stays_in_the_document(work: Backend) -> None:
    past = work.now() - 60_000
    job_id = await work.mutation("work:at", time=past, text="late")
    await work.settle()
    assert await work.query("work:notes") == ["late"]
    assert (await work.query("work:job", id=job_id)).scheduled_time == past


@pytest.mark.parametrize(("years", "side"), [(6, "future"), (-6, "past")])
async def test_6_1_more_than_five_years_away_is_refused(work: Backend, years: int, side: str) -> None:
    with pytest.raises(FunctionError, match=f"is more than 5 years in the {side}") as caught:
        await work.mutation("work:at", time=work.now() + years * 365 * 86_400_000, text="x")
    assert caught.value.code == "InvalidScheduledFunctionDelay"
    with pytest.raises(FunctionError, match="more than 5 years in the future"):
        await work.mutation("work:later", delay=6 * 365 * 86_400_000, text="x")


async def test_6_1_the_base_of_a_delay_is_the_frozen_time(work: Backend) -> None:
    began = work.now()
    job_id = await work.mutation("work:later", delay=1500, text="x")
    assert (await work.query("work:job", id=job_id)).scheduled_time == began + 1500


async def test_6_1_the_target_must_exist_when_it_is_scheduled(work: Backend) -> None:
    with pytest.raises(FunctionNotFound, match=r"^Attempted to schedule function at nonexistent path: nothing$"):
        await work.mutation("work:byPath", path="nothing:here")
    text = (
        "^Attempted to schedule function, but no exported function nope found in the file: work. "
        r"Did you forget to export it\?$"
    )
    with pytest.raises(FunctionNotFound, match=text):
        await work.mutation("work:byPath", path="work:nope")
    with pytest.raises(FunctionNotFound, match="no exported function helper found in the file: helpers"):
        await work.mutation("work:byPath", path="helpers:helper")


@pytest.mark.parametrize("path", ["work:later", "work:note", "work:fromAction", "work:whoAction"])
async def test_6_1_public_and_internal_mutations_and_actions_can_be_scheduled(work: Backend, path: str) -> None:
    args: dict[str, Any] = {} if path == "work:whoAction" else {"text": "x"}
    job_id = await work.mutation("work:byPath", path=path, args=args | ({"delay": 0} if path == "work:later" else {}))
    await work.finish_in_progress()
    assert (await work.query("work:job", id=job_id)).state.kind == "success"


async def test_6_1_that_a_query_was_scheduled_shows_when_it_is_due(work: Backend) -> None:
    job_id = await work.mutation("work:byPath", path="work:notes")
    await work.settle()
    job = await work.query("work:job", id=job_id)
    assert job.state.kind == "failed"
    assert "Unsupported function type." in job.state.error
    assert "Only Mutation and Action can be scheduled." in job.state.error


async def test_6_1_arguments_that_do_not_fit_fail_the_job_not_the_call(work: Backend) -> None:
    """checklist 40"""
    missing = await work.mutation("work:byPath", path="work:note", args={})
    wrong = await work.mutation("work:byPath", path="work:note", args={"text": 3})
    await work.settle()
    for job_id in (missing, wrong):
        job = await work.query("work:job", id=job_id)
        assert job.state.kind == "failed"
        assert job.state.error.startswith("ArgumentValidationError: ")
    assert await work.query("work:notes") == []


async def test_6_1_arguments_that_do_not_fit_a_function_object_fail_the_job_too(work: Backend, work_app: App) -> None:
    note = work_app.modules["work"].note

    async def schedule(ctx: MutationCtx) -> str:
        return await ctx.scheduler.run_after(0, note, text=3)

    job_id = await work.run(schedule)
    await work.settle()
    assert (await work.query("work:job", id=job_id)).state.error.startswith("ArgumentValidationError: ")


async def test_6_1_what_is_no_value_is_refused_by_the_call(work: Backend, work_app: App) -> None:
    note = work_app.modules["work"].note

    async def no_value(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(0, note, text=object())

    async def no_parameter(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(0, note, txt="x")

    with pytest.raises(InvalidArguments, match=r"Invalid arguments for work\.js:note"):
        await work.run(no_value)
    with pytest.raises(InvalidArguments, match="has no parameter 'txt'"):
        await work.run(no_parameter)


async def test_6_1_the_size_of_arguments_is_checked_by_the_call(work_app: App) -> None:
    async with make_backend(work_app, limits={"arguments_bytes": 1000}) as work:
        with pytest.raises(InvalidArguments, match=r"Arguments for work\.js:note are too large") as caught:
            await work.mutation("work:many", count=1, size=1001)
        assert caught.value.code == "ArgumentsTooLarge"


async def test_6_1_scheduling_is_part_of_the_transaction(work: Backend) -> None:
    """checklist 38"""
    with pytest.raises(ApplicationError):
        await work.mutation("work:thenThrow")
    await work.settle()
    assert await work.query("work:jobs") == []
    assert await work.query("work:notes") == []


async def test_6_1_a_job_is_visible_at_once_inside_its_transaction(work: Backend) -> None:
    assert await work.mutation("work:seesAtOnce") == "pending"


async def test_6_1_a_rolled_back_sub_transaction_takes_its_jobs_along(work: Backend) -> None:
    """checklist 27"""
    await work.mutation("work:catches")
    await work.settle()
    assert await work.query("work:notes") == ["from the parent"]
    assert len(await work.query("work:jobs")) == 1


async def test_6_1_an_action_schedules_at_once_whatever_becomes_of_it(work: Backend) -> None:
    with pytest.raises(ApplicationError):
        await work.action("work:scheduleThenThrow")
    await work.settle()
    assert await work.query("work:notes") == ["stays"]


async def test_6_1_an_action_schedules_and_cancels(work: Backend) -> None:
    job_id = await work.action("work:fromAction", text="a")
    await work.action("work:cancelInAction", id=job_id)
    await work.advance(3 * HOUR)
    assert await work.query("work:notes") == ["a 2"]


async def test_6_1_queries_have_no_scheduler(work: Backend, work_app: App) -> None:
    from reactor import QueryCtx

    assert not hasattr(QueryCtx, "scheduler")


async def test_6_1_jobs_run_as_nobody(work: Backend) -> None:
    """checklist 40 and 45"""
    ann = work.as_user("ann")
    await ann.mutation("work:byPath", path="work:who")
    await ann.mutation("work:byPath", path="work:whoAction")
    await ann.as_admin().mutation("work:byPath", path="work:who")
    await work.finish_in_progress()
    assert sorted(await work.query("work:notes")) == ["None False", "None False", "None False", "action None"]


async def test_6_1_jobs_start_in_order_of_due_time(work: Backend) -> None:
    for delay in (5000, 1000, 3000, 1000, 4000, 2000):
        await work.mutation("work:later", delay=delay, text=f"{delay}")
    work.clock.advance(10 * 10**9)  # all at once, as after a downtime
    await work.settle()
    assert await work.query("work:notes") == ["1000", "1000", "2000", "3000", "4000", "5000"]


async def test_6_1_up_to_eight_actions_run_at_once(work: Backend, work_app: App) -> None:
    for number in range(10):
        await work.mutation("work:byPath", path="work:gated", args={"name": f"{number}"})
    await work.advance(timedelta(0), wait=False)
    module = work_app.modules["work"]
    assert sorted(module.started) == [str(number) for number in range(8)]
    assert sorted((await states(work)).values()) == ["inProgress"] * 8 + ["pending"] * 2
    for job in (await work.query("work:jobs"))[:2]:
        await work.mutation("work:cancel", id=job.id)  # they go on, and schedule nothing that would run
    for number in range(2):
        module.gates[f"{number}"].set()
    while len(module.started) < 10:
        await work.settle()
    assert sorted((await states(work)).values()) == ["canceled"] * 8 + ["inProgress"] * 8


async def test_6_1_how_many_run_at_once_is_a_setting(work_app: App) -> None:
    async with make_backend(work_app, limits={"concurrent_scheduled": 2}) as work:
        for number in range(4):
            await work.mutation("work:byPath", path="work:gated", args={"name": f"two{number}"})
        await work.advance(timedelta(0), wait=False)
        assert sorted((await states(work)).values()) == ["inProgress"] * 2 + ["pending"] * 2


async def test_4_8_a_thousand_jobs_can_be_scheduled_by_a_mutation_and_not_one_more(work: Backend) -> None:
    await work.mutation("work:many", count=1000, delay=1e6)
    with pytest.raises(
        LimitExceeded, match=r"^Too many functions scheduled by this mutation \(limit: 1000\)$"
    ) as caught:
        await work.mutation("work:many", count=1001)
    assert caught.value.code == "TooManyFunctionsScheduled"
    assert len(await work.query("work:jobs")) == 1000


async def test_4_8_the_size_of_all_scheduled_arguments_is_limited(work: Backend) -> None:
    each = 1024 * 1024
    await work.mutation("work:many", count=15, size=each, delay=1e6)
    with pytest.raises(LimitExceeded, match=r"^Too large total size of the arguments") as caught:
        await work.mutation("work:many", count=17, size=each, delay=1e6)
    assert caught.value.code == "ScheduledFunctionsArgumentsTooLarge"


async def test_arguments_keep_their_types(work: Backend) -> None:
    await work.mutation("work:scheduleValues")
    await work.settle()
    values = "{'b': b'\\x00\\xff', 'f': -0.5, 'list': [1, 'a'], 'n': Int64(3), 'none': None}"
    assert await work.query("work:notes") == [f"{2**62} b'\\x01\\x02' {values}"]


async def test_a_bare_number_of_a_few_milliseconds_is_explained_in_development(work: Backend, work_app: App) -> None:
    outcome = await work.reactor.backend.call("work:later", b'{"delay":5,"text":"x"}', work.caller)
    assert "is in milliseconds" in outcome.log_lines[0]
    async with make_backend(work_app, dev=False) as production:
        await production.mutation("work:later", delay=5, text="x")


async def test_a_job_that_schedules_itself_goes_on(work: Backend) -> None:
    began = work.now()
    await work.mutation("work:byPath", path="work:again", args={"left": 3})
    await work.advance(HOUR)
    entries = await work.query("work:entries")
    assert [e.text for e in entries] == ["left 3", "left 2", "left 1", "left 0"]
    assert [e.at for e in entries] == [began + 600_000 * n for n in range(4)]


# 6.2


async def test_6_2_the_document_of_a_job(work: Backend) -> None:
    """checklist 38"""
    began = work.now()
    job_id = await work.mutation("work:later", delay=1000, text="a")
    job = await work.query("work:job", id=job_id)
    assert (job.id, job.name, job.args, job.scheduled_time) == (job_id, "work.js:note", [{"text": "a"}], began + 1000)
    assert (job.state.kind, job.state.error, job.completed_time) == ("pending", None, None)
    await work.advance(timedelta(seconds=2))
    job = await work.query("work:job", id=job_id)
    assert (job.state.kind, job.completed_time, job.scheduled_time) == ("success", began + 1000, began + 1000)


async def test_6_2_jobs_are_reactive(work: Backend) -> None:
    async with work.subscribe("work:jobs") as updates:
        assert await updates.next() == []
        job_id = await work.mutation("work:later", delay=1000, text="a")
        [job] = await updates.next()
        assert (job.id, job.state.kind) == (job_id, "pending")
        await work.advance(timedelta(seconds=1))
        [job] = await updates.next()
        assert job.state.kind == "success"
        await updates.assert_quiet()


async def test_6_2_a_job_is_deleted_seven_days_after_it_ended(work: Backend) -> None:
    """checklist 40"""
    job_id = await work.mutation("work:later", delay=0, text="a")
    waiting = await work.mutation("work:later", delay=30 * 86_400_000, text="b")
    await work.settle()
    await work.advance(timedelta(days=6, hours=23))
    assert (await work.query("work:job", id=job_id)).state.kind == "success"
    await work.advance(timedelta(hours=2))
    assert await work.query("work:job", id=job_id) is None
    assert (await work.query("work:job", id=waiting)).state.kind == "pending"
    await work.mutation("work:cancel", id=job_id)  # 6.4: garbage-collected, a no-op


async def test_6_2_many_old_jobs_are_deleted(work: Backend) -> None:
    await work.mutation("work:many", count=250)
    await work.settle()
    assert len(await work.query("work:jobs")) == 250
    await work.advance(timedelta(days=8))
    assert await work.query("work:jobs") == []


# 6.3


async def test_6_3_a_mutation_sees_itself_in_progress(work: Backend) -> None:
    job_id = await work.mutation("work:byPath", path="work:seesItself")
    await work.settle()
    assert await work.query("work:notes") == ["inProgress"]
    assert (await work.query("work:job", id=job_id)).state.kind == "success"


async def test_6_3_a_mutation_that_fails_is_rolled_back_marked_and_not_retried(work: Backend) -> None:
    job_id = await work.mutation("work:byPath", path="work:fails", args={"text": "no"})
    crash = await work.mutation("work:byPath", path="work:crashes")
    await work.settle()
    await work.advance(timedelta(days=1))
    assert await work.query("work:notes") == []
    job = await work.query("work:job", id=job_id)
    assert job.state.kind == "failed"
    assert job.state.error.startswith('Uncaught ConvexError: {"why":"no"}\n    at fails (functions/work.py:')
    error = (await work.query("work:job", id=crash)).state.error
    assert error.startswith("Uncaught ZeroDivisionError: by zero\n    at crashes (functions/work.py:")


async def test_6_3_an_action_is_in_progress_then_succeeds(work: Backend, work_app: App) -> None:
    module = work_app.modules["work"]
    job_id = await work.mutation("work:byPath", path="work:gated", args={"name": "one"})
    await work.advance(timedelta(0), wait=False)
    await module.started["one"].wait()
    assert (await work.query("work:job", id=job_id)).state.kind == "inProgress"
    module.gates["one again"] = asyncio.Event()
    module.gates["one"].set()
    while (await work.query("work:job", id=job_id)).state.kind == "inProgress":
        await work.settle()
    job = await work.query("work:job", id=job_id)
    assert (job.state.kind, job.completed_time) == ("success", work.now())


async def test_6_3_an_action_that_fails_is_marked_and_not_retried(work: Backend) -> None:
    job_id = await work.mutation("work:byPath", path="work:breaks")
    await work.advance(HOUR)
    job = await work.query("work:job", id=job_id)
    assert (job.state.kind, job.completed_time) == ("failed", work.now() - 3_600_000)
    assert job.state.error.startswith("Uncaught ValueError: out of luck")


# 6.4


async def test_6_4_a_pending_job_that_is_canceled_never_runs(work: Backend) -> None:
    job_id = await work.mutation("work:later", delay=1000, text="a")
    await work.mutation("work:cancel", id=job_id)
    job = await work.query("work:job", id=job_id)
    assert (job.state.kind, job.completed_time) == ("canceled", work.now())
    await work.mutation("work:cancel", id=job_id)  # twice is no error
    await work.advance(HOUR)
    assert await work.query("work:notes") == []
    assert (await work.query("work:job", id=job_id)).state.kind == "canceled"


async def test_6_4_an_action_that_is_canceled_goes_on_and_what_it_schedules_is_canceled(
    work: Backend, work_app: App
) -> None:
    """checklist 38: recursion of cancel"""
    module = work_app.modules["work"]
    job_id = await work.mutation("work:byPath", path="work:gated", args={"name": "one"})
    await work.advance(timedelta(0), wait=False)
    await module.started["one"].wait()
    await work.mutation("work:cancel", id=job_id)
    module.gates["one"].set()
    await work.finish_in_progress()
    assert await work.query("work:notes") == ["one began", "one ended"]
    jobs = await work.query("work:jobs")
    assert len(jobs) == 4
    assert {job.state.kind for job in jobs} == {"canceled"}
    assert all(job.completed_time is not None for job in jobs)


async def test_6_4_a_job_that_has_ended_is_left_alone(work: Backend) -> None:
    done = await work.mutation("work:later", delay=0, text="a")
    failed = await work.mutation("work:byPath", path="work:crashes")
    await work.settle()
    for job_id, state in ((done, "success"), (failed, "failed")):
        await work.mutation("work:cancel", id=job_id)
        assert (await work.query("work:job", id=job_id)).state.kind == state


async def test_6_4_only_ids_of_jobs_can_be_canceled(work: Backend) -> None:
    async def insert(ctx: MutationCtx) -> str:
        return await ctx.db.insert("entries", {"text": "x", "at": 0})

    entry = await work.run(insert)
    text = r"^Invalid scheduled function ID\. The ID must be an ID on the '_scheduled_functions' table\.$"
    with pytest.raises(DatabaseError, match=text):
        await work.mutation("work:cancel", id=entry)
    with pytest.raises(DatabaseError, match=r"Invalid argument `id` for `scheduler\.cancel`"):
        await work.mutation("work:cancel", id="nonsense")


async def test_6_4_a_mutation_that_cancels_itself_goes_on(work: Backend) -> None:
    job_id = await work.mutation("work:byPath", path="work:cancelsItself")
    await work.settle()
    assert await work.query("work:notes") == ["went on"]
    assert (await work.query("work:job", id=job_id)).state.kind == "success"


async def test_a_job_canceled_by_the_mutation_that_scheduled_it_never_runs(work: Backend) -> None:
    async def both(ctx: MutationCtx) -> None:
        job_id = await ctx.scheduler.run_after(0, "work:note", text="x")
        await ctx.scheduler.cancel(job_id)

    await work.run(both)
    await work.advance(HOUR)
    assert await work.query("work:notes") == []
    assert [job.state.kind for job in await work.query("work:jobs")] == ["canceled"]


# Many


async def test_more_jobs_than_are_kept_in_memory_all_run_in_order(work: Backend) -> None:
    """engine rule 24: the next 1,000 due jobs in memory"""
    for batch in range(5):
        await work.mutation("work:many", count=700, delay=1000.0 * (5 - batch))
    await work.mutation("work:later", delay=0, text="first")
    await work.settle()
    assert await work.query("work:notes") == ["first"]
    work.clock.advance(10 * 10**9)
    await work.finish_in_progress()
    texts = [e.text for e in await work.query("work:entries")]
    assert texts == ["first", *[str(n) for n in range(700)] * 5]
    assert set((await states(work)).values()) == {"success"}


async def test_a_canceled_job_among_many_is_left_out(work: Backend) -> None:
    await work.mutation("work:many", count=1000, delay=1000.0)
    await work.mutation("work:many", count=1000, delay=1000.0)
    jobs = await work.query("work:jobs")
    for job in jobs[::400]:
        await work.mutation("work:cancel", id=job.id)
    await work.advance(timedelta(seconds=1))
    assert len(await work.query("work:notes")) == 2000 - len(jobs[::400])


# The test tool


async def test_finish_scheduled_moves_time_until_nothing_is_left(work: Backend) -> None:
    """checklist 51"""
    began = work.now()
    await work.mutation("work:byPath", path="work:again", args={"left": 5})
    await work.finish_scheduled()
    assert len(await work.query("work:notes")) == 6
    assert work.now() == began + 5 * 600_000


async def test_finish_scheduled_gives_up_on_what_never_ends(work: Backend) -> None:
    await work.mutation("work:byPath", path="work:forEver")
    with pytest.raises(AssertionError, match="still scheduled functions after 20 steps"):
        await work.finish_scheduled(max_steps=20)


async def test_times_are_datetimes_or_milliseconds(work: Backend) -> None:
    async def schedule(ctx: MutationCtx) -> None:
        now = datetime.fromtimestamp(ctx.now() / 1000, UTC)
        await ctx.scheduler.run_at(now + timedelta(seconds=1), "work:note", text="datetime")
        await ctx.scheduler.run_at(ctx.now() + 2000, "work:note", text="number")
        await ctx.scheduler.run_after(timedelta(seconds=3), "work:note", text="timedelta")
        await ctx.scheduler.run_after(4000, "work:note", {"text": "mapping"})

    await work.run(schedule)
    for count in range(5):
        assert len(await work.query("work:notes")) == count
        await work.advance(timedelta(seconds=1))


async def test_4_8_a_line_warns_of_four_fifths_of_the_jobs(work: Backend) -> None:
    outcome = await work.reactor.backend.call("work:many", b'{"count":801,"delay":1e9}', work.caller)
    assert outcome.log_lines == ("[WARN] Many functions scheduled by this mutation (actual: 801, limit: 1000).",)
