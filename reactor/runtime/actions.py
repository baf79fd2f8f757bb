"""Actions: ordinary asyncio code on the event loop, which reaches the database through queries and mutations."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from typing_extensions import TypeForm

from reactor.auth.identity import Caller, UserIdentity
from reactor.clock import new_seed
from reactor.errors import FunctionError, LimitExceeded
from reactor.runtime.app import App, wrong_kind
from reactor.runtime.environment import ContextEnvironment
from reactor.runtime.execute import Execution, attach, decode_arguments, encode_result, execution_of
from reactor.runtime.files import ActionStorage
from reactor.runtime.host import DEFAULT_HOST, Host, Runner
from reactor.runtime.logs import CURRENT, ContextLog, LogLine, LogLines, capture_output
from reactor.runtime.nested import encode_call
from reactor.runtime.references import FunctionProxy
from reactor.runtime.registry import Action, Mutation, Query, RegisteredFunction
from reactor.runtime.scheduling import ActionScheduler, Scheduler
from reactor.runtime.vector_search import VectorFilter, VectorFilterBuilder, VectorHit, VectorMatch, vector_search

__all__ = ["ActionCtx", "execute_action"]

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D")


class ActionAuth:
    """`ctx.auth` of an action."""

    __slots__ = ("_running",)

    def __init__(self, running: _Running) -> None:
        self._running = running

    async def get_user_identity(self) -> UserIdentity | None:
        """The verified user, or None."""
        return self._running.caller.verified_user()

    @property
    def is_admin(self) -> bool:
        """Whether the operator asks, with an admin key."""
        return self._running.caller.is_admin


class _Running:
    """The state of one running action."""

    __slots__ = (
        "alive",
        "app",
        "caller",
        "execution_id",
        "fn",
        "host",
        "is_transactional",
        "logs",
        "request_id",
        "rng",
        "runner",
    )

    def __init__(
        self,
        app: App,
        fn: RegisteredFunction,
        runner: Runner,
        caller: Caller,
        host: Host,
        request_id: str,
        execution_id: str,
    ) -> None:
        self.app = app
        self.fn = fn
        self.runner = runner
        self.caller = caller
        self.host = host
        self.request_id = request_id
        self.execution_id = execution_id
        self.logs = LogLines(host.limits, host.clock)
        self.is_transactional = False
        self.rng: random.Random | None = None
        self.alive = True

    def check_alive(self) -> None:
        """Raise FunctionError once the action has ended."""
        if not self.alive:
            raise FunctionError(
                f"ctx was used after {self.fn.path} had ended. A ctx lives as long as the call it was made for; await "
                "everything before returning."
            )


class ActionCtx:
    """What an action may use: functions, identity, environment; and whatever Python can do."""

    __slots__ = ("_running",)

    def __init__(self, running: _Running) -> None:
        self._running = running

    if not TYPE_CHECKING:

        @property
        def db(self):
            raise FunctionError(
                "Actions have no ctx.db: move the database work into a query or a mutation and call it with "
                "`await ctx.run_query(…)` or `await ctx.run_mutation(…)`."
            )

    @property
    def auth(self) -> ActionAuth:
        """Who is asking."""
        return ActionAuth(self._running)

    @property
    def env(self) -> ContextEnvironment:
        """Environment variables: `env = ctx.env(Env)`."""
        return ContextEnvironment(self._running.host.committed_variable)

    @property
    def random(self) -> random.Random:
        """Random numbers."""
        running = self._running
        if running.rng is None:
            running.rng = random.Random(new_seed())
        return running.rng

    def now(self) -> float:
        """Milliseconds since 1970, now."""
        return self._running.host.clock.now_ns() / 1e6

    @property
    def log(self) -> ContextLog:
        """`ctx.log("text", value)` adds to the function's log lines, as `print` does."""
        return ContextLog(self._running.logs)

    @property
    def scheduler(self) -> Scheduler:
        """Run functions later."""
        return ActionScheduler(self._running)

    @property
    def storage(self) -> ActionStorage:
        """Files."""
        return ActionStorage(self._running)

    @overload
    async def vector_search(
        self,
        table: TypeForm[D],
        index: str,
        vector: Sequence[float],
        /,
        *,
        limit: int = 10,
        filter: Callable[[VectorFilterBuilder], VectorFilter] | None = None,
        documents: Literal[False] = False,
    ) -> list[VectorHit[D]]: ...
    @overload
    async def vector_search(
        self,
        table: TypeForm[D],
        index: str,
        vector: Sequence[float],
        /,
        *,
        limit: int = 10,
        filter: Callable[[VectorFilterBuilder], VectorFilter] | None = None,
        documents: Literal[True],
    ) -> list[VectorMatch[D]]: ...
    @overload
    async def vector_search(
        self,
        table: str,
        index: str,
        vector: Sequence[float],
        /,
        *,
        limit: int = 10,
        filter: Callable[[VectorFilterBuilder], VectorFilter] | None = None,
        documents: bool = False,
    ) -> list[Any]: ...
    async def vector_search(
        self,
        table: Any,
        index: str,
        vector: Sequence[float],
        /,
        *,
        limit: int = 10,
        filter: Callable[[VectorFilterBuilder], VectorFilter] | None = None,
        documents: bool = False,
    ) -> list[Any]:
        """The documents whose vectors are nearest to `vector` by cosine, best first, equal ones by id.

        `limit` is from 1 to 256. `filter=lambda q: q.eq("category", c)` or `q.or_(q.eq(…), q.eq(…))` keeps those with
        an equal filter field. It sees every commit so far. A hit has `id` and `score`, and with `documents=True` the
        `document`, all of one moment. Raises DatabaseError.
        """
        running = self._running
        running.check_alive()
        return await vector_search(running.app, running.runner.vectors, table, index, vector, limit, filter, documents)

    @overload
    async def run_query(self, ref: Query[Any, P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run_query(
        self, ref: FunctionProxy | str, args: Mapping[str, Any] | None = None, /, **kwargs: Any
    ) -> Any: ...
    async def run_query(self, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query, on a snapshot of its own."""
        return await self._run("query", ref, args, kwargs)

    @overload
    async def run_mutation(self, ref: Mutation[Any, P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run_mutation(
        self, ref: FunctionProxy | str, args: Mapping[str, Any] | None = None, /, **kwargs: Any
    ) -> Any: ...
    async def run_mutation(self, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a mutation, in a transaction of its own: it stays, even if this action fails later."""
        return await self._run("mutation", ref, args, kwargs)

    @overload
    async def run_action(self, ref: Action[Any, P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run_action(
        self, ref: FunctionProxy | str, args: Mapping[str, Any] | None = None, /, **kwargs: Any
    ) -> Any: ...
    async def run_action(self, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run another action. To share code, call a plain function instead."""
        return await self._run("action", ref, args, kwargs)

    async def _run(self, kind: str, ref: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        running = self._running
        running.check_alive()
        target = running.app.resolve_reference(ref)
        if target.kind != kind:
            raise wrong_kind(target, kind)
        raw = encode_call(target, ref, args, kwargs, running.runner.table_name)
        # What the engine prints and logs on the way is not the action's.
        token = CURRENT.set(None)
        try:
            result = await running.runner.run(
                running.app,
                target,
                raw,
                running.caller,
                request_id=running.request_id,
                parent=running.execution_id,
            )
        except Exception as error:
            running.logs.extend(execution_of(error).log_lines, target.path)
            raise
        finally:
            CURRENT.reset(token)
        running.logs.extend(result.log_lines, target.path)
        return target.returns.read(result.value)


async def execute_action(
    app: App,
    fn: RegisteredFunction,
    raw_args: bytes,
    runner: Runner,
    caller: Caller,
    *,
    host: Host = DEFAULT_HOST,
    request_id: str = "",
    execution_id: str = "",
    on_line: Callable[[LogLine], None] | None = None,
) -> Execution:
    """Run an action on the event loop. Raises what it raises, with its log lines attached (`execution_of`).

    `execution_id` is the parent of what it calls; `on_line` is told of its log lines as they come.
    """
    capture_output()
    began = perf_counter()
    running = _Running(app, fn, runner, caller, host, request_id, execution_id)
    running.logs.on_line = on_line
    limits = host.limits
    context = contextvars.copy_context()
    context.run(CURRENT.set, running)
    try:
        kwargs = decode_arguments(fn, raw_args, runner.table_name, limits.arguments_bytes)
        deadline = asyncio.timeout(limits.action_time_s)
        try:
            async with deadline:
                result = await asyncio.create_task(_call(fn, ActionCtx(running), kwargs), context=context)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise LimitExceeded(
                f"Function execution timed out (maximum duration: {limits.action_time_s:g}s)", code="FunctionTimedOut"
            ) from error
        value = encode_result(fn, result, runner.table_name, limits.result_bytes)
        return Execution(value, running.logs.finish(), began=began, seconds=perf_counter() - began)
    except BaseException as error:
        attach(error, Execution(b"", running.logs.finish(), began=began, seconds=perf_counter() - began))
        raise
    finally:
        running.alive = False


async def _call(fn: RegisteredFunction, ctx: ActionCtx, kwargs: dict[str, Any]) -> Any:
    try:
        return await fn.handler(ctx, **kwargs)
    except SystemExit as error:
        # The event loop would pass it on and end the server.
        raise FunctionError(f"The function raised SystemExit: {error}") from error
