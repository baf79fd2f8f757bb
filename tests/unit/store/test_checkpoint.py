"""The WAL stays bounded: engine rule 3."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reactor import faults
from reactor.clock import ManualClock
from reactor.store.catalogue import TableInfo
from reactor.store.protocol import LogRow, Reader, SnapshotEnded, Writer
from reactor.store.sqlite.checkpoint import BEFORE_TRUNCATE, MIB
from reactor.store.sqlite.store import SqliteStore

T0 = 1_700_000_000_000_000_000


@pytest.fixture
async def table(store: SqliteStore) -> TableInfo:
    def job(writer: Writer) -> None:
        writer.begin()
        writer.create_tables(["t"])
        writer.insert(writer.create_tables([]).tables["t"], "k", b"")
        writer.append_log(LogRow(T0, 1, b""))
        writer.commit()

    await store.write(job)
    return store.catalogue.tables["t"]


@pytest.fixture
async def alone(store: SqliteStore) -> None:
    """Without the thread, which may be in the way of a truncation: then that is put off, and rightly so."""
    await asyncio.get_running_loop().run_in_executor(None, store.checkpointer.stop)


def overwrite(table: TableInfo, size: int, times: int = 1) -> Callable[[Writer], None]:
    """Write a document of `size` bytes over the last one, `times` transactions: the data stays, the WAL grows."""

    def job(writer: Writer) -> None:
        for _ in range(times):
            writer.begin()
            writer.update(table, "k", os.urandom(size))
            writer.append_log(LogRow(writer.ts + 1, 1, b""))
            writer.commit()

    return job


async def test_the_wal_stays_bounded_under_load_with_busy_readers(store: SqliteStore, table: TableInfo) -> None:
    """engine rule 3: SQLite's default grows to hundreds of megabytes here."""
    is_over = asyncio.Event()

    def look(reader: Reader) -> int:
        return len(reader.get(table, "k") or b"")

    async def read_all_the_time() -> int:
        n = 0
        while not is_over.is_set():
            await store.read(look)
            n += 1
        return n

    readers = [asyncio.ensure_future(read_all_the_time()) for _ in range(2)]
    peak = 0

    def measured(writer: Writer) -> None:
        nonlocal peak
        for _ in range(100):
            overwrite(table, MIB)(writer)
            peak = max(peak, store.wal_bytes())

    await store.write(measured)  # one job of many batches: the truncation happens between them
    is_over.set()
    assert all(n > 0 for n in await asyncio.gather(*readers))
    assert peak < 40 * MIB
    assert store.checkpointer.truncations + store.checkpointer.passes > 0


@pytest.mark.usefixtures("alone")
async def test_a_held_snapshot_delays_truncation_and_its_end_allows_it(store: SqliteStore, table: TableInfo) -> None:
    """engine rule 3"""
    (held,) = await store.open_snapshots(1)
    store.checkpointer._truncate_at = MIB
    await store.write(overwrite(table, MIB, times=3))
    assert store.checkpointer.truncations == 0
    assert await held.run(lambda r: r.get(table, "k")) == b""
    await held.close()
    store.checkpointer._not_before = 0.0
    await store.write(overwrite(table, 10))
    assert store.checkpointer.truncations == 1
    assert store.wal_bytes() < MIB


@pytest.mark.usefixtures("alone")
async def test_a_wal_that_may_begin_anew_is_written_over_and_does_not_grow(
    store: SqliteStore, table: TableInfo
) -> None:
    """engine rule 3: and it is not checkpointed again before it is full again."""
    store.checkpointer._truncate_at = MIB
    await store.write(overwrite(table, 10_000, times=60))
    assert store.checkpointer.truncations == 1
    size = store.wal_bytes()
    assert MIB <= size < 2 * MIB
    await store.write(overwrite(table, 10_000, times=20))
    assert (store.checkpointer.truncations, store.wal_bytes()) == (1, size)
    await store.write(overwrite(table, 10_000, times=50))
    assert store.checkpointer.truncations == 2
    assert store.wal_bytes() < 2 * MIB
    assert len(await store.read(lambda r: r.get(table, "k")) or b"") == 10_000


@pytest.mark.usefixtures("alone")
async def test_snapshots_wait_while_the_wal_is_truncated(store: SqliteStore, table: TableInfo) -> None:
    """engine rule 3: new snapshots are stopped, and opened again afterwards."""
    store.checkpointer._truncate_at = 1
    reached, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        reached.set()
        go_on.wait()

    faults.arm(BEFORE_TRUNCATE, pause)
    writing = asyncio.ensure_future(store.write(overwrite(table, 10)))
    await asyncio.get_running_loop().run_in_executor(None, reached.wait)
    reading = [asyncio.ensure_future(store.read(lambda r: r.ts)), asyncio.ensure_future(store.open_snapshots(2))]
    await asyncio.wait(reading, timeout=0.05)
    assert not any(task.done() for task in reading)
    assert store._gate.guests == 0
    go_on.set()
    assert await asyncio.wait_for(reading[0], 10) >= T0
    for snapshot in await reading[1]:
        await snapshot.close()
    await writing


@pytest.mark.usefixtures("alone")
async def test_a_failed_truncation_is_tried_again_later_and_writes_go_on(
    store: SqliteStore, table: TableInfo, caplog: pytest.LogCaptureFixture
) -> None:
    """engine rule 3"""

    def fail() -> None:
        raise OSError("fault injected")

    store.checkpointer._truncate_at = 1
    faults.arm(BEFORE_TRUNCATE, fail)
    await store.write(overwrite(table, 10, times=3))
    assert caplog.text.count("truncating the WAL failed") == 1  # then it waits a while
    faults.disarm_all()
    store.checkpointer._not_before = 0.0
    await store.write(overwrite(table, 10))
    assert store.checkpointer.truncations == 1


@pytest.mark.usefixtures("alone")
async def test_above_the_last_bound_old_snapshots_are_ended(
    store: SqliteStore, table: TableInfo, caplog: pytest.LogCaptureFixture
) -> None:
    """engine rule 3: idle ones at once, running ones at their next operation; one that is up to date stays."""
    started = threading.Event()
    idle, busy = await store.open_snapshots(2)

    def endless(reader: Reader) -> None:
        started.set()
        while True:
            reader.get(table, "k")

    running = asyncio.ensure_future(busy.run(endless))
    await asyncio.get_running_loop().run_in_executor(None, started.wait)
    await store.write(overwrite(table, MIB, times=3))
    store.checkpointer._truncate_at = store.checkpointer._end_snapshots_at = MIB
    with caplog.at_level(logging.WARNING, "reactor.store"):
        await store.write(overwrite(table, 10))
    assert "2 old snapshots" in caplog.text
    assert store.checkpointer.truncations == 1
    with pytest.raises(SnapshotEnded, match="space"):
        await running
    with pytest.raises(SnapshotEnded, match="space"):
        await idle.run(lambda r: r.ts)
    await idle.close()
    await busy.close()
    assert len(store._pool._free) == 3


async def test_checkpoints_run_only_while_the_wal_grows(store: SqliteStore, table: TableInfo) -> None:
    """engine rule 3: an idle database costs nothing."""
    checkpointer = store.checkpointer
    before = checkpointer.passes
    await store.write(overwrite(table, 10))
    while checkpointer.passes == before or checkpointer._grew.is_set():
        await asyncio.sleep(0.01)
    # Everything was moved: the thread waits, without a timeout, for the next commit.
    rested = checkpointer.passes
    await store.write(overwrite(table, 10))
    while checkpointer.passes == rested:
        await asyncio.sleep(0.01)


async def test_data_moved_by_checkpoints_is_read_back(tmp_path: Path, clock: ManualClock) -> None:
    store = SqliteStore(tmp_path, clock=clock, synchronous="NORMAL")
    await store.open()
    store.checkpointer._truncate_at = 200_000

    def make(writer: Writer) -> None:
        writer.begin()
        writer.create_tables(["t"])
        writer.commit()

    await store.write(make)
    table = store.catalogue.tables["t"]

    def fill(writer: Writer) -> None:
        for n in range(300):
            writer.begin()
            writer.insert(table, f"k{n}", b"%d" % n * 1000)
            writer.append_log(LogRow(max(writer.ts + 1, T0), 1, b""))
            writer.commit()

    await store.write(fill)
    assert store.checkpointer.truncations > 0

    def check(reader: Reader) -> bool:
        return all(reader.get(table, f"k{n}") == b"%d" % n * 1000 for n in range(300))

    assert await store.read(check)
    await store.close()
    await store.open()
    assert await store.read(check)
    await store.close()
