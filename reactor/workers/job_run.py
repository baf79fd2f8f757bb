"""One run of a scheduled function on the writer's thread: a mutation from beginning to end, an action up to its mark.

The mutation, what it wrote and its `success` are one savepoint (engine.md rule 24). For an action the commit says
`inProgress`, and only after it was fsynced does the action begin, elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from reactor.auth.identity import Caller
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import FunctionError
from reactor.faults import hit
from reactor.model import scheduled_functions
from reactor.model.scheduled_functions import Job
from reactor.runtime.app import App
from reactor.runtime.execute import Execution, execute_mutation
from reactor.runtime.failures import new_request_id
from reactor.runtime.host import Host
from reactor.runtime.references import parse_path
from reactor.runtime.registry import RegisteredFunction
from reactor.store.protocol import RequestRecord

__all__ = ["LANE", "MARKED", "RAN", "JobRun", "job_caller", "target_of"]

MARKED: Final = "scheduler.marked"
"""The job is marked in progress; nothing is committed."""
RAN: Final = "scheduler.ran"
"""The mutation ran; it is not marked as succeeded, and nothing is committed."""
LANE: Final = "#scheduler"


def job_caller(job_id: str) -> Caller:
    """Jobs run as nobody."""
    return Caller(key="job", job=job_id)


def target_of(app: App, name: str) -> RegisteredFunction:
    """The mutation or action of this stored path. Raises FunctionNotFound, FunctionError."""
    fn = app.resolve(parse_path(name), admin=True)
    if fn.kind == "query":
        raise FunctionError(
            f"Unsupported function type. {fn.stored_path} is defined as a Query. Only Mutation and Action can be scheduled.",
            code="UnsupportedFunctionType",
        )
    return fn


class JobRun:
    """See `engine.committer.WriteJob`. `done(run, error, ts)` is called once, on the event loop."""

    lane = LANE
    request: tuple[str, int] | None = None
    background = True
    by: tuple[str, str] | None = None

    def __init__(
        self,
        job_id: str,
        app: App,
        host: Host,
        usual_s: float,
        done: Callable[[JobRun, BaseException | None, int], None],
    ) -> None:
        self.id = job_id
        self.app = app
        self.usual_s = usual_s
        self.job: Job | None = None
        """The job, once it has begun; None when it was no longer pending."""
        self.fn: RegisteredFunction | None = None
        self.execution: Execution | None = None
        """Of a mutation that has succeeded."""
        self.took_s = 0.0
        self.request_id = new_request_id()
        self._host = host
        self._done = done

    def execute(self, tx: WriteTransaction) -> bytes:
        self.fn = self.execution = None
        self.job = job = scheduled_functions.start(tx, self.id)
        if job is None:
            return b""
        hit(MARKED)
        self.fn = fn = target_of(self.app, job.name)
        self.by = (fn.path, self.request_id)
        if fn.kind == "action":
            return b""
        guard = self._host.poison
        if guard is not None:
            guard.enter(self.id, 0)
        began = time.monotonic()
        try:
            self.execution = execute_mutation(
                self.app, fn, job.args, tx, job_caller(self.id), host=self._host, request_id=self.request_id
            )
        finally:
            if guard is not None:
                guard.leave()
                guard.survived(self.id, 0)
            self.took_s = time.monotonic() - began
        hit(RAN)
        scheduled_functions.finish(tx, self.id)
        return b""

    def replay(self, record: RequestRecord) -> None:
        raise AssertionError("has no request")

    def succeed(self, ts: int) -> None:
        self._done(self, None, ts)

    def fail(self, error: BaseException) -> None:
        self._done(self, error, 0)
