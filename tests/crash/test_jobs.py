"""`kill -9` between every two steps of a scheduled function: mutations happen exactly once, actions at most once.

server-semantics 6.3, checklist 39; engine rule 24.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.server import ReactorProcess

pytestmark = pytest.mark.process

SCHEMA = """
from reactor import Document, define_schema, define_table

class Entry(Document):
    text: str

schema = define_schema(entries=define_table(Entry))
"""

FUNCTIONS = """
import os
import signal
from datetime import timedelta
from pathlib import Path
from reactor import *
from reactor import faults
from schema import Entry

LOG = Path(__file__).parents[2] / "side-effects"

@internal_mutation
async def write(ctx: MutationCtx, text: str) -> None:
    await ctx.db.insert(Entry(text=text))

@internal_mutation
async def fail(ctx: MutationCtx, text: str) -> None:
    await ctx.db.insert(Entry(text=text))
    raise ApplicationError("on purpose")

@internal_mutation
async def deadly(ctx: MutationCtx, text: str) -> None:
    await ctx.db.insert(Entry(text=text))
    os.kill(os.getpid(), signal.SIGKILL)

@internal_mutation
async def chain(ctx: MutationCtx, left: int) -> None:
    await ctx.db.insert(Entry(text=f"link {left}"))
    if left:
        await ctx.scheduler.run_after(0, chain, left=left - 1)

@internal_action
async def act(ctx: ActionCtx, text: str) -> None:
    with LOG.open("a") as log:
        log.write(text + "\\n")
    await ctx.run_mutation(write, text=text)

@mutation
async def schedule(ctx: MutationCtx, kind: str, text: str, delay: float = 0) -> Id[ScheduledFunction]:
    await ctx.db.insert(Entry(text=f"scheduled {text}"))
    return await ctx.scheduler.run_after(delay, "work:" + kind, text=text)

@mutation
async def begin_chain(ctx: MutationCtx, left: int) -> None:
    await ctx.scheduler.run_after(0, chain, left=left)

@query
async def arm(ctx: QueryCtx, fault: str) -> None:
    faults.arm_from_environment(fault)

@query
async def entries(ctx: QueryCtx) -> list[str]:
    return [entry.text for entry in await ctx.db.query(Entry).collect()]

@query
async def states(ctx: QueryCtx) -> dict[str, str]:
    jobs = await ctx.db.system.query("_scheduled_functions").collect()
    return {str(job.args[0].get("text", job.args[0].get("left"))): job.state.kind + (": " + job.state.error if job.state.error else "") for job in jobs}
"""


class Jobs:
    """A server of its own, and the effects that actions leave outside of it."""

    def __init__(self, root: Path) -> None:
        app = root / "app"
        (app / "functions").mkdir(parents=True)
        (app / "functions" / "__init__.py").touch()
        (app / "schema.py").write_text(SCHEMA)
        (app / "functions" / "work.py").write_text(FUNCTIONS)
        self.log = root / "side-effects"
        self.log.touch()
        self.server = ReactorProcess(root / "reactor", app=app, mode="serve", options=("--no-supervise",))
        self.server.start()

    def arm(self, fault: str) -> None:
        self.server.query("work:arm", {"fault": fault})

    def killed(self) -> None:
        code = self.server.wait_exit()
        assert code == -signal.SIGKILL, self.server.log()

    def schedule(self, kind: str, text: str) -> None:
        """The server may end before it answers."""
        with contextlib.suppress(httpx.TransportError):
            self.server.mutation("work:schedule", {"kind": kind, "text": text})

    def until_done(self, patience: float = 20) -> dict[str, str]:
        """The states, once nothing is pending or in progress."""
        deadline = time.monotonic() + patience
        while True:
            states: dict[str, str] = self.server.query("work:states")
            if not any(state in ("pending", "inProgress") for state in states.values()):
                return states
            assert time.monotonic() < deadline, states
            time.sleep(0.02)

    @property
    def effects(self) -> list[str]:
        return self.log.read_text().splitlines()

    def entries(self) -> list[str]:
        return self.server.query("work:entries")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    jobs = Jobs(tmp_path)
    try:
        yield jobs
    finally:
        jobs.server.expected_exit = True
        jobs.server.close()


COMMITS = ["committer.after_run", "store.before_commit", "store.after_commit", "committer.before_publish"]
"""Points that every commit passes, in this order."""


@pytest.mark.parametrize(
    ("point", "count"),
    # The first commit is that of the mutation that schedules, the second the job's.
    [("scheduler.marked", 1), ("scheduler.ran", 1), *[(point, count) for point in COMMITS for count in (1, 2)]],
)
def test_6_3_a_scheduled_mutation_happens_exactly_once(jobs: Jobs, point: str, count: int) -> None:
    """checklist 39"""
    jobs.arm(f"{point}=kill:{count}")
    jobs.schedule("write", "a")
    jobs.killed()
    jobs.server.start()
    states = jobs.until_done()
    if count == 1 and point in COMMITS[:2]:
        assert (states, jobs.entries()) == ({}, [])
    else:
        assert (states, jobs.entries()) == ({"a": "success"}, ["scheduled a", "a"])


@pytest.mark.parametrize("step", ["scheduler.marked", "scheduler.before_failed"])
def test_6_3_a_mutation_that_fails_is_failed_after_a_crash_too(jobs: Jobs, step: str) -> None:
    jobs.arm(f"{step}=kill:1")
    jobs.schedule("fail", "bad")
    jobs.killed()
    jobs.server.start()
    states = jobs.until_done()
    assert states["bad"].startswith("failed: Uncaught ConvexError: on purpose")
    assert jobs.entries() == ["scheduled bad"]


@pytest.mark.parametrize(
    ("step", "ran", "state"),
    [
        # Not durably begun: it is run after the restart.
        ("scheduler.marked", True, "success"),
        # Begun, and nobody knows how far it came: it is not run again.
        ("scheduler.action_starts", False, "failed: Transient error while executing action"),
        ("scheduler.action_ended", True, "failed: Transient error while executing action"),
    ],
)
def test_6_3_a_scheduled_action_happens_at_most_once(jobs: Jobs, step: str, ran: bool, state: str) -> None:
    """checklist 39"""
    jobs.arm(f"{step}=kill:1")
    jobs.schedule("act", "a")
    jobs.killed()
    jobs.server.start()
    assert jobs.until_done() == {"a": state}
    assert jobs.effects == (["a"] if ran else [])
    assert jobs.entries().count("a") == (1 if ran else 0)
    jobs.server.kill()
    jobs.server.start()
    assert jobs.until_done() == {"a": state}
    assert jobs.effects == (["a"] if ran else [])


@pytest.mark.parametrize("point", COMMITS)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_6_3_an_action_never_happens_twice_whichever_commit_is_cut_off(jobs: Jobs, point: str, count: int) -> None:
    """checklist 39: scheduling, the mark, the action's own mutation, its completion"""
    jobs.arm(f"{point}=kill:{count}")
    jobs.schedule("act", "a")
    jobs.killed()
    jobs.server.start()
    states = jobs.until_done()
    if count == 1 and point in COMMITS[:2]:
        assert (states, jobs.effects, jobs.entries()) == ({}, [], [])
    elif count == 1 or (count == 2 and point in COMMITS[:2]):  # not durably begun
        assert (states, jobs.effects, jobs.entries()) == ({"a": "success"}, ["a"], ["scheduled a", "a"])
    else:
        happened = ["a"] if count > 2 else []
        done = count == 4 and point in COMMITS[2:]
        written = ["a"] if count == 4 or (count == 3 and point in COMMITS[2:]) else []
        assert states == {"a": "success" if done else "failed: Transient error while executing action"}
        assert (jobs.effects, jobs.entries()) == (happened, ["scheduled a", *written])


def test_6_3_overdue_jobs_run_after_a_restart(jobs: Jobs) -> None:
    """checklist 40"""
    for number in range(20):
        jobs.server.mutation("work:schedule", {"kind": "write", "text": f"{number}", "delay": 700})
    jobs.server.kill()
    assert len(jobs.effects) == 0
    time.sleep(0.8)
    jobs.server.start()
    jobs.until_done()
    assert [text for text in jobs.entries() if "scheduled" not in text] == [str(number) for number in range(20)]


def test_a_chain_of_mutations_goes_on_through_kills(jobs: Jobs) -> None:
    """Each link schedules the next in its own transaction, so none is lost and none is there twice."""
    links = 400
    jobs.server.mutation("work:beginChain", {"left": links})
    kills = 0
    while True:
        entries: list[Any] = jobs.entries()
        if f"link {0}" in entries:
            break
        jobs.server.kill()
        jobs.server.start()
        kills += 1
        assert kills < 200
    assert kills > 0
    jobs.until_done()
    assert jobs.entries() == [f"link {left}" for left in range(links, -1, -1)]


def test_a_mutation_that_ends_the_process_is_given_up(jobs: Jobs) -> None:
    """engine rule 20: found running at two starts, it is marked failed instead of run"""
    jobs.schedule("deadly", "x")
    for _ in range(2):
        jobs.killed()
        jobs.server.start(ready=False)
    jobs.server.wait_ready()
    states = jobs.until_done()
    assert states["x"].startswith("failed: ")
    assert "was running each time the server died" in states["x"]
    assert "x" not in jobs.entries()
