"""The watchdog: ends queries and mutations whose own code runs too long.

One daemon thread looks at the running calls every few milliseconds and compares the CPU time of their threads (and, for
code that waits instead of computing, the wall clock) with the limit of user time; what our operations took is not
counted. It throws `TimedOut` into the thread, between two bytecodes of user code only: see `runtime.call` for the token.
It cannot stop a C call that never returns to Python.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from typing import Final

from reactor.runtime.call import Root, TimedOut

__all__ = ["disarm", "unwatch", "watch"]

INTERVAL_S: Final = 0.02
WALL_FACTOR: Final = 5.0
"""A call may take so many times its limit on the wall clock: other threads and a busy machine count there."""
IDLE_ROUNDS: Final = 100
"""After so many looks at nothing the thread sleeps until the next call."""

_ADDRESS = ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
# PYFUNCTYPE keeps the GIL, which both uses need: nothing else runs between the decision and the deed.
_set_async_exc = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.py_object)(_ADDRESS)
_clear_async_exc = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(_ADDRESS)

_lock: Final = threading.Lock()
"""Held while firing, and while a thread takes back what was fired at it."""
_running: Final[dict[int, Root]] = {}
_wake: Final = threading.Event()
_sleeping = True
_thread: threading.Thread | None = None


class _Baseline:
    """CPU and store time of a call when it was first looked at."""

    __slots__ = ("clock", "cpu", "store_s")

    def __init__(self, root: Root) -> None:
        self.clock: int | None = None
        self.cpu = 0.0
        self.store_s = root.store_s
        get_clock = getattr(time, "pthread_getcpuclockid", None)
        if get_clock is not None:
            clock: int = get_clock(root.thread)
            self.clock = clock
            self.cpu = time.clock_gettime(clock)


def watch(root: Root) -> None:
    """From here on the call in this thread may be ended. Pair it with `unwatch`."""
    _running[root.thread] = root
    if _sleeping:
        _wake_up()


def unwatch(root: Root) -> None:
    """The call is over: from here on it can't be hit any more."""
    _running.pop(root.thread, None)
    if root.fired:
        disarm(root, for_good=True)


def disarm(root: Root, *, for_good: bool = False) -> None:
    """On the call's own thread: take back an exception that may still be under way."""
    while True:
        # The exception may come down anywhere in here, as late as it is; then we go round again.
        with contextlib.suppress(TimedOut):
            with _lock:
                root.in_ours = True
                if for_good:
                    root.closed = True
                _clear_async_exc(root.thread, None)
            return


def _forget_threads() -> None:
    """In a forked child: the parent's watchdog and its calls are not here."""
    global _thread, _sleeping
    _running.clear()
    _thread, _sleeping = None, True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _wake_up() -> None:
    global _thread, _sleeping
    with _lock:
        _sleeping = False
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_watch_all, name="reactor-watchdog", daemon=True)
            _thread.start()
    _wake.set()


def _watch_all() -> None:
    global _sleeping
    idle = 0
    while True:
        if _running:
            idle = 0
            for root in list(_running.values()):
                try:
                    _look_at(root)
                except (ProcessLookupError, OSError):  # its thread has gone
                    _running.pop(root.thread, None)
        else:
            idle += 1
            if idle > IDLE_ROUNDS:
                idle = 0
                _wake.clear()
                _sleeping = True
                if not _running:  # else: one came in between and did not see that we sleep
                    _wake.wait()
                _sleeping = False
        time.sleep(INTERVAL_S)


def _look_at(root: Root) -> None:
    # During an operation of ours nothing counts, and its time is not in `store_s` yet.
    if not root.token and not root.fired:
        return
    base = root.watch
    if base is None:
        base = root.watch = _Baseline(root)
        return
    limit = root.host.limits.user_time_s
    wall = time.perf_counter() - root.started - root.store_s
    if wall < limit:
        return
    if base.clock is not None:
        cpu = time.clock_gettime(base.clock) - base.cpu - (root.store_s - base.store_s)
        if cpu < limit and wall < limit * WALL_FACTOR:
            return
    elif wall < limit * WALL_FACTOR:
        return
    _fire(root)


def _fire(root: Root) -> None:
    with _lock:
        if root.closed:
            return
        if not root.fired:
            try:
                root.token.pop()
            except IndexError:
                return  # it is in one of our operations: look again later
            root.fired = True
            root.in_ours = False
        elif root.in_ours:
            return
        _set_async_exc(root.thread, TimedOut)
