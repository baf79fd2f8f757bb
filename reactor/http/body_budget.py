"""What all request bodies that are in memory at a time may take together; large ones wait for their share.

Without it, each of many clients could have the largest body there is read at once. A body counts from when it is known to
be large until its request has been answered, since arguments stay in memory for so long. It waits without being read, so
that the client is held back by its own socket: a client of ours sees a slower answer, where it would give up at an error.
Only who has waited for long is refused, with 503 and `Retry-After`. Small bodies never wait, nor are they counted.

A share is all of a body, so that those who have one can be done; a client that has one and sends little would keep it from
all others. So while somebody waits, those who come too slowly to be waited for are refused likewise, the slowest first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from reactor.errors import LimitExceeded

T = TypeVar("T")

__all__ = ["LARGE_BODY_BYTES", "LARGE_BODY_DIGITS", "RETRY_AFTER_S", "BodiesBusy", "BodyBudget", "BodyShare"]

LARGE_BODY_BYTES: Final = 100_000
"""From here on bodies count."""
LARGE_BODY_DIGITS: Final = len(str(LARGE_BODY_BYTES))
"""Shorter `Content-Length`s are of small bodies."""
WAIT_MOST_S: Final = 30.0
PATIENCE_S: Final = 5.0
"""For this long a client that has a share may send nothing at all while others wait."""
PACE: Final = 128 * 1024
"""Bytes a second, by which such a client is slow or not."""
RETRY_AFTER_S: Final = 5


class BodiesBusy(LimitExceeded):
    """No room for a large body became free for too long, or it had room and came too slowly."""

    code = "TooManyRequestBodies"


class BodyBudget:
    """`most` bytes, given out in the order of asking. Lives on the event loop."""

    def __init__(self, most: int, *, wait_most_s: float = WAIT_MOST_S, patience_s: float = PATIENCE_S) -> None:
        self._most, self._wait_most_s, self.patience_s = most, wait_most_s, patience_s
        self.used = 0
        self.receiving: set[BodyShare] = set()
        """Those who have a share and wait for more of their body."""
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._watch: asyncio.TimerHandle | None = None

    async def take(self, size: int) -> int:
        """Wait for `size` bytes, or for all there are. Returns how many they are. Raises BodiesBusy."""
        size = min(size, self._most)
        if not self._waiting and self.used + size <= self._most:
            self.used += size
            return size
        loop = asyncio.get_running_loop()
        given: asyncio.Future[None] = loop.create_future()
        self._waiting.append((size, given))
        if self._watch is None:
            self._look(loop)
        try:
            async with asyncio.timeout(self._wait_most_s):
                await given
        except BaseException as error:
            if given.done() and not given.cancelled():
                self.give_back(size)
            else:
                self._give()  # it may have been in the way of a smaller one
            if isinstance(error, TimeoutError):
                raise self.busy("") from None
            raise
        return size

    def give_back(self, size: int) -> None:
        self.used -= size
        self._give()

    def busy(self, why: str) -> BodiesBusy:
        return BodiesBusy(
            f"Too many large requests are being served at once (limit: {self._most} bytes of bodies together){why}. "
            f"Send this one again in {RETRY_AFTER_S} seconds."
        )

    def _give(self) -> None:
        while self._waiting:
            size, given = self._waiting[0]
            if not given.cancelled():
                if self.used + size > self._most:
                    return
                self.used += size
                given.set_result(None)
            self._waiting.popleft()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """While somebody waits: give up those who are too slow, as many as are in the first one's way."""
        self._watch = None
        if not self._waiting:
            return
        now = loop.time()
        missing = self.used + self._waiting[0][0] - self._most
        late = [(share.lateness(now), share) for share in self.receiving]
        for lateness, share in sorted(late, key=lambda pair: pair[0], reverse=True):
            if lateness <= 0 or missing <= 0:
                break
            missing -= share.held
            share.give_up()
        self._watch = loop.call_later(self.patience_s / 5, self._look, loop)


class BodyShare:
    """What one request holds of the budget: its `Content-Length`, or the `most` it may have while that is not known."""

    __slots__ = ("_began", "_budget", "_came", "_most", "_receiving", "_released", "_waited_s", "declared", "held")

    def __init__(self, budget: BodyBudget, content_length: bytes | None, most: int) -> None:
        self._budget, self._most = budget, most
        self.declared: int | None = None
        """The `Content-Length`, where there is a sensible one."""
        if content_length is not None and content_length.isdigit() and len(content_length) < 19:
            self.declared = int(content_length)
        self.held = 0
        self._released = False
        self._came = 0
        self._waited_s, self._began = 0.0, 0.0
        """How long the client let us wait, and since when it does."""
        self._receiving: asyncio.Timeout | None = None

    async def next(self, receive: Callable[[], Awaitable[T]], received: int) -> T:
        """Receive more of a body of which `received` bytes have come; if it is large, once there is a share. Raises BodiesBusy."""
        if not self.held and (received if self.declared is None else self.declared) >= LARGE_BODY_BYTES:
            await self._take(self._most if self.declared is None else min(self.declared, self._most))
        if not self.held:
            return await receive()
        loop = asyncio.get_running_loop()
        self._came, self._began = received, loop.time()
        self._receiving = timeout = asyncio.timeout(None)
        try:
            async with timeout:
                self._budget.receiving.add(self)
                return await receive()
        except TimeoutError:
            if timeout.expired():
                raise self._budget.busy(", and this one came slowly while others waited") from None
            raise
        finally:
            self._budget.receiving.discard(self)
            self._receiving = None
            self._waited_s += loop.time() - self._began

    async def complete(self, received: int) -> None:
        """The body has come: hold what it takes, which may be less than it could have been. Raises BodiesBusy."""
        if (rest := self.held - received) > 0:
            self.held = received
            self._budget.give_back(rest)
        elif not self.held and received >= LARGE_BODY_BYTES:
            await self._take(received)

    async def _take(self, size: int) -> None:
        if self._released:
            return
        held = await self._budget.take(size)
        if self._released:
            self._budget.give_back(held)
        else:
            self.held += held  # a handler may read its body twice at a time

    def release(self) -> None:
        """The request has been answered. Nothing is taken any more, even if somebody still reads the body."""
        self._released = True
        held, self.held = self.held, 0
        if held:
            self._budget.give_back(held)

    def lateness(self, now: float) -> float:
        """For how long the client has been slower than it may be while others wait, in seconds; negative when it is not."""
        return self._waited_s + (now - self._began) - self._budget.patience_s - self._came / PACE

    def give_up(self) -> None:
        """Refuse what is being received."""
        if self._receiving is not None:
            self._receiving.reschedule(0.0)
