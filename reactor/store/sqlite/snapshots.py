"""One read transaction: how it begins, how it shares a timestamp with others, how it ends (engine rule 10)."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from reactor.store.protocol import Reader, SnapshotEnded
from reactor.store.sqlite.failures import translate
from reactor.store.sqlite.gate import Gate
from reactor.store.sqlite.reader import SqliteReader

__all__ = ["SnapshotReader"]

T = TypeVar("T")

_log = logging.getLogger("reactor.store")


class SnapshotReader(SqliteReader):
    """One read transaction. Opened by `open_all`, used on the connection's thread, ended by `finish` or `end`."""

    __slots__ = ("_busy", "_finished", "_gate", "_lock")

    def __init__(self, raw: sqlite3.Connection, directory: Path, gate: Gate) -> None:
        super().__init__(raw, directory)
        self._gate = gate
        # Guards the two below and the end, so that an interrupt never reaches the connection's next user.
        self._lock = threading.Lock()
        self._busy = False
        self._finished = True

    @staticmethod
    def open_all(readers: Sequence[SnapshotReader], gate: Gate) -> list[SnapshotReader]:
        """Begin a snapshot on each, with one timestamp; return those whose connection turned out stale.

        Runs on one store thread; the other connections must be idle. If any is stale, none is left open.
        """
        gate.enter(readers)
        floor = gate.committed_ts
        try:
            if len(readers) == 1:
                readers[0]._begin()
            else:
                with gate.commit_lock:
                    for reader in readers:
                        reader._begin()
        except BaseException:
            for reader in readers:
                reader.finish()
                gate.leave(reader)
            raise
        stale = [reader for reader in readers if reader.ts < floor]
        if stale:
            for reader in readers:
                reader.finish()
        return stale

    def _begin(self) -> None:
        try:
            self._raw.execute("BEGIN")
            self._finished = False
            # BEGIN alone takes no snapshot: this read does.
            self._ts = self._raw.execute("SELECT max(ts) FROM log").fetchone()[0] or 0
        except sqlite3.Error as error:
            raise translate(error, self._directory) from error

    def run(self, job: Callable[[Reader], T]) -> T:
        """Run `job` on this thread, unless the snapshot has ended.

        When the store ended it under the job and an operation was refused for that, the outcome is `SnapshotEnded`,
        whatever the job made of it: user code must not turn our want of space into a result.
        """
        with self._lock:
            if self._finished or self._stopped is not None:
                raise SnapshotEnded(self._stopped or "The snapshot is closed.")
            self._busy = True
        try:
            result = job(self)
        finally:
            with self._lock:
                self._busy = False
                if self._stopped is not None:
                    self._finish()
            if self._is_void and self._has_refused:
                raise self._refusal()
        return result

    def copy_into(self, path: Path) -> None:
        # The lock is for other copies; whoever only looks at the number needs none.
        with self._gate.commit_lock:
            self._gate.copies += 1
        try:
            super().copy_into(path)
        finally:
            with self._gate.commit_lock:
                self._gate.copies -= 1

    def finish(self) -> bool:
        """End the snapshot. False, and nothing done, while a job runs on it."""
        with self._lock:
            if not self._busy:
                self._finish()
            return not self._busy

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._stopped is None:
            self._stopped = "The snapshot is closed."
        try:
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")
        except sqlite3.Error:
            # The connection is checked when it is used next.
            _log.exception("a read transaction could not be ended")
        finally:
            self._gate.leave(self)

    def end(self, message: str) -> None:
        """Take the snapshot back, for the store's own reasons; callable from any thread."""
        self._is_void = True
        self.interrupt(message)

    def interrupt(self, message: str) -> None:
        """Make every operation from now on fail with `SnapshotEnded`; callable from any thread.

        An interrupt that comes in the instant before a statement starts does not stop that one: call it again.
        """
        with self._lock:
            if self._stopped is None:
                self._stopped = message  # also before it has begun: then `run` will see it
            if self._busy:
                self._raw.interrupt()
            else:
                self._finish()
