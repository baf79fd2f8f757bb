"""The agent's runs: good ones, bad ones, and who may watch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_sandbox import API_KEY, FakeSandbox

from functions import sessions
from reactor import ApplicationError, MutationCtx, ScheduledFunction
from reactor.testing import Backend
from schema import Session


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSandbox]:
    with FakeSandbox() as fake:
        monkeypatch.setenv("SANDBOX_URL", fake.url)
        monkeypatch.setenv("SANDBOX_API_KEY", API_KEY)
        yield fake


async def run(user: Backend, prompt: str) -> Session:
    """Start a session and wait for its end."""
    session_id = await user.mutation(sessions.start, prompt=prompt)
    await user.finish_in_progress()
    session = await user.query(sessions.get, session_id=session_id)
    assert session is not None
    return session


async def job_states(backend: Backend) -> list[str]:
    async def read(ctx: MutationCtx) -> list[str]:
        return [job.state.kind for job in await ctx.db.query(ScheduledFunction).collect()]

    return await backend.run(read)


async def test_a_session_is_watched_from_pending_to_completed(backend: Backend, fake: FakeSandbox) -> None:
    ann = backend.as_user("ann")
    async with ann.subscribe(sessions.list_mine) as updates:
        assert await updates.next() == []
        await ann.mutation(sessions.start, prompt="build a shop")
        seen: list[Session] = []
        while not seen or seen[-1].status != "completed":
            seen += await updates.next()
    # Somebody who watches may miss a step, but sees them in their order.
    steps = ["pending", "running", "completed"]
    assert [session.status for session in seen] == [step for step in steps if step in {s.status for s in seen}]
    assert (seen[-1].result, seen[-1].error) == ("Done: build a shop", None)
    assert seen[-1].completed_at is not None
    assert (fake.made, fake.open) == (["sbx-1"], set())


async def test_a_run_that_fails_says_why_and_closes_its_sandbox(backend: Backend, fake: FakeSandbox) -> None:
    session = await run(backend.as_user("ann"), "fail at something")
    assert (session.status, session.result) == ("failed", None)
    assert session.error == 'Sandbox service: 500 {"error": "the agent gave up"}'
    assert session.completed_at is not None
    assert (fake.made, fake.open) == (["sbx-1"], set())
    assert await job_states(backend) == ["failed"]


async def test_without_its_settings_the_agent_fails_in_the_row_too(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = backend.as_user("ann")
    monkeypatch.setenv("SANDBOX_API_KEY", "wrong")
    assert (await run(ann, "a")).error == 'Sandbox service: 401 {"error": "wrong API key"}'
    monkeypatch.delenv("SANDBOX_URL")
    assert "SANDBOX_URL is not set" in ((await run(ann, "b")).error or "")


async def test_sessions_are_their_users_own(backend: Backend) -> None:
    session = await run(backend.as_user("ann"), "mine")
    for other in (backend, backend.as_user("bob")):
        assert await other.query(sessions.get, session_id=session.id) is None
        assert await other.query(sessions.list_mine) == []
    with pytest.raises(ApplicationError, match="Not authenticated"):
        await backend.mutation(sessions.start, prompt="anonymous")


async def test_a_start_that_is_rolled_back_starts_nothing(backend: Backend, fake: FakeSandbox) -> None:
    async def start_and_fail(ctx: MutationCtx) -> None:
        await ctx.run_mutation(sessions.start, prompt="never")
        raise ApplicationError("changed my mind")

    with pytest.raises(ApplicationError, match="changed my mind"):
        await backend.as_user("ann").run(start_and_fail)
    await backend.finish_in_progress()
    assert (fake.made, await job_states(backend)) == ([], [])
