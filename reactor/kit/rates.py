"""Rate limits as arithmetic: how much is left, and when there will be enough. Pure.

A state is (value, time): what was left at a time. It may be negative: that much has been reserved of what is to come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from reactor.errors import SchemaError

__all__ = ["FixedWindow", "RateLimit", "State", "TokenBucket", "fixed_window", "token_bucket"]

State = tuple[float, float]

_SOON_MS: Final = 0.001
"""Waiting for less than this is no waiting: times are floats of milliseconds since 1970, good for a quarter of a microsecond."""


class RateLimit(Protocol):
    """What both kinds of limits have. Times are milliseconds since 1970."""

    @property
    def rate(self) -> float: ...
    @property
    def period_ms(self) -> float: ...
    @property
    def capacity(self) -> float: ...
    @property
    def max_reserved(self) -> float | None: ...

    def at(self, state: State | None, now: float) -> State:
        """The state at `now`; without an earlier one everything is left."""
        ...

    def wait(self, state: State, now: float) -> float:
        """Milliseconds from `now` until the value is no longer negative."""
        ...

    def full_at(self, state: State) -> float:
        """When everything will be left again."""
        ...


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """See `token_bucket`."""

    rate: float
    period_ms: float
    capacity: float
    max_reserved: float | None

    def at(self, state: State | None, now: float) -> State:
        if state is None:
            return self.capacity, now
        value, ts = state
        return min(self.capacity, value + max(0.0, now - ts) * self.rate / self.period_ms), max(now, ts)

    def wait(self, state: State, now: float) -> float:
        wait = max(0.0, -state[0]) * self.period_ms / self.rate + state[1] - now
        return wait if wait >= _SOON_MS and state[0] < 0 else 0.0

    def full_at(self, state: State) -> float:
        return state[1] + (self.capacity - state[0]) * self.period_ms / self.rate


@dataclass(frozen=True, slots=True)
class FixedWindow:
    """See `fixed_window`."""

    rate: float
    period_ms: float
    capacity: float
    max_reserved: float | None
    start_ms: float | None

    def at(self, state: State | None, now: float) -> State:
        if state is None:
            begun = now if self.start_ms is None else now - (now - self.start_ms) % self.period_ms
            return self.capacity, begun
        value, ts = state
        windows = max(0, math.floor((now - ts + _SOON_MS) / self.period_ms))
        return min(self.capacity, value + windows * self.rate), ts + windows * self.period_ms

    def wait(self, state: State, now: float) -> float:
        value, ts = state
        return 0.0 if value >= 0 else max(0.0, ts + math.ceil(-value / self.rate) * self.period_ms - now)

    def full_at(self, state: State) -> float:
        return state[1] + max(1, math.ceil((self.capacity - state[0]) / self.rate)) * self.period_ms


def token_bucket(
    *, rate: float, period: timedelta, capacity: float | None = None, max_reserved: float | None = None
) -> TokenBucket:
    """`rate` tokens come back per `period`, evenly, up to `capacity` (default: `rate`), which is how large a burst may be.

    `max_reserved` bounds how many tokens of the future may be reserved. Raises SchemaError for numbers that make no sense.
    """
    return TokenBucket(*_numbers("token_bucket", rate, period, capacity, max_reserved))


def fixed_window(
    *,
    rate: float,
    period: timedelta,
    capacity: float | None = None,
    max_reserved: float | None = None,
    start: datetime | None = None,
) -> FixedWindow:
    """`rate` uses per window of `period`. The first window begins with the first use, or windows are aligned to `start`.

    What one window leaves unused is carried over up to `capacity` (default: `rate`, so nothing is). `max_reserved` bounds how
    much of later windows may be reserved. Raises SchemaError for numbers that make no sense.
    """
    if start is not None and start.tzinfo is None:
        raise SchemaError("fixed_window: `start` is an aware datetime, such as datetime(2025, 1, 1, tzinfo=UTC)")
    numbers = _numbers("fixed_window", rate, period, capacity, max_reserved)
    return FixedWindow(*numbers, None if start is None else start.timestamp() * 1000)


def _numbers(
    what: str, rate: Any, period: Any, capacity: Any, max_reserved: Any
) -> tuple[float, float, float, float | None]:
    if not isinstance(period, timedelta) or period <= timedelta(0):
        raise SchemaError(f"{what}: `period` is a positive timedelta, not {period!r}")
    for name, value in (("rate", rate), ("capacity", rate if capacity is None else capacity)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise SchemaError(f"{what}: `{name}` is a positive number, not {value!r}")
    if max_reserved is not None and not max_reserved >= 0:
        raise SchemaError(f"{what}: `max_reserved` is not negative, unlike {max_reserved!r}")
    return rate, period / timedelta(milliseconds=1), rate if capacity is None else capacity, max_reserved
