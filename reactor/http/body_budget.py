"""What all request bodies that are in memory at a time may take together; large ones wait for their share.

Without it, each of many clients could have the largest body there is read at once. A body counts from when it is known to
be large until its request has been answered, since arguments stay in memory for so long. It waits without being read, so
that the client is held back by its own socket: a client of ours sees a slower answer, where it would give up at an error.
Only who has waited for long is refused, with 503 and `Retry-After`. Small bodies never wait, nor are they counted.

A share is all of a body, so that those who have one can be done; a client that has one and sends little would keep it from
all others. So while somebody waits, those who come too slowly are given up, the slowest first (`http.pace`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from reactor.errors import LimitExceeded
from reactor.http.pace import PATIENCE_S, Pace, SlowClients

__all__ = ["LARGE_BODY_BYTES", "LARGE_BODY_DIGITS", "RETRY_AFTER_S", "BodiesBusy", "BodyBudget", "BodyShare"]

LARGE_BODY_BYTES: Final = 100_000
"""From here on bodies count."""
LARGE_BODY_DIGITS: Final = len(str(LARGE_BODY_BYTES))
"""Shorter `Content-Length`s are of small bodies."""
WAIT_MOST_S: Final = 30.0
RETRY_AFTER_S: Final = 5


class BodiesBusy(LimitExceeded):
    """No room for a large body became free for too long."""

    code = "TooManyRequestBodies"


class BodyBudget:
    """`most` bytes, given out in the order of asking. Lives on the event loop."""

    def __init__(self, most: int, *, wait_most_s: float = WAIT_MOST_S, patience_s: float = PATIENCE_S) -> None:
        self._most, self._wait_most_s = most, wait_most_s
        self.used = 0
        self.slow = SlowClients(self._missing, patience_s)
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> int:
        """Wait for `size` bytes, or for all there are. Returns how many they are. Raises BodiesBusy."""
        size = min(size, self._most)
        if not self._waiting and self.used + size <= self._most:
            self.used += size
            return size
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, given))
        self.slow.hurry()
        try:
            async with asyncio.timeout(self._wait_most_s):
                await given
        except BaseException as error:
            if given.done() and not given.cancelled():
                self.give_back(size)
            else:
                self._give()  # it may have been in the way of a smaller one
            if isinstance(error, TimeoutError):
                raise BodiesBusy(
                    f"Too many large requests are being served at once (limit: {self._most} bytes of bodies together). "
                    f"Send this one again in {RETRY_AFTER_S} seconds."
                ) from None
            raise
        return size

    def give_back(self, size: int) -> None:
        self.used -= size
        self._give()

    def _missing(self) -> int:
        return self.used + self._waiting[0][0] - self._most if self._waiting else 0

    def _give(self) -> None:
        while self._waiting:
            size, given = self._waiting[0]
            if not given.cancelled():
                if self.used + size > self._most:
                    return
                self.used += size
                given.set_result(None)
            self._waiting.popleft()


class BodyShare:
    """What one request holds of the budget: its `Content-Length`, or the `most` it may have while that is not known."""

    __slots__ = ("_budget", "_held", "_most", "_released", "declared", "pace")

    def __init__(self, budget: BodyBudget, content_length: bytes | None, most: int) -> None:
        self._budget, self._most = budget, most
        self.declared: int | None = None
        """The `Content-Length`, where there is a sensible one."""
        if content_length is not None and content_length.isdigit() and len(content_length) < 19:
            self.declared = int(content_length)
        self.pace = Pace()
        self._held = 0
        self._released = False

    async def take(self, received: int) -> None:
        """Before more than `received` bytes are read: wait for a share if the body is large. Raises BodiesBusy."""
        if not self._held and (received if self.declared is None else self.declared) >= LARGE_BODY_BYTES:
            await self._take(self._most if self.declared is None else min(self.declared, self._most))

    async def complete(self, received: int) -> None:
        """The body has come: hold what it takes, which may be less than it could have been. Raises BodiesBusy."""
        if (rest := self._held - received) > 0:
            self._held = self._budget.slow.holding[self.pace] = received
            self._budget.give_back(rest)
        elif not self._held and received >= LARGE_BODY_BYTES:
            await self._take(received)

    async def _take(self, size: int) -> None:
        if self._released:
            return
        held = await self._budget.take(size)
        if self._released:
            self._budget.give_back(held)
        else:
            self._held += held  # a handler may read its body twice at a time
            self._budget.slow.holding[self.pace] = self._held

    def release(self) -> None:
        """The request has been answered. Nothing is taken any more, even if somebody still reads the body."""
        self._released = True
        self._budget.slow.holding.pop(self.pace, None)
        held, self._held = self._held, 0
        if held:
            self._budget.give_back(held)
