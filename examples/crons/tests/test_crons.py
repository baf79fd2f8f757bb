"""What the clock sets going, and what that does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from functions import maintenance, monitoring, reports, sessions
from reactor import MutationCtx, ScheduledFunction
from reactor.testing import Backend
from schema import HealthCheck, Sample, Session


async def advance_to(backend: Backend, *, hour: int, minute: int = 0, weekday: int | None = None) -> None:
    """Move the clock to the next such time. Monday is 0."""
    now = datetime.fromtimestamp(backend.now() / 1000, UTC)
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    while then <= now or weekday not in (None, then.weekday()):
        then += timedelta(days=1)
    await backend.advance(then - now)


@pytest.fixture
def web_site() -> Iterator[tuple[str, list[int]]]:
    """Its address, and the statuses that it answers with, the last one from then on."""
    statuses = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", statuses
    server.shutdown()
    server.server_close()


async def rows(backend: Backend) -> tuple[int, int, int]:
    async def count(ctx: MutationCtx) -> tuple[int, int, int]:
        tables = (Session, Sample, HealthCheck)
        found_sessions, samples, checks = [await ctx.db.query(table).count() for table in tables]
        return found_sessions, samples, checks

    return await backend.run(count)


async def test_an_interval_runs_at_once_and_then_every_so_often(backend: Backend) -> None:
    await backend.advance(timedelta(0))
    first = await backend.query(monitoring.latest)
    assert first is not None
    assert first.sessions == 0
    await backend.mutation(sessions.touch, user="ann")
    async with backend.subscribe(monitoring.latest) as updates:
        assert await updates.next() == first
        await backend.advance(timedelta(minutes=9))
        await updates.assert_quiet()
        await backend.advance(timedelta(minutes=1))
        second = await updates.next()
    assert second is not None
    assert second.sessions == 1


async def test_stale_sessions_go_within_the_next_hour(backend: Backend) -> None:
    await advance_to(backend, hour=12)
    await backend.mutation(sessions.touch, user="ann")
    await advance_to(backend, hour=12, minute=30)
    await backend.mutation(sessions.touch, user="bob")
    await advance_to(backend, hour=13, minute=14)
    assert (await rows(backend))[0] == 2
    await advance_to(backend, hour=13, minute=15)
    assert (await rows(backend))[0] == 1
    await advance_to(backend, hour=14, minute=15)
    assert (await rows(backend))[0] == 0


async def test_a_clean_up_goes_on_until_all_batches_are_done(backend: Backend) -> None:
    await advance_to(backend, hour=12)
    for number in range(25):
        await backend.mutation(sessions.touch, user=f"user {number}")
    await backend.advance(timedelta(minutes=61))
    await backend.mutation(sessions.touch, user="still here")
    await backend.mutation(maintenance.cleanup_stale_sessions, batch=10)
    await backend.advance(timedelta(0))
    assert (await rows(backend))[0] == 1

    async def batches(ctx: MutationCtx) -> int:
        jobs = await ctx.db.system.query(ScheduledFunction).collect()
        return sum(job.args == [{"batch": 10}] for job in jobs)

    assert await backend.run(batches) == 2  # after the first one, which the test called


async def test_a_report_at_midnight_sums_up_the_day(backend: Backend, web_site: tuple[str, list[int]]) -> None:
    url, statuses = web_site
    await advance_to(backend, hour=0)
    await advance_to(backend, hour=23, minute=29)
    day = datetime.fromtimestamp(backend.now() / 1000, UTC).date().isoformat()
    for user in ("ann", "bob"):
        await backend.mutation(sessions.touch, user=user)
    statuses[:] = [200, 500, 200]
    await backend.set_environment(CHECKED_URL=url)
    before = await backend.query(reports.latest)
    async with backend.subscribe(reports.latest) as updates:
        assert await updates.next() == before
        await advance_to(backend, hour=0)
        report = await updates.next()
    assert report is not None
    # At 23:30, 35, 40, 45, 50 and 55; that of 0:00 belongs to the next day.
    assert (report.day, report.most_sessions, report.checks, report.failed_checks) == (day, 2, 6, 1)


async def test_a_web_site_that_is_down_is_a_failed_check(backend: Backend) -> None:
    await backend.set_environment(CHECKED_URL="http://127.0.0.1:1")
    await backend.action(monitoring.health_check)

    async def only(ctx: MutationCtx) -> HealthCheck | None:
        return await ctx.db.query(HealthCheck).unique()

    check = await backend.run(only)
    assert check is not None
    assert (check.ok, check.detail) == (False, "ConnectError")


async def test_on_sunday_what_is_older_than_a_week_goes(backend: Backend) -> None:
    async def check(ctx: MutationCtx) -> None:
        await ctx.db.insert(HealthCheck(ok=True, detail="status 200"))

    await advance_to(backend, hour=2, minute=59, weekday=6)
    await backend.run(check)
    await advance_to(backend, hour=3, weekday=6)
    await backend.run(check)
    await backend.advance(timedelta(days=7, minutes=-1))
    assert (await rows(backend))[2] == 2
    await advance_to(backend, hour=3, weekday=6)
    assert (await rows(backend))[2] == 1
