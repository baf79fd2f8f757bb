"""The `ctx` of queries and mutations."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from reactor.auth.identity import UserIdentity
from reactor.errors import FunctionError
from reactor.model.environment import BUILT_IN, read_variable
from reactor.runtime.call import Call, Operation, perform
from reactor.runtime.database import DatabaseReader, DatabaseWriter
from reactor.runtime.environment import ContextEnvironment
from reactor.runtime.files import StorageReader, StorageWriter
from reactor.runtime.logs import ContextLog
from reactor.runtime.metrics import Metrics
from reactor.runtime.nested import run_nested
from reactor.runtime.references import FunctionProxy
from reactor.runtime.registry import Mutation, Query
from reactor.runtime.scheduling import MutationScheduler, Scheduler

__all__ = ["Auth", "LimitedMutationCtx", "LimitedQueryCtx", "MutationCtx", "QueryCtx"]

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
        return root.caller.verified_user()

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
        def vector_search(self):
            raise FunctionError(
                "ctx.vector_search is for actions: a query or mutation can't search vectors. Search in an action, then "
                "load what was found with `await ctx.run_query(…)`, or take it with `documents=True`."
            )

    @property
    def auth(self) -> Auth:
        """Who is asking."""
        return Auth(self._call)

    @property
    def storage(self) -> StorageReader:
        """What is known of stored files."""
        return StorageReader(self._call)

    @property
    def env(self) -> ContextEnvironment:
        """Environment variables: `env = ctx.env(Env)`."""
        return ContextEnvironment(self._variable)

    def _variable(self, name: str) -> str | None:
        call = self._call
        call.check("ctx.env")
        root = call.root
        if name not in BUILT_IN:
            # In our turn: the watchdog must not strike in the store.
            value = perform(root, read_variable, (root.tx, name))
            if value is not None:
                return value
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
        return Operation(
            self._call, "ctx.run_query", run_nested, (self._call, "query", QueryCtx, ref, args, kwargs, None)
        )


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
            self._call, "ctx.run_query", run_nested, (self._call, "query", QueryCtx, ref, args, kwargs, self._budget)
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
            self._call,
            "ctx.run_mutation",
            run_nested,
            (self._call, "mutation", MutationCtx, ref, args, kwargs, self._budget),
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
    def storage(self) -> StorageWriter:
        """Stored files; what is deleted goes if this mutation commits."""
        return StorageWriter(self._call)

    @property
    def scheduler(self) -> Scheduler:
        """Run functions later, if this mutation commits."""
        return MutationScheduler(self._call)

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
        return Operation(
            self._call, "ctx.run_mutation", run_nested, (self._call, "mutation", MutationCtx, ref, args, kwargs, None)
        )


def _given(**budget: int | None) -> dict[str, int]:
    return {name: amount for name, amount in budget.items() if amount is not None}
