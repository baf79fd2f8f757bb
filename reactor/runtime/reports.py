"""What becomes of an execution's outcome: what its caller is told, what the operator's log says, what listeners get."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reactor.auth.identity import ANONYMOUS, Caller
from reactor.errors import ReactorError, StoreError
from reactor.runtime.execute import Execution, execution_of
from reactor.runtime.executions import Door, Executions, Finished, Kind
from reactor.runtime.failures import new_request_id, told_of
from reactor.runtime.registry import RegisteredFunction
from reactor.runtime.waist import Failure

__all__ = ["Reports"]

logger = logging.getLogger("reactor.functions")


class Reports:
    """Of one backend. `dev` shows errors and log lines to clients, production only to the operator.

    `executions` is told of all that was run; `root` gives the app's directory, by which file names are shortened.
    """

    def __init__(self, executions: Executions, *, dev: bool, root: Callable[[], Path | None]) -> None:
        self.executions, self.dev = executions, dev
        self._root = root

    def failed(
        self,
        error: BaseException,
        kind: Kind,
        path: str,
        request_id: str,
        caller: Caller,
        door: Door,
        *,
        is_known: bool = True,
    ) -> Failure:
        """Report an execution that failed. Returns what its caller is told; the log gets the whole of it."""
        failure, text = self.told(error, path, request_id, caller)
        if self.executions.listeners:
            self._report_failure(error, text, kind, path, request_id, caller, door, is_known=is_known)
        return failure

    def report_failure(
        self,
        error: BaseException,
        kind: Kind,
        path: str,
        request_id: str,
        caller: Caller,
        door: Door,
        *,
        parent: str | None = None,
        id: str = "",
    ) -> None:
        """Report an execution that failed, where somebody else makes something of the error."""
        if self.executions.listeners:
            if isinstance(error, asyncio.CancelledError):
                text = "The server stopped before it had ended."
            else:
                text = told_of(error, root=self._root())[1]
            self._report_failure(error, text, kind, path, request_id, caller, door, parent=parent, id=id)

    def _report_failure(
        self,
        error: BaseException,
        text: str,
        kind: Kind,
        path: str,
        request_id: str,
        caller: Caller,
        door: Door,
        **more: Any,
    ) -> None:
        execution = execution_of(error)
        finished = Finished(
            kind, path, request_id, caller, door, execution.began or time.perf_counter(), execution.seconds,
            execution.log_lines, execution.usage, error=text, **more,
        )  # fmt: skip
        finished.code = error.code if isinstance(error, ReactorError) else "Uncaught"
        self.executions.report(finished)

    def succeeded(
        self,
        fn: RegisteredFunction,
        execution: Execution,
        request_id: str,
        caller: Caller,
        door: Door,
        ts: int = 0,
        *,
        parent: str | None = None,
        id: str = "",
    ) -> None:
        """Report an execution, unless it was answered from the record of an earlier one."""
        if self.executions.listeners and execution.began:
            finished = Finished(
                fn.kind, fn.path, request_id, caller, door, execution.began, execution.seconds, execution.log_lines,
                execution.usage, len(execution.value), None, "", False, True, parent, ts, 0, id,
            )  # fmt: skip
            self.executions.report(finished)

    def log_failure(self, error: BaseException, path: str, request_id: str) -> None:
        """Errors that are nobody's decision, for the operator's log with their traceback."""
        if not isinstance(error, ReactorError) or isinstance(error, StoreError):
            logger.error(
                "[%s] %s failed", request_id, path,
                exc_info=error, extra={"request_id": request_id, "function": path},
            )  # fmt: skip

    def shows(self, caller: Caller) -> bool:
        """Whether a caller may see errors and log lines in full."""
        return self.dev or caller.is_admin

    def told(
        self, error: BaseException, path: str, request_id: str | None = None, caller: Caller = ANONYMOUS
    ) -> tuple[Failure, str]:
        """What a caller is told of an error, and the whole of it; logs it, too."""
        request_id = request_id or new_request_id()
        self.log_failure(error, path, request_id)
        return told_of(error, request_id=request_id, redact=not self.shows(caller), root=self._root())
