"""server-semantics 6.5: declaring crons, when they run, and what becomes of them over deploys and downtime. Checklist 41."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from reactor import Crons, SchemaError
from reactor.clock import ManualClock
from reactor.model import cron_jobs
from reactor.model.cron_schedule import CronSchedule
from reactor.runtime.cron_declarations import declared_crons
from reactor.runtime.loader import AppLoader
from reactor.server import Reactor
from reactor.testing import Backend
from tests.unit.runtime.harness import write_files

# A Saturday.
START = datetime(2025, 11, 1, 12, 0, 0, tzinfo=UTC)

WORK = """
    import asyncio
    from reactor import ActionCtx, ApplicationError, MutationCtx, QueryCtx, action, internal_mutation, query
    from schema import Entry

    gate = asyncio.Event()

    @internal_mutation
    async def note(ctx: MutationCtx, text: str = "ran") -> None:
        print("noting", text)
        identity = await ctx.auth.get_user_identity()
        await ctx.db.insert(Entry(text=text if identity is None else "somebody", at=ctx.now()))

    @action
    async def slow(ctx: ActionCtx) -> None:
        await ctx.run_mutation(note, text="slow began")
        await gate.wait()
        await ctx.run_mutation(note, text="slow ended")

    @internal_mutation
    async def fails(ctx: MutationCtx) -> None:
        await ctx.db.insert(Entry(text="rolled back", at=ctx.now()))
        raise ApplicationError("on purpose")

    @query
    async def entries(ctx: QueryCtx) -> list[Entry]:
        return await ctx.db.query(Entry).collect()
"""
SCHEMA = """
    from reactor import Document, define_schema, define_table

    class Entry(Document):
        text: str
        at: float

    schema = define_schema(entries=define_table(Entry))
"""
HEADER = """
    from datetime import time, timedelta
    from reactor import Crons
    from functions import work
    crons = Crons()
"""

Deployment = Callable[..., Any]


class Server:
    """A deployment in a directory that outlives it; `crons` writes what functions/crons.py declares."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = ManualClock(int(START.timestamp() * 1e9))
        self.splay = False
        write_files(root / "app", {"schema.py": SCHEMA, "functions/work.py": WORK})

    def crons(self, *lines: str) -> None:
        text = HEADER + "".join(f"    {line}\n" for line in lines)
        write_files(self.root / "app", {"functions/crons.py": text})

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Backend]:
        options: dict[str, Any] = {"dev": True, "synchronous": "OFF", "data": self.root / "data", "stop_grace_s": 0.05}
        async with Reactor(self.root / "app", clock=self.clock, cron_splay=self.splay, **options) as reactor:
            yield Backend(reactor)

    def down_for(self, by: timedelta) -> None:
        self.clock.advance(int(by.total_seconds() * 1e9))


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


async def ran(backend: Backend) -> list[tuple[str, str]]:
    """(text, time of day) of every run."""
    await backend.settle()
    rows = await backend.query("work:entries")
    return [(row.text, datetime.fromtimestamp(row.at / 1000, UTC).strftime("%d %H:%M:%S")) for row in rows]


async def times(backend: Backend) -> list[str]:
    return [at for _, at in await ran(backend)]


async def history(backend: Backend, name: str) -> list[cron_jobs.CronRunRecord]:
    return await backend.reactor.database.read(lambda tx: cron_jobs.last_runs(tx, name))


# Declaring


async def nothing() -> None: ...


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (lambda c: c.interval("x", {}, "a:b"), "Must specify one of seconds, minutes, or hours"),
        (
            lambda c: c.interval("x", {"seconds": 1, "minutes": 1}, "a:b"),
            "Must specify one of seconds, minutes, or hours",
        ),
        (lambda c: c.interval("x", {"days": 1}, "a:b"), "Must specify one of seconds, minutes, or hours"),
        (lambda c: c.interval("x", 5, "a:b"), "Must specify one of seconds, minutes, or hours"),
        (lambda c: c.interval("x", {"seconds": 0}, "a:b"), "Interval must be an integer greater than 0"),
        (lambda c: c.interval("x", {"seconds": 1.5}, "a:b"), "Interval must be an integer greater than 0"),
        (lambda c: c.interval("x", timedelta(0), "a:b"), "Interval must be an integer greater than 0"),
        (lambda c: c.interval("x", timedelta(seconds=1.5), "a:b"), "Interval must be an integer greater than 0"),
        (lambda c: c.interval("x", timedelta(seconds=-1), "a:b"), "Interval must be an integer greater than 0"),
        (lambda c: c.hourly("x", 60, "a:b"), "Minute of hour must be an integer from 0 to 59"),
        (lambda c: c.hourly("x", {"minuteUTC": 0.5}, "a:b"), "Minute of hour must be an integer from 0 to 59"),
        (lambda c: c.daily("x", {"hourUTC": 24}, "a:b"), "Hour of day must be an integer from 0 to 23"),
        (lambda c: c.daily("x", {}, "a:b"), "Hour of day must be an integer from 0 to 23"),
        (
            lambda c: c.daily("x", {"hourUTC": 1, "minuteUTC": -1}, "a:b"),
            "Minute of hour must be an integer from 0 to 59",
        ),
        (lambda c: c.daily("x", time(1, 2, 3), "a:b"), "whole minutes"),
        (lambda c: c.daily("x", time(1, tzinfo=timezone(timedelta(hours=2))), "a:b"), "by UTC"),
        (lambda c: c.weekly("x", ("Monday", time(1)), "a:b"), 'Day of week must be a string like "monday".'),
        (lambda c: c.weekly("x", {"hourUTC": 1}, "a:b"), 'Day of week must be a string like "monday".'),
        (lambda c: c.monthly("x", (0, time(1)), "a:b"), "Day of month must be an integer from 1 to 31"),
        (lambda c: c.monthly("x", (32, time(1)), "a:b"), "Day of month must be an integer from 1 to 31"),
        (lambda c: c.monthly("x", {"day": 1.5, "hourUTC": 1}, "a:b"), "Day of month must be an integer from 1 to 31"),
        (lambda c: c.cron("x", "* * * *", "a:b"), "it takes five"),
        (lambda c: c.cron("x", "61 * * * *", "a:b"), "can't be read"),
        (lambda c: c.cron("x", "0 0 30 2 *", "a:b"), 'The cron spec "0 0 30 2 *" will never match any time'),
        (lambda c: c.cron("x", "0 0 31 4,6 *", "a:b"), "will never match any time"),
        (
            lambda c: c.hourly("naïve", 0, "a:b"),
            "Invalid cron identifier naïve: use ASCII letters that are not control",
        ),
        (lambda c: c.hourly("tab\t", 0, "a:b"), "Invalid cron identifier"),
        (lambda c: (c.hourly("x", 0, "a:b"), c.daily("x", time(1), "a:b")), "Cron identifier registered twice: x"),
    ],
)
def test_6_5_what_is_refused_when_it_is_declared(declare: Callable[[Crons], Any], text: str) -> None:
    with pytest.raises(SchemaError) as caught:
        declare(Crons())
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("declare", "schedule"),
    [
        (lambda c: c.interval("x", {"minutes": 2}, "a:b"), CronSchedule("interval", seconds=120)),
        (lambda c: c.interval("x", timedelta(hours=1), "a:b"), CronSchedule("interval", seconds=3600)),
        (lambda c: c.hourly("x", None, "a:b"), CronSchedule("hourly")),
        (lambda c: c.hourly("x", {"minuteUTC": 5}, "a:b"), CronSchedule("hourly", minute=5)),
        (lambda c: c.daily("x", {"hourUTC": 3}, "a:b"), CronSchedule("daily", hour=3)),
        (lambda c: c.daily("x", time(3, 30), "a:b"), CronSchedule("daily", hour=3, minute=30)),
        (
            lambda c: c.weekly("x", {"dayOfWeek": "sunday", "hourUTC": 3, "minuteUTC": 0}, "a:b"),
            CronSchedule("weekly", day_of_week="sunday", hour=3, minute=0),
        ),
        (lambda c: c.monthly("x", (31, time(0)), "a:b"), CronSchedule("monthly", day=31, minute=0)),
        (lambda c: c.cron("x", " */5  * * * *", "a:b"), CronSchedule("cron", expression="*/5 * * * *")),
        (lambda c: c.cron("x", "0 0 29 2 *", "a:b"), CronSchedule("cron", expression="0 0 29 2 *")),
    ],
)
def test_6_5_what_is_taken_when_it_is_declared(declare: Callable[[Crons], Any], schedule: CronSchedule) -> None:
    crons = Crons()
    declare(crons)
    assert crons.declared["x"].schedule == schedule
    assert CronSchedule.from_value(schedule.to_value()) == schedule


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('crons.hourly("x", 0, "work:nothing")', "Cron 'x': Could not find function for 'work:nothing'"),
        ('crons.hourly("x", 0, work.entries)', "Unsupported function type"),
        ('crons.hourly("x", 0, work.note, text=5)', "the arguments don't fit"),
        ('crons.hourly("x", 0, work.note, text="y" * 2_000_000)', "too large"),
        ("crons = 5", "must export `crons = Crons()`"),
        ('crons.hourly("x", 77, work.note)', "Minute of hour must be an integer from 0 to 59"),
    ],
)
async def test_6_5_what_is_refused_when_it_is_deployed(server: Server, line: str, text: str) -> None:
    server.crons(line)
    with pytest.raises(SchemaError) as caught:
        async with server.running():
            pass
    assert text in str(caught.value)


def test_an_app_without_crons_has_none(tmp_path: Path) -> None:
    app = AppLoader(write_files(tmp_path, {"functions/__init__.py": ""})).load()
    assert declared_crons(app) == []


# When


def following(schedule: CronSchedule, start: datetime, count: int) -> list[datetime]:
    found = []
    at = start.timestamp() * 1000
    for _ in range(count):
        at, _ = schedule.following("x", at, at, splay=False)
        found.append(datetime.fromtimestamp(at / 1000, UTC))
    return found


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (CronSchedule("hourly", minute=30), ["2025-11-01 12:30", "2025-11-01 13:30"]),
        (CronSchedule("daily", hour=12, minute=0), ["2025-11-02 12:00", "2025-11-03 12:00"]),
        (CronSchedule("weekly", day_of_week="sunday", hour=0, minute=5), ["2025-11-02 00:05", "2025-11-09 00:05"]),
        (CronSchedule("weekly", day_of_week="saturday", hour=13, minute=0), ["2025-11-01 13:00", "2025-11-08 13:00"]),
        (CronSchedule("monthly", day=1, hour=0, minute=0), ["2025-12-01 00:00", "2026-01-01 00:00"]),
        # Not in shorter months.
        (
            CronSchedule("monthly", day=31, hour=0, minute=0),
            ["2025-12-31 00:00", "2026-01-31 00:00", "2026-03-31 00:00"],
        ),
        (
            CronSchedule("cron", expression="*/20 12 * * *"),
            ["2025-11-01 12:20", "2025-11-01 12:40", "2025-11-02 12:00"],
        ),
        (CronSchedule("cron", expression="0 0 * * 0"), ["2025-11-02 00:00", "2025-11-09 00:00"]),
        (CronSchedule("cron", expression="0 0 29 2 *"), ["2028-02-29 00:00", "2032-02-29 00:00"]),
    ],
)
def test_6_5_the_times_of_each_kind(schedule: CronSchedule, expected: list[str]) -> None:
    """checklist 41"""
    assert [f"{at:%Y-%m-%d %H:%M}" for at in following(schedule, START, len(expected))] == expected


def test_6_5_splay_gives_each_cron_a_stable_second_of_its_own() -> None:
    daily = CronSchedule("daily", hour=3, minute=30)
    start = START.timestamp() * 1000
    seconds = set()
    for name in ("a", "b", "c", "d", "e"):
        first, _ = daily.following(name, start, start, splay=True)
        second, _ = daily.following(name, first, first, splay=True)
        assert second - first == 86_400_000
        at = datetime.fromtimestamp(first / 1000, UTC)
        assert (at.hour, at.minute) == (3, 30)
        seconds.add(at.second)
    assert len(seconds) > 1
    hourly = CronSchedule("hourly")
    minutes = {datetime.fromtimestamp(hourly.first(n, start, splay=True) / 1000, UTC).minute for n in "abcdefgh"}
    assert len(minutes) > 1
    assert datetime.fromtimestamp(hourly.first("a", start, splay=False) / 1000, UTC).minute == 0


async def test_6_5_an_interval_runs_when_it_is_deployed_and_then_by_its_scheduled_times(server: Server) -> None:
    server.crons('crons.interval("sweep", timedelta(minutes=20), work.note, text="swept")')
    async with server.running() as backend:
        assert await ran(backend) == [("swept", "01 12:00:00")]
        await backend.advance(timedelta(hours=1))
        assert await times(backend) == ["01 12:00:00", "01 12:20:00", "01 12:40:00", "01 13:00:00"]


async def test_6_5_a_clock_cron_waits_for_its_time(server: Server) -> None:
    server.crons(
        'crons.daily("report", time(9, 30), work.note)',
        'crons.cron("check", "*/15 13 * * *", "work:note", {"text": "check"})',
    )
    async with server.running() as backend:
        await backend.advance(timedelta(days=1))
        assert await ran(backend) == [
            ("check", "01 13:00:00"),
            ("check", "01 13:15:00"),
            ("check", "01 13:30:00"),
            ("check", "01 13:45:00"),
            ("ran", "02 09:30:00"),
        ]


async def test_6_5_a_cron_is_at_most_once_at_a_time_and_skips_what_it_missed(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """checklist 41: overlap"""
    server.crons('crons.interval("slow", timedelta(minutes=1), work.slow)')
    async with server.running() as backend:
        await backend.advance(timedelta(minutes=10, seconds=30), wait=False)
        assert await ran(backend) == [("slow began", "01 12:00:00")]
        with caplog.at_level(logging.WARNING, "reactor.scheduler"):
            backend.reactor.backend.app.modules["work"].gate.set()
            await backend.finish_in_progress()
        assert await ran(backend) == [("slow began", "01 12:00:00"), ("slow ended", "01 12:10:30")]
        assert "Skipping 10 run(s) of job slow because multiple scheduled runs are in the past" in caplog.text
        await backend.advance(timedelta(seconds=30))
        assert (await ran(backend))[2:] == [("slow began", "01 12:11:00"), ("slow ended", "01 12:11:00")]


async def test_6_5_after_downtime_one_late_run_then_the_future(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """checklist 41: downtime"""
    server.crons(
        'crons.interval("sweep", timedelta(minutes=10), work.note)', 'crons.hourly("hour", 30, work.note, text="h")'
    )
    async with server.running() as backend:
        assert await times(backend) == ["01 12:00:00"]
    server.down_for(timedelta(hours=3, minutes=5))
    with caplog.at_level(logging.WARNING, "reactor.scheduler"):
        async with server.running() as backend:
            assert sorted((await ran(backend))[1:]) == [("h", "01 15:05:00"), ("ran", "01 15:05:00")]
            assert "Skipping 17 run(s) of job sweep because" in caplog.text
            assert "Skipping 2 run(s) of job hour because" in caplog.text
            await backend.advance(timedelta(minutes=25))
            assert (await times(backend))[3:] == ["01 15:10:00", "01 15:20:00", "01 15:30:00", "01 15:30:00"]


async def test_6_5_a_failing_cron_is_logged_and_goes_on(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.crons('crons.interval("bad", timedelta(minutes=1), work.fails)')
    with caplog.at_level(logging.WARNING, "reactor.scheduler"):
        async with server.running() as backend:
            await backend.advance(timedelta(minutes=2))
            assert await ran(backend) == []
            runs = await history(backend, "bad")
            assert [run.error is not None and run.error.splitlines()[0] for run in runs] == [
                "Uncaught ConvexError: on purpose"
            ] * 3
    assert "cron bad (work.js:fails) failed: Uncaught ConvexError: on purpose" in caplog.text


async def test_6_5_the_last_five_runs_are_kept_with_their_logs(server: Server) -> None:
    server.crons('crons.interval("sweep", timedelta(minutes=1), work.note, text="x")')
    async with server.running() as backend:
        await backend.advance(timedelta(minutes=9))
        runs = await history(backend, "sweep")
        start = START.timestamp() * 1000
        assert [(run.scheduled_time - start) / 60_000 for run in runs] == [5, 6, 7, 8, 9]
        assert {run.log_lines for run in runs} == {("[LOG] 'noting x'",)}
        assert {run.error for run in runs} == {None}


async def test_6_5_an_unchanged_cron_keeps_its_next_time_and_new_arguments_do_not_move_it(server: Server) -> None:
    """checklist 41: redeploy"""
    server.crons('crons.interval("sweep", timedelta(hours=1), work.note, text="old")')
    async with server.running() as backend:
        await backend.advance(timedelta(minutes=30))
        await backend.reactor.reload()
        assert await ran(backend) == [("old", "01 12:00:00")]
        server.crons('crons.interval("sweep", timedelta(hours=1), work.note, text="new")')
        await backend.reactor.reload()
        await backend.advance(timedelta(minutes=30))
        assert await ran(backend) == [("old", "01 12:00:00"), ("new", "01 13:00:00")]
    server.down_for(timedelta(minutes=5))
    async with server.running() as backend:
        await backend.advance(timedelta(minutes=55))
        assert await times(backend) == ["01 12:00:00", "01 13:00:00", "01 14:00:00"]


async def test_6_5_a_changed_schedule_is_followed_from_now_on(server: Server) -> None:
    server.crons('crons.daily("report", time(9, 0), work.note)')
    async with server.running() as backend:
        await backend.advance(timedelta(hours=1))
        server.crons('crons.hourly("report", 15, work.note)')
        await backend.reactor.reload()
        await backend.advance(timedelta(hours=1))
        assert await times(backend) == ["01 13:15:00"]
        server.crons('crons.interval("report", timedelta(minutes=50), work.note)')
        await backend.reactor.reload()
        await backend.advance(timedelta(hours=1))
        assert await times(backend) == ["01 13:15:00", "01 14:05:00", "01 14:55:00"]


async def test_6_5_a_changed_schedule_waits_where_the_old_runs_were_close_together(server: Server) -> None:
    server.crons('crons.interval("often", timedelta(seconds=20), work.note)')
    async with server.running() as backend:
        await backend.settle()
        server.crons('crons.interval("often", timedelta(hours=2), work.note)')
        await backend.reactor.reload()
        await backend.advance(timedelta(hours=1))
        assert await times(backend) == ["01 12:00:00", "01 12:00:20"]


async def test_6_5_a_removed_cron_stops_and_a_renamed_one_begins_anew(server: Server) -> None:
    server.crons(
        'crons.interval("one", timedelta(hours=1), work.note, text="1")',
        'crons.interval("two", timedelta(hours=1), work.note, text="2")',
    )
    async with server.running() as backend:
        await backend.advance(timedelta(minutes=10))
        server.crons('crons.interval("three", timedelta(hours=1), work.note, text="3")')
        await backend.reactor.reload()
        assert len(await ran(backend)) == 3
        assert await history(backend, "one") == []
        await backend.advance(timedelta(hours=1))
        assert (await ran(backend))[2:] == [("3", "01 12:10:00"), ("3", "01 13:10:00")]
    (server.root / "app" / "functions" / "crons.py").unlink()
    async with server.running() as backend:
        await backend.advance(timedelta(hours=5))
        assert len(await ran(backend)) == 4


async def test_6_5_a_cron_removed_while_it_runs_ends_and_stays_away(server: Server) -> None:
    server.crons('crons.interval("slow", timedelta(minutes=1), work.slow)')
    async with server.running() as backend:
        await backend.advance(timedelta(seconds=1), wait=False)
        work = backend.reactor.backend.app.modules["work"]
        server.crons()
        await backend.reactor.reload()
        work.gate.set()
        await backend.finish_in_progress()
        await backend.advance(timedelta(hours=1))
        assert [text for text, _ in await ran(backend)] == ["slow began", "slow ended"]


async def test_6_5_code_that_does_not_load_leaves_the_crons_as_they_were(server: Server) -> None:
    server.crons('crons.interval("sweep", timedelta(hours=1), work.note)')
    async with server.running() as backend:
        server.crons('crons.interval("sweep", timedelta(0), work.note)')
        with pytest.raises(SchemaError):
            await backend.reactor.reload()
        await backend.advance(timedelta(hours=1))
        assert await times(backend) == ["01 12:00:00", "01 13:00:00"]


async def test_an_action_cron_that_was_going_on_at_the_stop_is_marked_failed(server: Server) -> None:
    server.crons('crons.interval("slow", timedelta(minutes=10), work.slow)')
    async with server.running() as backend:
        await backend.advance(timedelta(seconds=1), wait=False)
    async with server.running() as backend:
        assert [text for text, _ in await ran(backend)] == ["slow began"]
        [run] = await history(backend, "slow")
        assert run.error == "Transient error while executing action"
        backend.reactor.backend.app.modules["work"].gate.set()
        await backend.advance(timedelta(minutes=10))
        assert [text for text, _ in await ran(backend)] == ["slow began"] * 2 + ["slow ended"]


async def test_a_mutation_and_the_next_time_of_its_cron_are_one_commit(server: Server) -> None:
    server.crons('crons.interval("sweep", timedelta(hours=1), work.note)')
    async with server.running() as backend:
        await backend.settle()
        before = backend.reactor.database.commits
        await backend.advance(timedelta(hours=1))
        assert len(await ran(backend)) == 2
        assert backend.reactor.database.commits == before + 1


async def test_crons_wait_for_nothing_when_there_are_none(server: Server) -> None:
    async with server.running() as backend:
        assert backend.reactor.crons.next_due_ns is None
        await asyncio.wait_for(backend.finish_in_progress(), 5)
