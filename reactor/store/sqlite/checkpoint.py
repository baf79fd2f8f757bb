"""Keeping the WAL small: PASSIVE checkpoints on a thread of their own, RESTART between batches (engine rule 3).

RESTART, because writing over an old WAL is cheaper than growing a new one: the file system has nothing to allocate and
no length to write down [measured, transfers in groups of 64: 34 µs of CPU and 39 µs in all, with TRUNCATE 40 and 49].
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from reactor import faults
from reactor.store.sqlite.connection import connect
from reactor.store.sqlite.gate import Gate
from reactor.store.sqlite.layout import Synchronous, set_up_checkpointer

__all__ = ["BEFORE_TRUNCATE", "Checkpointer"]

_log = logging.getLogger("reactor.store")

BEFORE_TRUNCATE: Final = "store.before_truncate"

MIB: Final = 1024 * 1024
FRAME_BYTES: Final = 4096 + 24
"""A page in the WAL."""
PASSIVE_EVERY_S: Final = 0.1
TRUNCATE_AT: Final = 16 * MIB
END_SNAPSHOTS_AT: Final = 256 * MIB
WAIT_FOR_READERS_S: Final = 0.05
RETRY_AFTER_S: Final = 0.2


class Checkpointer:
    """Checkpoints one database. `committed` and `between_batches` are the writer's to call."""

    def __init__(
        self,
        path: Path,
        gate: Gate,
        synchronous: Synchronous,
        *,
        truncate_at: int = TRUNCATE_AT,
        end_snapshots_at: int = END_SNAPSHOTS_AT,
    ) -> None:
        self._path, self._gate = path, gate
        self._synchronous: Synchronous = synchronous
        self._wal = path.with_name(path.name + "-wal")
        self._truncate_at, self._end_snapshots_at = truncate_at, end_snapshots_at
        self._grew = threading.Event()
        self._hurry = threading.Event()
        self._stopped = False
        # Who waits for the end of a pass that has yet to begin, and whether there will be one.
        self._waiting: list[Callable[[], None]] = []
        self._serving = False
        self._waiting_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._raw: sqlite3.Connection | None = None  # the thread's own
        # Two checkpoints at once: the second would only fail.
        self._one_at_a_time = threading.Lock()
        self._not_before = 0.0
        # How long the file was when writing began anew at its start: while it has that length, less is in use.
        self._reused = 0
        self.truncations = 0
        """How often writing began anew, at the start of the file or with an empty one."""
        self.passes = 0
        self._behind = 0
        """Bytes that the last pass could not move, because of readers."""

    def start(self) -> None:
        self._stopped = False  # a store may be opened again
        self._hurry.clear()
        self._serving = True
        self._thread = threading.Thread(target=self._run, name="reactor-checkpoint", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; blocks for as long as the checkpoint that it may be in. Not for the event loop."""
        self._stopped = True
        self._hurry.set()
        self._grew.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wal_bytes(self) -> int:
        try:
            return self._wal.stat().st_size
        except FileNotFoundError:
            return 0

    def committed(self) -> None:
        """The WAL grew. Free unless the thread sleeps."""
        if not self._grew.is_set():
            self._grew.set()

    def pass_now(self, done: Callable[[], None]) -> None:
        """Move what is committed into the database file at once; `done` is called from some thread when that was tried.

        It is called in any case, without a try when the thread has ended; it must not raise. Who writes much asks for it
        after each megabyte or so. Left to itself the thread has ten times as much to bring to the disk at once, and clients'
        commits wait behind that.
        """
        with self._waiting_lock:
            is_served = self._serving
            if is_served:
                self._waiting.append(done)
        if is_served:
            self._hurry.set()
            self._grew.set()
        else:
            done()

    def _take_waiting(self, *, last: bool = False) -> list[Callable[[], None]]:
        with self._waiting_lock:
            waiting, self._waiting = self._waiting, []
            self._serving = self._serving and not last
        return waiting

    def _run(self) -> None:
        waiting: list[Callable[[], None]] = []
        try:
            while True:
                self._grew.wait()
                self._grew.clear()
                self._hurry.clear()
                if self._stopped:  # looked at behind the clearing: `stop` may just have set both
                    return
                waiting = self._take_waiting()
                moved_all = self._passive()
                while waiting:
                    waiting.pop()()
                if not moved_all:
                    self._grew.set()  # readers hold some of it: try again although nobody may write
                self._hurry.wait(PASSIVE_EVERY_S)
        finally:
            for done in waiting + self._take_waiting(last=True):
                done()
            if self._raw is not None:
                self._raw.close()
                self._raw = None

    def _passive(self) -> bool:
        """Move what can be moved into the database file; True when that was all."""
        try:
            with self._one_at_a_time:
                if self._raw is None:  # a new connection looks at the WAL, which is in the way of beginning it anew
                    self._raw = self._connect()
                _, frames, moved = self._raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            # A full disk, mostly: the WAL keeps everything, so nothing is lost, and the next try may do better.
            _log.error("a checkpoint failed: %s", error)
            self._hurry.wait(1.0)
            return False
        self.passes += 1
        self._behind = max(frames - moved, 0) * FRAME_BYTES
        return moved >= frames

    def _connect(self) -> sqlite3.Connection:
        raw = connect(self._path)
        try:
            set_up_checkpointer(raw, self._synchronous)
        except BaseException:
            raw.close()
            raise
        return raw

    def between_batches(self, raw: sqlite3.Connection) -> None:
        """Begin the WAL anew if it has grown too long. On the writer's thread, outside of transactions."""
        size = self.wal_bytes()
        if size < self._truncate_at or size <= self._reused or time.monotonic() < self._not_before:
            return
        if size < self._end_snapshots_at and (self._gate.copies or self._behind > self._truncate_at // 2):
            # A copy, or a reader before it, kept passes from moving much: the next pass does that, while writing goes on.
            return
        # It grows a little each time, and by much when readers are in the way: then it has to become short again.
        mode = "RESTART" if size < 2 * self._truncate_at else "TRUNCATE"
        # While a pass is under way, nobody is kept waiting for its end: after it, little is left to be done here.
        wait_s = 0.0 if mode == "RESTART" else WAIT_FOR_READERS_S
        if not self._one_at_a_time.acquire(timeout=wait_s):
            # It may take seconds, which are not every commit's: only a WAL that is far too long slows them all down.
            if wait_s and size < self._end_snapshots_at:
                self._not_before = time.monotonic() + RETRY_AFTER_S
            return
        try:
            if not self._begin_anew(raw, size, mode):
                self._not_before = time.monotonic() + RETRY_AFTER_S
        finally:
            self._one_at_a_time.release()

    def _begin_anew(self, raw: sqlite3.Connection, size: int, mode: str) -> bool:
        gate = self._gate
        with gate.closed():
            if not gate.wait_empty(WAIT_FOR_READERS_S):
                if size < self._end_snapshots_at:
                    return False
                ended = gate.end_older_than(gate.committed_ts, "The read took too long: the database needed its space.")
                _log.warning("the WAL has %d MB: %d old snapshots were ended", size // MIB, ended)
                if not gate.wait_empty(WAIT_FOR_READERS_S):
                    return False
            try:
                faults.hit(BEFORE_TRUNCATE)
                is_busy = raw.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[0]
            except (sqlite3.Error, OSError) as error:
                _log.error("truncating the WAL failed: %s", error)
                return False
        if not is_busy:
            self._reused = size if mode == "RESTART" else 0
            self.truncations += 1
        return not is_busy
