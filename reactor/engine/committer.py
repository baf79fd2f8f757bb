"""The one place that runs mutations and assigns commit timestamps: batches, savepoints, one fsync, then all answers.

`Committer.submit` queues jobs on the event loop; a drain job on the store's writer thread takes what is waiting, runs each
job in a savepoint, commits once, and hands the batch back to the event loop (`publish`) while it goes on with the next.
No outcome leaves before the COMMIT returned (engine.md rules 4-8). Batches are formed on the writer thread because a hop
to the event loop and back between two batches would leave the writer idle.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from reactor.clock import Clock
from reactor.engine.batch_stats import BatchStats
from reactor.engine.commit_record import CommitKind, CommitRecord, tables_changed
from reactor.engine.lanes import Lanes
from reactor.engine.write_job import Done, Nobody, WriteJob
from reactor.engine.write_transaction import MissingTable, WriteTransaction
from reactor.errors import StoreError, Unavailable
from reactor.faults import hit
from reactor.store.catalogue import Catalogue
from reactor.store.protocol import LogRow, OutcomeUnknown, RequestRecord, Store, Writer

__all__ = ["AFTER_RUN", "BEFORE_PUBLISH", "Committer"]

logger = logging.getLogger("reactor.engine")

AFTER_RUN: Final = "committer.after_run"
"""A job ran inside its savepoint; nothing is committed."""
BEFORE_PUBLISH: Final = "committer.before_publish"
"""The batch is committed; nobody has been told."""

BATCH_JOBS: Final = 64
BATCH_BYTES: Final = 4 * 1024 * 1024
BATCH_S: Final = 0.010
"""Measured: closing at 5 ms made 39 of 64 waiting transfers a batch, and an fsync (1.7 ms) for each 39 instead of each 64
costs more than the earlier answers gain."""
LONG_S: Final = 0.005
"""A function that usually runs longer starts in a batch of its own."""
BATCHES_PER_DRAIN: Final = 8
"""After these, other users of the writer thread (deploys, pruning, checkpoints) get in."""


Publish = Callable[[list[Done], Catalogue], None]
"""Called on the event loop with the jobs of one batch in commit order, after the commit."""

MakeTransaction = Callable[[Writer, float], WriteTransaction]
"""Builds a transaction on the writer thread, given the last creation time."""


class Committer:
    """Owns the write queue. One per store; created on the event loop it publishes to."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        make_transaction: MakeTransaction,
        publish: Publish,
        *,
        queue_limit: int,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._make_transaction = make_transaction
        self._publish = publish
        self._queue_limit = queue_limit
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._lanes = Lanes()
        self._draining = False
        self._drains: set[asyncio.Task[None]] = set()
        self._closed: Unavailable | StoreError | None = None
        # The writer thread's memory: what the next commit builds on. Set from the store before the first batch.
        self._last_ts = 0
        self._last_creation_time = 0.0
        self._doubtful: list[CommitRecord] = []
        """Of a commit whose outcome is unknown: the file, once it is opened anew, says whether it happened."""
        self.batches = BatchStats()
        self._alone = 0
        """How many jobs to run in a transaction each, after one was lost."""

    def start(self, last_ts: int) -> None:
        """`last_ts`: the newest row of the log."""
        self._last_ts = last_ts
        self._last_creation_time = last_ts / 1e6

    @property
    def waiting(self) -> int:
        return self._lanes.count

    @property
    def is_closed(self) -> bool:
        """Whether new jobs are refused: at the end, or because the store failed."""
        return self._closed is not None

    def submit(self, job: WriteJob) -> None:
        """Queue a job. It fails at once, through `job.fail` in a later loop step, when the queue is full or closed."""
        error: Exception | None = self._closed
        if error is None and self._lanes.count >= self._queue_limit:
            error = Unavailable(
                f"Too many mutations are waiting ({self._queue_limit}): the server is overloaded, try again.",
                code="TooManyConcurrentRequests",
            )
        if error is not None:
            self._loop.call_soon(job.fail, error)
            return
        with self._lanes.lock:
            self._lanes.put(job)
            if self._draining:
                return
            self._draining = True
        self._start_drain()

    async def close(self) -> None:
        """Refuse new jobs, run the waiting ones, return when all have their outcome."""
        if self._closed is None:
            self._closed = Unavailable("The server is shutting down. Try again.", code="ShuttingDown")
        while self._drains:
            await asyncio.wait(self._drains)

    def next_ts(self) -> int:
        """Assign a commit timestamp; on the writer's thread only (deploys use it too)."""
        self._last_ts = ts = max(self._last_ts + 1, self._clock.now_ns())
        return ts

    # On the event loop

    def _start_drain(self) -> None:
        task = self._loop.create_task(self._drain_until_empty())
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    async def _drain_until_empty(self) -> None:
        try:
            while True:
                try:
                    if not await self._store.write(self._drain):
                        return
                except OutcomeUnknown as error:
                    # The next write opens the file anew; what it holds then is what happened (`_settle`).
                    logger.critical("a commit failed with its outcome unknown: %s", error)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._die(error)

    def _die(self, error: BaseException) -> None:
        """The store failed in a way that leaves outcomes unknown: answer nobody, let clients resend to a new process."""
        if not isinstance(error, Unavailable):
            logger.critical("the writer failed; the server must restart: %r", error, exc_info=error)
        fatal = error if isinstance(error, Unavailable | StoreError) else StoreError(f"the writer failed: {error!r}")
        self._closed = fatal
        with self._lanes.lock:
            self._draining = False
            waiting: list[WriteJob] = []
            while self._lanes.count:  # one turn leaves background jobs behind
                waiting += self._lanes.take(self._lanes.count)
        for job in waiting:
            job.fail(fatal)
        self._on_fatal(error)

    def _published(self, done: list[Done], catalogue: Catalogue) -> None:
        hit(BEFORE_PUBLISH)
        self._publish(done, catalogue)

    # On the writer's thread

    def _drain(self, writer: Writer) -> bool:
        """Run batches until nothing waits; False then, True to be called again."""
        self._settle(writer)
        for _ in range(BATCHES_PER_DRAIN):
            with self._lanes.lock:
                jobs = self._lanes.take(1 if self._alone else BATCH_JOBS)
                self._alone = max(0, self._alone - 1)
                if not jobs:
                    self._draining = False
                    return False
            self._batch(writer, jobs)
        return True

    def _batch(self, writer: Writer, jobs: list[WriteJob]) -> None:
        try:
            done, left = self._run_together(writer, jobs)
        except _TransactionLost as lost:
            # SQLite rolled everything back (a full disk, an I/O error). Nothing was answered: the culprit gets its error,
            # the others run again, each in a transaction of its own, before all that came after them.
            logger.warning("a mutation lost the whole batch's transaction: %r", lost.error)
            self._hand_over([Done(lost.job, lost.error, None, 0)])
            others = [job for job in jobs if job is not lost.job]
            with self._lanes.lock:
                self._lanes.put_back(others)
            self._alone = len(others)
            return
        except MissingTable as missing:
            try:
                self._create_table(writer, missing.name)
            except Exception as error:
                self._give_up(jobs, error)
                return
            with self._lanes.lock:
                self._lanes.put_back(jobs)
            return
        except Exception as error:
            self._give_up(jobs, error)
            return
        if left:
            with self._lanes.lock:
                self._lanes.put_back(left)
        self._hand_over(done)

    def _give_up(self, jobs: list[WriteJob], error: Exception) -> None:
        """Nothing of these jobs is committed, or nobody knows: each gets the error. Raises it unless it may pass by itself."""
        self._hand_over([Done(job, error, None, 0) for job in jobs])
        if not isinstance(error, Unavailable):
            raise error

    def _hand_over(self, done: list[Done]) -> None:
        self._loop.call_soon_threadsafe(self._published, done, self._store.catalogue)

    def _run_together(self, writer: Writer, jobs: list[WriteJob]) -> tuple[list[Done], list[WriteJob]]:
        """Run jobs in one transaction; returns them with their outcomes and those that have to wait for the next one."""
        began = time.monotonic()
        last_ts, last_creation_time = self._last_ts, self._last_creation_time
        done: list[Done] = []
        written = 0
        ended = 0
        writer.begin()
        try:
            for job in jobs:
                if ended and (job.usual_s > LONG_S or written > BATCH_BYTES or time.monotonic() - began > BATCH_S):
                    break
                done.append(self._run(writer, job))
                ended += 1
                record = done[-1].record
                if record is not None:
                    written += record.size
            if any(d.record is not None for d in done):
                try:
                    committing = time.monotonic()
                    writer.commit()
                    self.batches.note(len(done), time.monotonic() - committing)
                except Unavailable as error:  # the disk is full: it did not happen, and may work later
                    self._last_ts, self._last_creation_time = last_ts, last_creation_time
                    if writer.in_transaction:
                        writer.rollback()
                    done = [Done(d.job, d.error or error, None, 0) for d in done]
                except OutcomeUnknown:
                    self._doubtful = [d.record for d in done if d.record is not None]
                    raise
            else:
                writer.rollback()
        except BaseException:
            self._last_ts, self._last_creation_time = last_ts, last_creation_time
            if writer.in_transaction:
                writer.rollback()
            raise
        for d in done:
            if d.record is None and d.error is None and not d.ts:
                d.ts = self._last_ts  # read only: any current timestamp
        return done, jobs[ended:]

    def _run(self, writer: Writer, job: WriteJob) -> Done:
        if job.request is not None:
            stored = writer.get_request(*job.request)
            if stored is not None:
                job.replay(stored)
                return Done(job, None, None, stored.ts)
        writer.savepoint()
        try:
            tx = self._make_transaction(writer, self._last_creation_time)
            payload = job.execute(tx)
            hit(AFTER_RUN)
            if not writer.in_transaction:
                raise StoreError("the transaction was rolled back underneath the function")
            record: CommitRecord | None = None
            ts = 0
            if tx.has_written:
                ts = self.next_ts()
                record = tx.record(ts)
                record.by = job.by
                writer.append_log(LogRow(ts, record.kind, record.encode()))
                self._last_creation_time = tx.last_creation_time
                if job.request is not None:
                    writer.put_request(*job.request, RequestRecord(ts, payload))
            writer.release()
            return Done(job, None, record, ts)
        except MissingTable:
            raise
        except Exception as error:
            if not writer.in_transaction:
                raise _TransactionLost(job, error) from error
            writer.rollback_to()
            if isinstance(error, StoreError):
                raise
            return Done(job, error, None, 0)

    def _settle(self, writer: Writer) -> None:
        """Publish the commit whose outcome was unknown, if it happened: live queries must learn of it."""
        records, self._doubtful = self._doubtful, []
        if not records:
            return
        self._last_ts = max(self._last_ts, writer.ts)
        self._last_creation_time = max(self._last_creation_time, writer.ts / 1e6)
        if writer.ts >= records[0].ts:  # all of them are in one transaction
            self._hand_over([Done(Nobody(), None, record, record.ts) for record in records])

    def _wake(self) -> None:
        """Have the writer look at what there is to do."""
        with self._lanes.lock:
            if self._draining or self._closed is not None:
                return
            self._draining = True
        self._start_drain()

    def commit_alone(
        self, writer: Writer, change: Callable[[Writer], CommitRecord], committed: Callable[[], None] | None = None
    ) -> CommitRecord:
        """Commit one change of our own (a table, indexes, a schema) outside the queue, on the writer's thread.

        `change` runs inside a transaction and returns the record of what it did; its `ts` is assigned here.
        `committed` is called on the writer's thread, before any other job.
        """
        self._settle(writer)
        writer.begin()
        try:
            record = change(writer)
            record.ts = self.next_ts()
            writer.append_log(LogRow(record.ts, record.kind, record.encode()))
            try:
                writer.commit()
            except OutcomeUnknown:
                self._doubtful = [record]
                self._loop.call_soon_threadsafe(self._wake)  # whether it happened must not wait for the next mutation
                raise
            if committed is not None:
                committed()
        except BaseException:
            if writer.in_transaction:
                writer.rollback()
            raise
        self._hand_over([Done(Nobody(), None, record, record.ts)])
        return record

    def transact_alone(self, writer: Writer, change: Callable[[WriteTransaction], CommitRecord]) -> CommitRecord:
        """Like `commit_alone`, for a change that also writes documents."""

        def work(writer: Writer) -> CommitRecord:
            tx = self._make_transaction(writer, self._last_creation_time)
            record = change(tx)
            self._last_creation_time = tx.last_creation_time
            return record

        return self.commit_alone(writer, work)

    def _create_table(self, writer: Writer, name: str) -> None:
        """A table first met by an insert is made by a transaction of its own (engine.md rule 8)."""

        def change(writer: Writer) -> CommitRecord:
            writer.create_tables([name])
            return CommitRecord(0, CommitKind.DEPLOY, [], tables_changed([name]))

        self.commit_alone(writer, change)


class _TransactionLost(Exception):
    def __init__(self, job: WriteJob, error: Exception) -> None:
        super().__init__(repr(error))
        self.job = job
        self.error = error
