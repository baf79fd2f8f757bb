"""Who may touch the files, and what is in them: engine rules 1 and 2."""

from __future__ import annotations

import ast
import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import reactor
from reactor.clock import ManualClock
from reactor.errors import StoreError, Unavailable
from reactor.store.lock import LOCK_FILE, DirectoryLock
from reactor.store.sqlite import store as store_module
from reactor.store.sqlite.connection import STATEMENT_CACHE
from reactor.store.sqlite.layout import DATA_FILE, FORMAT
from reactor.store.sqlite.store import SqliteStore

T0 = 1_700_000_000_000_000_000


async def test_the_writer_is_set_up_as_decided(tmp_path: Path, clock: ManualClock) -> None:
    """engine rule 2"""
    store = SqliteStore(tmp_path, clock=clock)
    await store.open()
    try:

        def pragmas(anyone: object) -> dict[str, object]:
            raw = anyone._raw  # pyright: ignore[reportAttributeAccessIssue]
            names = ("journal_mode", "synchronous", "busy_timeout", "wal_autocheckpoint", "query_only", "locking_mode")
            found = {name: raw.execute(f"PRAGMA {name}").fetchone()[0] for name in names}
            return found | {"isolation_level": raw.isolation_level}

        assert await store.write(pragmas) == {
            "journal_mode": "wal",
            "synchronous": 2,
            "busy_timeout": 0,
            "wal_autocheckpoint": 0,
            "query_only": 0,
            "locking_mode": "normal",
            "isolation_level": None,
        }
        reader = await store.read(pragmas)
        assert (reader["query_only"], reader["wal_autocheckpoint"], reader["isolation_level"]) == (1, 0, None)
        assert STATEMENT_CACHE >= 1000
    finally:
        await store.close()


@pytest.mark.parametrize(("name", "value"), [("FULL", 2), ("NORMAL", 1), ("OFF", 0)])
async def test_synchronous_is_a_choice(tmp_path: Path, clock: ManualClock, name: str, value: int) -> None:
    store = SqliteStore(tmp_path, clock=clock, synchronous=name)  # pyright: ignore[reportArgumentType]
    await store.open()
    got = await store.write(lambda w: w._raw.execute("PRAGMA synchronous").fetchone()[0])  # pyright: ignore[reportAttributeAccessIssue]
    await store.close()
    assert got == value


async def test_a_file_of_a_newer_format_is_refused_and_left_alone(tmp_path: Path, clock: ManualClock) -> None:
    store = SqliteStore(tmp_path, clock=clock)
    await store.open()
    await store.close()
    raw = sqlite3.connect(tmp_path / DATA_FILE, isolation_level=None)
    assert raw.execute("PRAGMA user_version").fetchone()[0] == FORMAT
    raw.execute(f"PRAGMA user_version = {FORMAT + 1}")
    raw.close()
    before = (tmp_path / DATA_FILE).read_bytes()
    with pytest.raises(StoreError, match=rf"newer reactor \(format {FORMAT + 1}; this one knows up to {FORMAT}\)"):
        await SqliteStore(tmp_path, clock=clock).open()
    assert (tmp_path / DATA_FILE).read_bytes() == before


async def test_somebody_elses_database_is_refused_and_left_alone(tmp_path: Path, clock: ManualClock) -> None:
    raw = sqlite3.connect(tmp_path / DATA_FILE, isolation_level=None)
    raw.execute("CREATE TABLE mine (x)")
    raw.close()
    before = (tmp_path / DATA_FILE).read_bytes()
    with pytest.raises(StoreError, match="not a reactor database"):
        await SqliteStore(tmp_path, clock=clock).open()
    assert (tmp_path / DATA_FILE).read_bytes() == before


OPENER = """
import asyncio, sys
from pathlib import Path
from reactor.clock import SystemClock
from reactor.errors import Unavailable
from reactor.store.sqlite.store import SqliteStore

async def main():
    try:
        await SqliteStore(Path(sys.argv[1]), clock=SystemClock()).open()
    except Unavailable as error:
        print(error)

asyncio.run(main())
"""


async def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path, clock: ManualClock) -> None:
    """engine rule 1"""
    store = SqliteStore(tmp_path, clock=clock)
    await store.open()
    try:
        done = subprocess.run(
            [sys.executable, "-c", OPENER, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
        )
        assert str(tmp_path) in done.stdout
        assert "in use by another reactor (process " in done.stdout
        assert "Stop that one first" in done.stdout
        with pytest.raises(Unavailable):  # a second store in this process, too
            await SqliteStore(tmp_path, clock=clock).open()
    finally:
        await store.close()
    again = SqliteStore(tmp_path, clock=clock)
    await again.open()
    await again.close()


async def test_the_data_directory_is_closed_to_other_users(tmp_path: Path, clock: ManualClock) -> None:
    store = SqliteStore(tmp_path / "deep" / "data", clock=clock)
    await store.open()
    await store.close()
    assert (tmp_path / "deep" / "data").stat().st_mode & 0o077 == 0


async def test_the_database_is_closed_to_other_users_in_a_directory_that_is_not(
    tmp_path: Path, clock: ManualClock
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    store = SqliteStore(data, clock=clock)
    await store.open()
    try:
        files = {path.name: path.stat().st_mode & 0o077 for path in data.iterdir()}
    finally:
        await store.close()
    assert files.keys() >= {"data.sqlite3", "data.sqlite3-wal"}
    assert set(files.values()) == {0}


async def test_a_store_closed_with_its_writer_stuck_keeps_the_lock(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """engine rules 1 and 21: the job may yet commit, so nobody else may start."""
    monkeypatch.setattr(store_module, "WRITER_GRACE_S", 0.01)
    store = SqliteStore(tmp_path, clock=clock)
    await store.open()
    started, go_on = threading.Event(), threading.Event()

    def stuck(writer: object) -> None:
        started.set()
        go_on.wait()

    writing = asyncio.ensure_future(store.write(stuck))
    await asyncio.get_running_loop().run_in_executor(None, started.wait)
    assert store._connection is not None
    thread = store._connection.thread
    await store.close()
    with pytest.raises(Unavailable):
        await SqliteStore(tmp_path, clock=clock).open()
    go_on.set()
    await writing
    await asyncio.get_running_loop().run_in_executor(None, thread.join)
    store._lock.release()


HOLDER = """
import sys
from pathlib import Path
from reactor.store.lock import DirectoryLock
DirectoryLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    """engine rule 1: held for life, and given back by kill -9."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Unavailable, match=f"process {holder.pid}"):
            DirectoryLock(tmp_path).acquire()
    finally:
        holder.kill()
        holder.communicate()
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    lock.release()
    assert (tmp_path / LOCK_FILE).exists()


def test_no_code_opens_the_database_files_except_through_sqlite() -> None:
    """engine rule 1: closing any descriptor of such a file drops the locks that SQLite holds on it.

    Within the store only these calls open files at all, and each is on another file: the lock's `os.open`.
    Elsewhere nobody knows the file's name.
    """
    root = Path(reactor.__file__).parent
    openers = {"open", "read_bytes", "read_text", "write_bytes", "write_text", "copy", "copyfile", "copy2", "copytree"}
    found: set[tuple[str, str]] = set()
    for path in root.rglob("*.py"):
        text = path.read_text()
        module = path.relative_to(root).as_posix()
        if not module.startswith("store/sqlite/"):
            if module != "store/backup_archive.py":  # which calls an entry of archives by that name
                assert "data.sqlite3" not in text.replace("`data.sqlite3`", ""), module
            assert "import sqlite3" not in text, module
        if not module.startswith("store/"):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
                if name in openers:
                    found.add((module, ast.unparse(called)))
    assert {call for call in found if call[0] == "store/lock.py" or call[0].startswith("store/sqlite/")} == {
        ("store/lock.py", "os.open"),
        ("store/sqlite/copies.py", "os.open"),  # the copy, which only its maker has open
        ("store/sqlite/store.py", "ThreadConnection.open"),
        ("store/sqlite/store.py", "self._pool.open"),
    }


# One server process with one acknowledged commit before a visitor comes, and one after; then it is killed.
SERVER = """
import asyncio, os, sys
from pathlib import Path
from reactor.clock import SystemClock
from reactor.store.protocol import LogRow
from reactor.store.sqlite.store import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]), clock=SystemClock())
    await store.open()
    store.checkpointer.stop()
    def put(w):
        w.begin()
        w.append_log(LogRow(max(w.ts + 1, 1), 1, b""))
        w.commit()
    await store.write(put)
    for name in sys.argv[2:]:
        open(Path(sys.argv[1]) / name, "rb").close()  # what rule 1 forbids
    print("one", flush=True)
    sys.stdin.readline()
    await store.write(put)
    print("two", flush=True)
    sys.stdin.readline()

asyncio.run(main())
"""
VISITOR = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(*c.execute('SELECT max(ts) FROM log').fetchone()); c.close()"


def newest_after_a_visit_and_a_crash(path: Path, *opened: str) -> int:
    """The newest log row that survives, 2 if all is well; `opened` are files that the server itself opens and closes."""

    def visit() -> int:
        command = [sys.executable, "-c", VISITOR, str(path / DATA_FILE)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)

    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(path), *opened], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        assert server.stdin is not None
        assert server.stdout.readline() == "one\n"
        visit()
        server.stdin.write("\n")
        server.stdin.flush()
        assert server.stdout.readline() == "two\n"
    finally:
        server.kill()
        server.communicate()
    return visit()


def test_a_visitor_that_reads_while_the_server_runs_costs_no_acknowledged_commit(tmp_path: Path) -> None:
    """engine rule 1"""
    assert newest_after_a_visit_and_a_crash(tmp_path) == 2


def test_the_hazard_is_real(tmp_path: Path) -> None:
    """engine rule 1: after a plain open and close in the server, the visitor's end unlinks the WAL under it.

    If this ever fails, SQLite or the kernel no longer need the rule.
    """
    assert newest_after_a_visit_and_a_crash(tmp_path, DATA_FILE, DATA_FILE + "-shm") == 1
