"""The order between commits, opening snapshots and truncating the WAL: the only locks that store threads share."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Gate", "Guest"]


class Guest(Protocol):
    """Whoever reads behind the gate."""

    @property
    def ts(self) -> int: ...

    def end(self, message: str) -> None: ...


class Gate:
    """Counts the open snapshots and can keep new ones out for a moment.

    `commit_lock` is held around each COMMIT and by whoever opens several snapshots that must share a timestamp.
    `committed_ts` is the timestamp of the last COMMIT that returned; a snapshot opened afterwards may not be older.
    """

    def __init__(self) -> None:
        self.commit_lock = threading.Lock()
        self.committed_ts = 0
        self.copies = 0
        """How many snapshots are being copied: those don't end within a moment, so nobody waits for them."""
        self._changed = threading.Condition()
        self._guests: set[Guest] = set()
        self._is_closed = False

    @property
    def guests(self) -> int:
        return len(self._guests)

    def enter(self, guests: Sequence[Guest]) -> None:
        """Count these in, all at once; waits while the gate is closed."""
        with self._changed:
            while self._is_closed:
                self._changed.wait()
            self._guests.update(guests)

    def leave(self, guest: Guest) -> None:
        with self._changed:
            self._guests.discard(guest)
            if self._is_closed and not self._guests:
                self._changed.notify_all()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Keep new snapshots out for the length of the block."""
        with self._changed:
            self._is_closed = True
        try:
            yield
        finally:
            with self._changed:
                self._is_closed = False
                self._changed.notify_all()

    def wait_empty(self, seconds: float) -> bool:
        """With the gate closed, wait for the open snapshots to end; False when some are still there in the end."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._guests:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return not self._guests
        return True

    def end_older_than(self, ts: int, message: str) -> int:
        """End the snapshots that don't see the commit at `ts`; returns how many."""
        with self._changed:
            old = [guest for guest in self._guests if guest.ts < ts]
        for guest in old:  # outside the lock: ending one makes it leave
            guest.end(message)
        return len(old)
