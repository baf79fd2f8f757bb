"""`Reactor` in this process: starting and stopping in order, several at once, and what is left when a start fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from reactor import Reactor
from reactor.clock import ManualClock
from reactor.config import ConfigError
from reactor.errors import SchemaError, Unavailable

NOTES = """
from reactor import MutationCtx, QueryCtx, mutation, query


@query
async def count(ctx: QueryCtx) -> int:
    return await ctx.db.query("notes").count()


@mutation
async def add(ctx: MutationCtx) -> None:
    await ctx.db.insert("notes", {})


@query
async def url(ctx: QueryCtx) -> list[str | None]:
    return [ctx.env.get("CONVEX_CLOUD_URL"), ctx.env.get("CONVEX_SITE_URL"), ctx.env.get("OF_THE_PROCESS")]
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "notes.py").write_text(NOTES)
    return tmp_path


def make(app: Path, **options: Any) -> Reactor:
    return Reactor(app, **{"data": app / "data", "synchronous": "OFF", "dev": True, **options})


async def call(reactor: Reactor, kind: str, path: str) -> Any:
    transport = httpx.ASGITransport(reactor)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post(f"/api/{kind}", json={"path": path, "args": {}})
        return answer.json()["value"] if answer.status_code == 200 else answer.status_code


async def test_the_first_requests_start_it_once(app: Path) -> None:
    reactor = make(app)
    assert await asyncio.gather(*(call(reactor, "query", "notes:count") for _ in range(10))) == [0] * 10
    await reactor.stop()


async def test_data_is_there_again_after_a_stop(app: Path) -> None:
    reactor = make(app)
    async with reactor:
        await call(reactor, "mutation", "notes:add")
    async with reactor:
        assert await call(reactor, "query", "notes:count") == 1
    async with make(app) as another:
        assert await call(another, "query", "notes:count") == 1


async def test_starting_and_stopping_twice_is_harmless(app: Path) -> None:
    reactor = make(app)
    await reactor.stop()
    await reactor.start()
    await reactor.start()
    await reactor.stop()
    await reactor.stop()


async def test_two_in_one_process_share_neither_data_nor_modules(app: Path, tmp_path: Path) -> None:
    async with make(app) as one, make(app, data=tmp_path / "other") as two:
        await call(one, "mutation", "notes:add")
        assert await call(one, "query", "notes:count") == 1
        assert await call(two, "query", "notes:count") == 0
        assert one.functions["notes:count"].function is not two.functions["notes:count"].function


async def test_the_same_data_twice_is_refused_and_free_afterwards(app: Path) -> None:
    async with make(app):
        with pytest.raises(Unavailable, match="is in use by another reactor"):
            await make(app).start()
    async with make(app) as again:
        assert await call(again, "query", "notes:count") == 0


async def test_an_app_that_does_not_load_leaves_the_directory_free(app: Path) -> None:
    good = (app / "functions" / "notes.py").read_text()
    (app / "functions" / "notes.py").write_text("def x(:")
    reactor = make(app)
    with pytest.raises(SchemaError, match=r"notes\.py"):
        await reactor.start()
    (app / "functions" / "notes.py").write_text(good)
    async with reactor:
        assert await call(reactor, "query", "notes:count") == 0


async def test_a_mounted_one_that_cannot_start_answers_503_and_tries_again(app: Path) -> None:
    good = (app / "functions" / "notes.py").read_text()
    (app / "functions" / "notes.py").write_text("import nothing_of_that_name")
    reactor = make(app)
    assert await call(reactor, "query", "notes:count") == 503
    (app / "functions" / "notes.py").write_text(good)
    assert await call(reactor, "query", "notes:count") == 0
    await reactor.stop()


async def test_a_broken_app_is_tolerated_when_asked_and_mended_by_a_reload(app: Path) -> None:
    good = (app / "functions" / "notes.py").read_text()
    (app / "functions" / "notes.py").write_text("def x(:")
    reactor = make(app)
    await reactor.start(tolerate_broken_app=True)
    assert isinstance(reactor.broken, SchemaError)
    with pytest.raises(SchemaError):
        await reactor.reload()
    (app / "functions" / "notes.py").write_text(good)
    await reactor.reload()
    assert reactor.broken is None
    assert await call(reactor, "query", "notes:count") == 0
    await reactor.stop()


async def drive_lifespan(reactor: Reactor) -> list[str]:
    """A whole lifespan; returns the types of the events that the application sent."""
    told = iter(["lifespan.startup", "lifespan.shutdown"])
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return {"type": next(told)}

    async def send(event: Any) -> None:
        sent.append(event["type"])

    await reactor({"type": "lifespan"}, receive, send)
    return sent


async def test_a_lifespan_starts_and_stops_it(app: Path) -> None:
    assert await drive_lifespan(make(app)) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_lifespan_reports_a_failed_start(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app / "functions" / "notes.py").write_text("def x(:")
    assert await drive_lifespan(make(app)) == ["lifespan.startup.failed"]
    assert "notes.py" in capsys.readouterr().err


def test_the_end_of_the_event_loop_stops_one_that_a_request_started(app: Path) -> None:
    reactor = make(app)

    async def serve() -> None:
        await call(reactor, "mutation", "notes:add")

    asyncio.run(serve())
    assert not list((app / "data").glob("*-wal")), "it was not closed"

    async def serve_again() -> int:
        return await call(reactor, "query", "notes:count")

    assert asyncio.run(serve_again()) == 1, "and it may run again on another loop"


async def test_a_made_admin_key_is_kept_for_who_made_it_and_hashed_with_the_data(app: Path) -> None:
    async with make(app) as reactor:
        (key,) = reactor.admin_keys
        assert reactor.kept_key is not None
        assert reactor.kept_key.key == key
        for file in (app / "data").rglob("*"):
            assert not file.is_file() or key.partition("|")[2].encode() not in file.read_bytes(), file
    assert key.startswith("reactor|")
    async with make(app) as again:
        assert again.admin_keys == (key,)
    async with make(app, admin_keys=["mine"]) as given:
        assert given.admin_keys == ("mine",)
        assert given.kept_key is None


async def test_with_keys_of_its_own_a_deployment_makes_none(app: Path) -> None:
    async with make(app, admin_keys=["mine"]):
        assert not list((app / "data").glob("admin_key*"))


async def test_without_a_home_the_key_is_told_once(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    async with make(app) as reactor:
        (key,) = reactor.admin_keys
        assert key in caplog.text
    caplog.clear()
    async with make(app) as reactor:
        assert reactor.admin_keys == ()
        assert key not in caplog.text


async def test_functions_know_where_the_deployment_is_reached(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_PROCESS", "too")
    async with make(app, public_url="https://live.example.org") as reactor:
        reactor.serving_at("http://127.0.0.1:1", "http://127.0.0.1:2")
        assert await call(reactor, "query", "notes:url") == [
            "https://live.example.org",
            "https://live.example.org/http",
            "too",
        ]


async def test_a_clock_can_be_given(app: Path) -> None:
    clock = ManualClock(5_000_000_000)
    async with make(app, clock=clock) as reactor:
        assert reactor.clock is clock


def test_options_are_settings(app: Path) -> None:
    with pytest.raises(ConfigError, match="there is no setting 'prot'"):
        Reactor(app, prot=1)


@pytest.mark.parametrize(
    ("accept", "check"),
    [
        ("text/html", lambda r: "notes:count" in r.text and "text/html" in r.headers["content-type"]),
        ("*/*", lambda r: "running" in r.text and "text/plain" in r.headers["content-type"]),
    ],
)
async def test_the_first_page(app: Path, accept: str, check: Callable[[httpx.Response], bool]) -> None:
    async with make(app) as reactor:
        transport = httpx.ASGITransport(reactor)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert check(await client.get("/", headers={"Accept": accept}))
