"""One client's set of live queries: what it follows, what it was last told, and the cut it is waiting for.

A cut takes, for each query that may have changed, the version valid at the cut's timestamp, and leaves the rest to the next
one. `runtime.live` decides when a cut can be had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from reactor.auth.identity import Caller
from reactor.runtime.executions import Door
from reactor.runtime.query_entry import SHARED, Entry, QueryCall
from reactor.runtime.reruns import IDENTITY
from reactor.runtime.waist import Cut, QueryUpdate

if TYPE_CHECKING:
    from reactor.runtime.live import LiveQueries
    from reactor.runtime.wave import Wave

__all__ = ["LiveSubscriber"]


class LiveSubscriber:
    """See `waist.Subscriber`."""

    __slots__ = (
        "_closed", "_cut", "_live", "_queries", "_sent", "_stale", "_touched", "_waiter", "caller", "door", "needed",
        "not_before", "ts", "wave",
    )  # fmt: skip

    def __init__(self, live: LiveQueries, caller: Caller, door: Door = "SyncWorker") -> None:
        self._live = live
        self.caller = caller
        self.door: Door = door
        self.ts = 0
        """The timestamp of the last cut."""
        self.not_before = 0
        self.wave: Wave | None = None
        self.needed: set[Entry] = set()
        self._queries: dict[int, Entry] = {}
        self._sent: dict[int, int] = {}
        self._touched: set[int] = set()
        self._stale = False
        self._waiter: asyncio.Future[None] | None = None
        self._cut: asyncio.Future[Cut] | None = None
        self._closed = False

    def add(self, query_id: int, path: str, args: bytes, journal: str | None = None) -> None:
        entry = self._live.entry_for(QueryCall.of(path, args, journal, self.caller))
        if entry.is_fresh:
            self._live.served_from_cache(entry, self.caller, self.door)
        self._follow(query_id, entry)
        self.wake()

    def remove(self, query_id: int) -> None:
        entry = self._queries.pop(query_id)
        self._sent.pop(query_id, None)
        self._touched.discard(query_id)
        self._unfollow(query_id, entry)

    def set_caller(self, caller: Caller) -> None:
        if caller.key == self.caller.key:
            return
        changed_power = caller.is_admin != self.caller.is_admin
        self.caller = caller
        for query_id, entry in list(self._queries.items()):
            if entry.caller_key == SHARED and not changed_power:
                continue
            self._unfollow(query_id, entry)
            call = QueryCall(entry.call.path, entry.call.args, entry.call.journal, caller)
            own = self._live.entry_for(call)
            if own.version is None:
                own.stale_by = IDENTITY
            self._follow(query_id, own)
        self.wake()

    async def wait_stale(self) -> None:
        if self._stale or self._closed:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def cut(self, not_before: int = 0) -> Cut:
        if self._closed:
            raise asyncio.CancelledError("the subscriber is closed")
        self.not_before = not_before
        self._stale = False
        now = self._live.processed_ts
        if now >= not_before and all(e.is_fresh for e in self.touched_entries()):
            return self._make_cut(now)
        future = self._cut = asyncio.get_running_loop().create_future()
        self._live.ask(self)
        try:
            return await future
        finally:
            self._cut = None
            self._leave()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.cancel()
        for query_id in list(self._queries):
            self.remove(query_id)

    # For LiveQueries

    def touched_entries(self) -> Iterable[Entry]:
        queries = self._queries
        return [queries[query_id] for query_id in self._touched]

    def touch(self, query_ids: Iterable[int]) -> None:
        """These queries may have changed."""
        self._touched.update(query_ids)
        self._live.mark_stale(self)

    def wake(self) -> None:
        """Let `wait_stale` return."""
        self._stale = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def move(self, query_ids: Iterable[int], old: Entry, new: Entry) -> None:
        """Follow `new` instead of `old`."""
        for query_id in list(query_ids):
            self._unfollow(query_id, old)
            self._follow(query_id, new)
        self._live.mark_stale(self)

    def deliver(self, ts: int) -> None:
        """All that was needed is valid at `ts`: hand out the cut."""
        self._leave()
        if self._cut is not None and not self._cut.done():
            if all(e.valid_at(ts) for e in self.touched_entries()):
                self._cut.set_result(self._make_cut(ts))
            else:  # a query was added or moved while the wave ran: the next wave has it too
                self._live.ask(self)

    def give_up(self, wave: Wave) -> None:
        """The wave can't serve this subscriber: ask again."""
        if self.wave is wave:
            self._leave()
            if self._cut is not None and not self._cut.done():
                self._live.ask(self)

    def fail(self, error: BaseException) -> None:
        self._leave()
        if self._cut is not None and not self._cut.done():
            self._cut.set_exception(error)

    def cancel(self) -> None:
        self._leave()
        for future in (self._cut, self._waiter):
            if future is not None and not future.done():
                future.cancel()

    def _leave(self) -> None:
        self._live.withdraw(self)
        if self.wave is not None:
            for entry in self.needed:
                waiting = self.wave.waiting.get(entry)
                if waiting is not None and self in waiting:
                    waiting.remove(self)
            self.wave = None
        self.needed = set()

    def _make_cut(self, ts: int) -> Cut:
        updates: list[QueryUpdate] = []
        still: set[int] = set()
        for query_id in sorted(self._touched) if len(self._touched) > 1 else self._touched:
            entry = self._queries[query_id]
            version = entry.version
            assert version is not None
            if self._sent.get(query_id) != version.number:
                self._sent[query_id] = version.number
                updates.append(QueryUpdate(query_id, version))
            if not entry.is_fresh:
                still.add(query_id)
        self._touched = still
        self.ts = ts
        if still:
            self.wake()
        return Cut(ts, updates)

    def _follow(self, query_id: int, entry: Entry) -> None:
        self._queries[query_id] = entry
        entry.subscribers.setdefault(self, set()).add(query_id)
        self._touched.add(query_id)

    def _unfollow(self, query_id: int, entry: Entry) -> None:
        ids = entry.subscribers.get(self)
        if ids is not None:
            ids.discard(query_id)
            if not ids:
                del entry.subscribers[self]
                self._live.release(entry)
