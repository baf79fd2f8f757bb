"""Runs one function to its end: arguments in, result out, as encoded bytes. Queries and mutations on a store thread,
actions on the event loop.

A failure is raised as the very exception of the user's code, with the `Execution` so far attached (`execution_of`).
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

from reactor.auth.identity import Caller
from reactor.engine.commit_record import ANY_TABLE
from reactor.engine.transaction import Transaction
from reactor.engine.usage import Usage
from reactor.engine.write_transaction import MissingTable
from reactor.errors import FunctionError, InvalidArguments, InvalidResult, InvalidValue, LimitExceeded
from reactor.runtime.app import App
from reactor.runtime.call import Call, Root, TimedOut
from reactor.runtime.contexts import MutationCtx, QueryCtx
from reactor.runtime.driver import run_root
from reactor.runtime.host import DEFAULT_HOST, Host
from reactor.runtime.logs import LogLine
from reactor.runtime.nested import check_finished, invalid_arguments, invalid_result
from reactor.runtime.registry import RegisteredFunction

__all__ = ["Execution", "execute_mutation", "execute_query", "execution_of"]


@dataclass(slots=True)
class Execution:
    """What came of running a function. `value` is the encoded result, empty when it failed."""

    value: bytes = b""
    log_lines: tuple[LogLine, ...] = ()
    observed_identity: bool = False
    observed_time: bool = False
    journal: str | None = None
    """Of a query that paginated: what keeps its page in place when it runs again."""
    usage: Usage | None = None
    """Of a query or mutation."""
    began: float = 0.0
    """By `time.perf_counter`; 0.0 when it was answered from the record of an earlier run."""
    seconds: float = 0.0
    """How long it took."""


def execution_of(error: BaseException) -> Execution:
    """What had been observed and logged when `error` ended a function; an empty one for other errors."""
    attached = getattr(error, "__reactor_execution__", None)
    return attached if isinstance(attached, Execution) else Execution()


def execute_query(
    app: App,
    fn: RegisteredFunction,
    raw_args: bytes,
    tx: Transaction,
    caller: Caller,
    *,
    host: Host = DEFAULT_HOST,
    journal: str | None = None,
    request_id: str = "",
) -> Execution:
    """Run a query on a store thread, reading through `tx`. Raises what the function raises."""
    root = Root(app, host, tx, caller, fn.path, journal, request_id)
    return _execute(root, fn, raw_args, QueryCtx)


def execute_mutation(
    app: App,
    fn: RegisteredFunction,
    raw_args: bytes,
    tx: Transaction,
    caller: Caller,
    *,
    host: Host = DEFAULT_HOST,
    request_id: str = "",
) -> Execution:
    """Run a mutation on the writer's thread in `tx`, a WriteTransaction. Raises what the function raises.

    Whenever this raises, the caller rolls the transaction back; MissingTable asks to create the table and run it again.
    """
    root = Root(app, host, tx, caller, fn.path, None, request_id)
    return _execute(root, fn, raw_args, MutationCtx)


def _execute(root: Root, fn: RegisteredFunction, raw_args: bytes, make_ctx: Any) -> Execution:
    try:
        value = _run(root, fn, raw_args, make_ctx)
    except BaseException as error:
        _raise(root, error)
        raise AssertionError("unreachable") from None
    return _execution(root, value)


def _execution(root: Root, value: bytes) -> Execution:
    began = root.started
    return Execution(
        value, root.logs.finish(), root.observed_identity, root.observed_time, root.journal_out,
        root.tx.usage, began, perf_counter() - began,
    )  # fmt: skip


def _run(root: Root, fn: RegisteredFunction, raw_args: bytes, make_ctx: Any) -> bytes:
    limits = root.host.limits
    resolve = root.tx.catalogue.table_name
    kwargs = decode_arguments(fn, raw_args, resolve, limits.arguments_bytes)
    call = Call(root, fn, 0)
    try:
        result = run_root(root, fn.handler(make_ctx(call), **kwargs))
    finally:
        call.thread = 0
    if root.pending:
        check_finished(call)
    if root.fatal is not None:
        raise root.fatal
    if root.missing is not None:
        raise root.missing
    value = encode_result(fn, result, resolve, limits.result_bytes)
    _warn(root)
    return value


def decode_arguments(fn: RegisteredFunction, raw: bytes, resolve: Any, limit: int) -> dict[str, Any]:
    """The keyword arguments of a handler. Raises InvalidArguments."""
    if len(raw) > limit:
        raise InvalidArguments(
            f"Arguments for {fn.stored_path} are too large (actual: {_size(len(raw))}, limit: {_size(limit)})",
            code="ArgumentsTooLarge",
        )
    try:
        return fn.arguments.decode(raw, resolve)
    except InvalidValue as error:
        raise invalid_arguments(error) from None


def encode_result(fn: RegisteredFunction, result: Any, resolve: Any, limit: int) -> bytes:
    """The encoded result of a handler. Raises InvalidResult."""
    try:
        value = fn.returns.encode(result, resolve)
    except InvalidValue as error:
        raise invalid_result(fn, result, error) from None
    if len(value) > limit:
        raise InvalidResult(
            f"Function {fn.stored_path} return value is too large (actual: {_size(len(value))}, limit: {_size(limit)})",
            code="ResultTooLarge",
        )
    return value


def _size(count: int) -> str:
    return f"{count / 1024 / 1024:.2f} MiB".replace(".00", "")


def _warn(root: Root) -> None:
    usage = root.tx.usage
    # Looked at closely only when something adds up.
    if (
        usage.documents_read > 100
        or usage.bytes_read > 50_000
        or usage.database_queries > 20
        or usage.documents_written > 20
        or usage.functions_scheduled
    ):
        for line in usage.warnings():
            root.logs.add("WARN", line)


def _raise(root: Root, error: BaseException) -> None:
    """Raise what a failed run comes to, with the execution attached."""
    if root.missing is not None:
        raise root.missing
    if isinstance(error, InvalidArguments | InvalidResult):
        root.tx.depend_on(ANY_TABLE)  # an id among them may be of a table to come
    if root.fatal is not None and not isinstance(error, TimedOut):
        error = root.fatal
    if isinstance(error, TimedOut):
        seconds = f"{root.host.limits.user_time_s:g}s"
        timed_out = LimitExceeded(
            f"Function execution timed out (maximum duration: {seconds})", code="FunctionTimedOut"
        )
        timed_out.__traceback__ = error.__traceback__
        error = timed_out
    elif not isinstance(error, Exception | MissingTable):
        ended = FunctionError(f"The function raised {type(error).__name__}: {error}")
        ended.__traceback__ = error.__traceback__
        error = ended
    for operation in list(root.pending):
        operation.close()
    attach(error, _execution(root, b""))
    raise error


def attach(error: BaseException, execution: Execution) -> None:
    """Remember with an exception what had happened when it ended a function."""
    try:
        error.__dict__["__reactor_execution__"] = execution
    except (AttributeError, TypeError):  # an exception without a dict: its log lines are lost, the error is not
        return
