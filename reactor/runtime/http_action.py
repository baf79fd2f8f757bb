"""Runs one HTTP action: its handler on the event loop, with the `ctx` of an action, until its answer has been sent.

Whether the client waits, hangs up or hurries makes no difference to it; its server's end and the time limit do.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from reactor.auth.identity import Caller
from reactor.errors import FunctionError, LimitExceeded, ReactorError
from reactor.runtime.actions import ActionCtx, _Running
from reactor.runtime.app import App
from reactor.runtime.executions import Executions, Finished, new_execution_id
from reactor.runtime.failures import uncaught_text
from reactor.runtime.host import Host, Runner
from reactor.runtime.http_router import BoundRoute
from reactor.runtime.logs import CURRENT, capture_output

__all__ = ["HttpAction"]


class HttpAction:
    """One run of a route's handler."""

    def __init__(
        self,
        app: App,
        route: BoundRoute,
        runner: Runner,
        caller: Caller,
        *,
        host: Host,
        request_id: str,
        executions: Executions,
    ) -> None:
        self.app, self.route, self.request_id = app, route, request_id
        self._limit_s = host.limits.action_time_s
        self._caller, self._executions = caller, executions
        self._id = new_execution_id()
        self._began = perf_counter()
        running: Any = _Running(app, route, runner, caller, host, request_id, self._id)  # type: ignore[arg-type]  # its path is used
        running.logs.on_line = executions.line_teller("httpAction", route.path, request_id, self._id)
        self._running = running

    def start(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run `work`, which calls the handler and sends what it answers, in a task of its own.

        What is printed and logged meanwhile becomes the action's log lines. `work` is told of the time limit by
        LimitExceeded.
        """
        capture_output()
        context = contextvars.copy_context()
        context.run(CURRENT.set, self._running)
        return asyncio.create_task(self._alive(work), name=f"http action {self.route.path}", context=context)

    async def _alive(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            self._running.alive = False

    async def within_limit(self, step: Awaitable[Any]) -> Any:
        """Await `step`. Raises LimitExceeded when the action takes too long."""
        deadline = asyncio.timeout(self._limit_s)
        try:
            async with deadline:
                return await step
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise LimitExceeded(
                f"Function execution timed out (maximum duration: {self._limit_s:g}s)", code="FunctionTimedOut"
            ) from error

    async def call(self, request: Any, body: Any) -> Any:
        """Call the handler and return what it returns. Raises what it raises."""
        try:
            return await self.route.call(ActionCtx(self._running), request, body)
        except SystemExit as error:
            # The event loop would pass it on and end the server.
            raise FunctionError(f"The function raised SystemExit: {error}") from error

    def report(self, status: int, error: BaseException | None) -> None:
        """Tell what became of it, once its answer has been sent; `status` is 0 when none was."""
        lines = self._running.logs.finish()
        if not self._executions.listeners:
            return
        finished = Finished(
            "httpAction", self.route.path, self.request_id, self._caller, "HttpEndpoint",
            self._began, perf_counter() - self._began, lines, id=self._id, status=status,
        )  # fmt: skip
        if isinstance(error, asyncio.CancelledError):
            finished.error = "The server stopped before it had ended."
        elif error is not None:
            finished.error = uncaught_text(error, root=self.app.root)
            finished.code = error.code if isinstance(error, ReactorError) else "Uncaught"
        self._executions.report(finished)
