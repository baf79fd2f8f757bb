"""Clients that are slow with their bodies are given up while others wait for what they hold.

How slow a client may be otherwise is the business of `http.transport`, and of uploads: nobody is given up here for being
slow as such. Only the time counts in which the application waited for the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from reactor.errors import LimitExceeded

__all__ = ["PACE", "PATIENCE_S", "Pace", "SlowClients", "TooSlow"]

T = TypeVar("T")

PATIENCE_S: Final = 5.0
"""For this long a client may send nothing at all while others wait."""
PACE: Final = 128 * 1024
"""Bytes a second, by which it is slow or not."""


class TooSlow(LimitExceeded):
    """The client was slow while others waited."""

    code = "RequestTimeout"


class Pace:
    """How quick the client of one request is with its body."""

    __slots__ = ("_began", "_came", "_receiving", "_waited_s")

    def __init__(self) -> None:
        self._came = 0
        self._waited_s, self._began = 0.0, 0.0
        """How long the client let us wait, and since when it does."""
        self._receiving: asyncio.Timeout | None = None

    async def receive(self, receive: Callable[[], Awaitable[T]], came: int) -> T:
        """Wait for more of a body of which `came` bytes have come. Raises TooSlow."""
        loop = asyncio.get_running_loop()
        self._came, self._began = came, loop.time()
        self._receiving = timeout = asyncio.timeout(None)
        try:
            async with timeout:
                return await receive()
        except TimeoutError:
            if timeout.expired():
                raise TooSlow(
                    "The request is given up: its body came slowly while others waited for what it held. "
                    "Send it again, over a quicker connection."
                ) from None
            raise
        finally:
            self._receiving = None
            self._waited_s += loop.time() - self._began

    def lateness(self, now: float) -> float:
        """For how many seconds the client, waited for now, has sent less than `PACE`; 0 while it is not waited for."""
        return 0.0 if self._receiving is None else self._waited_s + (now - self._began) - self._came / PACE

    def give_up(self) -> None:
        """Let what is being received raise TooSlow."""
        if self._receiving is not None:
            self._receiving.reschedule(0.0)


class SlowClients:
    """Clients that hold something that others wait for: `missing()` tells how much more of it must come back, 0 if nobody waits."""

    def __init__(self, missing: Callable[[], int], patience_s: float = PATIENCE_S) -> None:
        self.holding: dict[Pace, int] = {}
        """How much each holds."""
        self._missing, self._patience_s = missing, patience_s
        self._watch: asyncio.TimerHandle | None = None

    def hurry(self) -> None:
        """Somebody waits from now on."""
        if self._watch is None:
            self._look(asyncio.get_running_loop())

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """While somebody waits: give up the slowest, as many as it takes."""
        self._watch = None
        missing, now = self._missing(), loop.time()
        if missing <= 0:
            return
        late = [(lateness, pace) for pace in self.holding if (lateness := pace.lateness(now)) > self._patience_s]
        for _, pace in sorted(late, key=lambda pair: pair[0], reverse=True):
            if missing <= 0:
                break
            missing -= self.holding[pace]
            pace.give_up()
        self._watch = loop.call_later(self._patience_s / 5, self._look, loop)
