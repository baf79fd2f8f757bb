"""A database on a real SQLite file, and jobs that are plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from reactor.clock import ManualClock
from reactor.engine.database import Database
from reactor.engine.write_transaction import WriteTransaction
from reactor.limits import DEFAULT_LIMITS
from reactor.store.protocol import RequestRecord
from reactor.store.sqlite.store import SqliteStore


class Job:
    """A write job made of a function of the transaction; its result is (timestamp, value)."""

    by: tuple[str, str] | None = None

    def __init__(
        self,
        run: Callable[[WriteTransaction], Any],
        *,
        lane: str = "lane",
        request: tuple[str, int] | None = None,
        usual_s: float = 0.0,
        background: bool = False,
    ) -> None:
        self.run, self.lane, self.request, self.usual_s = run, lane, request, usual_s
        self.background = background
        self.value: Any = None
        self.runs = 0
        self.done: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()

    def execute(self, tx: WriteTransaction) -> bytes:
        self.runs += 1
        self.value = self.run(tx)
        return repr(self.value).encode()

    def replay(self, record: RequestRecord) -> None:
        self.value = f"replayed {record.payload.decode()}"

    def succeed(self, ts: int) -> None:
        self.done.set_result((ts, self.value))

    def fail(self, error: BaseException) -> None:
        self.done.set_exception(error)


class Harness:
    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock

    def submit(self, run: Callable[[WriteTransaction], Any], **options: Any) -> Job:
        job = Job(run, **options)
        self.database.submit(job)
        return job

    async def write(self, run: Callable[[WriteTransaction], Any], **options: Any) -> Any:
        return (await self.submit(run, **options).done)[1]


async def open_harness(path: Path) -> Harness:
    clock = ManualClock()
    database = Database(SqliteStore(path, clock=clock, synchronous="OFF"), clock, DEFAULT_LIMITS)
    await database.open()
    return Harness(database, clock)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Harness]:
    """An open, empty database."""
    harness = await open_harness(tmp_path)
    yield harness
    await harness.database.close()
