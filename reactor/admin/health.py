"""`GET /healthz`: whether this server does its work. For load balancers and supervisors; no key is needed, nothing is told.

It asks the parts themselves: the writer for a turn, a reader for a snapshot. What was found counts for a second, so that
nobody can keep the writer busy by asking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from reactor.engine.database import Database
from reactor.http.request import Handler, Request

__all__ = ["HealthApi"]

PATIENCE_S: Final = 5.0
"""A mutation may hold the writer for the limit of its time in user code, a second by default."""
GOOD_FOR_S: Final = 1.0

Code = Callable[[], str]
"""What state the app's code is in: "ok", "stale" when newer code does not load, "missing" when none ever did."""


class HealthApi:
    """200 when all is well, 503 when something is not; with `{"status", "checks": {part: state}}`."""

    def __init__(self, database: Database, code: Code, *, patience_s: float = PATIENCE_S) -> None:
        self._database, self._code, self._patience_s = database, code, patience_s
        self._checking: asyncio.Task[dict[str, str]] | None = None
        self._checked_at = 0.0
        self.stopping = False

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {("GET", "/healthz"): self.health}

    async def health(self, request: Request) -> None:
        """GET /healthz"""
        now = asyncio.get_running_loop().time()
        if self._checking is None or (self._checking.done() and now - self._checked_at > GOOD_FOR_S):
            self._checking = asyncio.create_task(self._check(), name="health check")
            self._checked_at = now
        checks = await asyncio.shield(self._checking)
        if self.stopping:
            status = "stopping"
        else:
            status = "ok" if set(checks.values()) <= {"ok", "stale"} else "failing"
        body = msgspec.json.encode({"status": status, "checks": checks})
        headers = [(b"cache-control", b"no-store")]
        await request.answer(body, status=200 if status == "ok" else 503, headers=headers)

    async def _check(self) -> dict[str, str]:
        store = self._database.store
        writer, reader = await asyncio.gather(
            self._try(store.write(lambda writer: writer.ts)), self._try(store.read(lambda reader: reader.ts))
        )
        if writer == "ok" and not self._database.accepts_writes:
            writer = "failing"
        return {"writer": writer, "reader": reader, "app": self._code()}

    async def _try(self, work: Awaitable[Any]) -> str:
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(work)), self._patience_s)
        except TimeoutError:
            return "slow"
        except Exception:  # whoever met it first has logged it
            return "failing"
        return "ok"
