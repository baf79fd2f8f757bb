"""The `ctx` of queries and mutations, and how one function calls another inside a transaction."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from reactor.auth.identity import UserIdentity
from reactor.errors import FunctionError, InvalidArguments, InvalidResult, InvalidValue
from reactor.runtime.app import wrong_kind
from reactor.runtime.call import MAX_NESTED, Call, Operation
from reactor.runtime.database import DatabaseReader, DatabaseWriter
from reactor.runtime.driver import drive
from reactor.runtime.environment import ContextEnvironment
from reactor.runtime.later import Scheduler, Storage
from reactor.runtime.logs import ContextLog
from reactor.runtime.metrics import Metrics
from reactor.runtime.references import FunctionProxy
from reactor.runtime.registry import Function, Mutation, Query, RegisteredFunction

__all__ = [
    "Auth",
    "LimitedMutationCtx",
    "LimitedQueryCtx",
    "MutationCtx",
    "QueryCtx",
    "invalid_arguments",
    "invalid_result",
]

P = ParamSpec("P")
R = TypeVar("R")


class Auth:
    """`ctx.auth`: who is asking. Looking makes a query's result that identity's own."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def get_user_identity(self) -> Coroutine[Any, Any, UserIdentity | None]:
        """The verified user, or None."""
        return Operation(self._call, "ctx.auth.get_user_identity", self._identity, ())

    def _identity(self) -> UserIdentity | None:
        root = self._call.root
        root.observed_identity = True
        return root.caller.user

    @property
    def is_admin(self) -> bool:
        """Whether the operator asks, with an admin key."""
        root = self._call.root
        root.observed_identity = True
        return root.caller.is_admin


class QueryCtx:
    """What a query may use. Everything that is awaited is awaited one after the other."""

    __slots__ = ("_call", "_db")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._db: DatabaseReader = DatabaseReader(call)

    if TYPE_CHECKING:

        @property
        def db(self) -> DatabaseReader:
            """The database, as of one moment."""
            ...

    else:

        @property
        def db(self):
            return self._db

    @property
    def auth(self) -> Auth:
        """Who is asking."""
        return Auth(self._call)

    @property
    def storage(self) -> Storage:
        """Files."""
        return Storage()

    @property
    def env(self) -> ContextEnvironment:
        """Environment variables: `env = ctx.env(Env)`."""
        return ContextEnvironment(self._variable)

    def _variable(self, name: str) -> str | None:
        root = self._call.root
        root.tx.depend_on(f"env:{name}")
        return root.host.environment.get(name)

    @property
    def random(self) -> random.Random:
        """Random numbers, seeded anew for every call."""
        return self._call.random

    def now(self) -> float:
        """Milliseconds since 1970, the same for the whole query or mutation."""
        root = self._call.root
        root.observed_time = True
        return root.tx.now_ms

    @property
    def log(self) -> ContextLog:
        """`ctx.log("text", value)` adds to the function's log lines, as `print` does."""
        return ContextLog(self._call.root.logs)

    @property
    def metrics(self) -> Metrics:
        """What this transaction has used of its limits."""
        return Metrics(self._call.tx.usage)

    def with_limits(
        self,
        *,
        documents_read: int | None = None,
        bytes_read: int | None = None,
        database_queries: int | None = None,
    ) -> LimitedQueryCtx:
        """Bound what one nested call may use: `ctx.with_limits(documents_read=100).run_query(…)`."""
        return LimitedQueryCtx(
            self._call,
            _given(documents_read=documents_read, bytes_read=bytes_read, database_queries=database_queries),
        )

    @overload
    def run_query(self, ref: Query[Any, P, R], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...
    @overload
    def run_query(
        self, ref: FunctionProxy | str, args: Mapping[str, Any] | None = None, /, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]: ...
    def run_query(self, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run another query in this transaction, with its arguments and result validated."""
        return Operation(self._call, "ctx.run_query", _run_nested, (self._call, "query", ref, args, kwargs, None))


class LimitedQueryCtx:
    """What `ctx.with_limits(…)` gives."""

    __slots__ = ("_budget", "_call")

    def __init__(self, call: Call, budget: dict[str, int]) -> None:
        self._call = call
        self._budget = budget

    @overload
    def run_query(self, ref: Query[Any, P, R], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...
    @overload
    def run_query(
        self, ref: FunctionProxy | str, args: Mapping[str, Any] | None = None, /, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]: ...
    def run_query(self, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Like `ctx.run_query`, within the limits."""
        return Operation(
            self._call, "ctx.run_query", _run_nested, (self._call, "query", ref, args, kwargs, self._budget)
        )


class LimitedMutationCtx(LimitedQueryCtx):
    __slots__ = ()

    @overload
    def run_mutation(
        self, ref: Mutation[Any, P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def run_mutation(
        self, ref: FunctionProxy | str, args: Mapping[str, Any] | None = None, /, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]: ...
    def run_mutation(self, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Like `ctx.run_mutation`, within the limits. Passing one is LimitExceeded, and the sub-transaction is undone."""
        return Operation(
            self._call, "ctx.run_mutation", _run_nested, (self._call, "mutation", ref, args, kwargs, self._budget)
        )


class MutationCtx(QueryCtx):
    """What a mutation may use: all that a query may, and writes."""

    __slots__ = ()

    def __init__(self, call: Call) -> None:
        self._call = call
        self._db = DatabaseWriter(call)

    if TYPE_CHECKING:

        @property
        def db(self) -> DatabaseWriter:
            """The database; writes happen all together or not at all."""
            ...

    @property
    def scheduler(self) -> Scheduler:
        """Run functions later, if this mutation commits."""
        return Scheduler()

    def with_limits(
        self,
        *,
        documents_read: int | None = None,
        bytes_read: int | None = None,
        database_queries: int | None = None,
        documents_written: int | None = None,
        bytes_written: int | None = None,
        functions_scheduled: int | None = None,
        scheduled_arguments_bytes: int | None = None,
    ) -> LimitedMutationCtx:
        """Bound what one nested call may use: `ctx.with_limits(documents_written=5).run_mutation(…)`."""
        return LimitedMutationCtx(
            self._call,
            _given(
                documents_read=documents_read,
                bytes_read=bytes_read,
                database_queries=database_queries,
                documents_written=documents_written,
                bytes_written=bytes_written,
                functions_scheduled=functions_scheduled,
                scheduled_arguments_bytes=scheduled_arguments_bytes,
            ),
        )

    @overload
    def run_mutation(
        self, ref: Mutation[Any, P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def run_mutation(
        self, ref: FunctionProxy | str, args: Mapping[str, Any] | None = None, /, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]: ...
    def run_mutation(self, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run another mutation as a sub-transaction: if it raises, its writes are undone and this one may go on."""
        return Operation(self._call, "ctx.run_mutation", _run_nested, (self._call, "mutation", ref, args, kwargs, None))


def _given(**budget: int | None) -> dict[str, int]:
    return {name: amount for name, amount in budget.items() if amount is not None}


def _run_nested(
    call: Call, kind: str, ref: Any, args: tuple[Any, ...], kwargs: dict[str, Any], budget: dict[str, int] | None
) -> Any:
    """Run a function inside the transaction of `call`; in our turn."""
    root = call.root
    target = root.app.resolve_reference(ref)
    if target.kind != kind:
        if root.path and target.kind == "mutation" and kind == "query":
            raise FunctionError(
                f"Cannot call a Mutation function from a Query function: {target.path} is a mutation; call it with "
                "`ctx.run_mutation`, from a mutation or an action.",
                code="InvalidFunctionCall",
            )
        if target.kind == "action":
            raise FunctionError(
                f"{target.path} is an action; queries and mutations can't run actions. Schedule it with "
                "`ctx.scheduler.run_after(0, …)`, or call it from an action.",
                code="InvalidFunctionCall",
            )
        raise wrong_kind(target, kind)
    if call.depth >= root.host.limits.nested_calls:
        raise FunctionError(MAX_NESTED, code="CallDepthLimitExceeded")
    resolve = root.tx.catalogue.table_name
    raw = encode_call(target, ref, args, kwargs, resolve)
    usage = root.tx.usage
    caps = usage.caps if budget is None else usage.narrow(budget)
    nested = Call(root, target, call.depth + 1)
    # The parent can't use its ctx meanwhile.
    thread, call.thread = call.thread, 0
    writes = kind == "mutation"
    if writes:
        root.tx.savepoint()  # type: ignore[attr-defined]
    try:
        ctx = MutationCtx(nested) if writes else QueryCtx(nested)
        try:
            result = drive(root, target.handler(ctx, **_decode(target, raw, resolve)))
            value = _encode(target, result, resolve)
            check_finished(nested)
        finally:
            nested.thread = 0
        answer = target.returns.read(value)
        if writes:
            root.tx.release()  # type: ignore[attr-defined]
        return answer
    except BaseException:
        if writes:
            root.tx.rollback_to()  # type: ignore[attr-defined]
        raise
    finally:
        call.thread = thread
        usage.caps = caps


def encode_call(
    target: RegisteredFunction, ref: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], resolve: Any
) -> bytes:
    """The arguments of a call by reference, as bytes. Raises InvalidArguments."""
    try:
        if isinstance(ref, Function):
            return target.arguments.encode(args, kwargs, resolve)
        mapping: Mapping[str, Any] = kwargs
        if args and args[0] is not None:
            mapping = args[0]
            if kwargs or len(args) > 1:
                raise InvalidArguments("The arguments are one mapping or keywords, not both.")
        return target.arguments.encode_mapping(mapping, resolve)
    except InvalidValue as error:
        raise invalid_arguments(error) from None


def _decode(target: RegisteredFunction, raw: bytes, resolve: Any) -> dict[str, Any]:
    try:
        return target.arguments.decode(raw, resolve)
    except InvalidValue as error:
        raise invalid_arguments(error) from None


def _encode(target: RegisteredFunction, result: Any, resolve: Any) -> bytes:
    try:
        return target.returns.encode(result, resolve)
    except InvalidValue as error:
        raise invalid_result(target, result, error) from None


def check_finished(call: Call) -> None:
    """Raise FunctionError when an operation of this call was never awaited."""
    pending = call.root.pending
    if pending:
        left = [operation for operation in pending if operation.call is call]
        if left:
            for operation in left:
                operation.close()
            name = left[0].name
            raise FunctionError(
                f"{name}(…) was never awaited in {call.fn.path}, so it did not happen. Write `await {name}(…)`.",
                code="NeverAwaited",
            )


def invalid_arguments(error: InvalidValue) -> InvalidArguments:
    """The error as functions and clients see it."""
    return _prefixed(InvalidArguments, "ArgumentValidationError", error)


def invalid_result(fn: RegisteredFunction, result: Any, error: InvalidValue) -> InvalidResult:
    from reactor.runtime.query_builder import OrderedQuery

    if isinstance(result, OrderedQuery):
        return InvalidResult(
            "Return value is a Query. Results must be retrieved with `.collect()`, `.take(n)`, `.unique()`, or `.first()`."
        )
    return _prefixed(InvalidResult, "ReturnsValidationError", error)


def _prefixed(kind: Any, prefix: str, error: InvalidValue) -> Any:
    text = str(error)
    if not text.startswith(prefix):
        text = f"{prefix}: {text}"
    return kind(text, path=error.path, expected=error.expected, got=error.got)
