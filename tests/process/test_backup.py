"""`reactor backup` from a server under load, `reactor restore` into an empty directory and over existing data."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from reactor.restore import BEFORE_SWAP, MID_SWAP
from tests.support.server import ADMIN_KEY, CONFORMANCE_APP, ReactorProcess

pytestmark = pytest.mark.process

Server = Callable[..., ReactorProcess]

APP = """
from reactor import ActionCtx, Id, MutationCtx, QueryCtx, StoredFile, action, mutation, query


@mutation
async def add(ctx: MutationCtx, number: int) -> None:
    await ctx.db.insert("left", {"number": number})
    await ctx.db.insert("right", {"number": number})


@query
async def numbers(ctx: QueryCtx) -> list[list[int]]:
    tables = ("left", "right")
    return [[row["number"] for row in await ctx.db.query(table).collect()] for table in tables]


@action
async def keep(ctx: ActionCtx, text: str) -> Id[StoredFile]:
    return await ctx.storage.store(text.encode(), content_type="text/plain")


@query
async def url(ctx: QueryCtx, id: Id[StoredFile]) -> str | None:
    return await ctx.storage.get_url(id)
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app" / "functions").mkdir(parents=True)
    (tmp_path / "app" / "functions" / "pairs.py").write_text(APP)
    return tmp_path / "app"


def reactor(*arguments: str | Path, fault: str = "") -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("REACTOR_", "CONVEX_"))}
    return subprocess.run(
        [sys.executable, "-m", "reactor.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={
            **environ,
            "REACTOR_ADMIN_KEY": ADMIN_KEY,
            "COLUMNS": "300",
            **({"REACTOR_FAULTS": fault} if fault else {}),
        },
        timeout=120,
        check=False,
    )


@contextlib.contextmanager
def load(server: ReactorProcess) -> Iterator[None]:
    """Mutations, one after another, for as long as the block lasts."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for number in itertools.count(1):
                if stop.is_set():
                    return
                server.mutation("pairs:add", {"number": number})
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failures


def test_a_backup_is_one_moment_and_comes_back_whole(app: Path, server: Server, tmp_path: Path) -> None:
    running = server(app).start()
    running.mutation("pairs:add", {"number": 0})
    kept = running._value(running.call("action", "pairs:keep", {"text": "a file"}))
    where = (f"--app={app}", f"--data={running.data}")
    with load(running):
        made = reactor("backup", tmp_path, *where)
    assert made.returncode == 0, made.stderr
    assert "with 1 files; every byte checked" in made.stderr
    archive = Path(made.stdout.strip())
    assert archive.parent == tmp_path
    assert [p.name for p in running.data.iterdir() if p.name.startswith("backup-")] == []
    assert reactor("backup", archive, *where).returncode == 2  # it is there already

    other = server(app)
    restored = reactor("restore", archive, f"--app={app}", f"--data={other.data}")
    assert restored.returncode == 0, restored.stderr
    other.start()
    left, right = other.query("pairs:numbers")
    assert left == right == list(range(len(left)))
    assert left
    assert httpx.get(other.query("pairs:url", {"id": kept})).text == "a file"
    other.mutation("pairs:add", {"number": -1})

    # Over a database that is there: only when asked to, and never under a server.
    busy = reactor("restore", archive, f"--app={app}", f"--data={other.data}", "--replace")
    assert busy.returncode == 2
    assert "in use by another reactor" in busy.stderr
    other.terminate()
    refused = reactor("restore", archive, f"--app={app}", f"--data={other.data}")
    assert refused.returncode == 2
    assert "--replace" in refused.stderr
    assert reactor("restore", archive, f"--app={app}", f"--data={other.data}", "--replace").returncode == 0
    [aside] = other.data.glob("replaced-*")
    assert {"data.sqlite3", "files"} <= {path.name for path in aside.iterdir()}
    other.start()
    assert other.query("pairs:numbers") == [left, right]


def test_a_restore_that_is_killed_is_finished_or_never_served(app: Path, server: Server, tmp_path: Path) -> None:
    running = server(app).start()
    running.mutation("pairs:add", {"number": 1})
    archive = tmp_path / "one.zip"
    assert reactor("backup", archive, f"--app={app}", f"--data={running.data}").returncode == 0
    running.mutation("pairs:add", {"number": 2})
    running.terminate()
    command = ("restore", archive, f"--app={app}", f"--data={running.data}", "--replace")

    assert reactor(*command, fault=f"{BEFORE_SWAP}=kill").returncode != 0
    running.start()
    assert running.query("pairs:numbers") == [[1, 2], [1, 2]]
    running.terminate()

    assert reactor(*command, fault=f"{MID_SWAP}=kill").returncode != 0
    running.start(ready=False)
    assert running.wait_exit() == 2
    assert "a restore into" in running.log()
    # Another restore that fails does not make half of one whole.
    nowhere = reactor("restore", tmp_path / "nowhere.zip", *command[2:])
    assert nowhere.returncode == 2, nowhere.stderr
    assert reactor(*command, fault=f"{BEFORE_SWAP}=kill").returncode != 0
    running.start(ready=False)
    assert running.wait_exit() == 2
    assert reactor(*command).returncode == 0
    running.start()
    assert running.query("pairs:numbers") == [[1], [1]]


def test_what_is_no_backup_changes_nothing(app: Path, server: Server, tmp_path: Path) -> None:
    running = server(app).start()
    running.mutation("pairs:add", {"number": 1})
    archive = tmp_path / "one.zip"
    assert reactor("backup", archive, f"--app={app}", f"--data={running.data}").returncode == 0
    running.terminate()
    archive.write_bytes(archive.read_bytes()[:-100])
    with zipfile.ZipFile(tmp_path / "hostile.zip", "w") as hostile:
        hostile.writestr("../../outside", b"x")
        hostile.writestr(
            "manifest.json",
            '{"ts": 1, "version": "1", "entries": {"data.sqlite3": {"size": 1, "sha256": ""},'
            ' "../../outside": {"size": 1, "sha256": ""}}}',
        )
    for file in (archive, tmp_path / "hostile.zip", tmp_path / "nowhere.zip"):
        refused = reactor("restore", file, f"--app={app}", f"--data={running.data}", "--replace")
        assert refused.returncode == 2, refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "outside").exists()
    running.start()
    assert running.query("pairs:numbers") == [[1], [1]]


def test_only_the_operator_gets_a_backup(server: Server) -> None:
    running = server(CONFORMANCE_APP).start()
    assert httpx.get(f"{running.url}/api/backup").status_code == 403
