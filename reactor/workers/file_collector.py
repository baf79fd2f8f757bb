"""Removes blobs that no file has any more: of deleted files a minute after the commit, and what crashes left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Final

from reactor.clock import Clock
from reactor.engine.commit_record import CommitRecord
from reactor.engine.database import Database
from reactor.errors import ReactorError
from reactor.model.files import FILES, deleted_blobs, known_blobs
from reactor.runtime.file_service import FileService

__all__ = ["FileCollector"]

logger = logging.getLogger("reactor.files")

GRACE_NS: Final = 60 * 10**9
"""How long the blob of a deleted file stays: for downloads that have found the file and not yet begun to read."""
SWEEP_EVERY_NS: Final = 24 * 3600 * 10**9


class FileCollector:
    """One per deployment. Sweeps once at the start, then daily; most blobs go because a commit says so."""

    def __init__(self, files: FileService, database: Database, clock: Clock) -> None:
        self._files, self._database, self._clock = files, database, clock
        self._doomed: deque[tuple[int, str]] = deque()
        self._more = asyncio.Event()
        self._sweep_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._database.listen(self._on_commit, lambda: None)
        self._tasks = [asyncio.create_task(self._remove_for_ever()), asyncio.create_task(self._sweep_for_ever())]

    async def close(self) -> None:
        """Stop. What is still to be removed is found again after the next start."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _on_commit(self, record: CommitRecord) -> None:
        files = self._database.catalogue.tables.get(FILES)
        if record.replaced is not None and files is not None and files.number in record.replaced.tables:
            self._sweep_now.set()  # whose blobs are left over, no write says
        for name in deleted_blobs(record, self._database.catalogue):
            self._doomed.append((self._clock.now_ns() + GRACE_NS, name))
            self._more.set()

    async def _remove_for_ever(self) -> None:
        while True:
            if not self._doomed:
                self._more.clear()
                await self._more.wait()
            due, name = self._doomed[0]
            await self._clock.sleep_until(due)
            await self._files.released.wait()
            self._doomed.popleft()
            await self._remove(name)

    async def _remove(self, name: str) -> None:
        try:
            await self._files.blobs.delete(name)
        except ReactorError as error:
            logger.warning("blob %s can't be removed now, the next sweep will try again: %s", name, error)

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except ReactorError as error:
                logger.warning("looking for blobs that belong to no file failed: %s", error)
            except Exception:
                logger.exception("looking for blobs that belong to no file failed")
            await self._until_next_sweep()

    async def _until_next_sweep(self) -> None:
        timer = asyncio.ensure_future(self._clock.sleep_until(self._clock.now_ns() + SWEEP_EVERY_NS))
        asked = asyncio.ensure_future(self._sweep_now.wait())
        try:
            await asyncio.wait((timer, asked), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            asked.cancel()
        self._sweep_now.clear()

    async def sweep(self) -> int:
        """Remove every blob that belongs to no file, and return how many these were."""
        removed = 0
        async for names in self._files.blobs.list():
            # In this order: what is not in flight now either has its row by now or never gets one.
            doomed = {name for _, name in self._doomed}
            old = [name for name in names if not self._files.is_in_flight(name) and name not in doomed]
            if not old:
                continue
            known = await self._database.read(lambda tx, old=old: known_blobs(tx, old))
            for name in old:
                if name not in known:
                    await self._files.released.wait()
                    await self._remove(name)
                    removed += 1
        if removed:
            logger.info("removed %d blobs that belonged to no file", removed)
        return removed
