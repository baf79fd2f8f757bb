"""The database as the runtime sees it: transactions to read with, jobs to write with, and the commits in order.

One object per deployment, living on one event loop. It opens the store, owns the committer and the ring, and publishes
each batch in one loop step (engine.md rule 11): records into the ring, listeners told, outcomes delivered, time moved on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from reactor.clock import Clock
from reactor.engine.batch_stats import BatchStats
from reactor.engine.commit_record import CommitKind, CommitRecord, Replaced, tables_changed
from reactor.engine.committer import Committer
from reactor.engine.own_job import OwnJob
from reactor.engine.ring import Ring
from reactor.engine.transaction import Transaction
from reactor.engine.write_job import Done, WriteJob
from reactor.engine.write_transaction import DocumentCheck, WriteObserver, WriteTransaction
from reactor.errors import InvalidDocument
from reactor.limits import Limits
from reactor.store.catalogue import Catalogue, TableInfo
from reactor.store.protocol import Reader, Snapshot, Store, Writer

__all__ = ["Database"]

logger = logging.getLogger("reactor.engine")

T = TypeVar("T")

CommitListener = Callable[[CommitRecord], None]


class PendingSchema:
    """Checks of a schema that is being deployed: writes that fail them fail the deploy, not themselves (rule 25)."""

    def __init__(self, checks: Mapping[str, DocumentCheck]) -> None:
        self.checks = checks
        self.violation: tuple[str, str, InvalidDocument] | None = None

    def violated(self, table: str, document_id: str, error: InvalidDocument) -> None:
        if self.violation is None:
            self.violation = (table, document_id, error)


class Database:
    def __init__(
        self, store: Store, clock: Clock, limits: Limits, *, on_fatal: Callable[[BaseException], None] | None = None
    ) -> None:
        self.store = store
        self.clock = clock
        self.limits = limits
        self.checks: Mapping[str, DocumentCheck] = {}
        """Schema enforcement by table name, in force for every transaction that starts from now on."""
        self.observers: Mapping[str, WriteObserver] = {}
        """By table: who is told of each change of a document, inside the transaction."""
        self.rebuilders: Mapping[str, Callable[[WriteTransaction], None]] = {}
        """By table: who is told, inside the transaction, that all its documents gave way to others."""
        self.schema_lock = asyncio.Lock()
        """Held while a deploy changes the schema, and while what fits it is put in place of tables."""
        self.filling: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By number of an index: held by who enters the documents that were there before it."""
        self.pending_schema: PendingSchema | None = None
        self._on_fatal = on_fatal or (lambda error: None)
        self._listeners: list[CommitListener] = []
        self._after_batch: list[Callable[[], None]] = []
        self._processed = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._running: Counter[int] = Counter()
        self._catalogue: Catalogue | None = None
        self.ring = Ring(0, limits.ring_bytes)
        self.commits = 0

    async def open(self) -> None:
        """Open the store and read where the log ends. Raises Unavailable, StoreError."""
        await self.store.open()
        last = await self.store.read(lambda reader: reader.ts)
        self._processed = last
        self._catalogue = self.store.catalogue
        self.ring = Ring(last, self.limits.ring_bytes)
        self._committer = Committer(
            self.store,
            self.clock,
            self._write_transaction,
            self._publish,
            queue_limit=self.limits.writer_queue,
            on_fatal=self._on_fatal,
        )
        self._committer.start(last)

    async def close(self) -> None:
        """Run what was accepted, then close the store."""
        if hasattr(self, "_committer"):
            await self._committer.close()
        await self.store.close()

    @property
    def catalogue(self) -> Catalogue:
        """The tables and indexes as of the last published commit."""
        assert self._catalogue is not None, "the database is not open"
        return self._catalogue

    @property
    def processed_ts(self) -> int:
        """P: every commit up to this timestamp has been published, and no later one."""
        return self._processed

    @property
    def waiting_jobs(self) -> int:
        return self._committer.waiting

    @property
    def batches(self) -> BatchStats:
        return self._committer.batches

    @property
    def accepts_writes(self) -> bool:
        return not self._committer.is_closed

    def listen(self, on_commit: CommitListener, after_batch: Callable[[], None]) -> None:
        """Call `on_commit` with every commit record in order, and `after_batch` at the end of each batch's loop step."""
        self._listeners.append(on_commit)
        self._after_batch.append(after_batch)

    # Reading

    def transaction(self, reader: Reader) -> Transaction:
        """A read transaction on a store thread, with the time and limits of now."""
        return Transaction(reader, self.store.catalogue_at(reader.ts), self.clock.now_ns() / 1e6, self.limits)

    async def read(self, job: Callable[[Transaction], T]) -> T:
        """Run `job` in a read transaction on a snapshot of its own."""
        return await self.store.read(lambda reader: job(self.transaction(reader)))

    async def open_snapshots(self, count: int) -> list[Snapshot]:
        return await self.store.open_snapshots(count)

    @contextmanager
    def holding(self, ts: int) -> Iterator[None]:
        """Keep the ring reaching back to `ts` meanwhile."""
        self._running[ts] += 1
        try:
            yield
        finally:
            self._running[ts] -= 1
            if not self._running[ts]:
                del self._running[ts]

    async def wait_processed(self, ts: int) -> None:
        """Return once `processed_ts >= ts`."""
        if self._processed < ts:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((ts, future))
            await future

    # Writing

    def submit(self, job: WriteJob) -> None:
        """Queue a mutation; see `WriteJob` for how its outcome comes back."""
        self._committer.submit(job)

    async def write(
        self,
        change: Callable[[WriteTransaction], T],
        *,
        lane: str = "#own",
        background: bool = False,
        usual_s: float = 0.0,
        by: tuple[str, str] | None = None,
    ) -> T:
        """Run a change of our own in a transaction; returns its result once the commit is published.

        Changes of one `lane` run in the order of these calls; `usual_s` is how long it usually takes, `by` the function
        that it runs and the id of its request. Raises what `change` raises; then nothing was written.
        """
        job = OwnJob(change, lane=lane, background=background, usual_s=usual_s, by=by)
        self._committer.submit(job)
        return await job.done

    def _write_transaction(self, writer: Writer, last_creation_time: float) -> WriteTransaction:
        pending = self.pending_schema
        transaction = WriteTransaction(
            writer,
            self.store.catalogue,
            self.clock.now_ns() / 1e6,
            self.limits,
            checks=self.checks,
            creation_time=last_creation_time,
            pending_checks=None if pending is None else pending.checks,
            on_pending_violation=None if pending is None else pending.violated,
        )
        transaction.observers = self.observers
        return transaction

    async def commit_alone(
        self, change: Callable[[Writer], CommitRecord], committed: Callable[[], None] | None = None
    ) -> CommitRecord:
        """Commit a change of our own outside the queue (deploys), and return its record once it is published.

        `committed` is called on the writer's thread when it is durable, before anybody else writes.
        """
        record = await self.store.write(lambda writer: self._committer.commit_alone(writer, change, committed))
        await self.wait_processed(record.ts)
        return record

    async def replace_tables(
        self,
        hidden: Sequence[TableInfo] = (),
        drop: Iterable[str] = (),
        *,
        before: Callable[[WriteTransaction], None] | None = None,
        after: Callable[[WriteTransaction], None] | None = None,
    ) -> CommitRecord:
        """Put hidden tables in the place of those of their names, and drop other tables, in one commit.

        Everything that was read of them is touched. `before` may look at the tables as they are and raise; `after` writes
        what belongs to the same commit. Hold `schema_lock` when `hidden` has tables: they must fit the schema and its indexes.
        """
        drop = list(drop)

        def change(tx: WriteTransaction) -> CommitRecord:
            if before is not None:
                before(tx)
            old = {
                name: table for name in (*(t.name for t in hidden), *drop) if (table := tx.catalogue.tables.get(name))
            }
            tx.catalogue = tx.writer.reveal(hidden, drop)
            for name in old.keys() | {table.name for table in hidden}:
                if (rebuild := self.rebuilders.get(name)) is not None:
                    rebuild(tx)
            if after is not None:
                after(tx)
            record = tx.record(0)
            record.kind = CommitKind.DEPLOY
            record.replaced = _replaced([*old.values(), *hidden])
            new = {table.name: table.number for table in hidden}
            moved = [name for name in old.keys() | new.keys() if name not in old or old[name].number != new.get(name)]
            record.names = (*record.names, *tables_changed(moved))
            return record

        record = await self.store.write(lambda writer: self._committer.transact_alone(writer, change))
        await self.wait_processed(record.ts)
        return record

    # Publishing

    def _publish(self, done: list[Done], catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        oldest = min(self._running, default=self._processed)
        processed = self._processed
        for d in done:
            record = d.record
            if record is not None:
                self.ring.append(record, oldest)
                self.commits += 1
                for listener in self._listeners:
                    listener(record)
                processed = record.ts
        for d in done:
            try:
                if d.error is None:
                    d.job.succeed(d.ts)
                else:
                    d.job.fail(d.error)
            except Exception:
                logger.exception("delivering the outcome of a mutation failed")
        self._processed = processed
        if self._waiters:
            waiting = self._waiters
            self._waiters = []
            for ts, future in waiting:
                if ts > processed:
                    self._waiters.append((ts, future))
                elif not future.done():
                    future.set_result(None)
        for after in self._after_batch:
            after()


def _replaced(tables: Iterable[TableInfo]) -> Replaced:
    tables = list(tables)
    indexes = [index.number for table in tables for index in table.all_indexes]
    return Replaced(frozenset(table.number for table in tables), frozenset(indexes))
