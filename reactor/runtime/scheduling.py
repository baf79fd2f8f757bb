"""`ctx.scheduler`: run a mutation or an action later. In a mutation as part of its transaction, in an action at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

from reactor.auth.identity import Caller
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import FunctionError, FunctionNotFound, InvalidArguments, InvalidValue
from reactor.model import scheduled_functions
from reactor.runtime.app import App
from reactor.runtime.call import Call, Operation
from reactor.runtime.references import FunctionProxy, reference_path
from reactor.runtime.registry import Action, Function, Mutation, RegisteredFunction
from reactor.schema.ids import Id
from reactor.schema.system import ScheduledFunction

if TYPE_CHECKING:
    from reactor.runtime.actions import _Running

__all__ = ["ActionScheduler", "MutationScheduler", "Scheduler", "encode_for_later", "find_target"]

P = ParamSpec("P")
T = TypeVar("T")

_FIVE_YEARS_MS: Final = 5 * 365 * 24 * 3600 * 1000.0
_SELF_CANCEL: Final = "ctx.scheduler.cancel: a scheduled mutation can't cancel itself; it goes on."

JobId = Coroutine[Any, Any, Id[ScheduledFunction]]


class Scheduler:
    """Run mutations and actions later. Jobs run as nobody: `ctx.auth.get_user_identity()` is None in them."""

    __slots__ = ()

    @overload
    def run_after(
        self,
        delay: float | timedelta,
        ref: Mutation[Any, P, Any] | Action[Any, P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> JobId: ...
    @overload
    def run_after(
        self,
        delay: float | timedelta,
        ref: FunctionProxy | str,
        args: Mapping[str, Any] | None = None,
        /,
        **kwargs: Any,
    ) -> JobId: ...
    def run_after(self, delay: Any, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run `ref` after `delay` (a timedelta, or milliseconds; 0 for right after the commit) and return the job's id.

        Raises FunctionError (a delay or a function that can't be), InvalidArguments, LimitExceeded.
        """
        return self._do("ctx.scheduler.run_after", self._add, (_after, delay, ref, args, kwargs))

    @overload
    def run_at(
        self,
        time: float | datetime,
        ref: Mutation[Any, P, Any] | Action[Any, P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> JobId: ...
    @overload
    def run_at(
        self, time: float | datetime, ref: FunctionProxy | str, args: Mapping[str, Any] | None = None, /, **kwargs: Any
    ) -> JobId: ...
    def run_at(self, time: Any, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run `ref` at a time (an aware datetime, or milliseconds since 1970), at once if it is past. As `run_after`."""
        return self._do("ctx.scheduler.run_at", self._add, (_at, time, ref, args, kwargs))

    def cancel(self, id: Id[ScheduledFunction], /) -> Coroutine[Any, Any, None]:
        """Cancel a job. One that has not begun never will; an action that is running goes on, but what it schedules from
        then on is canceled, too. Nothing happens to a job that has ended."""
        return self._do("ctx.scheduler.cancel", self._cancel, (id,))

    # What differs between a mutation and an action

    def _do(self, name: str, what: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        raise NotImplementedError

    def _add(self, when: Callable[..., float], given: Any, ref: Any, args: Any, kwargs: Any) -> Any:
        raise NotImplementedError

    def _cancel(self, id: Any) -> Any:
        raise NotImplementedError


class MutationScheduler(Scheduler):
    """Of a mutation: jobs come to be, and are canceled, if and when it commits."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def _do(self, name: str, what: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return Operation(self._call, name, what, args)

    def _add(self, when: Callable[..., float], given: Any, ref: Any, args: Any, kwargs: Any) -> str:
        root = self._call.root
        tx = self._writing()
        time = when(given, tx.now_ms)
        if root.host.dev and (hint := _hint(when, given)):
            root.logs.add("WARN", hint)
        target, path = find_target(root.app, ref)
        raw = encode_for_later(
            target, path, ref, args, kwargs, tx.catalogue.table_name, root.host.limits.arguments_bytes
        )
        return scheduled_functions.schedule(tx, path, raw, time, by=root.caller.job)

    def _cancel(self, id: Any) -> None:
        root = self._call.root
        if not scheduled_functions.cancel(self._writing(), id, is_caller=_is_caller(root.app, root.caller)):
            root.logs.add("WARN", _SELF_CANCEL)

    def _writing(self) -> WriteTransaction:
        tx = self._call.tx
        assert isinstance(tx, WriteTransaction)
        return tx


class ActionScheduler(Scheduler):
    """Of an action: each call is a transaction of its own, and stays, whatever becomes of the action."""

    __slots__ = ("_running",)

    def __init__(self, running: _Running) -> None:
        self._running = running

    def _do(self, name: str, what: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return what(*args)

    async def _add(self, when: Callable[..., float], given: Any, ref: Any, args: Any, kwargs: Any) -> str:
        running = self._running
        running.check_alive()
        time = when(given, running.host.clock.now_ns() / 1e6)
        if running.host.dev and (hint := _hint(when, given)):
            running.logs.add("WARN", hint)
        target, path = find_target(running.app, ref)
        raw = encode_for_later(
            target, path, ref, args, kwargs, running.runner.table_name, running.host.limits.arguments_bytes
        )
        return await running.runner.write(
            lambda tx: scheduled_functions.schedule(tx, path, raw, time, by=running.caller.job)
        )

    async def _cancel(self, id: Any) -> None:
        running = self._running
        running.check_alive()
        await running.runner.write(lambda tx: scheduled_functions.cancel(tx, id, is_caller=lambda job: False))


def _is_caller(app: App, caller: Caller) -> Callable[[scheduled_functions.Job], bool]:
    """A scheduled mutation is its own caller; a mutation that a scheduled action runs is not that action."""

    def is_caller(job: scheduled_functions.Job) -> bool:
        if job.id != caller.job:
            return False
        fn = app.find(job.name.replace(".js:", ":", 1))
        return fn is not None and fn.kind == "mutation"

    return is_caller


# When


def _after(delay: Any, now_ms: float) -> float:
    """The due time of a delay. Raises FunctionError."""
    if isinstance(delay, timedelta):
        delay = delay / timedelta(milliseconds=1)
    if isinstance(delay, bool) or not isinstance(delay, int | float):
        raise _invalid(f"`delayMs` must be a number (of milliseconds), or a timedelta, not {delay!r}")
    if not math.isfinite(delay):
        raise _invalid(f"`delayMs` must be a finite number, not {delay!r}")
    if delay < 0:
        raise _invalid(f"`delayMs` must be non-negative, not {delay!r}")
    return _within_years(now_ms + delay, now_ms)


def _at(time: Any, now_ms: float) -> float:
    """A due time in milliseconds. Raises FunctionError."""
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise _invalid(
                "The invoke time must a Date or a timestamp: this datetime does not say in which time zone it is; write "
                "`datetime(…, tzinfo=UTC)`, or `datetime.now(UTC) + …`"
            )
        time = time.timestamp() * 1000
    if isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time):
        raise _invalid(
            f"The invoke time must a Date or a timestamp: an aware datetime, or milliseconds since 1970, not {time!r}"
        )
    return _within_years(float(time), now_ms)


def _within_years(time: float, now_ms: float) -> float:
    if abs(time - now_ms) > _FIVE_YEARS_MS:
        side = "future" if time > now_ms else "past"
        raise FunctionError(
            f"The scheduled time {time:.0f} is more than 5 years in the {side}.", code="InvalidScheduledFunctionDelay"
        )
    return time


def _hint(when: Callable[..., float], given: Any) -> str | None:
    if when is _after and isinstance(given, int | float) and 0 < given < 100:
        return (
            f"ctx.scheduler.run_after({given!r}, …): a bare number is in milliseconds. For seconds write "
            f"`timedelta(seconds={given!r})`."
        )
    return None


def _invalid(text: str) -> FunctionError:
    return FunctionError(text, code="InvalidSchedule")


# What


def find_target(app: App, ref: Any) -> tuple[RegisteredFunction, str]:
    """The function that a reference names, and its path as it is stored (`messages.js:send`). Raises FunctionNotFound.

    A query is found, too: that it can't run shows when it is due, because by then it may be something else.
    """
    path = reference_path(ref)
    fn = app.find(path)
    if fn is not None:
        return fn, fn.stored_path
    module, _, name = path.partition(":")
    if module not in app.modules and not any(known.startswith(f"{module}:") for known in app.functions):
        raise FunctionNotFound(f"Attempted to schedule function at nonexistent path: {module}")
    raise FunctionNotFound(
        f"Attempted to schedule function, but no exported function {name} found in the file: {module}. Did you forget to "
        "export it?"
    )


def encode_for_later(
    target: RegisteredFunction,
    path: str,
    ref: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    resolve: Callable[[int], str | None],
    limit: int,
) -> bytes:
    """The encoded arguments of a job. Whether they fit is found out when it runs, by the code of that day.

    Raises InvalidArguments for what can't be sent at all: names of no parameter, Python objects that are no values, size.
    """
    arguments = target.arguments
    try:
        if isinstance(ref, Function):
            try:
                raw = arguments.encode(args, kwargs, resolve)
            except InvalidArguments:
                raw = arguments.encode_unchecked(args, kwargs)
        else:
            mapping: Mapping[str, Any] = kwargs
            if args and args[0] is not None:
                mapping = args[0]
                if kwargs or len(args) > 1:
                    raise InvalidArguments("The arguments are one mapping or keywords, not both.")
            raw = arguments.encode_mapping(mapping, resolve, check=False)
    except InvalidValue as error:
        text = str(error)
        if not text.startswith("ArgumentValidationError"):
            text = f"Invalid arguments for {path}: {text}"
        raise InvalidArguments(text, path=error.path, expected=error.expected, got=error.got) from None
    if len(raw) > limit:
        raise InvalidArguments(
            f"Arguments for {path} are too large (actual: {len(raw)} bytes, limit: {limit} bytes)",
            code="ArgumentsTooLarge",
        )
    return raw
