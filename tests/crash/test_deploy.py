"""A kill in the middle of a schema change: the next start finishes it, and no row is missing from the new index."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.server import ReactorProcess

pytestmark = pytest.mark.process

SCHEMA = """
from reactor import Document, define_schema, define_table

class Row(Document):
    number: int
    parity: str

schema = define_schema(rows=define_table(Row){index})
"""

FUNCTIONS = """
from reactor import MutationCtx, QueryCtx, mutation, query
from schema import Row

@mutation
async def fill(ctx: MutationCtx, start: int, count: int) -> None:
    for number in range(start, start + count):
        await ctx.db.insert(Row(number=number, parity="odd" if number % 2 else "even"))

@query
async def odd(ctx: QueryCtx) -> list[int]:
    return [row.number for row in await ctx.db.query(Row).with_index("by_parity", parity="odd").collect()]
"""


@pytest.mark.parametrize("point", ["deploy.mid_backfill", "deploy.before_switch"])
def test_a_kill_during_a_backfill(tmp_path: Path, point: str) -> None:
    app = tmp_path / "app"
    (app / "functions").mkdir(parents=True)
    (app / "functions" / "__init__.py").touch()
    (app / "functions" / "rows.py").write_text(FUNCTIONS)
    (app / "schema.py").write_text(SCHEMA.format(index=""))
    server = ReactorProcess(tmp_path / "reactor", app=app, mode="serve", options=("--no-supervise",))
    try:
        server.start()
        for start in range(0, 3000, 1000):
            server.mutation("rows:fill", {"start": start, "count": 1000})
        assert server.call("query", "rows:odd")["status"] == "error"
        server.terminate()
        (app / "schema.py").write_text(SCHEMA.format(index='.index("by_parity", "parity")'))
        server.start(env={"REACTOR_FAULTS": f"{point}=kill:1"}, ready=False)
        assert server.wait_exit() == -signal.SIGKILL, server.log()
        server.start()
        assert server.query("rows:odd") == list(range(1, 3000, 2))
        server.mutation("rows:fill", {"start": 3000, "count": 10})
        assert len(server.query("rows:odd")) == 1505
    finally:
        server.expected_exit = True
        server.close()


def test_a_kill_while_a_staged_index_is_filled(tmp_path: Path) -> None:
    """The start after it goes on in the background; without the flag the index has every row."""
    app = tmp_path / "app"
    (app / "functions").mkdir(parents=True)
    (app / "functions" / "__init__.py").touch()
    (app / "functions" / "rows.py").write_text(FUNCTIONS)
    (app / "schema.py").write_text(SCHEMA.format(index=""))
    server = ReactorProcess(tmp_path / "reactor", app=app, mode="serve", options=("--no-supervise",))
    try:
        server.start()
        for start in range(0, 3000, 1000):
            server.mutation("rows:fill", {"start": start, "count": 1000})
        server.terminate()
        (app / "schema.py").write_text(SCHEMA.format(index='.index("by_parity", "parity", staged=True)'))
        server.start(env={"REACTOR_FAULTS": "deploy.mid_backfill=kill:2"}, ready=False)
        assert server.wait_exit() == -signal.SIGKILL, server.log()
        server.start()
        assert server.call("query", "rows:odd")["status"] == "error"
        server.mutation("rows:fill", {"start": 3000, "count": 10})
        server.terminate()
        (app / "schema.py").write_text(SCHEMA.format(index='.index("by_parity", "parity")'))
        server.start()
        assert sorted(server.query("rows:odd")) == list(range(1, 3010, 2))
    finally:
        server.expected_exit = True
        server.close()
