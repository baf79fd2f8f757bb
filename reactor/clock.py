"""Time and chance, passed in rather than reached for, so that tests move the one and seed the other."""

from __future__ import annotations

import asyncio
import heapq
import secrets
import time
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock", "new_seed"]


class Clock(Protocol):
    """Wall-clock time in nanoseconds since 1970, and sleeping by it."""

    def now_ns(self) -> int: ...

    async def sleep_until(self, when_ns: int) -> None:
        """Return when `now_ns() >= when_ns`."""
        ...


class SystemClock:
    """The machine's clock."""

    now_ns = staticmethod(time.time_ns)

    async def sleep_until(self, when_ns: int) -> None:
        # Long sleeps in steps: the wall clock may be set, and a laptop may have been asleep.
        while (left := when_ns - time.time_ns()) > 0:
            await asyncio.sleep(min(left / 1e9, 30.0))


class ManualClock:
    """A clock that stands still until it is advanced. Starts at a fixed moment unless told."""

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now = start_ns
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    def now_ns(self) -> int:
        return self._now

    async def sleep_until(self, when_ns: int) -> None:
        if when_ns <= self._now:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (when_ns, self._count, future))
        await future

    def next_wakeup(self) -> int | None:
        """When the first sleeper is due, or None."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def advance(self, ns: int) -> None:
        """Move time forward and wake whoever is due. Call it on the event loop's thread."""
        if ns < 0:
            raise ValueError("time does not run backwards")
        self._now += ns
        while (due := self.next_wakeup()) is not None and due <= self._now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)


def new_seed() -> int:
    """A fresh 64-bit seed for a function's `ctx.random`."""
    return secrets.randbits(64)
