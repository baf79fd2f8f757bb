"""What became of every execution: one record each, handed to whoever listens, on the event loop.

Queries, mutations, actions, HTTP actions, scheduled functions and crons report here when they have ended; logs, metrics
and traces are listeners. A record refers to what the execution left behind anyway: nothing is formatted, copied or
named until a listener asks, and without listeners nothing is made at all.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from reactor.auth.identity import Caller
from reactor.engine.usage import Usage
from reactor.runtime.logs import LogLine

__all__ = [
    "Door",
    "Executions",
    "Finished",
    "Kind",
    "Line",
    "identity_type",
    "new_execution_id",
    "print_log_lines",
    "wall_clock_ns",
]

logger = logging.getLogger("reactor.functions")

Kind = Literal["query", "mutation", "action", "httpAction"]
Door = Literal["SyncWorker", "HttpApi", "HttpEndpoint", "Cron", "Scheduler", "Action"]
"""Where a call came from, as Convex's log streams name it. Source: deployment-api 4.2."""

_WALL_CLOCK_NS: Final = time.time_ns() - time.perf_counter_ns()  # real time, whatever the app's clock says


def wall_clock_ns() -> int:
    """Now, in nanoseconds since 1970, by the clock that executions are timed with."""
    return _WALL_CLOCK_NS + int(time.perf_counter() * 1e9)


class Finished(msgspec.Struct, gc=False):
    """One execution that has ended. Without `gc`: nothing it refers to refers back."""

    kind: Kind
    path: str
    """`module:function`, or `GET /path` of an HTTP action's route."""
    request_id: str
    caller: Caller
    door: Door
    began: float
    """By `time.perf_counter`; see `began_ns`."""
    seconds: float
    """In the function itself, without waiting for its turn or for the disk."""
    log_lines: tuple[LogLine, ...] = ()
    usage: Usage | None = None
    """What it used of the database; None for actions, whose queries and mutations are executions of their own."""
    result_bytes: int = 0
    error: str | None = None
    """The whole text, with the user's frames: for operators only."""
    code: str = ""
    """Of the error."""
    is_cached: bool = False
    is_known: bool = True
    """False when there is no such function: then `path` is whatever the client wrote."""
    parent: str | None = None
    """The `execution_id` of the action that called it."""
    ts: int = 0
    """The commit of a mutation that wrote; the snapshot of a query."""
    status: int = 0
    """Of an HTTP action's answer."""
    id: str = ""
    asked_by: str = ""
    """The HTTP request that a query was run for, or was the first to be: the query itself is nobody's, and has a `request_id` of its own."""

    @property
    def execution_id(self) -> str:
        """Names it for good; made when first asked for."""
        if not self.id:
            self.id = new_execution_id()
        return self.id

    @property
    def began_ns(self) -> int:
        """When it began, in nanoseconds since 1970 of the machine's clock."""
        return _WALL_CLOCK_NS + int(self.began * 1e9)


class Line(msgspec.Struct, gc=False):
    """A log line of an action that is still running."""

    kind: Kind
    path: str
    request_id: str
    execution_id: str
    parent: str | None
    line: LogLine


OnFinished = Callable[[Finished], None]
OnLine = Callable[[Line], None]


class Executions:
    """Listeners of one deployment. They are called on the event loop, must be quick, and can't do harm by raising."""

    def __init__(self) -> None:
        self.listeners: tuple[OnFinished, ...] = ()
        """Nobody need make a `Finished` while there are none."""
        self._on_line: tuple[OnLine, ...] = ()

    def listen(self, finished: OnFinished, line: OnLine | None = None) -> Callable[[], None]:
        """Tell `finished` of every execution, `line` of each line that a running action logs. Returns how to stop it."""
        self.listeners = (*self.listeners, finished)
        if line is not None:
            self._on_line = (*self._on_line, line)

        def stop() -> None:
            self.listeners = tuple(f for f in self.listeners if f is not finished)
            self._on_line = tuple(f for f in self._on_line if f is not line)

        return stop

    def clear(self) -> None:
        """Forget all listeners."""
        self.listeners = ()
        self._on_line = ()

    def report(self, finished: Finished) -> None:
        for listener in self.listeners:
            try:
                listener(finished)
            except Exception:
                logger.exception("a listener of executions failed")

    def line_teller(
        self, kind: Kind, path: str, request_id: str, execution_id: str, parent: str | None = None
    ) -> Callable[[LogLine], None] | None:
        """What an action calls with each line it logs; None when nobody listens."""
        if not self._on_line:
            return None

        def tell(line: LogLine) -> None:
            for listener in self._on_line:
                listener(Line(kind, path, request_id, execution_id, parent, line))

        return tell


def new_execution_id() -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))  # no secret, and quicker than uuid4


def identity_type(caller: Caller) -> str:
    """How log streams name who asked."""
    if caller.job is not None or caller.key == "job":
        return "system"
    if caller.is_admin:
        return "instance_admin" if caller.user is None else "member_acting_user"
    return "unknown" if caller.user is None else "user"


def print_log_lines(finished: Finished) -> None:
    """A listener: what functions printed, for the operator's terminal."""
    if finished.parent is None:  # else they are among the lines of the action
        for line in finished.log_lines:
            logger.info("%s: %s", finished.path, line.text)
