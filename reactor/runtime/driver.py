"""Drives user coroutines on a store thread: to their end in one go, because `ctx` is the only thing they may wait for.

Everything that needs an event loop meets a stub that says what to do instead, and so does a coroutine that suspends
bare. Each call gets a fresh copy of the context variables; async generators are closed before the call ends.
"""

from __future__ import annotations

import asyncio.events
import contextvars
import sys
import weakref
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Final

from reactor.errors import FunctionError
from reactor.runtime.audit import install as install_audit
from reactor.runtime.call import Root, TimedOut
from reactor.runtime.logs import CURRENT, capture_output, is_capturing
from reactor.runtime.watchdog import disarm, unwatch, watch

__all__ = ["drive", "foreign_await", "run_root"]

_get_running_loop = asyncio.events._get_running_loop
_set_running_loop = asyncio.events._set_running_loop
_copy_context = contextvars.copy_context
_MAX_THROWS: Final = 16


def foreign_await(what: str) -> FunctionError:
    return FunctionError(
        f"Queries and mutations can only await `ctx`; this one used {what}. Await one thing after the other instead of "
        "`asyncio.gather`, read several documents with `ctx.db.get_many`, and move whatever waits for the outside world "
        "(a sleep, HTTP, threads) into an action.",
        code="ForeignAwait",
    )


class _NoLoop:
    """Set as the running event loop while queries and mutations run: any use of it is refused."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        error = foreign_await(f"asyncio (the event loop's `{name}`)")
        call = CURRENT.get()
        if isinstance(call, Root):
            call.fail_fatally(error)
        raise error


_NO_LOOP: Final[Any] = _NoLoop()


def _generator_began(generator: AsyncGenerator[Any, Any]) -> None:
    root = CURRENT.get()
    if isinstance(root, Root):
        root.generators = [*root.generators, weakref.ref(generator)]


def _prepare() -> bool:
    """Set up the process, and this thread: a stub event loop and the hook for async generators.

    Returns whether the thread has an event loop of its own, and needs both back afterwards (only tests do that).
    """
    install_audit()
    capture_output()
    if sys.get_asyncgen_hooks()[0] is not _generator_began:
        sys.set_asyncgen_hooks(_generator_began, None)
    own_loop = _get_running_loop() is not None
    _set_running_loop(_NO_LOOP)
    return own_loop


def run_root(root: Root, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a top-level handler on this thread and return its result. Raises what it raises, or TimedOut."""
    loop = _get_running_loop()
    if loop is not _NO_LOOP or not is_capturing() or sys.get_asyncgen_hooks()[0] is not _generator_began:
        hooks = sys.get_asyncgen_hooks()
        if _prepare():
            try:
                return _run_root(root, coroutine)
            finally:
                sys.set_asyncgen_hooks(*hooks)
                _set_running_loop(loop)
    return _run_root(root, coroutine)


def _run_root(root: Root, coroutine: Coroutine[Any, Any, Any]) -> Any:
    token = CURRENT.set(root)
    watch(root)
    try:
        try:
            return drive(root, coroutine)
        finally:
            if root.generators:
                _close_generators(root)
    finally:
        unwatch(root)
        CURRENT.reset(token)


def drive(root: Root, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a handler to its end in user code's turn; begins and ends in ours, whatever is raised."""
    run = _copy_context().run
    try:
        root.to_user()
        try:
            yielded = run(coroutine.send, None)
        except StopIteration as stop:
            value = stop.value
        else:
            value = _refuse(root, run, coroutine, yielded)
        root.to_ours()
        return value
    except TimedOut:
        disarm(root)
        raise
    except BaseException:
        try:
            root.to_ours()
        except TimedOut:
            disarm(root)
            raise
        raise


def _refuse(root: Root, run: Any, coroutine: Coroutine[Any, Any, Any], yielded: Any) -> Any:
    """The coroutine suspended: throw the error in where it did, and again should it go on suspending."""
    what = "an await that suspends" if yielded is None else f"an await of {type(yielded).__name__}"
    error = foreign_await(what)
    root.fail_fatally(error)
    for _ in range(_MAX_THROWS):
        try:
            run(coroutine.throw, error)
        except StopIteration as stop:
            return stop.value
    coroutine.close()
    raise error


def _close_generators(root: Root) -> None:
    for reference in root.generators:
        generator = reference()
        if generator is None or generator.ag_frame is None:
            continue
        closing = generator.aclose()
        try:
            drive(root, closing)
        except TimedOut:
            raise
        except RuntimeError as error:
            # "asynchronous generator is already running", or one that refuses to end: not worth the result.
            root.logs.add("WARN", f"an async generator could not be closed: {error}")
