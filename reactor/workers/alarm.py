"""A timer by the deployment's clock: one call when a time has come, set again at will."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reactor.clock import Clock

__all__ = ["Alarm", "due_ns"]


def due_ns(time_ms: float) -> int:
    """The clock's reading at which a time in milliseconds has come."""
    return int(time_ms * 1e6)


class Alarm:
    """Calls `ring` on the event loop once its time has come. Lives on one event loop."""

    def __init__(self, clock: Clock, ring: Callable[[], None], name: str) -> None:
        self.at_ns: int | None = None
        """When it goes off, or None."""
        self._clock = clock
        self._ring = ring
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def set(self, at_ns: int | None) -> None:
        """Go off then, and at no other time; never with None."""
        if at_ns == self.at_ns:
            return
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self.at_ns = at_ns
        if at_ns is not None:
            self._task = asyncio.get_running_loop().create_task(self._wait(at_ns), name=self._name)

    async def _wait(self, at_ns: int) -> None:
        await self._clock.sleep_until(at_ns)
        # What rings may set it again: this task must not be what is cancelled then.
        self._task = None
        self.at_ns = None
        self._ring()
