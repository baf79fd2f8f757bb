"""When a cron runs: the schedule as it is declared and stored, and the times that follow from it. All in UTC."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from cronsim import CronSim, CronSimError

from reactor.errors import SchemaError

__all__ = ["WEEKDAYS", "CronSchedule"]

WEEKDAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
COUNTED: Final = 1_000
"""Skipped occurrences of a clock schedule are counted up to here."""


class CronSchedule(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One of: every `seconds`; or at a minute, hour, day of month, day of week; or a cron `expression` of five fields."""

    kind: Literal["interval", "hourly", "daily", "weekly", "monthly", "cron"]
    seconds: int = 0
    minute: int | None = None
    """None: a stable minute and second of its own within the hour."""
    hour: int = 0
    day: int = 0
    day_of_week: str = ""
    expression: str = ""

    def to_value(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)

    @classmethod
    def from_value(cls, value: Any) -> CronSchedule:
        return msgspec.convert(value, cls, strict=False)

    def check(self) -> None:
        """Raise SchemaError when there is no such time."""
        if self.kind == "cron":
            _check_expression(self.expression)

    def first(self, name: str, now: float, *, splay: bool) -> float:
        """The first run of a new cron: an interval begins at once. Times are in milliseconds."""
        return now if self.kind == "interval" else next(self._after(name, now, splay))

    def again(self, name: str, previous: float | None, now: float, *, splay: bool) -> float:
        """The next run after the schedule was changed to this one."""
        if self.kind == "interval" and previous is not None:
            return max(previous + self.seconds * 1000.0, now)
        return self.first(name, now, splay=splay)

    def following(self, name: str, previous: float, now: float, *, splay: bool) -> tuple[float, int]:
        """The run after the one that was due at `previous`, and how many were left out because they lie before `now`."""
        if self.kind == "interval":
            period = self.seconds * 1000.0
            due = previous + period
            skipped = max(0, math.ceil((now - due) / period))
            return due + skipped * period, skipped
        skipped = 0
        for due in self._after(name, previous, splay):
            if due >= now:
                return due, skipped
            skipped += 1
            if skipped == COUNTED:
                break
        return next(self._after(name, now, splay)), skipped

    def gap(self, name: str, after: float) -> float:
        """The time between two runs, in milliseconds."""
        if self.kind == "interval":
            return self.seconds * 1000.0
        times = self._after(name, after, False)
        return -(next(times) - next(times))

    def _after(self, name: str, time: float, splay: bool) -> Iterator[float]:
        for moment in CronSim(self._six_fields(name, splay), datetime.fromtimestamp(time / 1000, UTC)):
            yield moment.timestamp() * 1000.0

    def _six_fields(self, name: str, splay: bool) -> str:
        """The schedule as a cron expression that begins with a field for seconds."""
        chance = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") if splay else 0
        if self.kind == "cron":
            return f"{chance % 60} {self.expression}"
        second = chance % 60
        minute = chance // 60 % 60 if self.minute is None else self.minute
        if self.kind == "hourly":
            return f"{second} {minute} * * * *"
        day = str(self.day) if self.kind == "monthly" else "*"
        weekday = str(WEEKDAYS.index(self.day_of_week)) if self.kind == "weekly" else "*"
        return f"{second} {minute} {self.hour} {day} * {weekday}"


def _check_expression(expression: str) -> None:
    fields = expression.split()
    if len(fields) != 5:
        raise SchemaError(
            f'The cron spec "{expression}" has {len(fields)} fields; it takes five: minute, hour, day of the month, month, '
            "day of the week."
        )
    now = datetime(2024, 1, 1, tzinfo=UTC)
    try:
        next(CronSim(expression, now), None)
        never = next(CronSim(expression, now), None) is None
    except CronSimError as error:
        never = False
        try:  # is it wrong, or is there only no such day in those months?
            CronSim(" ".join([*fields[:3], "*", fields[4]]), now)
            never = True
        except CronSimError:
            raise SchemaError(f'The cron spec "{expression}" can\'t be read: {error}.') from None
    if never:
        raise SchemaError(f'The cron spec "{expression}" will never match any time')
