"""One running query or mutation: whose turn it is (user code or ours), what it has observed, and its awaitable operations.

The *turn token* keeps the watchdog out of our own code: it lies in `Root.token` while user code runs and is taken out
while one of our operations does. Whoever pops it owns the moment: taking it out of a list is atomic, so the watchdog can
inject its exception only between two operations, never into one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, TypeVar

from reactor.auth.identity import Caller
from reactor.clock import new_seed
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import MissingTable
from reactor.errors import FunctionError, LimitExceeded, StoreError, Unavailable
from reactor.runtime.logs import LogLines

if TYPE_CHECKING:
    from reactor.runtime.app import App
    from reactor.runtime.host import Host
    from reactor.runtime.registry import RegisteredFunction

__all__ = ["Call", "Operation", "Root", "TimedOut"]

T = TypeVar("T")
perf_counter = time.perf_counter


class TimedOut(BaseException):
    """Thrown into user code by the watchdog. Not an `Exception`, so that `except Exception` does not keep it going."""


class Root:
    """A top-level execution: one transaction, one thread, all its nested calls."""

    # What most calls never change stands here, and costs them nothing.
    is_transactional = True
    observed_identity = False
    observed_time = False
    journal_out: str | None = None
    fatal: BaseException | None = None
    """Once set, the transaction can't commit, whatever user code makes of the exception."""
    missing: MissingTable | None = None
    """A table has to be made first; then all of it runs again."""
    doomed: BaseException | None = None
    """`fatal` or `missing`: every further operation raises it, for the transaction may be gone from under us."""
    generators: Sequence[Any] = ()
    """Weak references to the async generators that user code began."""
    fired = False
    """The watchdog has taken the token, for good."""
    in_ours = True
    """After `fired`: whether it is our turn."""
    closed = False
    watch: Any = None
    """The watchdog's own notes."""

    def __init__(
        self, app: App, host: Host, tx: Transaction, caller: Caller, path: str, journal: str | None, request_id: str
    ) -> None:
        self.app = app
        self.host = host
        self.tx = tx
        self.caller = caller
        self.path = path
        self.journal = journal
        self.request_id = request_id
        self.logs = LogLines(host.limits, host.clock)
        self.pending: set[Operation[Any]] = set()
        """Operations that were created and not awaited yet."""
        self.thread = get_ident()
        self.token: list[None] = []
        self.started = self.entered = perf_counter()
        """When the call, and when our present turn, began."""
        self.store_s = 0.0
        """Seconds spent in our operations (the store, encoding, waiting for either)."""

    # Turns. Ours at the beginning.

    def to_user(self) -> None:
        """Our turn ends: user code runs from here on."""
        self.store_s += perf_counter() - self.entered
        if self.fired:
            self.in_ours = False
        else:
            self.token.append(None)

    def to_ours(self) -> None:
        """User code's turn ends. Raises TimedOut when the watchdog was faster; our turn has begun then all the same."""
        try:
            self.token.pop()
        except IndexError:
            self.absorb()
            raise TimedOut from None
        finally:
            self.entered = perf_counter()

    def absorb(self) -> None:
        """The watchdog has fired: take back what it may still have under way, so that it can't strike in our code."""
        from reactor.runtime.watchdog import disarm

        disarm(self)

    def fail_fatally(self, error: BaseException) -> None:
        """The transaction can't commit any more; the first reason stays."""
        if self.fatal is None:
            self.fatal = self.doomed = error


class Call:
    """One function call of a root: the top-level one or a nested one. `thread` is 0 once it has ended."""

    __slots__ = ("depth", "fn", "paginated", "rng", "root", "thread", "tx")

    def __init__(self, root: Root, fn: RegisteredFunction, depth: int) -> None:
        self.root = root
        self.fn = fn
        self.depth = depth
        self.tx = root.tx
        self.thread = root.thread
        self.paginated = False
        self.rng: random.Random | None = None

    @property
    def random(self) -> random.Random:
        rng = self.rng
        if rng is None:
            rng = self.rng = random.Random(new_seed())
        return rng

    def check(self, what: str = "ctx") -> None:
        """Raise FunctionError when the call has ended or this is another thread."""
        if self.thread != get_ident():
            raise self.dead(what)

    def dead(self, what: str) -> FunctionError:
        if self.thread:
            return FunctionError(
                f"{what} was used on another thread than the one that runs {self.fn.path}. A query or mutation does its "
                "work on its own thread; to use threads, write an action."
            )
        return FunctionError(
            f"{what} was used after {self.fn.path} had ended. A ctx lives as long as the call it was made for; await "
            "everything before returning."
        )


class Operation(Coroutine[Any, Any, T]):
    """Something `ctx` was asked to do, done when it is awaited. Awaiting it twice is an error, never awaiting it too."""

    __slots__ = ("args", "call", "name", "run")

    def __init__(self, call: Call, name: str, run: Callable[..., T], args: tuple[Any, ...]) -> None:
        self.call = call
        self.name = name
        self.run: Callable[..., T] | None = run
        self.args = args
        call.root.pending.add(self)

    def __await__(self) -> Generator[Any, Any, T]:
        run = self.run
        if run is None:
            raise FunctionError(f"{self.name}(…) was awaited twice. Keep its result in a variable.")
        self.run = None
        call = self.call
        root = call.root
        root.pending.discard(self)
        if call.thread != get_ident():
            raise call.dead(self.name)
        return perform(root, run, self.args)
        yield  # makes it a generator: what `await` drives fastest

    # The rest of the coroutine protocol, for tools that ask.

    def send(self, value: Any, /) -> Any:
        return self.__await__().send(None)

    def throw(self, kind: Any, value: Any = None, trace: Any = None, /) -> Any:
        self.close()
        raise kind if value is None else value

    def close(self) -> None:
        self.run = None
        self.call.root.pending.discard(self)

    def __repr__(self) -> str:
        return f"<{self.name}(…), to be awaited>"


def perform(root: Root, run: Callable[..., T], args: tuple[Any, ...]) -> T:
    """Run one operation in our turn."""
    if root.doomed is not None:
        raise root.doomed
    # `to_ours` and `to_user`, written out: this is the hottest path there is.
    try:
        root.token.pop()
    except IndexError:
        root.absorb()
        root.in_ours = False  # back to user code with it, which may try to go on
        raise TimedOut from None
    root.entered = perf_counter()
    try:
        return run(*args)
    except (LimitExceeded, StoreError, Unavailable) as error:
        note(root, error)
        raise
    except MissingTable as missing:
        root.missing = root.doomed = missing
        raise
    finally:
        root.store_s += perf_counter() - root.entered
        if root.store_s > root.host.limits.store_time_s:
            root.fail_fatally(
                LimitExceeded(
                    "Your request timed out performing too many system operations.", code="SystemTimeoutError"
                )
            )
        if root.fired:
            root.in_ours = False
        else:
            root.token.append(None)


def note(root: Root, error: BaseException) -> None:
    """Remember errors after which nothing may commit."""
    if not isinstance(error, LimitExceeded):
        root.fail_fatally(error)
    elif (fatal := root.tx.usage.fatal) is not None:
        root.fail_fatally(fatal)


MAX_NESTED: Final = "Cross component call depth limit exceeded. Do you have an infinite loop in your app?"
