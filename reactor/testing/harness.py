"""`Backend`: a whole deployment for a test, called the way clients call it.

It is the real thing: the store on a file (in memory where the machine has such a place), validation, transactions, live
queries. Only time is not: the clock stands still until `advance`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

import msgspec

from reactor import errors
from reactor.auth.identity import ANONYMOUS, Caller
from reactor.clock import ManualClock
from reactor.config import load_settings
from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader
from reactor.runtime.nested import encode_call
from reactor.runtime.registry import Action, Mutation, Query, RegisteredFunction
from reactor.runtime.registry import mutation as declare_mutation
from reactor.runtime.waist import Failure, Outcome
from reactor.schema import v
from reactor.server import Reactor
from reactor.testing.callers import admin, user
from reactor.testing.subscription import PATIENCE_S, Subscription
from reactor.values import wire

if TYPE_CHECKING:
    import httpx

    from reactor.runtime.contexts import MutationCtx
    from reactor.runtime.references import FunctionProxy

__all__ = ["Backend", "backend"]

P = ParamSpec("P")
R = TypeVar("R")

_ERRORS: dict[str, Any] = {
    kind.code: kind
    for kind in (getattr(errors, name) for name in errors.__all__)
    if kind is not errors.ApplicationError
}

_run_numbers = itertools.count(1)
_apps: dict[Path, App] = {}
"""Loaded once in a process, so that the tests' own imports and the backend mean the same classes."""


class Backend:
    """A deployment, as one caller sees it: nobody in particular at first; see `as_user` and `as_admin`.

    Functions are named by the function itself (then arguments and results are checked by type checkers too), by a path
    like "tasks:list", or through `api`. Internal functions may be called as well. Errors are raised as the very
    exceptions that the function raised.
    """

    def __init__(self, reactor: Reactor, caller: Caller = ANONYMOUS) -> None:
        self.reactor = reactor
        """The ASGI application, started."""
        self.caller = caller

    @property
    def clock(self) -> ManualClock:
        assert isinstance(self.reactor.clock, ManualClock)
        return self.reactor.clock

    # ------------------------------------------------------------------------------------------------------------- calling

    @overload
    async def query(self, ref: Query[Any, P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def query(self, ref: str | FunctionProxy, args: Mapping[str, Any] | None = None, /, **kwargs: Any) -> Any: ...
    async def query(self, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query once."""
        return await self._call("query", ref, args, kwargs)

    @overload
    async def mutation(self, ref: Mutation[Any, P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def mutation(
        self, ref: str | FunctionProxy, args: Mapping[str, Any] | None = None, /, **kwargs: Any
    ) -> Any: ...
    async def mutation(self, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a mutation; it is committed, and subscribers can see it, once this returns."""
        return await self._call("mutation", ref, args, kwargs)

    @overload
    async def action(self, ref: Action[Any, P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def action(
        self, ref: str | FunctionProxy, args: Mapping[str, Any] | None = None, /, **kwargs: Any
    ) -> Any: ...
    async def action(self, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run an action to its end."""
        return await self._call("action", ref, args, kwargs)

    async def run(self, function: Callable[[MutationCtx], Awaitable[R]], /) -> R:
        """Run `async def function(ctx)` as one mutation, with a read-write `ctx.db`; what it returns is not validated.

        When it raises, nothing it wrote remains.
        """
        result: R | None = None

        async def inline(ctx: MutationCtx) -> None:
            nonlocal result
            result = await function(ctx)

        path = f"reactor_testing:run{next(_run_numbers)}"
        declared = declare_mutation(inline)
        app = self._app
        app.functions[path] = RegisteredFunction(
            declared, path, app.types.arguments_of(inline, {}), app.types.returns_of(inline, v.null())
        )
        try:
            await self._call("mutation", path, (), {})
        finally:
            del app.functions[path]
        return result  # type: ignore[return-value]

    @contextlib.asynccontextmanager
    async def _subscribe(self, ref: Any, args: tuple[Any, ...], kwargs: Any) -> AsyncIterator[Subscription[Any]]:
        fn = self._resolve("query", ref)
        subscriber = self.reactor.backend.subscriber(self._caller_of(fn))
        try:
            subscriber.add(0, fn.path, self._encode(fn, ref, args, kwargs))
            yield Subscription(self.reactor.backend, subscriber, fn.path, partial(self._unpack, fn))
        finally:
            subscriber.close()

    @overload
    def subscribe(
        self, ref: Query[Any, P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> contextlib.AbstractAsyncContextManager[Subscription[R]]: ...
    @overload
    def subscribe(
        self, ref: str | FunctionProxy, args: Mapping[str, Any] | None = None, /, **kwargs: Any
    ) -> contextlib.AbstractAsyncContextManager[Subscription[Any]]: ...
    def subscribe(self, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Follow a query, like a client that shows it: `async with backend.subscribe(tasks.list_) as updates:`."""
        return self._subscribe(ref, args, kwargs)

    # ---------------------------------------------------------------------------------------------------------- who, when

    def as_user(self, subject: str, /, **attributes: Any) -> Backend:
        """The same deployment, as a user with this subject sees it.

        `attributes` are further claims (`email`, `name`, `email_verified`, `issuer` …; custom ones keep their names).
        """
        return Backend(self.reactor, user(subject, attributes))

    async def with_token(self, token: str) -> Backend:
        """The same deployment, as the user that this token proves: see the fixture `issuer`. Raises AuthenticationError."""
        return Backend(self.reactor, await self.reactor.identities.authenticate(token))

    def as_admin(self) -> Backend:
        """The same deployment, with the admin key."""
        return Backend(self.reactor, admin())

    def now(self) -> float:
        """The time in milliseconds since 1970, as `ctx.now()` gives it."""
        return self.clock.now_ns() / 1e6

    async def advance(self, by: timedelta, *, wait: bool = True) -> None:
        """Move time forward, and run what falls due on the way: jobs and crons, each at its time, and what they schedule.

        Returns when all that has ended; with `wait=False` the actions among it may still be running.
        """
        target = self.clock.now_ns() + round(by.total_seconds() * 1e9)
        await self._idle(wait)
        while (due := self._next_due(crons=True)) is not None and self.clock.now_ns() < due <= target:
            self.clock.advance(due - self.clock.now_ns())
            await self._idle(wait)
        self.clock.advance(max(0, target - self.clock.now_ns()))
        await self._idle(wait)

    async def settle(self) -> None:
        """Return once everything that is under way inside the backend has had its turn; actions may still be running."""
        await self._idle(False)

    async def finish_in_progress(self) -> None:
        """Return once no job is due or running, actions included. Time stands still."""
        await self._idle(True)

    async def finish_scheduled(self, *, max_steps: int = 100) -> None:
        """Move time forward until no scheduled function is left, running each when it is due (crons on the way, too).

        Raises AssertionError when there still are some after `max_steps` different times.
        """
        await self._idle(True)
        for _ in range(max_steps):
            due = self._next_due(crons=False)
            if due is None:
                return
            await self.advance(timedelta(microseconds=-(-max(0, due - self.clock.now_ns()) // 1000)))
        if self._next_due(crons=False) is not None:
            raise AssertionError(
                f"there are still scheduled functions after {max_steps} steps: do they schedule themselves again for ever?"
            )

    def _next_due(self, *, crons: bool) -> int | None:
        due = [self.reactor.scheduler.next_due_ns, self.reactor.crons.next_due_ns if crons else None]
        return min((ns for ns in due if ns is not None), default=None)

    async def _idle(self, actions: bool) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                quiet = 0
                while quiet < 2:  # what has just begun has not asked for anything yet
                    for _ in range(10):
                        await asyncio.sleep(0)
                    # Crons schedule jobs, and jobs no crons.
                    await self.reactor.crons.idle(actions=actions)
                    await self.reactor.scheduler.idle(actions=actions)
                    quiet += 1
                    if self.reactor.backend.transactions:
                        quiet = 0
                        await asyncio.sleep(0.001)
        except TimeoutError:
            raise AssertionError(
                f"what was due is still running after {PATIENCE_S:g} s of real time; for an action that waits for the test, "
                "there is advance(…, wait=False)"
            ) from None

    async def set_environment(self, /, **variables: str | None) -> None:
        """Set environment variables of the deployment, as `reactor env set` does; None removes one."""
        await self.reactor.environment.update(list(variables.items()))

    async def fetch(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """Call an HTTP action: a request to the site port. `options` as for `httpx.request` (`json`, `headers` …).

        It is answered as this backend's user (`as_user`), unless `headers` have an Authorization of their own.
        The URLs that `ctx.storage` gives can be fetched, too.
        """
        import httpx

        if path.startswith(f"{self.reactor.url}/"):
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.reactor)) as client:
                return await client.request(method, path, **options)
        if not path.startswith("/"):
            raise ValueError(f"the path must start with '/', not {path!r}")

        async def site(scope: Any, receive: Any, send: Any) -> None:
            complete = False

            async def watched(event: Any) -> None:
                nonlocal complete
                complete = event["type"] == "http.response.body" and not event.get("more_body")
                await send(event)

            named = any(name == b"authorization" for name, _ in scope["headers"])
            caller = None if named or self.caller is ANONYMOUS else self.caller
            await self.reactor.site(scope, receive, watched, caller=caller)
            if not complete:
                raise httpx.RemoteProtocolError("the answer was cut off: the handler failed while it was answering")

        transport = httpx.ASGITransport(site)
        async with httpx.AsyncClient(transport=transport, base_url=self.reactor.site_url) as client:
            return await client.request(method, path, **options)

    # --------------------------------------------------------------------------------------------------------------- parts

    @property
    def _app(self) -> App:
        return self.reactor.backend.app

    def _resolve(self, kind: str, ref: Any) -> RegisteredFunction:
        fn = self._app.resolve_reference(ref)
        return self._app.resolve(fn.path, admin=True, kind=kind)

    def _caller_of(self, fn: RegisteredFunction) -> Caller:
        """Tests may call internal functions, which takes an operator; public ones see the caller as it is."""
        return admin(self.caller) if fn.is_internal else self.caller

    def _encode(self, fn: RegisteredFunction, ref: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        return encode_call(fn, ref, args, kwargs, self.reactor.backend.table_name)

    async def _call(self, kind: str, ref: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        fn = self._resolve(kind, ref)
        encoded = self._encode(fn, ref, args, kwargs)
        result = await self.reactor.backend.run(
            self._app, fn, encoded, self._caller_of(fn), request_id=os.urandom(8).hex()
        )
        return fn.returns.read(result.value)

    def _unpack(self, fn: RegisteredFunction, outcome: Outcome) -> Any:
        if isinstance(outcome, Failure):
            raise _error(outcome)
        return fn.returns.read(outcome.value)


def _error(failure: Failure) -> Exception:
    """A subscriber is told of failures like a client, so the exception is made anew from what it is told."""
    if failure.data is not None:
        return errors.ApplicationError(wire.decode(failure.data))
    kind = _ERRORS.get(failure.code, errors.FunctionError)
    return kind(failure.message, code=failure.code or None)


@contextlib.asynccontextmanager
async def backend(
    app: str | os.PathLike[str] | App | None = None, *, clock: ManualClock | None = None, **options: Any
) -> AsyncIterator[Backend]:
    """A fresh deployment of `app` (a directory, or an app that is loaded): `async with backend("my_app") as b:`.

    A directory's app is loaded once in a process, under its real module names. `options` are settings.
    """
    memory = Path("/dev/shm")
    root = tempfile.mkdtemp(prefix="reactor-test-", dir=memory if os.access(memory, os.W_OK) else None)
    options = {
        "dev": True,
        "synchronous": "OFF",
        "readers": 2,
        "cron_splay": False,
        "stop_grace_s": 0.1,
        "admin_keys": (f"test|{os.urandom(16).hex()}",),  # else one would be made, and kept below the home directory
        **options,
        "data": Path(root),
    }
    settings = load_settings(None if isinstance(app, App) else app, flags=options, environ={})
    # Never where the project's own files are.
    settings = msgspec.structs.replace(settings, files=options.get("files"))
    loaded = app if isinstance(app, App) else _load(settings.app)
    # A copy, because `run` adds functions of its own.
    own = App(loaded.functions, loaded.schema, root=loaded.root, modules=loaded.modules)
    try:
        async with Reactor(settings=settings, clock=clock or ManualClock(), loaded=own) as reactor:
            yield Backend(reactor)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _load(directory: Path) -> App:
    if directory not in _apps:
        _apps[directory] = AppLoader(directory, private=False).load()
    return _apps[directory]
