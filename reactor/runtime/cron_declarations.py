"""`Crons`, as `functions/crons.py` declares them, and reading what an app has declared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, time, timedelta
from typing import Any, Final, ParamSpec, overload

from reactor.errors import InvalidValue, ReactorError, SchemaError
from reactor.limits import MIB
from reactor.model.cron_jobs import DeclaredCron
from reactor.model.cron_schedule import WEEKDAYS, CronSchedule
from reactor.runtime.app import App
from reactor.runtime.references import FunctionProxy
from reactor.runtime.registry import Action, Mutation
from reactor.runtime.scheduling import encode_for_later

__all__ = ["Crons", "declared_crons"]

P = ParamSpec("P")

_NAME: Final = re.compile(r"[ -~]+")
_UNITS: Final = {"seconds": 1, "minutes": 60, "hours": 3600}
_ARGUMENTS_MAX_BYTES: Final = MIB

Parts = Mapping[str, Any]
"""A schedule as ported code writes it: `{"hourUTC": 9, "minuteUTC": 30}`."""


@dataclass(frozen=True, slots=True)
class _Cron:
    name: str
    schedule: CronSchedule
    ref: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Crons:
    """The crons of an app: `crons = Crons()` in `functions/crons.py`. Each is declared by name, when, function, keywords.

    All times are UTC. Names are what a cron is known by across deploys. Wrong ones raise SchemaError.
    """

    def __init__(self) -> None:
        self.declared: dict[str, _Cron] = {}

    @overload
    def interval(
        self,
        name: str,
        every: timedelta | Parts,
        ref: Mutation[Any, P, Any] | Action[Any, P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...
    @overload
    def interval(
        self, name: str, every: timedelta | Parts, ref: FunctionProxy | str, args: Parts | None = None, /, **kwargs: Any
    ) -> None: ...
    def interval(self, name: str, every: Any, ref: Any, /, *args: Any, **kwargs: Any) -> None:
        """Run every so often, for the first time when it is deployed. Whole seconds."""
        self._add(name, CronSchedule("interval", seconds=_interval(every)), ref, args, kwargs)

    @overload
    def hourly(
        self,
        name: str,
        minute: int | Parts | None,
        ref: Mutation[Any, P, Any] | Action[Any, P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...
    @overload
    def hourly(
        self,
        name: str,
        minute: int | Parts | None,
        ref: FunctionProxy | str,
        args: Parts | None = None,
        /,
        **kwargs: Any,
    ) -> None: ...
    def hourly(self, name: str, minute: Any, ref: Any, /, *args: Any, **kwargs: Any) -> None:
        """Run at this minute of every hour; with None at one of its own."""
        if isinstance(minute, Mapping):
            minute = _known(minute, ("minute_utc",)).get("minute_utc")
        schedule = CronSchedule("hourly", minute=None if minute is None else _minute(minute))
        self._add(name, schedule, ref, args, kwargs)

    @overload
    def daily(
        self,
        name: str,
        at: time | Parts,
        ref: Mutation[Any, P, Any] | Action[Any, P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...
    @overload
    def daily(
        self, name: str, at: time | Parts, ref: FunctionProxy | str, args: Parts | None = None, /, **kwargs: Any
    ) -> None: ...
    def daily(self, name: str, at: Any, ref: Any, /, *args: Any, **kwargs: Any) -> None:
        """Run at this time of every day: `time(9, 30)`."""
        hour, minute = _time_of_day(at)
        self._add(name, CronSchedule("daily", hour=hour, minute=minute), ref, args, kwargs)

    @overload
    def weekly(
        self,
        name: str,
        at: tuple[str, time] | Parts,
        ref: Mutation[Any, P, Any] | Action[Any, P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...
    @overload
    def weekly(
        self,
        name: str,
        at: tuple[str, time] | Parts,
        ref: FunctionProxy | str,
        args: Parts | None = None,
        /,
        **kwargs: Any,
    ) -> None: ...
    def weekly(self, name: str, at: Any, ref: Any, /, *args: Any, **kwargs: Any) -> None:
        """Run on this day of every week: `("monday", time(9, 30))`."""
        day, at = _day_and_time(at, "day_of_week", '("monday", time(9, 30))')
        if not isinstance(day, str) or day not in WEEKDAYS:
            raise SchemaError('Day of week must be a string like "monday".')
        hour, minute = _time_of_day(at)
        self._add(name, CronSchedule("weekly", day_of_week=day, hour=hour, minute=minute), ref, args, kwargs)

    @overload
    def monthly(
        self,
        name: str,
        at: tuple[int, time] | Parts,
        ref: Mutation[Any, P, Any] | Action[Any, P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...
    @overload
    def monthly(
        self,
        name: str,
        at: tuple[int, time] | Parts,
        ref: FunctionProxy | str,
        args: Parts | None = None,
        /,
        **kwargs: Any,
    ) -> None: ...
    def monthly(self, name: str, at: Any, ref: Any, /, *args: Any, **kwargs: Any) -> None:
        """Run on this day of every month, left out where it is too short: `(1, time(9, 30))`."""
        day, at = _day_and_time(at, "day", "(1, time(9, 30))")
        day = _integer(day, 1, 31, "Day of month")
        hour, minute = _time_of_day(at)
        self._add(name, CronSchedule("monthly", day=day, hour=hour, minute=minute), ref, args, kwargs)

    @overload
    def cron(
        self,
        name: str,
        expression: str,
        ref: Mutation[Any, P, Any] | Action[Any, P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...
    @overload
    def cron(
        self, name: str, expression: str, ref: FunctionProxy | str, args: Parts | None = None, /, **kwargs: Any
    ) -> None: ...
    def cron(self, name: str, expression: str, ref: Any, /, *args: Any, **kwargs: Any) -> None:
        """Run when a cron expression of five fields says so: `"*/5 * * * *"`. Sunday is 0."""
        if not isinstance(expression, str):
            raise SchemaError(f'A cron expression is text like "*/5 * * * *", not {expression!r}')
        self._add(name, CronSchedule("cron", expression=" ".join(expression.split())), ref, args, kwargs)

    def _add(
        self, name: Any, schedule: CronSchedule, ref: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SchemaError(f"Invalid cron identifier {name}: use ASCII letters that are not control characters")
        if name in self.declared:
            raise SchemaError(f"Cron identifier registered twice: {name}")
        schedule.check()
        self.declared[name] = _Cron(name, schedule, ref, args, kwargs)

    def __repr__(self) -> str:
        return f"<Crons {', '.join(self.declared)}>"


def declared_crons(app: App) -> list[DeclaredCron]:
    """What `functions/crons.py` declares, with functions and arguments checked. Raises SchemaError."""
    module = app.modules.get("crons")
    if module is None:
        return []
    crons = getattr(module, "crons", None)
    if not isinstance(crons, Crons):
        raise SchemaError(
            "functions/crons.py must export `crons = Crons()`"
            + ("." if crons is None else f"; its `crons` is a {type(crons).__name__}.")
        )
    return [_resolved(app, cron) for cron in crons.declared.values()]


def _resolved(app: App, cron: _Cron) -> DeclaredCron:
    try:
        fn = app.resolve_reference(cron.ref)
        if fn.kind == "query":
            raise SchemaError(
                f"Unsupported function type. {fn.stored_path} is defined as a Query. Only Mutation and Action can be scheduled."
            )
        raw = encode_for_later(
            fn, fn.stored_path, cron.ref, cron.args, cron.kwargs, lambda number: None, _ARGUMENTS_MAX_BYTES
        )
        fn.arguments.decode(raw, None)
    except InvalidValue as error:
        raise SchemaError(f"Cron {cron.name!r}: the arguments don't fit: {error}") from None
    except ReactorError as error:
        raise SchemaError(f"Cron {cron.name!r}: {error}") from None
    return DeclaredCron(cron.name, fn.stored_path, raw, cron.schedule)


# The parts of schedules


def _interval(every: Any) -> int:
    """Whole seconds."""
    if isinstance(every, timedelta):
        seconds = every / timedelta(seconds=1)
        if seconds <= 0 or seconds != int(seconds):
            raise SchemaError(f"Interval must be an integer greater than 0 of seconds, not {every!r}")
        return int(seconds)
    if not isinstance(every, Mapping) or len(every) != 1 or next(iter(every)) not in _UNITS:
        raise SchemaError(f"Must specify one of seconds, minutes, or hours: write timedelta(minutes=5), not {every!r}")
    unit, count = next(iter(every.items()))
    if isinstance(count, bool) or not isinstance(count, int) or count <= 0:
        raise SchemaError(f"Interval must be an integer greater than 0, not {count!r}")
    return count * _UNITS[unit]


def _time_of_day(at: Any) -> tuple[int, int | None]:
    if isinstance(at, time):
        if at.second or at.microsecond:
            raise SchemaError(f"Crons run at whole minutes, not at {at.isoformat()}")
        if at.tzinfo not in (None, UTC):
            raise SchemaError(f"Crons run by UTC; {at!r} is of another time zone")
        return at.hour, at.minute
    if not isinstance(at, Mapping):
        raise SchemaError(f"The time of day is written time(9, 30), not {at!r}")
    parts = _known(at, ("hour_utc", "minute_utc"))
    minute = parts.get("minute_utc")
    return _integer(parts.get("hour_utc"), 0, 23, "Hour of day"), None if minute is None else _minute(minute)


def _day_and_time(at: Any, day: str, example: str) -> tuple[Any, Any]:
    if isinstance(at, Mapping):
        parts = _known(at, (day, "hour_utc", "minute_utc"))
        return parts.pop(day, None), parts
    if not isinstance(at, tuple | list) or len(at) != 2:
        raise SchemaError(f"The day and the time are written {example}, not {at!r}")
    return at[0], at[1]


def _minute(value: Any) -> int:
    return _integer(value, 0, 59, "Minute of hour")


def _integer(value: Any, least: int, most: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise SchemaError(f"{what} must be an integer from {least} to {most}")
    return value


def _known(parts: Parts, names: tuple[str, ...]) -> dict[str, Any]:
    """The parts by their Python names; `hourUTC` counts as `hour_utc`."""
    spelled = {"minuteUTC": "minute_utc", "hourUTC": "hour_utc", "dayOfWeek": "day_of_week"}
    found = {spelled.get(name, name): value for name, value in parts.items()}
    unknown = [name for name in found if name not in names]
    if unknown:
        raise SchemaError(f"A schedule has no {unknown[0]!r}; its parts are {', '.join(names)}")
    return found
