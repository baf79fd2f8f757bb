"""Fills staged indexes in the background; deploys fill the others themselves, because they wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from reactor.engine.backfill import fill_index, title
from reactor.engine.commit_record import CommitRecord
from reactor.engine.database import Database
from reactor.errors import ReactorError
from reactor.store.catalogue import IndexInfo
from reactor.workers.alarm import Alarm

__all__ = ["BackfillWorker"]

logger = logging.getLogger("reactor.engine")

RETRY_S: Final = 60.0
"""After a failure: of the disk, mostly, which somebody may make room on."""


class BackfillWorker:
    """One per deployment. Looks for work at the start, after every deploy and import, and again some time after a failure.

    One index at a time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._again = Alarm(database.clock, self._look, "backfill again")

    def start(self) -> None:
        self._changed.set()
        self._database.listen(self._on_commit, lambda: None)
        self._task = asyncio.create_task(self._work(), name="backfill")

    async def close(self) -> None:
        """Stop between two steps; the next start goes on from there."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._again.set(None)

    async def idle(self) -> None:
        """Return once every staged index is full, or can't be filled now."""
        await self._idle.wait()

    def _on_commit(self, record: CommitRecord) -> None:
        if "code" in record.names or record.replaced is not None:
            self._look()

    def _look(self) -> None:
        self._changed.set()
        self._idle.clear()

    async def _work(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for index in self._staged():
                try:
                    await fill_index(self._database, index)
                except Exception as error:
                    logger.error(
                        "filling the staged index %s failed; it goes on in %.0f s: %s",
                        title(index),
                        RETRY_S,
                        error,
                        exc_info=not isinstance(error, ReactorError),
                    )
                    self._again.set(self._database.clock.now_ns() + int(RETRY_S * 1e9))
            if not self._changed.is_set():
                self._idle.set()

    def _staged(self) -> list[IndexInfo]:
        tables = self._database.catalogue.tables.values()
        return [i for t in tables if not t.is_system for i in t.all_indexes if i.state == "staged"]
