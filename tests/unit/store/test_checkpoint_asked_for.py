"""Checkpoints that background work asks for: made at once, told in any case, and in nobody's way (engine rule 3)."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reactor.clock import ManualClock
from reactor.store.catalogue import TableInfo
from reactor.store.sqlite import checkpoint
from reactor.store.sqlite.checkpoint import MIB
from reactor.store.sqlite.layout import Synchronous, set_up_checkpointer
from reactor.store.sqlite.store import SqliteStore
from tests.unit.store.test_checkpoint import alone, overwrite, table

__all__ = ["alone", "table"]  # fixtures


async def on_a_thread(work: Callable[[], object]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, work)


async def test_it_is_made_though_none_would_be_due(
    store: SqliteStore, table: TableInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever asked is told when what was committed is in the database file, not earlier."""
    monkeypatch.setattr(checkpoint, "PASSIVE_EVERY_S", 3600.0)
    await store.checkpoint()  # from here on the thread rests for an hour
    with store.checkpointer._one_at_a_time:
        await store.write(overwrite(table, 2 * MIB))
        asked = [asyncio.ensure_future(store.checkpoint()) for _ in range(3)]
        await asyncio.wait(asked, timeout=0.05)
        assert not any(task.done() for task in asked)
        assert store.data_bytes() < MIB
    await asyncio.wait_for(asyncio.gather(*asked), 30)
    assert store.data_bytes() > 2 * MIB


async def test_an_idle_store_does_it_again_and_again(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PASSIVE_EVERY_S", 3600.0)
    before = store.checkpointer.passes
    for _ in range(20):
        await asyncio.wait_for(store.checkpoint(), 30)
    assert store.checkpointer.passes >= before + 20


async def test_a_store_that_is_not_open_says_so_at_once(tmp_path: Path, clock: ManualClock) -> None:
    """Nothing is left to be moved then; whoever works in the background goes on to an operation that fails clearly."""
    store = SqliteStore(tmp_path, clock=clock, synchronous="OFF")
    await asyncio.wait_for(store.checkpoint(), 30)
    for _ in range(2):  # it may be opened again
        await store.open()
        await asyncio.wait_for(store.checkpoint(), 30)
        await store.close()
        passes = store.checkpointer.passes
        await asyncio.wait_for(store.checkpoint(), 30)
        assert store.checkpointer.passes == passes > 0


@pytest.mark.usefixtures("table")
async def test_who_asks_while_it_is_being_closed_is_told(store: SqliteStore) -> None:
    checkpointer = store.checkpointer
    with checkpointer._one_at_a_time:
        first = asyncio.ensure_future(store.checkpoint())
        while not (first.done() or checkpointer._grew.is_set() or not checkpointer._waiting):
            await asyncio.sleep(0)
        second = asyncio.ensure_future(store.checkpoint())
        closing = asyncio.ensure_future(store.close())
        while not checkpointer._stopped:
            await asyncio.sleep(0.001)
        third = asyncio.ensure_future(store.checkpoint())
        await asyncio.wait([first, second, third], timeout=0.02)
    await asyncio.wait_for(asyncio.gather(first, second, third, closing), 30)


@pytest.mark.usefixtures("alone", "table")
async def test_the_thread_ends_though_it_is_stopped_just_as_it_wakes_up(store: SqliteStore) -> None:
    checkpointer = store.checkpointer
    began = threading.Event()
    stopping = threading.Thread(target=checkpointer.stop, daemon=True)

    class StoppedWhileAwake(threading.Event):
        """Between the thread's waking up and its clearing the event, `stop` sets it."""

        was_set = threading.Event()

        def set(self) -> None:
            super().set()
            self.was_set.set()

        def clear(self) -> None:
            if not began.is_set():
                self.was_set.clear()
                stopping.start()
                self.was_set.wait()
                began.set()
            super().clear()

    checkpointer._grew = StoppedWhileAwake()
    checkpointer.start()
    checkpointer._grew.set()
    await on_a_thread(began.wait)
    await on_a_thread(lambda: stopping.join(10))
    is_stuck = stopping.is_alive()
    checkpointer._grew.set()
    assert not is_stuck
    await asyncio.wait_for(store.checkpoint(), 30)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.usefixtures("table")
async def test_nobody_waits_for_a_thread_that_has_died(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def die() -> bool:
        raise RuntimeError("fault injected")

    monkeypatch.setattr(store.checkpointer, "_passive", die)
    await asyncio.wait_for(store.checkpoint(), 30)
    await asyncio.wait_for(store.checkpoint(), 30)


def test_the_thread_outlives_the_loop_of_who_asked(tmp_path: Path, clock: ManualClock) -> None:
    store = SqliteStore(tmp_path, clock=clock, synchronous="OFF")

    async def ask_and_go() -> None:
        await store.open()
        store.checkpointer._one_at_a_time.acquire()
        asked = asyncio.ensure_future(store.checkpoint())
        await asyncio.sleep(0)
        asked.cancel()

    asyncio.run(ask_and_go())
    store.checkpointer._one_at_a_time.release()

    async def ask_again() -> None:
        before = store.checkpointer.passes
        await asyncio.wait_for(store.checkpoint(), 30)
        assert store.checkpointer.passes > before
        await store.close()

    asyncio.run(ask_again())


@pytest.mark.usefixtures("alone")
async def test_a_pass_under_way_does_not_hold_up_the_writer(store: SqliteStore, table: TableInfo) -> None:
    """It goes on with a longer WAL, keeps nobody from reading, and begins anew at the first commit after the pass."""
    checkpointer = store.checkpointer
    checkpointer._truncate_at = MIB
    with checkpointer._one_at_a_time:  # what a pass holds
        await store.write(overwrite(table, 10_000, times=60))
        assert MIB < store.wal_bytes() < 2 * MIB
        assert (checkpointer.truncations, checkpointer._not_before) == (0, 0.0)
    await store.write(overwrite(table, 10))
    assert checkpointer.truncations == 1


@pytest.mark.usefixtures("alone")
async def test_the_writer_waits_for_a_pass_when_the_wal_is_twice_too_long(
    store: SqliteStore, table: TableInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpointer = store.checkpointer
    monkeypatch.setattr(checkpoint, "WAIT_FOR_READERS_S", 30.0)
    checkpointer._truncate_at = MIB
    asked = threading.Event()

    class Pass:
        """It ends when the writer waits for it."""

        def __init__(self) -> None:
            self._lock = threading.Lock()
            self._lock.acquire()

        def acquire(self, *, timeout: float) -> bool:
            if timeout:
                asked.set()
                self._lock.release()
            return self._lock.acquire(timeout=timeout)

        def release(self) -> None:
            self._lock.release()

    checkpointer._one_at_a_time = Pass()  # type: ignore[assignment]
    await store.write(overwrite(table, MIB, times=2))
    assert (asked.is_set(), checkpointer.truncations) == (False, 0)
    await store.write(overwrite(table, 10))
    assert (asked.is_set(), checkpointer.truncations) == (True, 1)


@pytest.mark.usefixtures("alone")
async def test_it_waits_once_for_a_long_pass_and_then_goes_on_for_a_while(
    store: SqliteStore, table: TableInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at every commit: on a slow disk each would take as long as the wait. A failed try waits (engine rule 3)."""
    checkpointer = store.checkpointer
    monkeypatch.setattr(checkpoint, "RETRY_AFTER_S", 3600.0)
    checkpointer._truncate_at = MIB
    waits: list[float] = []

    class Pass:
        """It does not end."""

        def acquire(self, *, timeout: float) -> bool:
            waits.append(timeout)
            return False

    checkpointer._one_at_a_time = Pass()  # type: ignore[assignment]
    await store.write(overwrite(table, MIB, times=3))
    for _ in range(3):
        await store.write(overwrite(table, 10))
    assert [timeout for timeout in waits if timeout] == [checkpoint.WAIT_FOR_READERS_S]
    assert checkpointer.truncations == 0


@pytest.mark.usefixtures("alone")
async def test_a_connection_that_can_not_be_set_up_is_closed_and_the_next_pass_makes_another(
    store: SqliteStore, table: TableInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is set up by half might not wait for the disk where it has to."""
    checkpointer = store.checkpointer
    made: list[sqlite3.Connection] = []

    def set_up(raw: sqlite3.Connection, synchronous: Synchronous) -> None:
        made.append(raw)
        if len(made) == 1:
            checkpointer._hurry.set()  # instead of a second until the next try
            raise sqlite3.OperationalError("disk I/O error")
        set_up_checkpointer(raw, synchronous)

    monkeypatch.setattr(checkpoint, "set_up_checkpointer", set_up)
    await store.write(overwrite(table, 2 * MIB))
    before = checkpointer.passes
    checkpointer.start()
    await asyncio.wait_for(store.checkpoint(), 30)  # fails, or comes after that
    await asyncio.wait_for(store.checkpoint(), 30)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")
    assert len(made) == 2
    assert checkpointer.passes > before
    assert store.data_bytes() > 2 * MIB
