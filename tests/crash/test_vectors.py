"""Vector indexes over kills: the index has what the documents have, also one that a kill interrupted while it was filled."""

from __future__ import annotations

import random
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from reactor.search.vectors import ranked, unit_vector
from tests.support.server import ReactorProcess

pytestmark = pytest.mark.process

SCHEMA = """
from reactor import Document, define_schema, define_table

class Note(Document):
    embedding: list[float] | None = None
    group: int

schema = define_schema(notes=define_table(Note){index})
"""
INDEX = '.vector_index("by_embedding", "embedding", dimensions=4, filter_fields=["group"])'

FUNCTIONS = """
from typing import Any
from reactor import ActionCtx, Id, MutationCtx, QueryCtx, action, mutation, query
from schema import Note

@mutation
async def change(ctx: MutationCtx, adds: list[Any], touch: int) -> int:
    for add in adds:
        await ctx.db.insert("notes", add)
    for note in await ctx.db.query(Note).order("desc").take(touch):
        if note.embedding is None:
            await ctx.db.delete(note)
        else:
            await ctx.db.patch(note, embedding=note.embedding[::-1])
    return len(adds)

@query
async def everything(ctx: QueryCtx) -> list[Note]:
    return await ctx.db.query(Note).collect()

@action
async def search(ctx: ActionCtx, vector: list[float], group: int) -> list[Any]:
    hits = await ctx.vector_search(Note, "by_embedding", vector, limit=256, filter=lambda q: q.eq("group", group))
    return [[hit.id, hit.score] for hit in hits]
"""


def some(dice: random.Random, count: int) -> list[dict[str, Any]]:
    notes: list[dict[str, Any]] = []
    for _ in range(count):
        note: dict[str, Any] = {"group": float(dice.randrange(3))}
        if dice.random() < 0.9:
            note["embedding"] = [dice.gauss(0, 1) for _ in range(4)]
        notes.append(note)
    return notes


def compare(server: ReactorProcess) -> int:
    """Search results against the documents themselves; returns how many documents there are."""
    rows = server.query("notes:everything")
    for number, group in enumerate((0, 1, 2)):
        vector = unit_vector([1.0, -0.5, number, 2.0])
        kept = [
            (row["_id"], unit_vector(row["embedding"]).astype("<f4").tobytes())
            for row in rows
            if row["group"] == group and "embedding" in row
        ]
        found = server.call("action", "notes:search", {"vector": vector.tolist(), "group": group})["value"]
        wanted = ranked(vector, kept, 256)
        assert [id for id, _ in found] == [id for id, _ in wanted]
        assert [score for _, score in found] == pytest.approx([score for _, score in wanted], abs=1e-6)
    return len(rows)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    app = tmp_path / "app"
    (app / "functions").mkdir(parents=True)
    (app / "functions" / "__init__.py").touch()
    (app / "functions" / "notes.py").write_text(FUNCTIONS)
    return app


def test_kills_under_load_lose_nothing_that_was_acknowledged(tmp_path: Path, app: Path) -> None:
    (app / "schema.py").write_text(SCHEMA.format(index=INDEX))
    server = ReactorProcess(tmp_path / "reactor", app=app, mode="serve", options=("--no-supervise",))
    dice = random.Random(1)
    acknowledged = 0
    try:
        for _ in range(3):
            server.start()
            compare(server)
            enough, gone = threading.Event(), threading.Event()

            def write(enough: threading.Event = enough, gone: threading.Event = gone) -> None:
                nonlocal acknowledged
                for step in range(10_000):
                    try:
                        server.mutation("notes:change", {"adds": some(dice, 3), "touch": 2.0})
                    except (httpx.TransportError, OSError):
                        break
                    acknowledged += 1
                    if step == 12:
                        enough.set()
                gone.set()

            writing = threading.Thread(target=write)
            writing.start()
            assert enough.wait(60), server.log()
            server.kill()
            assert gone.wait(60)
            writing.join()
        server.start()
        # Each change adds three and deletes two at most.
        assert compare(server) >= acknowledged
    finally:
        server.expected_exit = True
        server.close()


def test_a_vector_index_is_added_to_documents_that_are_there_over_a_kill(tmp_path: Path, app: Path) -> None:
    (app / "schema.py").write_text(SCHEMA.format(index=""))
    server = ReactorProcess(tmp_path / "reactor", app=app, mode="serve", options=("--no-supervise",))
    dice = random.Random(2)
    try:
        server.start()
        for _ in range(6):
            server.mutation("notes:change", {"adds": some(dice, 100), "touch": 0.0})
        answer = server.call("action", "notes:search", {"vector": [1.0, 0.0, 0.0, 0.0], "group": 0.0})
        assert answer["status"] == "error"
        server.terminate()
        (app / "schema.py").write_text(SCHEMA.format(index=INDEX))
        server.start(env={"REACTOR_FAULTS": "deploy.mid_backfill=kill:1"}, ready=False)
        assert server.wait_exit() == -signal.SIGKILL, server.log()
        server.start()
        assert compare(server) == 600
        server.mutation("notes:change", {"adds": some(dice, 10), "touch": 5.0})
        compare(server)
    finally:
        server.expected_exit = True
        server.close()
