"""Executions: what is reported of each, whichever door it came through (deployment-api 4.2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from reactor.auth.identity import ADMIN, ANONYMOUS
from reactor.clock import ManualClock
from reactor.runtime.executions import Executions, Finished, Line
from reactor.runtime.waist import Failure, Outcome, next_cut
from reactor.server import Reactor
from tests.unit.runtime.harness import write_files

FUNCTIONS = """
    from typing import Any
    from reactor import ActionCtx, ApplicationError, MutationCtx, QueryCtx, action, internal_mutation, mutation, query

    @query
    async def count(ctx: QueryCtx) -> int:
        print("counting")
        return await ctx.db.query("notes").count()

    @mutation
    async def add(ctx: MutationCtx, text: str) -> None:
        if text == "bad":
            ctx.log.warn("about to fail", 3)
            raise ApplicationError("no")
        await ctx.db.insert("notes", {"text": text})

    @action
    async def both(ctx: ActionCtx, text: str) -> int:
        print("acting")
        await ctx.run_mutation("notes:add", text=text)
        return await ctx.run_query("notes:count")

    @mutation
    async def later(ctx: MutationCtx, kind: str, text: str = "x") -> None:
        await ctx.scheduler.run_after(0, f"notes:{kind}", text=text)
"""
HTTP = """
    from reactor import ActionCtx, HttpRouter
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse

    http = HttpRouter()

    @http.route("/hello", methods=["GET"])
    async def hello(ctx: ActionCtx, request: Request) -> PlainTextResponse:
        print("greeting")
        await ctx.run_query("notes:count")
        return PlainTextResponse("hello", status_code=201)
"""


@pytest.fixture
async def reactor(tmp_path: Path) -> AsyncIterator[Reactor]:
    app = write_files(tmp_path / "app", {"functions/notes.py": FUNCTIONS, "functions/http.py": HTTP})
    async with Reactor(app, data=tmp_path / "data", synchronous="OFF", clock=ManualClock()) as reactor:
        yield reactor


@pytest.fixture
def told(reactor: Reactor) -> list[Finished]:
    told: list[Finished] = []
    reactor.executions.listen(told.append)
    return told


async def mutate(reactor: Reactor, path: str, args: bytes, **options: Any) -> Outcome:
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    reactor.backend.mutation(path, args, ANONYMOUS, done.set_result, **options)
    return await done


async def test_a_query_is_reported_once_and_then_as_cached(reactor: Reactor, told: list[Finished]) -> None:
    await mutate(reactor, "notes:add", b'{"text":"a"}')
    await reactor.backend.query("notes:count", b"{}", ANONYMOUS)
    await reactor.backend.query("notes:count", b"{}", ANONYMOUS)
    _, ran, cached = told
    assert (ran.kind, ran.path, ran.door, ran.is_cached, ran.error) == ("query", "notes:count", "HttpApi", False, None)
    assert [line.text for line in ran.log_lines] == ["[LOG] 'counting'"]
    assert ran.result_bytes == len(b"0")
    assert ran.usage is not None
    assert ran.usage.database_queries == 1
    assert ran.seconds > 0
    assert (cached.is_cached, cached.log_lines, cached.result_bytes) == (True, (), 1)
    assert ran.execution_id == ran.execution_id != cached.execution_id


async def test_a_live_query_is_reported_when_it_runs_again(reactor: Reactor, told: list[Finished]) -> None:
    subscriber = reactor.backend.subscriber(ANONYMOUS)
    subscriber.add(0, "notes:count", b"{}")
    await next_cut(subscriber, 0)
    await mutate(reactor, "notes:add", b'{"text":"a"}', session=("s", 0), request_id="r1")
    await next_cut(subscriber)
    subscriber.close()
    assert [(f.kind, f.door) for f in told] == [
        ("query", "SyncWorker"),
        ("mutation", "SyncWorker"),
        ("query", "SyncWorker"),
    ]
    mutation = told[1]
    assert (mutation.request_id, mutation.ts) == ("r1", reactor.backend.processed_ts)
    assert mutation.usage is not None
    assert mutation.usage.documents_written == 1


async def test_a_resent_mutation_is_reported_once(reactor: Reactor, told: list[Finished]) -> None:
    for _ in range(2):
        await mutate(reactor, "notes:add", b'{"text":"a"}', session=("s", 0))
    assert len(told) == 1


async def test_a_failure_is_reported_with_its_whole_text_in_production(reactor: Reactor, told: list[Finished]) -> None:
    assert isinstance(await mutate(reactor, "notes:add", b'{"text":"bad"}', request_id="r"), Failure)
    (failed,) = told
    assert failed.error is not None
    assert failed.error.startswith("Uncaught ConvexError: no\n    at add (functions/notes.py:")
    assert (failed.code, failed.is_known, failed.path) == ("ApplicationError", True, "notes:add")
    assert failed.log_lines[0].level == "WARN"
    assert failed.log_lines[0].messages == ("'about to fail'", "3")


async def test_what_does_not_exist_is_reported_as_unknown(reactor: Reactor, told: list[Finished]) -> None:
    await mutate(reactor, "no:such", b"{}")
    await reactor.backend.action("no:such", b"{}", ANONYMOUS)
    await reactor.backend.query("no:such", b"{}", ANONYMOUS)
    assert [(f.kind, f.path, f.is_known) for f in told] == [
        ("mutation", "no:such", False),
        ("action", "no:such", False),
        ("query", "no:such", False),
    ]


async def test_what_an_action_calls_names_it_as_parent(reactor: Reactor, told: list[Finished]) -> None:
    lines: list[Line] = []
    reactor.executions.listen(lambda finished: None, lines.append)
    await reactor.backend.action("notes:both", b'{"text":"a"}', ADMIN, request_id="r", door="SyncWorker")
    add, count, both = told
    assert [(f.path, f.door) for f in told] == [
        ("notes:add", "Action"),
        ("notes:count", "Action"),
        ("notes:both", "SyncWorker"),
    ]
    assert add.parent == count.parent == both.execution_id
    assert {f.request_id for f in told} == {"r"}
    assert [(line.text, line.source) for line in both.log_lines] == [
        ("[LOG] 'acting'", None),
        ("[LOG] 'counting'", "notes:count"),
    ]
    assert [(line.execution_id, line.line.text) for line in lines] == [
        (both.execution_id, "[LOG] 'acting'"),
    ]


async def test_what_fails_inside_an_action_is_two_failures(reactor: Reactor, told: list[Finished]) -> None:
    await reactor.backend.action("notes:both", b'{"text":"bad"}', ANONYMOUS)
    assert [(f.path, f.code) for f in told] == [("notes:add", "ApplicationError"), ("notes:both", "ApplicationError")]


async def test_an_http_action_is_reported_with_its_status(reactor: Reactor, told: list[Finished]) -> None:
    transport = httpx.ASGITransport(reactor.site)
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as http:
        answer = await http.get("/hello", headers={"convex-request-id": "r7"})
    assert answer.status_code == 201
    query, hello = told
    assert (hello.kind, hello.path, hello.status, hello.request_id) == ("httpAction", "GET /hello", 201, "r7")
    assert query.parent == hello.execution_id
    assert [line.text for line in hello.log_lines] == ["[LOG] 'greeting'", "[LOG] 'counting'"]


@pytest.mark.parametrize(("kind", "reported"), [("add", "mutation"), ("both", "action")])
async def test_scheduled_functions_are_reported(
    reactor: Reactor, told: list[Finished], kind: str, reported: str
) -> None:
    await mutate(reactor, "notes:later", b'{"kind":"%b"}' % kind.encode())
    await reactor.scheduler.idle()
    jobs = [f for f in told if f.door == "Scheduler"]
    assert [(f.kind, f.path, f.error) for f in jobs] == [(reported, f"notes:{kind}", None)]
    assert jobs[0].caller.job is not None


@pytest.mark.parametrize("kind", ["add", "both"])
async def test_failing_scheduled_functions_are_reported_once(reactor: Reactor, told: list[Finished], kind: str) -> None:
    await mutate(reactor, "notes:later", b'{"kind":"%b","text":"bad"}' % kind.encode())
    await reactor.scheduler.idle()
    assert [(f.path, f.code) for f in told if f.door == "Scheduler"] == [(f"notes:{kind}", "ApplicationError")]


def test_a_listener_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    executions = Executions()
    told: list[Finished] = []

    def broken(finished: Finished) -> None:
        raise RuntimeError("listener")

    stop = executions.listen(broken)
    executions.listen(told.append)
    with caplog.at_level(logging.ERROR, "reactor.functions"):
        executions.report(Finished("query", "a:b", "r", ANONYMOUS, "HttpApi", 0.0, 0.0))
    assert len(told) == 1
    assert "a listener of executions failed" in caplog.text
    stop()
    executions.report(Finished("query", "a:b", "r", ANONYMOUS, "HttpApi", 0.0, 0.0))
    assert caplog.text.count("a listener of executions failed") == 1
