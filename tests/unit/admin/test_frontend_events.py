"""The history of a deployment (deployment-api 10.2): deploys and changes of environment variables."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from reactor import Reactor
from reactor.auth.identity import Caller
from reactor.engine import schema_progress
from reactor.errors import SchemaError
from reactor.model import deployment_events
from reactor.runtime.waist import Success, next_cut
from reactor.testing.callers import admin
from reactor.values import wire
from tests.support.dashboard_app import write_app
from tests.unit.admin.conftest import Dashboard


async def events(dashboard: Dashboard, **filters: Any) -> list[dict[str, Any]]:
    options = {"numItems": 2_000, "cursor": None}
    filters = {"minDate": 0, **filters}
    return (await dashboard.query("paginatedDeploymentEvents", paginationOpts=options, filters=filters))["page"]


async def test_changed_variables_are_told_newest_first(dashboard: Dashboard) -> None:
    arguments: dict[str, Any] = {"paginationOpts": {"numItems": 10, "cursor": None}, "filters": {"minDate": 0}}
    async with dashboard.subscribe("paginatedDeploymentEvents", **arguments) as updates:
        assert [event["action"] for event in (await updates.next())["page"]] == ["push_config"]
        await dashboard.backend.set_environment(A="1")
        assert (await updates.next())["page"][0]["metadata"] == {"variable_name": "A"}
    await dashboard.backend.set_environment(A="1")
    await dashboard.backend.set_environment(A="2", B="1")
    await dashboard.backend.set_environment(A=None, C=None)
    told = [
        (event["action"].partition("_")[0], event["metadata"].get("variable_name")) for event in await events(dashboard)
    ]
    assert told[:4] == [("delete", "A"), ("create", "B"), ("update", "A"), ("create", "A")]
    assert len(told) == 5
    assert "2" not in json.dumps([event["metadata"] for event in (await events(dashboard))[:4]])
    created = await events(dashboard, actions=["create_environment_variable"])
    assert [event["metadata"]["variable_name"] for event in created] == ["B", "A"]
    assert await events(dashboard, minDate=dashboard.backend.now() + 1_000) == []
    assert await events(dashboard, maxDate=1) == await events(dashboard, authorMemberIds=[]) == []


async def test_only_so_many_are_kept(dashboard: Dashboard, monkeypatch: Any) -> None:
    monkeypatch.setattr(deployment_events, "KEPT", 5)
    for number in range(7):
        await dashboard.backend.set_environment(A=str(number))
    assert [event["action"].partition("_")[0] for event in await events(dashboard)] == ["update"] * 5


async def test_a_deploy_is_told_with_what_it_changed_and_a_restart_is_none(tmp_path: Path) -> None:
    app = write_app(tmp_path / "app")
    options: dict[str, Any] = {"data": tmp_path / "data", "synchronous": "OFF", "dev": True}

    async def last(reactor: Reactor) -> Any:
        caller: Caller = admin()
        outcome = await reactor.backend.query("_system/frontend/deploymentEvents:lastPushEvent", b"{}", caller)
        assert isinstance(outcome, Success)
        return wire.decode(outcome.value)

    async with Reactor(app, **options) as reactor:
        first = await last(reactor)
        assert first["action"] == "push_config"
        assert first["metadata"]["modules"]["added"] == ["authConfig.js", "crons.js", "http.js", "notes.js"]
        assert "often" in first["metadata"]["crons"]["added"]
        assert first["metadata"]["schema"]["previous_schema"] is None
        assert json.loads(first["metadata"]["schema"]["next_schema"])["schemaValidation"] is True
        assert len(first["metadata"]["auth"]["added"]) == 2
        await reactor.reload()
        assert await last(reactor) == first
    (app / "functions" / "more.py").write_text("")
    (app / "functions" / "http.py").unlink()
    notes = app / "functions" / "notes.py"
    notes.write_text(notes.read_text() + "\n# changed\n")
    async with Reactor(app, **options) as reactor:
        second = await last(reactor)
        assert second["metadata"]["modules"] == {"added": ["more.js"], "modified": ["notes.js"], "removed": ["http.js"]}
        assert second["metadata"]["schema"] is None
        assert second["metadata"]["crons"] == {"added": [], "updated": [], "deleted": []}


NARROW = """
from reactor import Document, define_schema, define_table


class Note(Document):
    text: str{more}


schema = define_schema(notes=define_table(Note))
"""


async def test_a_schema_on_its_way_is_followed_until_it_is_there_or_given_up(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(schema_progress, "TELL_S", 0.0)
    (tmp_path / "schema.py").write_text(NARROW.format(more=""))
    async with Reactor(tmp_path, data=tmp_path / "data", synchronous="OFF", dev=True) as reactor:
        await reactor.database.write(lambda tx: [tx.insert("notes", {"text": str(n)}) for n in range(400)])
        follower = reactor.backend.subscriber(admin())
        follower.add(0, "_system/frontend/getSchemas:default", b"{}")
        follower.add(1, "_system/frontend/getSchemas:schemaValidationProgress", b"{}")
        seen: list[tuple[Any, Any]] = []

        async def follow() -> None:
            now: dict[int, Any] = {}
            while True:
                cut = await next_cut(follower)
                for update in cut.updates:
                    assert isinstance(update.version.outcome, Success)
                    now[update.query_id] = wire.decode(update.version.outcome.value)
                seen.append((now[0], now[1]))
                changed.set()

        async def until(condition: Any) -> None:
            async with asyncio.timeout(30):
                while not (seen and condition(*seen[-1])):
                    changed.clear()
                    await changed.wait()

        changed = asyncio.Event()
        following = asyncio.create_task(follow())
        await until(lambda schemas, progress: progress is None)
        for more, fits in (("\n    rank: int", False), ("\n    rank: int | None = None", True)):
            seen.clear()
            (tmp_path / "schema.py").write_text(NARROW.format(more=more))
            # A wider type needs no look at documents; that of a table whose documents nobody has checked does.
            if fits:
                await reactor.database.store.write(forget_validators)
                await reactor.reload()
            else:
                with pytest.raises(SchemaError, match="does not match the schema"):
                    await reactor.reload()
            await until(lambda schemas, progress, fits=fits: progress is None and ("rank" in schemas["active"]) is fits)
            on_the_way = [(schemas, progress) for schemas, progress in seen if progress is not None]
            assert on_the_way
            for schemas, progress in on_the_way:
                assert "rank" in schemas["inProgress"]
                assert 0 <= progress["numDocsValidated"] <= progress["totalDocs"] == 400
            assert "inProgress" not in seen[-1][0]
        following.cancel()
        follower.close()


def forget_validators(writer: Any) -> None:
    writer.begin()
    writer.put_meta("schema", b"{}")
    writer.commit()
