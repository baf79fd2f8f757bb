"""Pinned snapshots for `query_ts` / `query_at_ts`: a client's several HTTP queries at one timestamp (engine.md rule 17).

At most two snapshots are held, each for ten seconds. A timestamp without a snapshot of its own is answered
from the newest data, if the log shows that nothing the query read has changed since.
"""

from __future__ import annotations

import asyncio
from typing import Final

from reactor.engine.database import Database
from reactor.store.protocol import Snapshot

__all__ = ["Pins"]

MOST: Final = 2
LIFETIME_S: Final = 10.0


class Pins:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[int, Snapshot] = {}
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def pin(self) -> int:
        """A timestamp that is current now, pinned if there is room."""
        loop = asyncio.get_running_loop()
        async with self._opening:
            if self._database.processed_ts not in self._held and len(self._held) < MOST:
                (snapshot,) = await self._database.open_snapshots(1)
                try:
                    await self._database.wait_processed(snapshot.ts)
                except BaseException:
                    await snapshot.close()
                    raise
                if snapshot.ts in self._held:
                    await snapshot.close()
                else:
                    self._held[snapshot.ts] = snapshot
                    task = loop.create_task(self._expire(snapshot))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                return snapshot.ts
        return self._database.processed_ts

    def at(self, ts: int) -> Snapshot | None:
        """The snapshot held at `ts`, if any."""
        return self._held.get(ts)

    async def _expire(self, snapshot: Snapshot) -> None:
        try:
            await asyncio.sleep(LIFETIME_S)
        finally:
            if self._held.pop(snapshot.ts, None) is not None:
                await snapshot.close()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for ts in list(self._held):  # a task cancelled before its first step has not seen its `finally`
            snapshot = self._held.pop(ts)
            await snapshot.close()
