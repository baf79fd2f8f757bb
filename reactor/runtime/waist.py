"""The narrow waist between the doors (sync, HTTP, scheduler, tests) and everything below.

Values cross it as encoded bytes (the wire JSON of `values.wire`), so that a door may one day live in another process.
All of it is called on the event loop's thread. `runtime.backend` implements it; doors are tested against fakes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from reactor.auth.identity import Caller
from reactor.runtime.executions import Door

__all__ = [
    "Backend",
    "Cut",
    "Deliver",
    "Failure",
    "Outcome",
    "QueryUpdate",
    "Subscriber",
    "Success",
    "Version",
    "next_cut",
]

FunctionKind = Literal["query", "mutation", "action"]


@dataclass(frozen=True, slots=True)
class Success:
    """A function's result. `ts` is the commit timestamp of a mutation, the snapshot of a query, 0 for an action."""

    value: bytes
    log_lines: tuple[str, ...] = ()
    ts: int = 0
    journal: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """How a function failed, as clients may know it: already redacted where that is asked for.

    `data` is the encoded `ApplicationError` data, or None for every other error (then clients must not get the key at
    all). `code` is the error's stable code; `overloaded` marks failures that are worth another try as they are.
    """

    message: str
    data: bytes | None = None
    log_lines: tuple[str, ...] = ()
    code: str = ""
    overloaded: bool = False
    journal: str | None = None


Outcome = Success | Failure


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """One immutable result of a query, shared by all its subscribers. `number` differs whenever the outcome differs."""

    number: int
    outcome: Outcome


# Structs, and unknown to the garbage collector: one of each is made for every delivery.


class QueryUpdate(msgspec.Struct, frozen=True, gc=False):
    query_id: int
    version: Version


class Cut(msgspec.Struct, frozen=True, gc=False):
    """All of a subscriber's queries at one timestamp: those whose version changed since the cut before."""

    ts: int
    updates: Sequence[QueryUpdate]


Deliver = Callable[[Cut | BaseException], bool | None]
"""Takes a cut, or what kept it from being computed. Must not raise. What it returns after a cut says whether its pull stays,
waiting for news; then it must not have begun another."""


class Subscriber(Protocol):
    """One client's set of live queries.

    Cuts are pulled, one at a time, so that a slow client gets the newest state, not the backlog. A client that can take
    more has a pull waiting for news; then a commit reaches it with nothing but the call of its `deliver`.
    """

    def add(self, query_id: int, path: str, args: bytes, journal: str | None = None) -> None:
        """Follow a query. `args` is the encoded argument object. Never raises: what is wrong comes as a `Failure`."""
        ...

    def remove(self, query_id: int) -> None: ...

    def set_caller(self, caller: Caller) -> None:
        """From now on ask as `caller`: the queries that looked at the identity run again."""
        ...

    def pull(self, deliver: Deliver, not_before: int | None = None) -> None:
        """Have `deliver` called with the next consistent cut, never below the last one in time, once or until it has enough.
        Takes the place of a pull that still waits.

        With `not_before` as soon as it can be had with `ts >= not_before`, changed or not, perhaps before this returns;
        without, once it may differ from the last one.
        """
        ...

    @property
    def busy(self) -> bool:
        """A pull is more than waiting for news: its cut is being computed. Who changes the queries meanwhile delays it."""
        ...

    def withdraw(self) -> None:
        """Take back a pull. Nothing is lost: what it would have told is told by the next one."""
        ...

    def close(self) -> None:
        """Unfollow everything, and withdraw."""
        ...


async def next_cut(subscriber: Subscriber, not_before: int | None = None) -> Cut:
    """`Subscriber.pull` for those who wait. Raises what kept the cut from being computed."""
    future: asyncio.Future[Cut] = asyncio.get_running_loop().create_future()

    def deliver(cut: Cut | BaseException) -> None:
        if future.done():
            return
        if isinstance(cut, Cut):
            future.set_result(cut)
        elif isinstance(cut, asyncio.CancelledError):
            future.cancel()
        else:
            future.set_exception(cut)

    subscriber.pull(deliver, not_before)
    try:
        return await future
    finally:
        subscriber.withdraw()


class Backend(Protocol):
    """Call a function, follow queries, know the time."""

    @property
    def processed_ts(self) -> int:
        """The newest commit timestamp that has been published: what a new client may be told at once."""
        ...

    def subscriber(self, caller: Caller, *, door: Door = "SyncWorker") -> Subscriber: ...

    async def query(
        self, path: str, args: bytes, caller: Caller, *, at_ts: int | None = None, asked_by: str = ""
    ) -> Outcome:
        """Run (or serve from the cache) one query. `at_ts` pins the snapshot, see `pin_snapshot`.

        `asked_by` is the id of the request, for those who trace it.
        """
        ...

    def mutation(
        self,
        path: str,
        args: bytes,
        caller: Caller,
        done: Callable[[Outcome], None],
        *,
        session: tuple[str, int] | None = None,
        request_id: str | None = None,
    ) -> None:
        """Queue one mutation. `done` is called exactly once, later, on the event loop, *before* any subscriber can see a cut
        that includes the commit. Mutations with the same session string run in the order of these calls, and a
        `session` (session id, request id) that already succeeded is answered from its record instead of run again.
        """
        ...

    async def action(
        self, path: str, args: bytes, caller: Caller, *, request_id: str | None = None, door: Door = "HttpApi"
    ) -> Outcome:
        """Run an action to its end. Cancelling the task that awaits it cancels the action: callers who must not, shield it."""
        ...

    async def call(self, path: str, args: bytes, caller: Caller, *, request_id: str | None = None) -> Outcome:
        """Run a function of any kind (`/api/run`, `/api/function`). `caller.is_admin` may call internal ones, here as above."""
        ...

    async def pin_snapshot(self) -> int:
        """Take a timestamp that `query(at_ts=…)` can read at for the next seconds."""
        ...
