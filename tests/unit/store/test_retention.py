"""What is kept of the log and of request records: engine rules 9 and 22."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor import faults
from reactor.clock import ManualClock
from reactor.errors import StoreError
from reactor.store.protocol import LogRow, RequestRecord, Writer
from reactor.store.sqlite.retention import Retention
from reactor.store.sqlite.store import SqliteStore
from reactor.store.sqlite.writer import BEFORE_COMMIT

SECOND = 1_000_000_000


def append(clock: ManualClock, size: int = 10):
    def job(writer: Writer) -> int:
        ts = max(writer.ts + 1, clock.now_ns())
        writer.begin()
        writer.append_log(LogRow(ts, 1, b"x" * size))
        writer.commit()
        return ts

    return job


async def kept(store: SqliteStore) -> list[int]:
    return await store.read(lambda r: [row.ts for row in r.log_after(0, 10_000)])


async def opened(path: Path, clock: ManualClock, retention: Retention) -> SqliteStore:
    store = SqliteStore(path, clock=clock, synchronous="OFF", retention=retention)
    await store.open()
    return store


async def test_log_rows_older_than_the_bound_go_a_few_per_commit(tmp_path: Path, clock: ManualClock) -> None:
    """engine rule 9"""
    store = await opened(tmp_path, clock, Retention(log_seconds=60))
    old = [await store.write(append(clock)) for _ in range(50)]
    clock.advance(61 * SECOND)
    first = await store.write(append(clock))
    left = await kept(store)
    assert left == [*old[18:], first]  # one row's worth: 2 * 1 + 16
    rest = [await store.write(append(clock)) for _ in range(3)]
    assert await kept(store) == [first, *rest]
    await store.close()


async def test_the_newest_row_is_never_pruned(tmp_path: Path, clock: ManualClock) -> None:
    """engine rule 9: its timestamp is the database's own."""
    store = await opened(tmp_path, clock, Retention(log_seconds=0, log_bytes=0))
    for _ in range(5):
        last = await store.write(append(clock))
        clock.advance(SECOND)
        assert await kept(store) == [last]
        assert await store.write(lambda w: w.ts) == last
    await store.close()


async def test_the_log_is_bounded_by_bytes_also_after_a_restart_and_rollbacks(
    tmp_path: Path, clock: ManualClock
) -> None:
    """engine rule 9"""
    retention = Retention(log_bytes=1000)
    store = await opened(tmp_path, clock, retention)
    for _ in range(30):
        await store.write(append(clock, 100))
    assert len(await kept(store)) == 10
    await store.close()
    await store.open()

    def abandoned(writer: Writer) -> None:
        writer.begin()
        for _ in range(20):
            writer.savepoint()
            writer.append_log(LogRow(writer.ts + 1, 1, b"x" * 100))
            writer.rollback_to()
        writer.rollback()

    for _ in range(10):
        await store.write(abandoned)
        await store.write(append(clock, 100))
    assert len(await kept(store)) == 10
    await store.write(append(clock, 1))
    assert len(await kept(store)) == 10
    await store.close()


async def test_a_commit_that_failed_has_pruned_nothing(tmp_path: Path, clock: ManualClock) -> None:
    """engine rules 7 and 9"""
    store = await opened(tmp_path, clock, Retention(log_seconds=60))
    old = [await store.write(append(clock)) for _ in range(50)]
    clock.advance(61 * SECOND)

    def fail() -> None:
        raise OSError("fault injected")

    faults.arm(BEFORE_COMMIT, fail)
    for _ in range(3):
        with pytest.raises(StoreError):
            await store.write(append(clock))
    faults.disarm_all()
    assert await kept(store) == old
    last = await store.write(append(clock))
    assert await kept(store) == [*old[18:], last]
    await store.close()


async def test_old_request_records_go_while_new_ones_are_written(tmp_path: Path, clock: ManualClock) -> None:
    """engine rule 22: 14 days"""
    store = await opened(tmp_path, clock, Retention(request_days=1))

    def put(session: str, numbers: range):
        def job(writer: Writer) -> None:
            writer.begin()
            for n in numbers:
                writer.put_request(session, n, RequestRecord(clock.now_ns(), b""))
            writer.commit()

        return job

    await store.write(put("gone", range(100)))
    clock.advance(25 * 3600 * SECOND)
    for n in range(40):
        await store.write(put("new", range(n, n + 1)))
    assert await store.read(lambda r: [n for n in range(100) if r.get_request("gone", n)]) == []
    assert await store.read(lambda r: len([n for n in range(40) if r.get_request("new", n)])) == 40
    await store.close()


async def test_a_session_keeps_its_newest_request_records(tmp_path: Path, clock: ManualClock) -> None:
    """engine rule 22: the newest 4,096 per session"""
    assert Retention().requests_per_session == 4096
    store = await opened(tmp_path, clock, Retention(requests_per_session=100))

    def put(writer: Writer) -> None:
        writer.begin()
        writer.put_request("other", 1, RequestRecord(clock.now_ns(), b""))
        for n in range(640):
            writer.put_request("s", n, RequestRecord(clock.now_ns(), b""))
        writer.commit()

    await store.write(put)
    left = await store.read(lambda r: [n for n in range(640) if r.get_request("s", n)])
    assert left == list(range(477, 640))
    assert await store.read(lambda r: r.get_request("other", 1) is not None)
    await store.close()


@pytest.mark.parametrize("bad", [0, -1])
def test_a_store_needs_a_reader(tmp_path: Path, clock: ManualClock, bad: int) -> None:
    with pytest.raises(ValueError, match="reader"):
        SqliteStore(tmp_path, clock=clock, readers=bad)
