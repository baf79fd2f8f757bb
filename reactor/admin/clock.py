"""`POST /api/testing/advance_clock`: moves the clock of a deployment that was started with a manual one."""

from __future__ import annotations

import msgspec

from reactor.clock import ManualClock
from reactor.http.access import WhoAsks, require_admin
from reactor.http.request import Handler, HttpError, Request

__all__ = ["ClockApi"]


class _Advance(msgspec.Struct):
    advance_ms: float


class ClockApi:
    """One handler, for operators."""

    def __init__(self, clock: ManualClock, who_asks: WhoAsks) -> None:
        self._clock, self._who_asks = clock, who_asks

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {("POST", "/api/testing/advance_clock"): self.advance}

    async def advance(self, request: Request) -> None:
        """POST /api/testing/advance_clock {"advance_ms": n}"""
        await require_admin(request, self._who_asks)
        try:
            asked = msgspec.json.decode(await request.body(1000), type=_Advance)
        except msgspec.MsgspecError as error:
            raise HttpError(400, "BadJsonBody", f'Expected {{"advance_ms": milliseconds}}: {error}') from None
        if not 0 <= asked.advance_ms < 1e15:
            raise HttpError(400, "BadAdvance", "`advance_ms` must be a number of milliseconds from 0 up.")
        self._clock.advance(round(asked.advance_ms * 1e6))
        await request.answer(msgspec.json.encode({"now_ms": self._clock.now_ns() / 1e6}))
