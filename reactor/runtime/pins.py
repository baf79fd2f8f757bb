"""Pinned snapshots for `query_ts` / `query_at_ts`: a client's several HTTP queries at one timestamp (engine.md rule 17).

At most two snapshots are held, each for ten seconds. A timestamp without a snapshot of its own is answered
from the newest data, if the log shows that nothing the query read has changed since.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Final

from reactor.engine.database import Database
from reactor.engine.transaction import Transaction
from reactor.errors import DatabaseError
from reactor.runtime.query_entry import QueryCall, QueryRun
from reactor.runtime.waist import Outcome, Success
from reactor.store.protocol import Snapshot, SnapshotEnded

__all__ = ["OutOfRetention", "Pins"]

MOST: Final = 2
LIFETIME_S: Final = 10.0


class OutOfRetention(DatabaseError):
    """What was at a timestamp can't be told any more, or not yet."""

    code = "OutOfRetention"

    def __init__(self, ts: int, why: str) -> None:
        super().__init__(
            f"The timestamp {ts} {why}. Ask for a new one with /api/query_ts; it is good for some seconds."
        )


class Pins:
    """`run` runs a query on a store thread; `report` is told of every run, on the event loop."""

    def __init__(
        self,
        database: Database,
        run: Callable[[QueryCall, Transaction], QueryRun],
        report: Callable[[QueryRun, str], None],
    ) -> None:
        self._database, self._run, self._report = database, run, report
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

    async def query(self, call: QueryCall, ts: int, asked_by: str) -> Outcome:
        """The outcome of a query as of `ts`, reported as run for a request. Raises OutOfRetention."""
        snapshot = self._held.get(ts)
        if snapshot is not None:
            try:
                run = await snapshot.run(lambda reader: self._run(call, self._database.transaction(reader)))
                self._report(run, asked_by)
                return _stamped(run.outcome, ts)
            except SnapshotEnded:
                pass  # the store needed its space back: see whether the newest data will do
        if ts > self._database.processed_ts:
            raise OutOfRetention(ts, "has not been reached yet")

        def read(tx: Transaction) -> tuple[int, QueryRun]:
            tx.depend_on("code")  # the code of that time may be gone, too
            return tx.ts, self._run(call, tx)

        with self._database.holding(ts):
            read_ts, run = await self._database.read(read)
            self._report(run, asked_by)
            await self._database.wait_processed(read_ts)
            if self._database.ring.first_touch(run.read_set, ts, read_ts) is None:
                return _stamped(run.outcome, ts)
        raise OutOfRetention(ts, "is no longer kept, and the data has changed since")

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


def _stamped(outcome: Outcome, ts: int) -> Outcome:
    return dataclasses.replace(outcome, ts=ts) if isinstance(outcome, Success) else outcome
