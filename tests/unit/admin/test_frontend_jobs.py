"""Scheduled functions in a dashboard: listed, cancelled, forgotten (deployment-api 10.2)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from reactor.values.types import Int64
from tests.unit.admin.conftest import Dashboard


async def jobs(dashboard: Dashboard, path: str | None = None, number: int = 25) -> list[dict[str, Any]]:
    more = {} if path is None else {"udfPath": path}
    options = {"numItems": number, "cursor": None}
    return (await dashboard.query("paginatedScheduledJobs", paginationOpts=options, **more))["page"]


async def later(dashboard: Dashboard, text: str, seconds: float = 60) -> str:
    return await dashboard.backend.mutation("notes:later", {"text": text, "seconds": seconds})


async def state(dashboard: Dashboard, job: str) -> str | None:
    (found,) = await dashboard.query("listById", ids=[{"id": job, "tableName": "_scheduled_functions"}])
    return None if found is None else found["state"]["kind"]


async def test_waiting_jobs_by_time_with_their_arguments(dashboard: Dashboard) -> None:
    start = dashboard.backend.now()
    options = {"numItems": 25, "cursor": None}
    async with dashboard.subscribe("paginatedScheduledJobs", paginationOpts=options) as updates:
        assert (await updates.next())["page"] == []
        second, first = await later(dashboard, "b", 90), await later(dashboard, "a", 30)
        while len(listed := (await updates.next())["page"]) < 2:
            pass
    assert [job["_id"] for job in listed] == [first, second]
    assert listed[0]["udfPath"] == "notes.js:remind"
    assert listed[0]["nextTs"] == Int64(round((start + 30_000) * 1e6))
    assert isinstance(listed[0]["nextTs"], Int64)
    assert listed[0]["state"] == {"type": "pending"}
    arguments = [{"text": "a", "times": {"$integer": "AgAAAAAAAAA="}}]
    assert json.loads(listed[0]["udfArgs"]) == arguments
    told = await dashboard.query("scheduler:getArgs", argsId=listed[0]["argsId"])
    assert json.loads(told["args"]) == arguments
    assert await dashboard.query("scheduler:nextScheduledJobTimestamp") == listed[0]["nextTs"]
    assert await jobs(dashboard, "notes.js:nothing") == []
    assert len(await jobs(dashboard, "notes.js:remind")) == 2
    await dashboard.backend.advance(timedelta(seconds=31))
    assert [job["_id"] for job in await jobs(dashboard)] == [second]
    for unknown in ("x", (await dashboard.newest("reminders"))[0]["_id"]):
        assert await dashboard.query("scheduler:getArgs", argsId=unknown) is None


async def test_one_job_is_cancelled(dashboard: Dashboard) -> None:
    job, other = await later(dashboard, "a"), await later(dashboard, "b")
    answer = await dashboard.http("POST", "/api/cancel_job", {"id": job, "componentId": None})
    assert (answer.status_code, answer.content) == (200, b"")
    assert await state(dashboard, job) == "canceled"
    assert [one["_id"] for one in await jobs(dashboard)] == [other]
    await dashboard.backend.advance(timedelta(seconds=61))
    assert "a" not in [note["text"] for note in await dashboard.newest("reminders")]
    again = await dashboard.http("POST", "/api/cancel_job", {"id": other})
    assert again.status_code == 200
    assert await state(dashboard, other) == "success"


async def test_all_jobs_or_those_of_one_function_are_cancelled(dashboard: Dashboard) -> None:
    made = [await later(dashboard, str(number)) for number in range(300)]
    kept = await dashboard.http("POST", "/api/cancel_all_jobs", {"udfPath": "notes.js:nothing"})
    assert kept.status_code == 200
    assert await state(dashboard, made[0]) == "pending"
    assert (await dashboard.http("POST", "/api/cancel_all_jobs", {"udfPath": "notes.js:remind"})).status_code == 200
    assert {await state(dashboard, job) for job in made} == {"canceled"}
    job = await later(dashboard, "x")
    assert (await dashboard.http("POST", "/api/cancel_all_jobs", {"componentId": None})).status_code == 200
    assert await state(dashboard, job) == "canceled"
    assert await jobs(dashboard) == []


async def test_all_jobs_are_forgotten(dashboard: Dashboard) -> None:
    made = [await later(dashboard, str(number)) for number in range(300)]
    await dashboard.http("POST", "/api/cancel_job", {"id": made[0]})
    answer = await dashboard.http("POST", "/api/delete_scheduled_functions_table", {"componentId": None})
    assert answer.status_code == 200
    assert {await state(dashboard, job) for job in made} == {None}
    before = len(await dashboard.newest("reminders"))
    await dashboard.backend.advance(timedelta(seconds=61))
    assert len(await dashboard.newest("reminders")) == before


@pytest.mark.parametrize("path", ["/api/cancel_job", "/api/cancel_all_jobs", "/api/delete_scheduled_functions_table"])
async def test_only_for_operators_and_only_with_a_body_that_makes_sense(dashboard: Dashboard, path: str) -> None:
    job = await later(dashboard, "a")
    for key in (None, "dashboard|wrong"):
        refused = await dashboard.http("POST", path, {"id": job}, key=key)
        assert refused.status_code in (401, 403)
    for body, code in (
        ([], "BadJsonBody"),
        ({"componentId": 3}, "BadJsonBody"),
        ({"id": job, "componentId": "abc"}, "ComponentNotFound"),
    ):
        answer = await dashboard.http("POST", path, body)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert await state(dashboard, job) == "pending"


async def test_an_id_of_something_else_is_no_job(dashboard: Dashboard) -> None:
    await dashboard.add("notes", {"text": "a"})
    (note,) = await dashboard.newest("notes")
    for wrong in ("x", note["_id"]):
        answer = await dashboard.http("POST", "/api/cancel_job", {"id": wrong})
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidId")
