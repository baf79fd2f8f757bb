"""The log over HTTP, for `npx convex logs`, `reactor logs` and dashboards: each answer holds what came since the last one.

A request waits until there is something, up to a minute; the first one (`cursor=0`) is answered at once, because tools take
its answer for history and would drop what they had waited for.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import msgspec

from reactor.admin.function_log import Entry, FunctionLog, completion, progress
from reactor.http.access import WhoAsks, require_admin
from reactor.http.request import Handler, HttpError, Request
from reactor.runtime.executions import Finished
from reactor.runtime.failures import request_id_of

__all__ = ["LogApi"]

Show = Callable[[Entry], dict[str, Any] | None]


class LogApi:
    """Handlers for operators; everybody else is refused with 403. A request waits `poll_s` seconds at most."""

    def __init__(self, log: FunctionLog, who_asks: WhoAsks, *, poll_s: float) -> None:
        self._log, self._who_asks, self._poll_s = log, who_asks, poll_s

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {
            ("GET", prefix + name): handler
            for prefix in ("/api/", "/api/app_metrics/")
            for name, handler in (
                ("stream_function_logs", self.stream_function_logs),
                ("stream_udf_execution", self.stream_udf_execution),
            )
        }

    async def stream_function_logs(self, request: Request) -> None:
        """GET /api/stream_function_logs?cursor=: executions, and the lines of running actions as they come.

        With `sessionId` and `clientRequestCounter` only those of that one request itself.
        """
        await require_admin(request, self._who_asks)
        parameters = request.query_parameters()
        session, counter = parameters.get("sessionId"), parameters.get("clientRequestCounter")
        only: str | None = None
        if session is not None and counter is not None:
            if not counter.isascii() or not counter.isdigit():
                raise HttpError(400, "BadQueryParameters", f"`clientRequestCounter` must be a number, not {counter!r}.")
            only = request_id_of(session, int(counter[:20]))

        def show(entry: Entry) -> dict[str, Any] | None:
            item = entry.item
            if only is not None and (item.request_id != only or item.parent is not None):
                return None
            return completion(entry, item) if isinstance(item, Finished) else progress(entry, item)

        await self._stream(request, parameters, show)

    async def stream_udf_execution(self, request: Request) -> None:
        """GET /api/stream_udf_execution?cursor=: executions only, with their lines as texts. For older tools."""
        await require_admin(request, self._who_asks)

        def show(entry: Entry) -> dict[str, Any] | None:
            return completion(entry, entry.item, as_text=True) if isinstance(entry.item, Finished) else None

        await self._stream(request, request.query_parameters(), show)

    async def _stream(self, request: Request, parameters: dict[str, str], show: Show) -> None:
        cursor = _cursor(parameters.get("cursor", "0"))
        log = self._log
        shown: list[dict[str, Any]] = []
        newest = cursor
        until = asyncio.get_running_loop().time() + self._poll_s
        while True:
            if log.closed:
                raise HttpError(503, "ShuttingDown", "The server is stopping. Ask again in a moment.")
            for entry in log.after(newest):
                newest = entry.cursor
                if (found := show(entry)) is not None:
                    shown.append(found)
            left = until - asyncio.get_running_loop().time()
            if shown or cursor == 0 or left <= 0:
                break
            await log.wait(left)
        if newest == 0:
            newest = log.now()
        await request.answer(_encoded({"entries": shown, "newCursor": newest}))


def _cursor(text: str) -> float:
    try:
        cursor = float(text)
    except ValueError:
        cursor = math.nan
    if not 0 <= cursor < math.inf:
        raise HttpError(
            400, "BadCursor", f"`cursor` must be 0 or the `newCursor` of the last answer, not {text[:80]!r}."
        )
    return cursor


def _encoded(answer: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(answer)
    except UnicodeEncodeError:  # half a surrogate pair, in what a function printed
        return msgspec.json.encode(_repaired(answer))


def _repaired(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _repaired(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_repaired(item) for item in value]
    return value
