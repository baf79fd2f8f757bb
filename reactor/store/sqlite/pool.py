"""The reader connections, lent to one read or one held snapshot at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from reactor.errors import Unavailable
from reactor.store.protocol import Reader, SnapshotEnded
from reactor.store.sqlite.connection import ThreadConnection
from reactor.store.sqlite.gate import Gate
from reactor.store.sqlite.snapshots import SnapshotReader

__all__ = ["ReaderPool", "SqliteSnapshot"]

T = TypeVar("T")

_log = logging.getLogger("reactor.store")

THREAD_GRACE_S: Final = 5.0
"""A thread that is not back after this long is abandoned and its connection replaced."""

READ_ATTEMPTS: Final = 3


class SqliteSnapshot:
    """`store.protocol.Snapshot`: a held read transaction and the connection that it occupies."""

    def __init__(self, pool: ReaderPool, connection: ThreadConnection, reader: SnapshotReader) -> None:
        self._pool, self._connection, self._reader = pool, connection, reader
        self._is_closed = False

    @property
    def ts(self) -> int:
        return self._reader.ts

    async def run(self, job: Callable[[Reader], T], /) -> T:
        """Run `job` on the connection's thread. Raises `SnapshotEnded` when the snapshot is closed or was ended."""
        if self._is_closed:
            raise SnapshotEnded("The snapshot is closed.")
        reader = self._reader
        return await self._connection.run(lambda: reader.run(job))

    def interrupt(self, message: str = "The read was interrupted.") -> None:
        self._reader.interrupt(message)

    async def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            # Ending an idle transaction takes microseconds and no disk, less than a hop to its thread.
            if self._reader.finish():
                self._pool.release(self._connection)
            else:
                await asyncio.shield(self._pool.settle(self._connection, [self._connection], [self._reader]))


class ReaderPool:
    """A fixed number of reader connections, lent first come first served. All methods are for the event loop."""

    def __init__(
        self, connect: Callable[[int], Awaitable[ThreadConnection]], size: int, directory: Path, gate: Gate
    ) -> None:
        self._connect, self._size, self._directory, self._gate = connect, size, directory, gate
        self._all: list[ThreadConnection] = []
        self._free: list[ThreadConnection] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._made = 0
        self._is_open = False

    async def open(self) -> None:
        self._is_open = True
        for _ in range(self._size):
            await self._add()

    async def close(self) -> None:
        """Let running jobs finish within a grace period, end all snapshots, close the connections."""
        self._is_open = False
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(Unavailable("The database is closing."))
        connections, self._all, self._free = self._all, [], []
        await asyncio.gather(*(self._is_back(connection) for connection in connections))
        self._gate.end_older_than(1 << 63, "The database is closing.")
        await asyncio.gather(*(self._close(connection) for connection in connections))
        for task in list(self._tasks):
            await asyncio.wait([task])

    async def _close(self, connection: ThreadConnection) -> None:
        if await self._is_back(connection):
            await connection.close()
        else:
            connection.abandon()

    async def _add(self) -> None:
        self._made += 1
        connection = await self._connect(self._made)
        if not self._is_open:  # closed meanwhile
            await connection.close()
            return
        self._all.append(connection)
        self._give(connection)

    def _give(self, connection: ThreadConnection) -> None:
        self._free.append(connection)
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    async def _take(self) -> ThreadConnection:
        while True:
            if not self._is_open:
                raise Unavailable("The database is not open.")
            if self._free:
                return self._free.pop()
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                # A turn that was already given must go to the next in line.
                if waiter.done() and not waiter.cancelled() and waiter.exception() is None and self._waiting:
                    following = self._waiting.popleft()
                    if not following.done():
                        following.set_result(None)
                raise

    def release(self, connection: ThreadConnection) -> None:
        """Take an idle connection back."""
        if connection in self._all:
            self._give(connection)

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        async def run() -> None:
            await work

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def settle(
        self, busy: ThreadConnection, connections: Sequence[ThreadConnection], readers: Sequence[SnapshotReader]
    ) -> asyncio.Task[None]:
        """Take connections back as soon as the thread of `busy` is done, or replace `busy` when it does not end."""

        async def work() -> None:
            is_back = await self._is_back(busy)
            for reader in readers:
                reader.finish()
            for connection in connections:
                if connection is not busy or is_back:
                    self.release(connection)
            if not is_back:
                _log.critical("a reader thread is stuck in a job; it is abandoned and its connection replaced")
                await self._replace(busy)

        return self._spawn(work())

    async def _is_back(self, connection: ThreadConnection) -> bool:
        try:
            async with asyncio.timeout(THREAD_GRACE_S):
                await connection.run(lambda: None)
        except (TimeoutError, Unavailable):
            return False
        return True

    async def _replace(self, connection: ThreadConnection) -> None:
        if connection in self._all:
            self._all.remove(connection)
            connection.abandon()
            await self._add()

    async def read(self, job: Callable[[Reader], T]) -> T:
        """Open a snapshot, run `job` on it, end it, all in one hop. A cancelled caller interrupts its read.

        When the store ends the snapshot before the job is done, the job is run again on a new one.
        """
        attempts = 0
        while True:
            connection = await self._take()
            reader = SnapshotReader(connection.raw, self._directory, self._gate)

            def work(reader: SnapshotReader = reader) -> tuple[T] | None:
                if SnapshotReader.open_all([reader], self._gate):
                    return None
                try:
                    return (reader.run(job),)
                finally:
                    reader.finish()

            try:
                result = await connection.run(work)
            except asyncio.CancelledError:
                reader.interrupt("The caller went away.")
                self.settle(connection, [connection], [reader])
                raise
            except SnapshotEnded:
                self.release(connection)
                attempts += 1
                if attempts == READ_ATTEMPTS or not self._is_open:
                    raise
                continue
            except BaseException:
                self.release(connection)
                raise
            if result is not None:
                self.release(connection)
                return result[0]
            await self._replace_stale([connection])

    async def open_snapshots(self, count: int) -> list[SqliteSnapshot]:
        """Open a snapshot on each of up to `count` connections, as many as are free but at least one."""
        while True:
            connections = [await self._take()]
            while len(connections) < count and self._free:
                connections.append(self._free.pop())
            readers = [SnapshotReader(c.raw, self._directory, self._gate) for c in connections]
            try:
                stale = await connections[0].run(lambda readers=readers: SnapshotReader.open_all(readers, self._gate))
            except asyncio.CancelledError:
                self.settle(connections[0], connections, readers)
                raise
            except BaseException:
                for connection in connections:
                    self.release(connection)
                raise
            if not stale:
                return [SqliteSnapshot(self, c, r) for c, r in zip(connections, readers, strict=True)]
            bad = [c for c, r in zip(connections, readers, strict=True) if r in stale]
            for connection in connections:
                if connection not in bad:
                    self.release(connection)
            await self._replace_stale(bad)

    async def _replace_stale(self, connections: Sequence[ThreadConnection]) -> None:
        for connection in connections:
            _log.critical("a reader connection saw an older database than was committed; it is replaced")
            await self._replace(connection)
