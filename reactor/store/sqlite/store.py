"""The SQLite store: one writer, a pool of readers, a checkpointer, and the lock that keeps others out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from reactor.clock import Clock
from reactor.errors import StoreError, Unavailable
from reactor.store.catalogue import Catalogue
from reactor.store.lock import DirectoryLock
from reactor.store.protocol import OutcomeUnknown, Reader, Snapshot, Writer
from reactor.store.sqlite.checkpoint import Checkpointer
from reactor.store.sqlite.connection import ThreadConnection
from reactor.store.sqlite.gate import Gate
from reactor.store.sqlite.layout import DATA_FILE, Synchronous, set_up_reader, set_up_writer
from reactor.store.sqlite.pool import ReaderPool
from reactor.store.sqlite.retention import Pruner, Retention
from reactor.store.sqlite.verify import check_copy
from reactor.store.sqlite.writer import SqliteWriter

__all__ = ["SqliteStore"]

T = TypeVar("T")

_log = logging.getLogger("reactor.store")

WRITER_GRACE_S: Final = 5.0


class SqliteStore:
    """`store.protocol.Store` in the directory `path`, which is made if need be.

    `readers` is the number of connections for snapshots. `synchronous="FULL"` keeps acknowledged commits through power
    loss, `"NORMAL"` and `"OFF"` only through the end of the process. `thread_init` is called once on each store thread
    before anything else runs there.
    """

    def __init__(
        self,
        path: Path,
        *,
        readers: int = 3,
        synchronous: Synchronous = "FULL",
        clock: Clock,
        thread_init: Callable[[], None] | None = None,
        retention: Retention | None = None,
    ) -> None:
        if readers < 1:
            raise ValueError("a store needs at least one reader")
        self.path = path
        self._file = path / DATA_FILE
        self._synchronous: Synchronous = synchronous
        self._clock = clock
        self._thread_init = thread_init
        self._retention = retention or Retention()
        self._lock = DirectoryLock(path)
        self._gate = Gate()
        self.checkpointer = Checkpointer(self._file, self._gate, synchronous)
        self._pool = ReaderPool(self._connect_reader, readers, path, self._gate)
        self._connection: ThreadConnection | None = None
        self._writer: SqliteWriter | None = None
        self._reopening = asyncio.Lock()
        self._is_open = False

    @property
    def catalogue(self) -> Catalogue:
        if self._writer is None:
            raise Unavailable("The database is not open.")
        return self._writer.catalogue

    def catalogue_at(self, ts: int) -> Catalogue:
        if self._writer is None:
            raise Unavailable("The database is not open.")
        catalogues = self._writer.catalogues
        for since, catalogue in reversed(catalogues):
            if since <= ts:
                return catalogue
        return catalogues[0][1]

    def data_bytes(self) -> int:
        """The size of the database file, without the WAL."""
        return self._file.stat().st_size

    def wal_bytes(self) -> int:
        return self.checkpointer.wal_bytes()

    async def checkpoint(self) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not done.done():
                done.set_result(None)

        def ended() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                loop.call_soon_threadsafe(tell)

        self.checkpointer.pass_now(ended)
        await done

    async def open(self) -> None:
        """Take the directory's lock, check or make the file, start the threads.

        Raises `Unavailable` when another process uses the directory, `StoreError` when the file can't be used.
        """
        if self._is_open:
            return
        self._lock.acquire()
        try:
            await self._open_writer()
            await self._pool.open()
            self.checkpointer.start()
        except BaseException:
            await self._pool.close()
            await self._close_writer()
            self._lock.release()
            raise
        self._is_open = True

    async def _open_writer(self) -> None:
        if not self._file.exists():
            self._file.touch(mode=0o600)  # as everything of ours: the directory may be one that others can look into
        connection = await ThreadConnection.open(
            self._file,
            name="reactor-writer",
            set_up=lambda raw: set_up_writer(raw, self.path, self._synchronous),
            thread_init=self._thread_init,
        )
        try:
            self._writer = await connection.run(
                lambda: SqliteWriter(
                    connection.raw,
                    self.path,
                    self._gate,
                    self.checkpointer,
                    Pruner(self._retention, self._clock),
                )
            )
        except BaseException:
            await connection.close()
            raise
        self._connection = connection

    async def _close_writer(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _connect_reader(self, number: int) -> ThreadConnection:
        return await ThreadConnection.open(
            self._file, name=f"reactor-reader-{number}", set_up=set_up_reader, thread_init=self._thread_init
        )

    async def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        connection = self._connection
        is_stuck = False
        try:
            await self._pool.close()
            await asyncio.get_running_loop().run_in_executor(None, self.checkpointer.stop)
            if connection is not None and not connection.is_closed:
                try:
                    async with asyncio.timeout(WRITER_GRACE_S):
                        # Behind the jobs already queued. With every reader gone it leaves no WAL behind.
                        await connection.run(
                            lambda: connection.raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                        )
                except TimeoutError:
                    _log.critical(
                        "the writer thread is stuck in a job; it is abandoned, the lock held until the process ends"
                    )
                    is_stuck = True
                    connection.abandon()
                except Exception:
                    _log.exception("the last checkpoint failed; the WAL is kept and read at the next start")
                await self._close_writer()
        finally:
            if not is_stuck:  # its job may yet commit
                self._lock.release()

    async def write(self, job: Callable[[Writer], T], /) -> T:
        """Run `job` on the writer's thread, after the jobs of earlier callers. Cancelling the caller doesn't stop it.

        A job that leaves a transaction open has it rolled back, and `StoreError` is raised.
        """
        if not self._is_open:
            raise Unavailable("The database is not open.")
        if self._writer is None or self._writer.is_broken:
            await self._reopen()
        connection, writer = self._connection, self._writer
        if connection is None or writer is None:
            raise Unavailable("The database is not open.")

        def work() -> T:
            if writer.is_broken:
                raise OutcomeUnknown("The disk failed during a commit; try again.")
            try:
                result = job(writer)
            except BaseException:
                if not writer.is_broken:
                    writer.rollback()
                raise
            if writer.in_transaction:
                writer.rollback()
                raise StoreError("A write job ended without committing or rolling back.")
            return result

        return await connection.run(work)

    async def _reopen(self) -> None:
        # One failed fsync leaves the page cache in doubt: only what a fresh connection reads from the file counts.
        async with self._reopening:
            if self._writer is not None and self._writer.is_broken:
                await self._close_writer()
                await self._open_writer()

    async def read(self, job: Callable[[Reader], T], /) -> T:
        """Run `job` on a snapshot of its own. Cancelling the caller interrupts the read."""
        return await self._pool.read(job)

    def check_copy(self, path: Path) -> None:
        """See `verify.check_copy`."""
        check_copy(path)

    async def open_snapshots(self, count: int) -> list[Snapshot]:
        """Open up to `count` (at least one) snapshots that share one timestamp: as many as there are free readers."""
        return [*await self._pool.open_snapshots(count)]
