"""The one adapter to aiosqlite: a SQLite connection with a thread of its own that runs whole jobs (engine rule 21).

aiosqlite's public methods cost one hop between threads per statement. Its private `_execute` runs any function on the
thread, so the version is pinned, and `open` checks that it still does what is relied on.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import aiosqlite

from reactor.errors import StoreError, Unavailable
from reactor.store.sqlite.failures import translate

__all__ = ["STATEMENT_CACHE", "ThreadConnection", "connect"]

T = TypeVar("T")

STATEMENT_CACHE: Final = 2_000
_PINNED: Final = "0.22.1"


def connect(path: Path) -> sqlite3.Connection:
    """Open a plain connection: no transactions of Python's own making, usable from any one thread at a time."""
    # The timeout: whoever closes a connection keeps new ones out for an instant.
    # check_same_thread is off because snapshots on several connections are opened by one thread, to share a timestamp.
    return sqlite3.connect(
        path, uri=True, timeout=1.0, isolation_level=None, cached_statements=STATEMENT_CACHE, check_same_thread=False
    )


class ThreadConnection:
    """A connection and its thread. Make one with `open`; jobs run one after another, in the order of `run`."""

    def __init__(self, path: Path, name: str, thread_init: Callable[[], None] | None) -> None:
        self._path = path
        self._thread_init = thread_init
        self._closed = False
        self._raw: sqlite3.Connection | None = None
        self._connection = aiosqlite.Connection(self._connect, iter_chunk_size=64)
        thread = self._connection._thread
        thread.name = name
        # An abandoned thread (stuck in a C call) must not keep the process from ending.
        thread.daemon = True
        self.thread = thread

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection itself, for the thread whose turn it is."""
        assert self._raw is not None, "not open"
        return self._raw

    @property
    def is_closed(self) -> bool:
        return self._closed

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        name: str,
        set_up: Callable[[sqlite3.Connection], None],
        thread_init: Callable[[], None] | None = None,
    ) -> ThreadConnection:
        """Start the thread, connect, run `set_up` there. Raises `StoreError` when any of it fails."""
        self = cls(path, name, thread_init)
        try:
            await self._connection
        except sqlite3.Error as error:
            raise translate(error, path.parent) from error
        try:
            where = await self._connection._execute(threading.current_thread)
            if where is not self.thread:
                raise StoreError(
                    f"aiosqlite {getattr(aiosqlite, '__version__', '?')} does not run jobs on its connection's thread; "
                    f"install aiosqlite=={_PINNED}."
                )
            await self.run(lambda: set_up(self.raw))
        except BaseException as error:
            await self.close()
            if isinstance(error, sqlite3.Error):
                raise translate(error, path.parent) from error
            raise
        return self

    def _connect(self) -> sqlite3.Connection:
        if self._thread_init is not None:
            self._thread_init()
        self._raw = connect(self._path)
        return self._raw

    async def run(self, job: Callable[[], T], /) -> T:
        """Run `job` on the thread and return or raise what it did.

        Cancelling the caller does not stop the job. Raises `Unavailable` when the connection is closed.
        """
        if self._closed:
            raise Unavailable("The database connection is closed.")

        def guarded() -> T:
            try:
                return job()
            except StopIteration as error:  # a future refuses it and would never be resolved
                raise RuntimeError("a store job raised StopIteration") from error

        return await self._connection._execute(guarded)

    async def close(self) -> None:
        """Finish the jobs already queued, close, end the thread."""
        if not self._closed:
            self._closed = True
            await self._connection.close()

    def abandon(self) -> None:
        """Give up on a thread that does not come back: it closes its connection if it ever does."""
        if not self._closed:
            self._closed = True
            stopped = self._connection.stop()
            if stopped is not None:
                # Nobody waits for it; a failure to close then has nobody to tell.
                stopped.add_done_callback(_ignore)


def _ignore(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()
