"""Named points where a test may make the process fail; free when nobody asked.

A point is a constant declared beside the code it sits in and passed to `hit`. Tests arm points in the same process
with `arm`, or in a server process through the environment: `REACTOR_FAULTS="commit.before=kill:3"` kills the process
(SIGKILL) the third time that point is reached; `=raise:N` raises `OSError` there once, `=sleep:SECONDS` waits each time.
With `REACTOR_FAULTS_WHILE=FILE` they count only while that file exists: how often a start passes a point depends on
which of its commits share a batch, so a test that wants the first one after it makes the file when the start is over.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

__all__ = ["arm", "arm_from_environment", "disarm_all", "hit"]

_armed: dict[str, Callable[[], None]] = {}


def hit(point: str) -> None:
    """Announce that execution reached `point`."""
    if _armed and (action := _armed.get(point)) is not None:
        action()


def arm(point: str, action: Callable[[], None]) -> None:
    """Run `action` whenever `point` is reached, on the thread that reaches it."""
    _armed[point] = action


def disarm_all() -> None:
    _armed.clear()


def _kill_on(count: int) -> Callable[[], None]:
    left = count

    def action() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return action


def _raise_on(point: str, count: int) -> Callable[[], None]:
    left = count

    def action() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(f"fault injected at {point}")

    return action


def arm_from_environment(value: str | None = None) -> None:
    """Arm what `REACTOR_FAULTS` asks for: comma-separated `point=kill:N`, `point=raise:N`, `point=sleep:SECONDS`."""
    gate = os.environ.get("REACTOR_FAULTS_WHILE", "")

    def arm_gated(point: str, action: Callable[[], None]) -> None:
        arm(point, action if not gate else lambda: action() if os.path.exists(gate) else None)

    for item in filter(None, (value if value is not None else os.environ.get("REACTOR_FAULTS", "")).split(",")):
        point, _, what = item.partition("=")
        verb, _, amount = what.partition(":")
        if verb == "kill":
            arm_gated(point, _kill_on(int(amount or 1)))
        elif verb == "raise":
            arm_gated(point, _raise_on(point, int(amount or 1)))
        elif verb == "sleep":
            seconds = float(amount)
            arm_gated(point, lambda seconds=seconds: time.sleep(seconds))
        else:
            raise ValueError(f"REACTOR_FAULTS: {item!r} is none of point=kill:N, point=raise:N, point=sleep:SECONDS")
