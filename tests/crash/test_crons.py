"""`kill -9` in the middle of a cron's run: mutations once per occurrence, actions at most once. server-semantics 6.5."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.support.server import ReactorProcess

pytestmark = pytest.mark.process

SCHEMA = """
from reactor import Document, define_schema, define_table

class Entry(Document):
    text: str

schema = define_schema(entries=define_table(Entry))
"""
WORK = """
from pathlib import Path
from reactor import ActionCtx, MutationCtx, QueryCtx, internal_action, internal_mutation, query
from schema import Entry

@internal_mutation
async def write(ctx: MutationCtx) -> None:
    await ctx.db.insert(Entry(text="ran"))

@internal_action
async def act(ctx: ActionCtx) -> None:
    with (Path(__file__).parents[2] / "side-effects").open("a") as log:
        log.write("ran\\n")
    await ctx.run_mutation(write)

@query
async def entries(ctx: QueryCtx) -> int:
    return await ctx.db.query(Entry).count()
"""
CRONS = """
from datetime import timedelta
from functions import work
from reactor import Crons

crons = Crons()
crons.interval("it", timedelta(hours=1), work.{})
"""


@pytest.mark.parametrize(
    ("function", "point", "effects", "entries"),
    [
        ("write", "crons.mutation_ran", 0, 1),
        ("write", "committer.after_run", 0, 1),
        ("write", "store.after_commit", 0, 1),
        ("act", "crons.action_starts", 0, 0),
        ("act", "crons.action_ended", 1, 1),
    ],
)
def test_6_5_a_kill_in_the_middle_of_a_run(
    tmp_path: Path, function: str, point: str, effects: int, entries: int
) -> None:
    app = tmp_path / "app"
    (app / "functions").mkdir(parents=True)
    (app / "functions" / "__init__.py").touch()
    (app / "schema.py").write_text(SCHEMA)
    (app / "functions" / "work.py").write_text(WORK)
    log = tmp_path / "side-effects"
    log.touch()
    server = ReactorProcess(tmp_path / "reactor", app=app, mode="serve", options=("--no-supervise",))
    try:
        server.start()  # tables and schema are there when the cron comes
        server.terminate()
        (app / "functions" / "crons.py").write_text(CRONS.format(function))
        count = 1
        if point.startswith(("store.", "committer.")):
            count = 2
        server.start(env={"REACTOR_FAULTS": f"{point}=kill:{count}"}, ready=False)
        assert server.wait_exit() == -signal.SIGKILL, server.log()
        server.start()
        deadline = time.monotonic() + 10
        while server.query("work:entries") < entries and time.monotonic() < deadline:
            time.sleep(0.05)
        server.terminate()  # what is under way ends first
        server.start()
        assert server.query("work:entries") == entries
        assert len(log.read_text().splitlines()) == effects
    finally:
        server.expected_exit = True
        server.close()
