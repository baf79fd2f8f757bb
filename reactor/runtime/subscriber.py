"""One client's set of live queries: what it follows, what it was last told, and the cut it is waiting for.

A cut takes, for each query that may have changed, the version valid at the cut's timestamp, and leaves the rest to the next
one. `runtime.live` decides when a cut can be had.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from reactor.auth.identity import Caller
from reactor.runtime.executions import Door
from reactor.runtime.query_entry import SHARED, Entry, QueryCall
from reactor.runtime.reruns import IDENTITY
from reactor.runtime.waist import Cut, Deliver, QueryUpdate

if TYPE_CHECKING:
    from reactor.runtime.live import LiveQueries
    from reactor.runtime.wave import Wave

__all__ = ["Followed", "LiveSubscriber"]


class Followed:
    """One query of one subscriber. Its entry knows it, too (`Entry.followers`)."""

    __slots__ = ("entry", "query_id", "subscriber", "told")

    def __init__(self, subscriber: LiveSubscriber, query_id: int, entry: Entry) -> None:
        self.subscriber = subscriber
        self.query_id = query_id
        self.entry = entry
        self.told: int | None = None
        """The number of the version that was in the last cut."""


class LiveSubscriber:
    """See `waist.Subscriber`."""

    __slots__ = (
        "_live", "_queries", "asked_by", "busy", "caller", "closed", "door", "needed", "not_before", "puller", "touched", "ts",
        "wave",
    )  # fmt: skip

    def __init__(self, live: LiveQueries, caller: Caller, door: Door = "SyncWorker", asked_by: str = "") -> None:
        self._live = live
        self.caller = caller
        self.door: Door = door
        self.asked_by = asked_by
        """The HTTP request, where it has told its id."""
        self.closed = False
        self.ts = 0
        """The timestamp of the last cut."""
        self._queries: dict[int, Followed] = {}
        self.touched: dict[int, Followed] = {}
        """The queries that may have changed since the last cut."""
        self.puller: Deliver | None = None
        """Takes the next cut; None while nobody asks for one."""
        self.not_before = 0
        self.busy = False
        """A pull is waiting for a wave, or takes part in one."""
        self.wave: Wave | None = None
        self.needed = 0
        """How many entries' runs the wave still owes it."""

    # The waist

    def add(self, query_id: int, path: str, args: bytes, journal: str | None = None) -> None:
        entry = self._live.entry_for(QueryCall.of(path, args, journal, self.caller))
        if entry.is_fresh:
            self._live.served_from_cache(entry, self.caller, self.door, self.asked_by)
        followed = self._queries[query_id] = Followed(self, query_id, entry)
        entry.followers[followed] = None
        self.touch(followed)

    def remove(self, query_id: int) -> None:
        followed = self._queries.pop(query_id)
        self.touched.pop(query_id, None)
        self._unfollow(followed)
        self._live.reconsider(self)

    def set_caller(self, caller: Caller) -> None:
        if caller.key == self.caller.key:
            return
        changed_power = caller.is_admin != self.caller.is_admin
        self.caller = caller
        for followed in list(self._queries.values()):
            call = followed.entry.call
            if followed.entry.caller_key == SHARED and not changed_power:
                continue
            self._unfollow(followed)
            own = self._live.entry_for(QueryCall(call.path, call.args, call.journal, caller))
            if own.version is None:
                own.stale_by = IDENTITY
            self._follow(followed, own)

    def pull(self, deliver: Deliver, not_before: int | None = None) -> None:
        if self.closed:
            deliver(asyncio.CancelledError("the subscriber is closed"))
            return
        self.puller = deliver
        self.not_before = not_before or 0
        if self.wave is not None or (not_before is None and not self.touched):
            return
        now = self._live.processed_ts
        if self.is_ready(now):
            self.deliver(now)
        elif not self.busy:
            self._live.ask(self)

    def withdraw(self) -> None:
        self.puller = None
        self._leave()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.withdraw()
        self.touched.clear()
        for followed in self._queries.values():
            self._unfollow(followed)
        self._queries.clear()

    # For LiveQueries

    def touch(self, followed: Followed) -> None:
        """This query may have changed."""
        self.touched[followed.query_id] = followed
        if self.busy:
            self._live.reconsider(self)
        elif self.puller is not None:
            self._live.ask(self)

    def is_ready(self, now: int) -> bool:
        """Whether it can have a cut at `now`, which is as far as commits have been published, without anything to run."""
        if self.not_before > now:
            return False
        for followed in self.touched.values():  # noqa: SIM110 (a generator costs more than all the rest)
            if followed.entry.valid_until is not None:
                return False
        return True

    def move(self, followed: Followed, entry: Entry) -> None:
        """Follow `entry` instead."""
        self._unfollow(followed)
        self._follow(followed, entry)

    def deliver(self, ts: int) -> None:
        """All that was needed is valid at `ts`: hand out the cut."""
        if self.wave is None:
            self._leave()
        else:
            self.busy, self.wave = False, None  # the same, for most
        deliver = self.puller
        if deliver is None:
            return
        if ts < self.not_before:
            self._live.ask(self)
            return
        touched = self.touched
        for followed in touched.values():
            entry = followed.entry
            until = entry.valid_until
            # `Entry.valid_at`, written out. What was added or moved while the wave ran the next wave has, too.
            if entry.version is None or entry.valid_from > ts or (until is not None and until <= ts):
                self._live.ask(self)
                return
        self.puller = None
        if deliver(self._make_cut(ts)) and not self.closed:
            self.puller, self.not_before = deliver, 0
            if touched:
                self.pull(deliver)

    def give_up(self, wave: Wave) -> None:
        """The wave can't serve this subscriber: ask again."""
        if self.wave is wave:
            self._leave()
            if self.puller is not None:
                self._live.ask(self)

    def fail(self, error: BaseException) -> None:
        """There will be no cut, because of this."""
        self._leave()
        deliver, self.puller = self.puller, None
        if deliver is not None:
            deliver(error)

    def _leave(self) -> None:
        if self.busy:
            if self.wave is None:
                self._live.forget_ask(self)
            self.busy = False
            self.wave = None

    def _make_cut(self, ts: int) -> Cut:
        self.ts = ts
        touched = self.touched
        if len(touched) == 1:
            # One query that changed: so it is for all who follow it, and most under the same id.
            [followed] = touched.values()
            entry = followed.entry
            version = entry.version
            assert version is not None
            if entry.valid_until is None:
                touched.clear()
            if followed.told == version.number:
                return Cut(ts, [])
            followed.told = version.number
            cut = entry.last_cut
            if cut is None or cut.ts != ts or cut.updates[0].query_id != followed.query_id:
                cut = entry.last_cut = Cut(ts, [QueryUpdate(followed.query_id, version)])
            return cut
        updates: list[QueryUpdate] = []
        fresh: list[int] = []
        for query_id in sorted(touched):
            followed = touched[query_id]
            entry = followed.entry
            version = entry.version
            assert version is not None
            if followed.told != version.number:
                followed.told = version.number
                updates.append(QueryUpdate(query_id, version))
            if entry.valid_until is None:
                fresh.append(query_id)
        if len(fresh) == len(touched):
            touched.clear()
        else:
            for query_id in fresh:
                del touched[query_id]
        return Cut(ts, updates)

    def _follow(self, followed: Followed, entry: Entry) -> None:
        followed.entry = entry
        entry.followers[followed] = None
        self.touch(followed)

    def _unfollow(self, followed: Followed) -> None:
        entry = followed.entry
        entry.followers.pop(followed, None)
        if not entry.followers:
            self._live.release(entry)
