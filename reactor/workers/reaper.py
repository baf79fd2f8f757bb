"""Deletes, in small steps, the rows that belong to no table any more: of dropped tables, and of what imports replaced."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Final

from reactor.engine.commit_record import CommitRecord
from reactor.engine.database import Database
from reactor.engine.pace import Pace
from reactor.errors import ReactorError
from reactor.store.protocol import Writer

__all__ = ["Reaper"]

logger = logging.getLogger("reactor.store")

STEP_S: Final = 0.0015
ROWS: Final = 100
RETRY_S: Final = 5.0


class Reaper:
    """One per deployment. Works at the start, after a commit that let tables go, and when `wake` is called."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.idle = asyncio.Event()
        """Set while nothing is left."""

    def start(self) -> None:
        self._database.listen(self._on_commit, lambda: None)
        self._more.set()
        self._task = asyncio.create_task(self._run(), name="reaper")

    async def close(self) -> None:
        """Stop; what is left is found again after the next start."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def wake(self) -> None:
        self.idle.clear()
        self._more.set()

    def _on_commit(self, record: CommitRecord) -> None:
        if record.replaced is not None:
            self.wake()

    async def _run(self) -> None:
        pace = Pace(self._database)
        while True:
            await self._more.wait()
            self._more.clear()
            try:
                while await pace.step(_step):
                    pass
                self.idle.set()
            except ReactorError as error:
                logger.warning("deleting what dropped tables have left failed, it is tried again: %s", error)
                await asyncio.sleep(RETRY_S)
                self._more.set()


def _step(writer: Writer) -> bool:
    until = time.monotonic() + STEP_S
    more = True
    while more and time.monotonic() < until:
        more = writer.reap(ROWS)
    return more
