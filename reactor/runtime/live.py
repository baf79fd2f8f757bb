"""Live queries: each run once for all who follow it, and every follower always at one point in time.

Terms (engine.md rules 11-16): an *entry* is one query with its newest result and read set; a commit that touches the read
set makes it stale. A *cut* is what a subscriber gets: all its queries at one timestamp T. A *wave* computes cuts: it opens
one snapshot at T, waits until everything up to T is published, runs on it the entries that are not valid at T for the
subscribers that are asking, and hands each its cut as soon as its own entries are done.

Cuts are pulled, so nothing runs for a client that can't take more, and a burst of commits costs one run. Entries that
usually run long go to a lane of their own, so that they don't hold up the others.

A delivery is plain calls from the end of a run to the socket, no task and no future: with thousands of followers of one
entry nothing else counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from reactor.auth.identity import Caller
from reactor.engine.commit_record import CommitRecord
from reactor.engine.database import Database
from reactor.engine.transaction import Transaction
from reactor.model.environment import TABLE as ENVIRONMENT
from reactor.runtime.executions import Door, Executions, Finished
from reactor.runtime.failures import new_request_id
from reactor.runtime.query_entries import QueryEntries
from reactor.runtime.query_entry import SHARED, Entry, QueryCall, QueryRun, make_version
from reactor.runtime.reruns import EXPIRED, IDENTITY, Reruns
from reactor.runtime.subscriber import LiveSubscriber
from reactor.runtime.waist import Success
from reactor.runtime.wave import Wave
from reactor.store.protocol import Reader, Snapshot, SnapshotEnded

__all__ = ["LiveQueries"]

logger = logging.getLogger("reactor.runtime")

RunQuery = Callable[[QueryCall, Transaction], QueryRun]
"""Runs a call on a store thread. Never raises: failures are outcomes."""

SLOW_S: Final = 0.020
"""Entries of functions that usually run longer go to the slow lane."""
PAUSE_S: Final = 0.001
CHUNK_S: Final = 0.005
"""How long a wave stays on its thread before it hands results back."""
DELIVERIES_PER_STEP: Final = 256
"""After as many the event loop turns to others: each takes a few microseconds, and an entry may have any number of followers."""
TIME_SENSITIVE_NS: Final = 17_000_000_000
"""A result that looked at the clock is not served to newcomers when older. Source: server-semantics 5.4."""


class LiveQueries:
    """All entries and subscribers of one deployment. Lives on the event loop."""

    def __init__(self, database: Database, run: RunQuery, executions: Executions | None = None) -> None:
        self._database = database
        self._run = run
        self._executions = executions or Executions()
        self._entries = QueryEntries(database.limits.cached_query_bytes)
        self._asking: dict[LiveSubscriber, None] = {}
        self._parked: dict[LiveSubscriber, None] = {}
        """They would ask, but for what the slow lane has or keeps from running: the other waves don't look at them."""
        self._wave: asyncio.Task[None] | None = None
        self._slow: asyncio.Task[None] | None = None
        self._usual_s: dict[str, float] = {}
        self._closed = False
        self.runs = 0
        """How many times a query function ran, for metrics and tests."""
        self.cache_hits = 0
        """How many times somebody new was given a result that was there."""
        self.reruns = Reruns(self._environment_table)
        """Why live queries ran."""
        database.listen(self._on_commit, lambda: None)

    # Subscribers

    def subscriber(self, caller: Caller, door: Door = "SyncWorker", asked_by: str = "") -> LiveSubscriber:
        return LiveSubscriber(self, caller, door, asked_by)

    @property
    def processed_ts(self) -> int:
        return self._database.processed_ts

    @property
    def entry_count(self) -> int:
        return len(self._entries)

    @property
    def subscription_count(self) -> int:
        """How many queries are followed, each follower counted."""
        return sum(len(entry.followers) for entry in self._entries)

    async def close(self) -> None:
        """Stop the waves; cuts that are being waited for are cancelled."""
        self._closed = True
        tasks = [t for t in (self._wave, self._slow) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._unpark()

    def _environment_table(self) -> int | None:
        table = self._database.catalogue.tables.get(ENVIRONMENT)
        return None if table is None else table.number

    # Entries

    def entry_for(self, call: QueryCall) -> Entry:
        """The entry this call shares, made if need be."""
        entry = self._entries.of(call)
        if (
            entry.observed_time
            and entry.is_fresh
            and self._database.clock.now_ns() - entry.ran_at_ns > TIME_SENSITIVE_NS
        ):
            entry.valid_until = entry.valid_from
            entry.stale_by = EXPIRED
            self._touch_followers(entry)
        return entry

    def release(self, entry: Entry) -> None:
        """Nobody follows this entry any more."""
        self._entries.release(entry)

    def served_from_cache(self, entry: Entry, caller: Caller, door: Door, asked_by: str) -> None:
        """Somebody new gets the result that an entry has: report it."""
        self.cache_hits += 1
        if self._executions.listeners and entry.version is not None:
            outcome = entry.version.outcome
            finished = Finished(
                "query", entry.call.path, new_request_id(), caller, door, time.perf_counter(), 0.0, is_cached=True
            )
            finished.asked_by = asked_by
            if isinstance(outcome, Success):
                finished.result_bytes, finished.ts = len(outcome.value), outcome.ts
                self._executions.report(finished)

    # Commits

    def _on_commit(self, record: CommitRecord) -> None:
        for entry in self._entries.made_stale_by(record):
            self._touch_followers(entry)

    def _touch_followers(self, entry: Entry) -> None:
        asking = self._asking
        for followed in entry.followers:  # `LiveSubscriber.touch` and `ask`, written out: there may be thousands
            subscriber = followed.subscriber
            subscriber.touched[followed.query_id] = followed
            if subscriber.puller is not None and not subscriber.busy:
                subscriber.busy = True
                asking[subscriber] = None
        if asking:
            self._wake()

    # Waves

    def ask(self, subscriber: LiveSubscriber) -> None:
        """Compute a cut for this subscriber as soon as possible."""
        subscriber.busy = True
        self._asking[subscriber] = None
        self._wake()

    def _wake(self) -> None:
        if self._closed:
            for subscriber in list(self._asking):
                subscriber.fail(asyncio.CancelledError("the backend was closed"))
        elif self._wave is None:
            # Not at once: whoever asks in this loop step and the next joins the same wave.
            self._wave = asyncio.get_running_loop().create_task(self._waves())

    def forget_ask(self, subscriber: LiveSubscriber) -> None:
        self._asking.pop(subscriber, None)
        self._parked.pop(subscriber, None)

    def reconsider(self, subscriber: LiveSubscriber) -> None:
        """What kept this subscriber from taking part in waves may be over."""
        if subscriber in self._parked:
            del self._parked[subscriber]
            self.ask(subscriber)

    def _park(self) -> None:
        for subscriber in [s for s in self._asking if self._waits_for_slow_lane(s)]:
            del self._asking[subscriber]
            self._parked[subscriber] = None

    def _unpark(self) -> None:
        self._asking.update(self._parked)
        self._parked.clear()
        if self._asking:
            self._wake()

    async def _waves(self) -> None:
        try:
            while self._asking:
                await self._answer_ready()
                if self._slow is not None:
                    self._park()
                if self._asking and not await self._one_wave():
                    await asyncio.sleep(PAUSE_S)  # nobody could be served at that timestamp: let time pass
        except Exception as error:
            logger.exception("running live queries failed")
            for subscriber in list(self._asking):
                subscriber.fail(error)
        finally:
            self._wave = None

    async def _answer_ready(self) -> None:
        """Cuts for which everything is fresh need no snapshot."""
        now = self._database.processed_ts
        for position, subscriber in enumerate([s for s in self._asking if s.is_ready(now)]):
            if position and not position % DELIVERIES_PER_STEP:
                await asyncio.sleep(0)
                now = self._database.processed_ts
            if subscriber.busy and subscriber.is_ready(now):  # as it was before the deliveries to others
                subscriber.deliver(now)

    def _waits_for_slow_lane(self, subscriber: LiveSubscriber) -> bool:
        """Whether something it needs is in flight there, or has to wait until the lane is free."""
        for followed in subscriber.touched.values():
            entry = followed.entry
            if entry.in_flight or (not entry.is_fresh and self._is_slow(entry)):
                return True
        return False

    def _is_slow(self, entry: Entry) -> bool:
        return self._usual_s.get(entry.call.path, 0.0) > SLOW_S

    async def _one_wave(self) -> bool:
        """Returns whether anybody took part."""
        slow_wanted = (
            self._slow is None
            and any(usual > SLOW_S for usual in self._usual_s.values())
            and any(self._is_slow(f.entry) for s in self._asking for f in s.touched.values() if not f.entry.is_fresh)
        )
        snapshots = await self._database.open_snapshots(2 if slow_wanted else 1)
        ts = snapshots[0].ts
        wave = Wave(ts)
        slow_started = False
        try:
            with self._database.holding(ts):
                await self._database.wait_processed(ts)
                before = len(self._asking)
                self._admit(wave)
                admitted = len(self._asking) < before
                if len(snapshots) == 1 and wave.slow:
                    wave.fast.extend(wave.slow)
                    wave.slow.clear()
                if wave.slow:
                    slow_started = True
                    self._slow = asyncio.get_running_loop().create_task(self._run_slow(wave, snapshots[1]))
                await self._run_lane(wave, wave.fast, snapshots[0])
                return admitted
        finally:
            await snapshots[0].close()
            if len(snapshots) > 1 and not slow_started:
                await snapshots[1].close()

    def _admit(self, wave: Wave) -> None:
        """Let every subscriber that can have a cut at the wave's timestamp join it, and line up what has to run."""
        ts = wave.ts
        waiting = wave.waiting
        for subscriber in list(self._asking):
            # It may have been told of a later timestamp while the snapshot was being opened: time only moves forward.
            if not subscriber.busy or subscriber.not_before > ts or subscriber.ts > ts:
                continue
            if len(subscriber.touched) == 1:
                # Most of the followers of one query: it waits with the others, as `_needed` would find out.
                [followed] = subscriber.touched.values()
                others = waiting.get(followed.entry)
                if others is not None:
                    others.append(subscriber)
                    del self._asking[subscriber]
                    subscriber.wave, subscriber.needed = wave, 1
                    continue
            needed = self._needed(wave, subscriber)
            if needed is None:
                continue
            if not needed:
                subscriber.deliver(ts)
                continue
            del self._asking[subscriber]
            subscriber.wave = wave
            subscriber.needed = len(needed)
            for entry in needed:
                if entry in waiting:
                    waiting[entry].append(subscriber)
                else:
                    waiting[entry] = [subscriber]
                    entry.in_flight = True
                    (wave.slow if self._is_slow(entry) else wave.fast).append(entry)

    def _needed(self, wave: Wave, subscriber: LiveSubscriber) -> list[Entry] | None:
        """Which entries have to run for this subscriber to have a cut at the wave's timestamp; None if that can't be."""
        needed: list[Entry] = []
        for followed in subscriber.touched.values():
            entry = followed.entry
            if entry.valid_at(wave.ts) or entry in needed:
                continue
            if (
                # In flight elsewhere, or already known from a later snapshot but not at this one: next wave.
                (entry.in_flight and entry not in wave.waiting)
                or entry.valid_from > wave.ts
                or (self._slow is not None and self._is_slow(entry))
            ):
                return None
            needed.append(entry)
        return needed

    async def _run_slow(self, wave: Wave, snapshot: Snapshot) -> None:
        began = time.monotonic()
        try:
            with self._database.holding(wave.ts):
                await self._run_lane(wave, wave.slow, snapshot)
        except Exception:
            logger.exception("running slow live queries failed")
        finally:
            await snapshot.close()
            self._slow = None
        # At most half of the wall time for slow entries: they wait as long as they ran.
        if (self._asking or self._parked) and not self._closed:
            self._slow = asyncio.get_running_loop().create_task(self._rest(time.monotonic() - began))

    async def _rest(self, seconds: float) -> None:
        try:
            self._unpark()  # what others wait for may be there
            await asyncio.sleep(min(seconds, 1.0))
        finally:
            self._slow = None
            self._unpark()

    async def _run_lane(self, wave: Wave, lane: list[Entry], snapshot: Snapshot) -> None:
        position = 0
        try:
            while position < len(lane):
                calls = [entry.call for entry in lane[position:]]
                runs = await snapshot.run(lambda reader, calls=calls: self._run_some(reader, calls))
                for run in runs:
                    entry = lane[position]
                    position += 1
                    await self._deliver(wave, self._complete(wave, lane, entry, run))
        except SnapshotEnded as error:
            logger.warning("live queries run again on a newer snapshot: %s", error)  # engine.md rule 3
        finally:
            for entry in lane[position:]:
                entry.in_flight = False
                for subscriber in wave.waiting.pop(entry, ()):
                    subscriber.give_up(wave)
                self.release(entry)  # whoever followed it may have left meanwhile

    def _run_some(self, reader: Reader, calls: list[QueryCall]) -> list[QueryRun]:
        """On the store's thread: run calls until a little time has passed."""
        until = time.monotonic() + CHUNK_S
        runs: list[QueryRun] = []
        for call in calls:
            tx = self._database.transaction(reader)
            tx.depend_on("code")
            runs.append(self._run(call, tx))
            if time.monotonic() > until:
                break
        return runs

    async def _deliver(self, wave: Wave, waiting: list[LiveSubscriber]) -> None:
        """One of the results that these wait for is there: hand their cuts to those for whom it was the last."""
        position, ts = 0, wave.ts
        try:
            for subscriber in waiting:
                if position and not position % DELIVERIES_PER_STEP:
                    await asyncio.sleep(0)
                position += 1
                if subscriber.wave is wave:  # else it left meanwhile
                    subscriber.needed -= 1
                    if not subscriber.needed:
                        subscriber.deliver(ts)
        finally:
            for subscriber in waiting[position:]:
                subscriber.give_up(wave)

    def _complete(self, wave: Wave, lane: list[Entry], entry: Entry, run: QueryRun) -> list[LiveSubscriber]:
        """Take one result in: its version, its validity, whom it may serve. Returns those who waited for it."""
        self.runs += 1
        self._learn(entry.call.path, run.seconds)
        waiting = wave.waiting.pop(entry, [])
        if run.finished is not None:
            if waiting:
                run.finished.door, run.finished.asked_by = waiting[0].door, waiting[0].asked_by
            self._executions.report(run.finished)
        entry.in_flight = False
        version = make_version(run.outcome)
        changed = entry.version is None or entry.version.number != version.number
        if any(subscriber.door == "SyncWorker" for subscriber in waiting):
            self._note_rerun(entry, run, changed)
        if changed:
            entry.version, entry.last_cut = version, None
        entry.valid_from = wave.ts
        entry.valid_until = self._database.ring.first_touch(run.read_set, wave.ts)
        # None also while it is fresh: the ring alone decides how long commits stay in memory.
        entry.stale_by = None if entry.valid_until is None else self._database.ring.at(entry.valid_until)
        entry.read_set = run.read_set
        entry.observed_time = run.observed_time
        entry.ran_at_ns = self._database.clock.now_ns()
        self._entries.register(entry, run.read_set)
        if run.observed_identity:
            if entry.caller_key == SHARED:
                waiting = self._split(wave, lane, entry, waiting)
        elif entry.caller_key != SHARED:
            entry = self._entries.share(entry, wave.ts)
        if isinstance(run.outcome, Success) and run.outcome.journal != entry.call.journal:
            self._entries.rekey(entry, run.outcome.journal)
        if not entry.is_fresh:
            self._touch_followers(entry)
        if self._parked:
            for followed in entry.followers:
                self.reconsider(followed.subscriber)
        self.release(entry)
        return waiting

    def _note_rerun(self, entry: Entry, run: QueryRun, changed: bool) -> None:
        self.reruns.note(
            entry.call.path,
            entry.call.args,
            entry.stale_by,
            entry.read_set,
            followers=len(entry.followers),
            seconds=run.seconds,
            changed=changed,
            failed=not isinstance(run.outcome, Success),
        )

    def _learn(self, path: str, seconds: float) -> None:
        # Only of functions that were slow once: clients can name any number of functions that don't exist.
        usual = self._usual_s.get(path)
        if usual is not None:
            self._usual_s[path] = usual * 0.7 + seconds * 0.3
        elif seconds > SLOW_S:
            self._usual_s[path] = seconds

    def _split(
        self, wave: Wave, lane: list[Entry], entry: Entry, waiting: list[LiveSubscriber]
    ) -> list[LiveSubscriber]:
        """A shared entry's re-run looked at the identity: it now belongs to that identity, the others get their own.

        Returns who of those that wait for the run it still serves.
        """
        self._entries.claim(entry)
        served = dict.fromkeys(s for s in waiting if s.wave is wave)
        for followed in list(entry.followers):
            subscriber = followed.subscriber
            if subscriber.caller.key == entry.caller_key:
                continue
            call = QueryCall(entry.call.path, entry.call.args, entry.call.journal, subscriber.caller)
            own = self.entry_for(call)
            if own.version is None:
                own.stale_by = IDENTITY
            subscriber.move(followed, own)
            if subscriber in served:
                del served[subscriber]
                if own in wave.waiting:
                    wave.waiting[own].append(subscriber)
                elif not own.in_flight:
                    own.in_flight = True
                    wave.waiting[own] = [subscriber]
                    lane.append(own)
                else:
                    subscriber.give_up(wave)
        return list(served)
