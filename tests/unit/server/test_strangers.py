"""Who has no admin key: every route and every system function refuses him, but for those that are meant for everybody."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from reactor.auth.identity import ANONYMOUS, Caller
from reactor.errors import FunctionNotFound, PermissionDenied
from reactor.http.router import Router
from reactor.runtime.builtin import PREFIX, SYSTEM_PREFIX, builtin_functions
from reactor.runtime.waist import Failure, Outcome, next_cut
from reactor.server import Reactor
from reactor.testing.callers import user
from tests.unit.runtime.harness import write_files

KEY: Final = "test|0123456789abcdef"
OPERATOR: Final = {"authorization": f"Convex {KEY}"}

FUNCTIONS = """
    from reactor import MutationCtx, QueryCtx, internal_mutation, internal_query, mutation, query

    @query
    async def count(ctx: QueryCtx) -> int:
        return await ctx.db.query("notes").count()

    @internal_query
    async def secret(ctx: QueryCtx) -> str:
        return "the secret"

    @mutation
    async def add(ctx: MutationCtx, text: str) -> None:
        await ctx.db.insert("notes", {"text": text})

    @internal_mutation
    async def clear(ctx: MutationCtx) -> None:
        for note in await ctx.db.query("notes").collect():
            await ctx.db.delete(note["_id"])
"""

PUBLIC: Final = {
    ("GET", "/"),
    ("GET", "/healthz"),
    ("GET", "/instance_name"),
    ("GET", "/instance_version"),
    ("GET", "/version"),
    ("POST", "/echo"),
    ("POST", "/api/debug_event"),
    # Functions: which of them, they check themselves (below).
    ("GET", "/api/query"),
    ("POST", "/api/query"),
    ("POST", "/api/query_at_ts"),
    ("POST", "/api/query_batch"),
    ("POST", "/api/query_ts"),
    ("POST", "/api/mutation"),
    ("POST", "/api/action"),
    # Files: with a token of `generate_upload_url`, and by names that nobody can guess.
    ("POST", "/api/storage/upload"),
    ("GET", "/api/storage/"),
    ("HEAD", "/api/storage/"),
}
"""For everybody. Whoever adds a route here says with it that strangers may use it."""

STRANGERS: Final[dict[str, dict[str, str]]] = {
    "nobody": {},
    "a wrong key": {"authorization": "Convex test|wrong"},
    "an empty key": {"authorization": "Convex "},
    "a wrong key, acting as a user": {"authorization": "Convex test|wrong:eyJzdWJqZWN0IjoieCJ9"},
    "a token of nobody's": {"authorization": "Bearer a.b.c"},
    "the key as a token": {"authorization": f"Bearer {KEY}"},
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("app"), {"functions/notes.py": FUNCTIONS})


@pytest.fixture
async def reactor(app: Path, tmp_path: Path) -> AsyncIterator[Reactor]:
    options: dict[str, Any] = {"synchronous": "OFF", "admin_keys": (KEY,), "limits": {"log_poll_s": 0.1}}
    # With a manual clock there is one route more.
    async with Reactor(app, data=tmp_path / "data", dev=False, manual_clock=True, **options) as reactor:
        yield reactor


@pytest.fixture
async def http(reactor: Reactor) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(reactor), base_url="http://test") as client:
        yield client


def routes_of(router: Router) -> set[tuple[str, str]]:
    """All of them; those below a path end in a slash."""
    return {*router._routes, *router._below}


def a_path(path: str) -> str:
    return path + "x" if path.endswith("/") and path != "/" else path


async def test_every_route_that_is_not_public_refuses_strangers(reactor: Reactor, http: httpx.AsyncClient) -> None:
    routes = routes_of(reactor.router)
    assert routes >= PUBLIC, "public routes that are gone"
    guarded = routes - PUBLIC
    assert len(guarded) > 40
    let_in: list[str] = []
    for method, path in sorted(guarded):
        for who, headers in STRANGERS.items():
            answer = await http.request(method, a_path(path), headers=headers, content=b"{}")
            if answer.status_code not in (400, 401, 403) or not _refuses(answer):
                let_in.append(f"{method} {path} for {who}: {answer.status_code} {answer.text[:100]}")
    assert let_in == []


def _refuses(answer: httpx.Response) -> bool:
    """Because of who asks, and not of what is asked."""
    codes = {"BadDeployKey", "InvalidHeaderFailure", "NoAuthProvider", "InvalidAuthHeader", "InvalidToken"}
    return answer.json()["code"] in codes


async def test_a_wrong_key_in_the_url_opens_nothing(reactor: Reactor, http: httpx.AsyncClient) -> None:
    for method, path in sorted(routes_of(reactor.router) - PUBLIC):
        for parameter in ("adminKey=test|wrong", "adminKey=", f"adminkey={KEY}"):
            answer = await http.request(method, f"{a_path(path)}?{parameter}", content=b"{}")
            assert (answer.status_code, answer.json()["code"]) == (403, "BadDeployKey"), (method, path, parameter)


async def test_with_the_key_they_are_open(reactor: Reactor, http: httpx.AsyncClient) -> None:
    """Else the tests above would say nothing."""
    for method, path in sorted(routes_of(reactor.router) - PUBLIC - {("GET", "/api/backup")}):
        answer = await http.request(method, a_path(path), headers=OPERATOR, content=b"{}")
        assert answer.status_code not in (401, 403), (method, path, answer.text)


async def test_a_refused_request_is_refused_before_its_body_is_read(reactor: Reactor) -> None:
    read = 0
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

    async def send(event: Any) -> None:
        if event["type"] == "http.response.start":
            statuses.append(event["status"])

    for method, path in sorted(routes_of(reactor.router) - PUBLIC):
        scope = {"type": "http", "method": method, "path": a_path(path), "headers": [], "query_string": b""}
        await reactor(scope, receive, send)
        assert (statuses.pop(), read) == (403, 0), (method, path)


async def call(reactor: Reactor, how: str, path: str, caller: Caller) -> Outcome:
    backend = reactor.backend
    if how == "subscribe":
        subscriber = backend.subscriber(caller)
        try:
            subscriber.add(0, path, b"{}")
            return (await next_cut(subscriber, 0)).updates[0].version.outcome
        finally:
            subscriber.close()
    if how == "mutation":
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        backend.mutation(path, b"{}", caller, answered.set_result)
        return await answered
    if how == "query at":
        return await backend.query(path, b"{}", caller, at_ts=await backend.pin_snapshot())
    return await getattr(backend, how)(path, b"{}", caller)


DOORS: Final = ("query", "query at", "subscribe", "mutation", "action", "call")


async def test_every_builtin_function_refuses_strangers_at_every_door(reactor: Reactor) -> None:
    builtin = sorted(builtin_functions())
    assert len([path for path in builtin if path.startswith(SYSTEM_PREFIX)]) > 40
    assert any(path.startswith(PREFIX) for path in builtin)
    somebody = user("somebody", {"email": "admin@example.com"})
    for path in builtin:
        code = PermissionDenied.code if path.startswith(SYSTEM_PREFIX) else FunctionNotFound.code
        spellings = [path, path.replace(":", ".js:"), path.removesuffix(":default")]
        for how in DOORS:
            for spelling in spellings:
                for caller in (ANONYMOUS, somebody):
                    outcome = await call(reactor, how, spelling, caller)
                    assert isinstance(outcome, Failure), (how, spelling)
                    assert outcome.code == code, (how, spelling, outcome)


async def test_http_tells_strangers_nothing_of_functions_they_may_not_call(
    reactor: Reactor, http: httpx.AsyncClient
) -> None:
    ts = (await http.post("/api/query_ts", json={})).json()["ts"]

    async def ask(path: str) -> list[str]:
        call = {"path": path, "args": {}}
        module, _, name = path.partition(":")
        answers = [
            await http.get("/api/query", params={"path": path, "args": "{}"}),
            await http.post("/api/query", json=call),
            await http.post("/api/query_at_ts", json={**call, "ts": ts}),
            await http.post("/api/query_batch", json={"queries": [call]}),
            await http.post("/api/mutation", json=call),
            await http.post("/api/action", json=call),
            await http.post(f"/api/run/{module}/{name}", json={"args": {}}),
        ]
        assert (await http.post("/api/function", json=call)).status_code == 403
        return [_without_ids(answer.text) for answer in answers]

    for path in sorted(builtin_functions()):
        for text in await ask(path):
            assert '"status":"error"' in text, (path, text)
            assert '"value"' not in text, (path, text)
    # An internal function is as good as none.
    assert await ask("notes:secret") == await ask("notes:nothing") == await ask("nothing:at_all")


def _without_ids(text: str) -> str:
    return re.sub(r"Request ID: [0-9a-f]{16}", "", text)
