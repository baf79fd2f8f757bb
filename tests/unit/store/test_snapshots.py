"""Snapshots: engine rules 6, 10 and 13 (several that share a timestamp), interrupts, and the pool under them."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable

import pytest

from reactor import faults
from reactor.errors import Unavailable
from reactor.store.catalogue import BY_ID, TableInfo
from reactor.store.protocol import LogRow, Reader, SnapshotEnded, Writer
from reactor.store.sqlite import pool as pool_module
from reactor.store.sqlite.store import SqliteStore
from reactor.store.sqlite.writer import BEFORE_COMMIT

T0 = 1_700_000_000_000_000_000


def put(table: TableInfo, document_id: str, body: bytes) -> Callable[[Writer], int]:
    """Insert one document with a log row of its own; gives the timestamp."""

    def job(writer: Writer) -> int:
        ts = max(writer.ts + 1, T0)
        writer.begin()
        writer.insert(table, document_id, body)
        writer.append_log(LogRow(ts, 1, b""))
        writer.commit()
        return ts

    return job


@pytest.fixture
async def table(store: SqliteStore) -> TableInfo:
    def job(writer: Writer) -> None:
        writer.begin()
        writer.create_tables(["t"])
        writer.commit()

    await store.write(job)
    return store.catalogue.tables["t"]


async def test_a_held_snapshot_does_not_move_while_others_commit(store: SqliteStore, table: TableInfo) -> None:
    """engine rule 10"""
    first = await store.write(put(table, "k1", b"1"))
    (held,) = await store.open_snapshots(1)
    second = await store.write(put(table, "k2", b"2"))
    assert held.ts == first
    assert await held.run(lambda r: (r.ts, r.get(table, "k1"), r.get(table, "k2"))) == (first, b"1", None)
    assert await store.read(lambda r: (r.ts, r.get(table, "k2"))) == (second, b"2")
    assert await held.run(lambda r: r.get(table, "k2")) is None
    await held.close()


async def test_snapshots_opened_together_share_one_timestamp_while_a_writer_commits(
    store: SqliteStore, table: TableInfo
) -> None:
    """engine rules 10 and 13"""
    is_over = threading.Event()

    def busy(writer: Writer) -> int:
        n = 0
        while not is_over.is_set():
            put(table, f"k{n}", b"")(writer)
            n += 1
        return n

    writing = asyncio.ensure_future(store.write(busy))
    seen: list[int] = []
    for _ in range(200):
        group = await store.open_snapshots(3)
        counts = [await s.run(lambda r: r.count(table.indexes[BY_ID], b"", None)) for s in group]
        assert len({s.ts for s in group}) == 1
        assert len(set(counts)) == 1
        assert len(group) == 3
        seen.append(group[0].ts)
        for snapshot in group:
            await snapshot.close()
    is_over.set()
    assert await writing > 0
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


async def test_opening_gives_as_many_snapshots_as_there_are_free_readers(store: SqliteStore) -> None:
    two = await store.open_snapshots(2)
    one = await store.open_snapshots(5)
    assert (len(two), len(one)) == (2, 1)
    waiting = asyncio.ensure_future(store.open_snapshots(2))
    await asyncio.wait([waiting], timeout=0)
    assert not waiting.done()
    for snapshot in two:
        await snapshot.close()
    rest = await waiting
    assert 1 <= len(rest) <= 2
    for snapshot in (*one, *rest):
        await snapshot.close()


async def test_readers_never_see_what_is_not_committed(store: SqliteStore, table: TableInfo) -> None:
    """engine rule 6"""
    reached, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        reached.set()
        go_on.wait()

    faults.arm(BEFORE_COMMIT, pause)
    writing = asyncio.ensure_future(store.write(put(table, "k", b"")))
    await asyncio.get_running_loop().run_in_executor(None, reached.wait)
    # Every statement of the transaction has run; only COMMIT is missing.
    assert await store.read(lambda r: (r.ts, r.get(table, "k"))) == (0, None)
    faults.disarm_all()
    go_on.set()
    ts = await writing
    assert await store.read(lambda r: (r.ts, r.get(table, "k"))) == (ts, b"")


async def test_no_statement_stays_open_so_the_next_snapshot_is_fresh(store: SqliteStore, table: TableInfo) -> None:
    """engine rule 10: a cursor abandoned after one row would hold the old snapshot."""
    by_id = table.indexes[BY_ID]
    for n in range(10):
        await store.write(put(table, f"k{n}", b""))

    def partial(reader: Reader) -> int:
        reader.scan(by_id, b"", None, reverse=False, limit=1)
        reader.get(table, "k3")
        reader.log_after(0, 1)
        return reader.ts

    for n in range(10, 20):
        for _ in range(3):  # every connection of the pool
            await store.read(partial)
        ts = await store.write(put(table, f"k{n}", b""))
        assert [await store.read(partial) for _ in range(3)] == [ts] * 3


async def test_a_reader_cannot_write(store: SqliteStore, table: TableInfo) -> None:
    """engine rule 2: query_only"""

    def attempt(reader: Reader) -> None:
        reader._raw.execute(f"DELETE FROM d_{table.number}")  # pyright: ignore[reportAttributeAccessIssue]

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await store.read(attempt)


async def test_a_connection_whose_snapshot_went_back_is_replaced_with_an_alarm(
    store: SqliteStore, table: TableInfo, caplog: pytest.LogCaptureFixture
) -> None:
    """engine rule 10"""
    old = await store.write(put(table, "k1", b""))
    pool = store._pool
    (stuck,) = pool._free[-1:]
    # An open statement holds the connection's read transaction through ROLLBACK and BEGIN: the fault itself.
    cursor = await stuck.run(lambda: stuck.raw.execute("SELECT ts FROM log UNION ALL SELECT 1 UNION ALL SELECT 2"))
    new = await store.write(put(table, "k2", b""))
    with caplog.at_level(logging.CRITICAL, "reactor.store"):
        assert [s.ts for s in [await store.read(lambda r: r)]] == [new]
    assert old < new
    assert "older database" in caplog.text
    assert stuck not in pool._all
    assert len(pool._all) == len(pool._free) == 3
    del cursor


async def test_an_interrupt_ends_a_long_read_and_nothing_else(store: SqliteStore, table: TableInfo) -> None:
    started = threading.Event()
    (snapshot,) = await store.open_snapshots(1)

    def endless(reader: Reader) -> None:
        started.set()
        while True:
            reader.count(table.indexes[BY_ID], b"", None)

    running = asyncio.ensure_future(snapshot.run(endless))
    await asyncio.get_running_loop().run_in_executor(None, started.wait)
    snapshot.interrupt("too slow")
    with pytest.raises(SnapshotEnded, match="too slow"):
        await running
    with pytest.raises(SnapshotEnded, match="too slow"):
        await snapshot.run(lambda r: r.ts)
    await snapshot.close()
    assert len(await store.open_snapshots(3)) == 3


async def test_an_interrupt_reaches_into_a_running_statement(store: SqliteStore) -> None:
    (snapshot,) = await store.open_snapshots(1)
    started = threading.Event()
    forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

    def endless(reader: Reader) -> None:
        started.set()
        reader._one(forever, ())  # pyright: ignore[reportAttributeAccessIssue]

    running = asyncio.ensure_future(snapshot.run(endless))
    await asyncio.get_running_loop().run_in_executor(None, started.wait)
    while not running.done():
        snapshot.interrupt()  # repeated: the statement may not have begun
        await asyncio.wait([running], timeout=0.01)
    with pytest.raises(SnapshotEnded):
        await running
    await snapshot.close()


async def test_an_interrupt_that_comes_late_does_not_hit_the_next_user(store: SqliteStore) -> None:
    (first,) = await store.open_snapshots(1)
    await first.close()
    others = await store.open_snapshots(3)
    first.interrupt()
    assert [await s.run(lambda r: r.ts) for s in others] == [0, 0, 0]
    for snapshot in others:
        await snapshot.close()


async def test_a_closed_snapshot_refuses_and_closing_twice_is_harmless(store: SqliteStore) -> None:
    (snapshot,) = await store.open_snapshots(1)
    await snapshot.close()
    await snapshot.close()
    with pytest.raises(SnapshotEnded):
        await snapshot.run(lambda r: r.ts)
    assert len(store._pool._free) == 3


async def test_a_cancelled_read_is_interrupted_and_its_connection_comes_back(
    store: SqliteStore, table: TableInfo
) -> None:
    started = threading.Event()

    def endless(reader: Reader) -> None:
        started.set()
        while True:
            reader.get(table, "k")

    for _ in range(6):  # twice the pool
        started.clear()
        reading = asyncio.ensure_future(store.read(endless))
        await asyncio.get_running_loop().run_in_executor(None, started.wait)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert await store.read(lambda r: r.ts) == 0
    group = await store.open_snapshots(1)
    await group[0].close()


async def test_a_cancelled_waiter_passes_its_turn_on(store: SqliteStore) -> None:
    held = await store.open_snapshots(3)
    first = asyncio.ensure_future(store.read(lambda r: 1))
    second = asyncio.ensure_future(store.read(lambda r: 2))
    await asyncio.wait([first, second], timeout=0)
    for snapshot in held[:1]:
        await snapshot.close()
    first.cancel()
    assert await second == 2
    assert first.cancelled()
    for snapshot in held[1:]:
        await snapshot.close()


async def test_a_reader_thread_that_does_not_come_back_is_replaced(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """engine rule 21"""
    monkeypatch.setattr(pool_module, "THREAD_GRACE_S", 0.01)
    release, started = threading.Event(), threading.Event()

    def stuck(reader: Reader) -> None:
        started.set()
        release.wait()

    (snapshot,) = await store.open_snapshots(1)
    running = asyncio.ensure_future(snapshot.run(stuck))
    await asyncio.get_running_loop().run_in_executor(None, started.wait)
    thread = snapshot._connection.thread
    await snapshot.close()
    assert "stuck" in caplog.text
    fresh = await store.open_snapshots(3)
    assert len(fresh) == 3
    for one in fresh:
        await one.close()
    release.set()
    await running
    await asyncio.get_running_loop().run_in_executor(None, thread.join)  # it closes its connection and ends


async def test_a_snapshot_from_before_a_table_asks_for_a_new_one(store: SqliteStore, table: TableInfo) -> None:
    (old,) = await store.open_snapshots(1)

    def job(writer: Writer) -> None:
        writer.begin()
        writer.create_tables(["later"])
        writer.commit()

    await store.write(job)
    later = store.catalogue.tables["later"]
    with pytest.raises(SnapshotEnded):
        await old.run(lambda r: r.get(later, "k"))
    await old.close()
    assert await store.read(lambda r: r.get(later, "k")) is None


async def test_a_result_made_after_the_store_ended_the_snapshot_is_void(store: SqliteStore, table: TableInfo) -> None:
    """engine rule 3: user code that swallows the error must not turn it into an answer."""
    (snapshot,) = await store.open_snapshots(1)

    def swallowing(reader: Reader) -> str:
        store._gate.end_older_than(1 << 62, "needed the space")
        try:
            reader.get(table, "k")
        except SnapshotEnded:
            return "as if there were nothing"
        return "read"

    with pytest.raises(SnapshotEnded, match="needed the space"):
        await snapshot.run(swallowing)
    await snapshot.close()

    # A job that had read all it wanted keeps its result.
    (snapshot,) = await store.open_snapshots(1)

    def done(reader: Reader) -> bytes | None:
        body = reader.get(table, "k")
        store._gate.end_older_than(1 << 62, "needed the space")
        return body

    assert await snapshot.run(done) is None
    await snapshot.close()


async def test_a_read_whose_snapshot_the_store_ended_is_run_again(store: SqliteStore, table: TableInfo) -> None:
    """engine rule 3"""
    tries: list[int] = []

    def job(reader: Reader) -> int:
        tries.append(1)
        if len(tries) == 1:
            store._gate.end_older_than(1 << 62, "needed the space")
        reader.get(table, "k")
        return len(tries)

    assert await store.read(job) == 2
    assert len(store._pool._free) == 3


async def test_closing_the_store_ends_held_snapshots_and_refuses_waiters(store: SqliteStore) -> None:
    held = await store.open_snapshots(3)
    waiting = asyncio.ensure_future(store.read(lambda r: 1))
    await asyncio.wait([waiting], timeout=0)
    await store.close()
    with pytest.raises(Unavailable):
        await waiting
    for snapshot in held:
        with pytest.raises(Unavailable):
            await snapshot.run(lambda r: r.ts)
        await snapshot.close()
