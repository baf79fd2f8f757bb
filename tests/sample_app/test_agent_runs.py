"""Agent runs: queued, claimed by exactly one, reported on, finished (sample app, sections 11 and 12)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from functions import agent_runs, messages, projects, usage
from functions.agent_runs import ClaimedRun
from reactor import ApplicationError, Id, InvalidArguments, MutationCtx
from reactor.testing import Backend
from schema import AgentRun, Fragment, Project
from tests.sample_app.scene import Wire, refused


async def enqueue(operator: Backend, project_id: Id[Project], value: str = "a cart", **more: Any) -> Id[AgentRun]:
    return await operator.mutation(agent_runs.enqueue_for_system, project_id=project_id, value=value, **more)


@pytest.fixture
async def run_id(operator: Backend, project_id: Id[Project]) -> Id[AgentRun]:
    return await enqueue(operator, project_id)


async def stored(backend: Backend, run_id: Id[AgentRun]) -> AgentRun:
    async def read(ctx: MutationCtx) -> AgentRun | None:
        return await ctx.db.get(run_id)

    run = await backend.run(read)
    assert run is not None
    return run


async def complete(agent: Backend, run_id: Id[AgentRun], **more: Any) -> agent_runs.CompletedRun:
    given: dict[str, Any] = {"summary": "Done", "files": {"a.ts": "1"}, "framework": "VUE", **more}
    return await agent.mutation(agent_runs.complete_run, run_id=run_id, **given)


async def built(user: Backend, project_id: Id[Project], files: Any, framework: str = "SVELTE") -> None:
    """A message of the project with a fragment."""
    message_id = await user.mutation(
        messages.create, project_id=project_id, content="", role="ASSISTANT", type="RESULT"
    )
    await user.mutation(
        "messages:createFragment",
        message_id=message_id,
        sandbox_url="u",
        title="t",
        files=files,
        framework=framework,
    )


# Queueing


async def test_a_queued_run_is_pending_with_its_notes(
    operator: Backend, backend: Backend, project_id: Id[Project]
) -> None:
    run = await stored(backend, await enqueue(operator, project_id, model="large", framework="whatever"))
    assert (run.status, run.run_source, run.value) == ("PENDING", "WEBCONTAINER", "a cart")
    assert (run.model, run.framework, run.claimed_by) == ("large", "whatever", None)
    assert (run.created_at, run.updated_at, run.completed_at) == (backend.now(), backend.now(), None)


async def test_only_the_operator_queues(backend: Backend, ann: Backend, project_id: Id[Project]) -> None:
    for stranger in (backend, ann):
        with refused("Unauthorized"):
            await enqueue(stranger, project_id)


async def test_a_project_must_be_there(operator: Backend, ann: Backend, project_id: Id[Project]) -> None:
    await ann.mutation(projects.delete_project, project_id=project_id)
    with refused("Project not found"):
        await enqueue(operator, project_id)


async def test_pending_runs_are_listed_oldest_first(
    operator: Backend, ann: Backend, bob: Backend, project_id: Id[Project]
) -> None:
    first, second, third = [await enqueue(operator, project_id, str(n)) for n in range(3)]
    await ann.mutation(agent_runs.claim_run, run_id=second)

    listed = await ann.query(agent_runs.list_pending_for_project, project_id=project_id)

    assert [run.id for run in listed] == [first, third]
    assert [run.id for run in await operator.query(agent_runs.list_pending)] == [first, third]
    for stranger in (bob, operator):
        with refused("Unauthorized"):
            await stranger.query(agent_runs.list_pending_for_project, project_id=project_id)
    with refused("Unauthorized"):
        await ann.query(agent_runs.list_pending)


async def test_recent_runs_are_listed_newest_first_and_show_how_far_they_are(
    operator: Backend, ann: Backend, bob: Backend, backend: Backend, project_id: Id[Project]
) -> None:
    made = []
    for number in range(21):
        made.append(await enqueue(operator, project_id, str(number)))
        await backend.advance(timedelta(seconds=1))
    await ann.mutation(agent_runs.claim_run, run_id=made[-1])

    listed = await ann.query(agent_runs.list_recent_for_project, project_id=project_id)

    assert [run.id for run in listed] == made[:0:-1]
    assert [run.status for run in listed[:2]] == ["RUNNING", "PENDING"]
    for stranger in (bob, operator):
        with refused("Unauthorized"):
            await stranger.query(agent_runs.list_recent_for_project, project_id=project_id)


async def test_a_user_asks_for_a_credit_and_gets_a_message_and_a_run(
    ann: Backend, backend: Backend, project_id: Id[Project]
) -> None:
    run_id = await ann.mutation(agent_runs.ask, project_id=project_id, value="a cart", model="large")
    [message] = await ann.query(messages.list_, project_id=project_id)
    [run] = await ann.query(agent_runs.list_pending_for_project, project_id=project_id)
    assert (message.content, message.role, message.status) == ("a cart", "USER", "COMPLETE")
    assert (run.id, run.value, run.model) == (run_id, "a cart", "large")
    assert (await ann.query(usage.get_usage)).points == 4


async def test_asking_can_not_be_overspent_nor_done_in_anothers_project(
    ann: Backend, bob: Backend, backend: Backend, project_id: Id[Project]
) -> None:
    for stranger in (bob, backend):
        with refused("Unauthorized"):
            await stranger.mutation(agent_runs.ask, project_id=project_id, value="x")
    asked = (ann.mutation(agent_runs.ask, project_id=project_id, value=f"{n}") for n in range(9))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refusals = [outcome.data for outcome in outcomes if isinstance(outcome, ApplicationError)]
    assert refusals == ["You have run out of credits"] * 4
    assert len(await ann.query(agent_runs.list_pending_for_project, project_id=project_id)) == 5
    assert len(await ann.query(messages.list_, project_id=project_id)) == 5
    assert (await bob.query(usage.get_usage)).points == 5


# Claiming


async def test_a_claim_answers_what_an_agent_needs(
    operator: Backend, backend: Backend, ann: Backend, project_id: Id[Project]
) -> None:
    run_id = await enqueue(operator, project_id, model="large", framework="ANGULAR")
    await backend.advance(timedelta(seconds=1))
    claimed = await ann.mutation(agent_runs.claim_run, run_id=run_id)
    run = await stored(backend, run_id)
    assert claimed == ClaimedRun(
        run_id=run_id, project_id=project_id, value="a cart", model="large", framework="REACT", base_files={}
    )
    assert (run.status, run.claimed_by, run.updated_at) == ("RUNNING", "ann", backend.now())


async def test_a_model_that_was_not_asked_for_is_absent(ann_wire: Wire, run_id: Id[AgentRun]) -> None:
    claimed = await ann_wire.mutation("agentRuns:claimRun", runId=run_id)
    assert set(claimed) == {"runId", "projectId", "value", "framework", "baseFiles"}


async def test_the_base_is_the_latest_fragment_with_text_files(
    ann: Backend, backend: Backend, project_id: Id[Project], run_id: Id[AgentRun]
) -> None:
    for files in ({"old.ts": "0"}, {"a.ts": "1", "logo": {"bytes": 3}, "n": 1}, {"logo": 1}, {}, ["x"], "text", None):
        await built(ann, project_id, files)
        await backend.advance(timedelta(seconds=1))
    claimed = await ann.mutation(agent_runs.claim_run, run_id=run_id)
    assert (claimed.base_files, claimed.framework) == ({"a.ts": "1"}, "SVELTE")


async def test_only_the_newest_twenty_five_messages_are_looked_at(
    ann: Backend, operator: Backend, project_id: Id[Project], backend: Backend
) -> None:
    await built(ann, project_id, {"a.ts": "1"})
    for n in range(25):
        await backend.advance(timedelta(seconds=1))
        if n == 24:
            run_id = await enqueue(operator, project_id)
            near = await ann.mutation(agent_runs.claim_run, run_id=run_id)
            assert near.base_files == {"a.ts": "1"}
        await ann.mutation(messages.create, project_id=project_id, content="", role="USER", type="RESULT")
    far = await ann.mutation(agent_runs.claim_run, run_id=await enqueue(operator, project_id))
    assert (far.base_files, far.framework) == ({}, "REACT")


async def test_of_ten_simultaneous_claims_exactly_one_wins(
    ann: Backend, operator: Backend, run_id: Id[AgentRun]
) -> None:
    claims = [agent.mutation(agent_runs.claim_run, run_id=run_id) for agent in [ann, operator] * 5]
    outcomes = await asyncio.gather(*claims, return_exceptions=True)
    assert len([o for o in outcomes if isinstance(o, ClaimedRun)]) == 1
    assert [o.data for o in outcomes if isinstance(o, ApplicationError)] == ["Run already claimed"] * 9


async def test_a_run_is_claimed_once_for_good(ann: Backend, run_id: Id[AgentRun]) -> None:
    for finish in (None, complete):
        if finish is not None:
            await finish(ann, run_id)
        else:
            await ann.mutation(agent_runs.claim_run, run_id=run_id)
        with refused("Run already claimed"):
            await ann.mutation(agent_runs.claim_run, run_id=run_id)


# Finishing


async def test_completing_answers_with_a_message_and_a_fragment(
    ann: Backend, backend: Backend, operator: Backend, project_id: Id[Project]
) -> None:
    run_id = await enqueue(operator, project_id, model="large")
    await ann.mutation(agent_runs.claim_run, run_id=run_id)
    await backend.advance(timedelta(seconds=1))

    done = await complete(ann, run_id, metadata={"tokens": 5, "source": "mine"})

    [message] = await ann.query(messages.list_, project_id=project_id)
    run = await stored(backend, run_id)
    assert message.id == done.message_id
    assert (message.content, message.role, message.type, message.status) == ("Done", "ASSISTANT", "RESULT", "COMPLETE")
    assert isinstance(message.fragment, Fragment)
    assert (message.fragment.id, message.fragment.title) == (done.fragment_id, "WebContainer Run Result")
    assert (message.fragment.sandbox_url, message.fragment.framework) == ("webcontainer://local", "VUE")
    assert message.fragment.files == {"a.ts": "1"}
    assert message.fragment.metadata == {"source": "mine", "model": "large", "tokens": 5}
    assert (run.status, run.message_id, run.fragment_id) == ("COMPLETED", done.message_id, done.fragment_id)
    assert (run.updated_at, run.completed_at) == (backend.now(), backend.now())


async def test_type_and_status_of_the_answer_may_be_chosen_and_metadata_left_out(
    ann: Backend, run_id: Id[AgentRun]
) -> None:
    await ann.mutation(agent_runs.claim_run, run_id=run_id)
    done = await complete(ann, run_id, message_type="ERROR", message_status="PENDING", metadata="no object")
    message = await ann.query(messages.get, message_id=done.message_id)
    fragment = await ann.query(messages.get_fragment, message_id=done.message_id)
    assert (message.type, message.status) == ("ERROR", "PENDING")
    assert fragment is not None
    assert fragment.metadata == {"source": "webcontainer-runner"}


async def test_only_a_running_run_can_be_completed_or_reported_on(ann: Backend, run_id: Id[AgentRun]) -> None:
    for step in ("pending", "completed"):
        with refused("Run is not currently running"):
            await complete(ann, run_id)
        with refused("Run is not currently running"):
            await ann.mutation(agent_runs.report_progress, run_id=run_id, content="…")
        if step == "pending":
            await ann.mutation(agent_runs.claim_run, run_id=run_id)
            await complete(ann, run_id)


async def test_of_simultaneous_completions_one_answers(
    ann: Backend, run_id: Id[AgentRun], project_id: Id[Project]
) -> None:
    await ann.mutation(agent_runs.claim_run, run_id=run_id)
    outcomes = await asyncio.gather(*(complete(ann, run_id) for _ in range(5)), return_exceptions=True)
    assert [o.data for o in outcomes if isinstance(o, ApplicationError)] == ["Run is not currently running"] * 4
    assert len(await ann.query(messages.list_, project_id=project_id)) == 1


@pytest.mark.parametrize("claimed", [False, True])
async def test_a_run_that_has_not_ended_can_fail(
    ann: Backend, backend: Backend, run_id: Id[AgentRun], project_id: Id[Project], claimed: bool
) -> None:
    if claimed:
        await ann.mutation(agent_runs.claim_run, run_id=run_id)
    await backend.advance(timedelta(seconds=1))
    assert await ann.mutation(agent_runs.fail_run, run_id=run_id, error="no model") == run_id
    run = await stored(backend, run_id)
    assert (run.status, run.error, run.completed_at) == ("FAILED", "no model", backend.now())
    assert await ann.query(messages.list_, project_id=project_id) == []


async def test_a_run_that_has_ended_stays_as_it_ended(ann: Backend, backend: Backend, run_id: Id[AgentRun]) -> None:
    await ann.mutation(agent_runs.claim_run, run_id=run_id)
    await complete(ann, run_id)
    with refused("Run already finished"):
        await ann.mutation(agent_runs.fail_run, run_id=run_id, error="late")
    assert (await stored(backend, run_id)).status == "COMPLETED"


# Progress


async def test_progress_streams_into_the_message_that_completing_finishes(
    ann: Backend, operator: Backend, run_id: Id[AgentRun], project_id: Id[Project]
) -> None:
    await operator.mutation(agent_runs.claim_run, run_id=run_id)
    async with ann.subscribe(messages.list_, project_id=project_id) as updates:
        assert await updates.next() == []
        for text in ("I", "I think"):
            await operator.mutation(agent_runs.report_progress, run_id=run_id, content=text)
            assert [(m.content, m.type, m.status) for m in await updates.next()] == [(text, "STREAMING", "STREAMING")]
        done = await complete(operator, run_id)
        [message] = await updates.next()
    assert message.id == done.message_id
    assert (message.content, message.type, message.status) == ("Done", "RESULT", "COMPLETE")
    assert message.fragment is not None


async def test_a_failure_is_shown_where_progress_was(
    ann: Backend, operator: Backend, run_id: Id[AgentRun], project_id: Id[Project]
) -> None:
    await operator.mutation(agent_runs.claim_run, run_id=run_id)
    await operator.mutation(agent_runs.report_progress, run_id=run_id, content="I")
    await operator.mutation(agent_runs.fail_run, run_id=run_id, error="no model")
    [message] = await ann.query(messages.list_, project_id=project_id)
    assert (message.content, message.type, message.status) == ("no model", "ERROR", "COMPLETE")


async def test_a_worker_that_falls_silent_loses_its_run(
    ann: Backend, operator: Backend, backend: Backend, run_id: Id[AgentRun], project_id: Id[Project]
) -> None:
    await operator.mutation(agent_runs.claim_run, run_id=run_id)
    await backend.advance(timedelta(minutes=4))
    await operator.mutation(agent_runs.report_progress, run_id=run_id, content="I")
    async with ann.subscribe(messages.list_, project_id=project_id) as updates:
        assert [message.content for message in await updates.next()] == ["I"]
        await backend.advance(timedelta(minutes=4))
        await updates.assert_quiet()
        assert (await stored(backend, run_id)).status == "RUNNING"
        await backend.advance(timedelta(minutes=1))
        [message] = await updates.next()
    run = await stored(backend, run_id)
    assert (message.content, message.type, message.status) == ("The agent fell silent", "ERROR", "COMPLETE")
    assert (run.status, run.error) == ("FAILED", "The agent fell silent")
    with refused("Run is not currently running"):
        await complete(operator, run_id)


async def test_an_agent_in_a_browser_may_take_its_time(ann: Backend, backend: Backend, run_id: Id[AgentRun]) -> None:
    await ann.mutation(agent_runs.claim_run, run_id=run_id)
    await backend.advance(timedelta(days=1))
    await complete(ann, run_id)
    assert (await stored(backend, run_id)).status == "COMPLETED"


async def test_silence_after_the_end_means_nothing(operator: Backend, backend: Backend, run_id: Id[AgentRun]) -> None:
    await operator.mutation(agent_runs.claim_run, run_id=run_id)
    await complete(operator, run_id)
    await backend.advance(timedelta(hours=1))
    assert (await stored(backend, run_id)).status == "COMPLETED"


# Whose


STEPS: list[tuple[str, dict[str, Any]]] = [
    ("claimRun", {}),
    ("reportProgress", {"content": "x"}),
    ("completeRun", {"summary": "", "files": {}, "framework": "VUE"}),
    ("failRun", {"error": "x"}),
]


@pytest.mark.parametrize(("step", "more"), STEPS)
async def test_runs_of_others_and_of_deleted_projects_are_unauthorized(
    ann: Backend, bob: Backend, backend: Backend, run_id: Id[AgentRun], project_id: Id[Project], step: str, more: Any
) -> None:
    for stranger in (bob, backend):
        with refused("Unauthorized"):
            await stranger.mutation(f"agentRuns:{step}", run_id=run_id, **more)
    await ann.mutation(projects.delete_project, project_id=project_id)
    with refused("Unauthorized"):
        await ann.mutation(f"agentRuns:{step}", run_id=run_id, **more)


async def test_the_operator_may_fail_a_run_whose_project_is_gone_and_nothing_else(
    ann: Backend, operator: Backend, backend: Backend, run_id: Id[AgentRun], project_id: Id[Project]
) -> None:
    await ann.mutation(projects.delete_project, project_id=project_id)
    with refused("Project not found"):
        await operator.mutation(agent_runs.claim_run, run_id=run_id)
    await operator.mutation(agent_runs.fail_run, run_id=run_id, error="Project not found")
    assert (await stored(backend, run_id)).status == "FAILED"


async def test_a_project_deleted_under_a_running_agent_gets_no_answer(
    ann: Backend, operator: Backend, run_id: Id[AgentRun], project_id: Id[Project]
) -> None:
    await operator.mutation(agent_runs.claim_run, run_id=run_id)
    await operator.mutation(agent_runs.report_progress, run_id=run_id, content="I")
    await ann.mutation(projects.delete_project, project_id=project_id)
    with refused("Project not found"):
        await complete(operator, run_id)


@pytest.mark.parametrize(("step", "more"), STEPS)
async def test_missing_runs_are_not_found_once_somebody_is_signed_in(
    ann: Backend, operator: Backend, backend: Backend, run_id: Id[AgentRun], step: str, more: Any
) -> None:
    async def delete(ctx: MutationCtx) -> None:
        await ctx.db.delete(run_id)

    await backend.run(delete)
    for agent in (ann, operator):
        with refused("Run not found"):
            await agent.mutation(f"agentRuns:{step}", run_id=run_id, **more)
    with refused("Unauthorized"):
        await backend.mutation(f"agentRuns:{step}", run_id=run_id, **more)


@pytest.mark.parametrize("wrong", [{"files": {"a.ts": 1}}, {"framework": "SOLID"}, {"message_type": "OTHER"}])
async def test_completions_are_checked(ann: Backend, run_id: Id[AgentRun], wrong: dict[str, Any]) -> None:
    await ann.mutation(agent_runs.claim_run, run_id=run_id)
    with pytest.raises(InvalidArguments):
        await ann.mutation(
            "agentRuns:completeRun", {"run_id": run_id, "summary": "", "files": {}, "framework": "VUE", **wrong}
        )
