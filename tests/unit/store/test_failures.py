"""When the disk is full or fails: engine rule 7, on a real full file system and a real failing write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reactor import faults
from reactor.clock import ManualClock
from reactor.errors import StoreError, Unavailable
from reactor.store.catalogue import TableInfo
from reactor.store.protocol import LogRow, OutcomeUnknown, Writer
from reactor.store.sqlite.layout import DATA_FILE
from reactor.store.sqlite.store import SqliteStore
from reactor.store.sqlite.writer import AFTER_COMMIT, BEFORE_COMMIT

T0 = 1_700_000_000_000_000_000


@pytest.fixture
async def table(store: SqliteStore) -> TableInfo:
    def job(writer: Writer) -> None:
        writer.begin()
        writer.create_tables(["t"])
        writer.commit()

    await store.write(job)
    return store.catalogue.tables["t"]


def put(table: TableInfo, document_id: str, size: int = 10) -> Callable[[Writer], None]:
    def job(writer: Writer) -> None:
        writer.begin()
        writer.insert(table, document_id, b"x" * size)
        writer.append_log(LogRow(max(writer.ts + 1, T0), 1, b""))
        writer.commit()

    return job


def allow_pages(more: int | None) -> Callable[[Writer], None]:
    """Bound the file to `more` pages above what it has: SQLite then says FULL as it does on a full disk."""

    def job(writer: Writer) -> None:
        raw = writer._raw  # pyright: ignore[reportAttributeAccessIssue]
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
        raw.execute(f"PRAGMA max_page_count = {pages + more if more is not None else 1 << 30}")

    return job


async def test_a_full_disk_is_unavailable_and_later_writes_are_fine(store: SqliteStore, table: TableInfo) -> None:
    """engine rule 7"""
    await store.write(put(table, "before"))
    await store.write(allow_pages(3))
    for _ in range(3):
        with pytest.raises(Unavailable, match="no room"):
            await store.write(put(table, "large", 100_000))
    await store.write(put(table, "small"))
    await store.write(allow_pages(None))
    await store.write(put(table, "large", 100_000))
    assert await store.read(lambda r: [r.get(table, d) is not None for d in ("before", "small", "large")]) == [True] * 3
    assert await store.read(lambda r: len(r.log_after(0, 10))) == 3
    assert await store.write(lambda w: w._raw.execute("PRAGMA integrity_check").fetchone()[0]) == "ok"  # pyright: ignore[reportAttributeAccessIssue]


async def test_after_a_failed_statement_nothing_slips_in_outside_of_a_transaction(
    store: SqliteStore, table: TableInfo
) -> None:
    """engine rule 7: what in_transaction says decides, and later statements never run in autocommit."""
    await store.write(allow_pages(3))

    def job(writer: Writer) -> tuple[bool, str]:
        writer.begin()
        writer.append_log(LogRow(T0 + 1, 1, b""))
        writer.savepoint()
        with pytest.raises(Unavailable):
            writer.insert(table, "large", b"x" * 100_000)
        survived = writer.in_transaction
        if survived:
            writer.rollback_to()
            writer.insert(table, "next", b"")
            writer.commit()
            return True, "next"
        with pytest.raises(StoreError, match="No transaction"):
            writer.insert(table, "next", b"")
        assert writer.ts == 0
        writer.rollback()
        return False, ""

    survived, document = await store.write(job)
    assert await store.read(lambda r: r.get(table, "next") is not None) is (survived and document == "next")
    assert await store.read(lambda r: r.get(table, "large")) is None


async def test_a_transaction_that_sqlite_rolled_back_by_itself_is_lost_as_a_whole(
    store: SqliteStore, table: TableInfo
) -> None:
    """engine rule 7, the case of an interrupted write: savepoints gone, the store says so and starts clean."""

    def job(writer: Writer) -> None:
        writer.begin()
        writer.create_tables(["pending"])
        writer.append_log(LogRow(T0 + 1, 1, b""))
        writer.savepoint()
        writer._raw.execute("ROLLBACK")  # pyright: ignore[reportAttributeAccessIssue]
        assert not writer.in_transaction
        with pytest.raises(StoreError):
            writer.commit()
        with pytest.raises(StoreError):
            writer.release()
        writer.begin()
        assert writer.ts == 0
        writer.insert(table, "k", b"")
        writer.append_log(LogRow(T0, 1, b""))
        writer.commit()

    await store.write(job)
    assert "pending" not in store.catalogue.tables
    assert await store.read(lambda r: (r.ts, r.get(table, "k"))) == (T0, b"")


def fail() -> None:
    raise OSError("fault injected")


async def test_a_failure_before_commit_rolls_back(store: SqliteStore, table: TableInfo) -> None:
    faults.arm(BEFORE_COMMIT, fail)
    with pytest.raises(StoreError) as caught:
        await store.write(put(table, "k"))
    assert not isinstance(caught.value, OutcomeUnknown)
    faults.disarm_all()
    assert await store.read(lambda r: (r.ts, r.get(table, "k"))) == (0, None)
    await store.write(put(table, "k"))


async def test_a_failure_in_commit_is_an_unknown_outcome_and_the_next_write_opens_the_file_anew(
    store: SqliteStore, table: TableInfo
) -> None:
    """engine rule 7"""
    faults.arm(AFTER_COMMIT, fail)

    def job(writer: Writer) -> None:
        writer.begin()
        writer.insert(table, "k", b"")
        writer.create_tables(["made"])
        writer.append_log(LogRow(T0 + 5, 1, b""))
        try:
            writer.commit()
        finally:
            with pytest.raises(OutcomeUnknown):
                writer.begin()

    with pytest.raises(OutcomeUnknown):
        await store.write(job)
    faults.disarm_all()
    # Here the commit had happened; the new connection knows, the catalogue and the timestamp included.
    assert await store.write(lambda w: (w.ts, w.get(table, "k"))) == (T0 + 5, b"")
    assert "made" in store.catalogue.tables
    await store.write(put(table, "k2"))


async def test_a_damaged_file_says_what_to_do(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / DATA_FILE).write_bytes(b"this is not a database at all" * 1000)
    with pytest.raises(StoreError, match=r"damaged.*backup"):
        await SqliteStore(tmp_path, clock=clock).open()


async def test_a_file_that_can_not_be_opened_is_a_store_error(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / DATA_FILE).mkdir()
    store = SqliteStore(tmp_path, clock=clock)
    with pytest.raises(StoreError, match="can't be opened"):
        await store.open()
    (tmp_path / DATA_FILE).rmdir()
    await store.open()  # the failed try gave everything back, the lock too
    await store.close()


CHILD = """
import asyncio, os, resource, sys
from pathlib import Path
from reactor.clock import ManualClock
from reactor.errors import Unavailable
from reactor.store.protocol import LogRow, OutcomeUnknown
from reactor.store.sqlite.store import SqliteStore

def put(n, size):
    def job(w):
        w.begin()
        w.insert(table, f"k{n}", os.urandom(size))
        w.append_log(LogRow(w.ts + 1 if w.ts else 1_700_000_000_000_000_000, 1, b""))
        w.commit()
    return job

async def main(path, mode):
    global table
    store = SqliteStore(path, clock=ManualClock())
    store.checkpointer.committed = lambda: None  # the WAL only grows
    await store.open()
    def make(w):
        w.begin(); w.create_tables(["t"]); w.commit()
    await store.write(make)
    table = store.catalogue.tables["t"]
    done, errors = [], []
    if mode == "ioerr":
        await store.write(put("first", 10)); done.append("first")
        resource.setrlimit(resource.RLIMIT_FSIZE, (store.wal_bytes() + 20_000, resource.RLIM_INFINITY))
    for n in range(200):
        try:
            await store.write(put(n, 20_000))
            done.append(n)
        except (Unavailable, OutcomeUnknown) as error:
            errors.append(type(error).__name__)
            break
    if mode == "ioerr":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        try:
            await store.write(put("again", 20_000))
            done.append("again")
        except Unavailable as error:
            errors.append(type(error).__name__)
        (path / "ballast").unlink()
    await store.write(put("after", 100)); done.append("after")
    there = await store.read(lambda r: [n for n in ["first", *range(200), "again", "after"] if r.get(table, f"k{n}")])
    ok = await store.write(lambda w: w._raw.execute("PRAGMA integrity_check").fetchone()[0])
    await store.close()
    print(errors, there == done or (mode == "ioerr" and set(done) <= set(there)), ok)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def run_child(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_write_that_fails_in_commit_has_an_unknown_outcome(tmp_path: Path) -> None:
    """engine rule 7: IOERR, from a real limit on the size of files."""
    assert run_child([sys.executable, "-c", CHILD, str(tmp_path), "ioerr"]) == "['OutcomeUnknown'] True ok"


def test_a_file_system_without_room_refuses_writes_until_there_is_some(tmp_path: Path) -> None:
    """engine rule 7: FULL in COMMIT, on a real full file system of one megabyte."""
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=1m none {tmp_path}"
    try:
        possible = subprocess.run([*mounted, mount], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        pytest.skip("needs the right to mount a file system in a namespace of its own")
    script = tmp_path.with_suffix(".py")
    script.write_text(CHILD)
    fill = f"head -c 100000 /dev/zero > {tmp_path}/ballast"
    printed = run_child([*mounted, f"{mount} && {fill} && exec {sys.executable} {script} {tmp_path} full"])
    assert printed in ("['Unavailable', 'Unavailable'] True ok", "['Unavailable'] True ok")
