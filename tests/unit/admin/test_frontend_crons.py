"""`_system/frontend/listCronJobs` and `listCronJobRuns` (deployment-api 8, 10.2, and point 56)."""

from __future__ import annotations

import json
from datetime import timedelta

from reactor.values.types import Int64
from tests.unit.admin.conftest import Dashboard


async def test_56_crons_with_their_schedules_and_arguments(dashboard: Dashboard) -> None:
    crons = {cron["name"]: cron for cron in await dashboard.query("listCronJobs")}
    schedules = {name: cron["cronSpec"]["cronSchedule"] for name, cron in crons.items()}
    assert schedules == {
        "often": {"type": "interval", "seconds": Int64(300)},
        "hourly": {"type": "hourly", "minuteUTC": Int64(7)},
        "daily": {"type": "daily", "minuteUTC": Int64(30), "hourUTC": Int64(9)},
        "weekly": {"type": "weekly", "minuteUTC": Int64(30), "hourUTC": Int64(9), "dayOfWeek": Int64(1)},
        "monthly": {"type": "monthly", "minuteUTC": Int64(30), "hourUTC": Int64(9), "day": Int64(2)},
        "expression": {"type": "cron", "cronExpr": "*/5 * * * *"},
    }
    for schedule in schedules.values():
        assert all(isinstance(value, Int64 | str) for value in schedule.values())
    spec = crons["daily"]["cronSpec"]
    assert spec["udfPath"] == "notes.js:remind"
    assert isinstance(spec["udfArgs"], bytes)
    assert json.loads(spec["udfArgs"]) == [{"text": "daily", "times": {"$integer": "AQAAAAAAAAA="}}]
    following = crons["daily"]["nextRun"]
    assert isinstance(following["nextTs"], Int64)
    assert following["prevTs"] is None
    assert following["state"] == {"type": "pending"}
    assert following["cronJobId"] == crons["daily"]["_id"]


async def test_a_run_is_told_to_who_watches(dashboard: Dashboard) -> None:
    await dashboard.backend.finish_in_progress()
    start = Int64(round(dashboard.backend.now() * 1e6))
    async with dashboard.subscribe("listCronJobs") as jobs, dashboard.subscribe("listCronJobRuns") as runs:
        often = {cron["name"]: cron for cron in await jobs.next()}["often"]
        assert often["lastRun"]["ts"] == start
        before = await runs.next()
        assert [run["name"] for run in before] == ["often"]
        await dashboard.backend.advance(timedelta(minutes=5))
        often = {cron["name"]: cron for cron in await jobs.next()}["often"]
        while often["lastRun"]["ts"] == start or often["nextRun"]["state"]["type"] != "pending":
            often = {cron["name"]: cron for cron in await jobs.next()}["often"]
        assert often["lastRun"]["ts"] == often["nextRun"]["prevTs"] == start + 300 * 10**9
        assert often["nextRun"]["nextTs"] == start + 600 * 10**9
    run = often["lastRun"]
    assert run["status"]["type"] == "success"
    assert run["logLines"]["isTruncated"] is False
    assert "reminding often" in run["logLines"]["logLines"][0]
    assert run["executionTime"] >= 0
    names = [run["name"] for run in await dashboard.query("listCronJobRuns")]
    assert names.count("often") == 2
