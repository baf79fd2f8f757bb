"""OpenTelemetry traces: a span for each execution, below the action or the request that asked for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from reactor.server import Reactor
from tests.unit.runtime.harness import write_files

FUNCTIONS = """
    from reactor import ActionCtx, ApplicationError, MutationCtx, QueryCtx, action, mutation, query

    @query
    async def count(ctx: QueryCtx) -> int:
        return await ctx.db.query("notes").count()

    @mutation
    async def add(ctx: MutationCtx, text: str) -> None:
        await ctx.db.insert("notes", {"text": text})
        if text == "no":
            raise ApplicationError("no")

    @action
    async def inner(ctx: ActionCtx, text: str) -> None:
        await ctx.run_mutation("notes:add", text=text)

    @action
    async def outer(ctx: ActionCtx, text: str) -> int:
        await ctx.run_action("notes:inner", text=text)
        return await ctx.run_query("notes:count")
"""
HTTP = """
    from reactor import ActionCtx, HttpRouter
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse

    http = HttpRouter()

    @http.route("/hello", methods=["GET"])
    async def hello(ctx: ActionCtx, request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(await ctx.run_query("notes:count")))
"""
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def http(tmp_path: Path, exporter: InMemorySpanExporter) -> AsyncIterator[httpx.AsyncClient]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = write_files(tmp_path / "app", {"functions/notes.py": FUNCTIONS, "functions/http.py": HTTP})
    async with (
        Reactor(app, data=tmp_path / "data", synchronous="OFF", tracer_provider=provider) as reactor,
        httpx.AsyncClient(transport=httpx.ASGITransport(reactor), base_url="http://test") as http,
    ):
        yield http


def parent_of(span: ReadableSpan, spans: dict[str, ReadableSpan]) -> str | None:
    return next(
        (n for n, s in spans.items() if span.parent is not None and s.context.span_id == span.parent.span_id), None
    )


async def test_spans_nest_as_calls_do_below_the_request(
    http: httpx.AsyncClient, exporter: InMemorySpanExporter
) -> None:
    body = {"path": "notes:outer", "args": {"text": "a"}}
    await http.post("/api/action", json=body, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert {name: parent_of(span, spans) for name, span in spans.items()} == {
        "notes:outer": None,
        "notes:inner": "notes:outer",
        "notes:add": "notes:inner",
        "commit": "notes:add",
        "notes:count": "notes:outer",
    }
    outer, add = spans["notes:outer"], spans["notes:add"]
    assert outer.parent is not None
    assert (f"{outer.parent.trace_id:032x}", f"{outer.parent.span_id:016x}") == (TRACE, SPAN)
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {TRACE}
    assert add.attributes is not None
    assert add.attributes["reactor.documents_written"] == 1
    assert add.attributes["reactor.commit_ts"] > 0
    commit = spans["commit"]
    assert add.start_time <= commit.start_time <= commit.end_time == add.end_time
    assert all(outer.start_time <= s.start_time <= s.end_time <= outer.end_time for s in spans.values())


async def test_http_actions_are_part_of_their_requests_trace(
    http: httpx.AsyncClient, exporter: InMemorySpanExporter
) -> None:
    answer = await http.get("/http/hello", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    assert answer.status_code == 200
    spans = {span.name: span for span in exporter.get_finished_spans()}
    hello = spans["GET /hello"]
    assert f"{hello.context.trace_id:032x}" == TRACE
    assert hello.attributes is not None
    assert hello.attributes["http.response.status_code"] == 200
    assert parent_of(spans["notes:count"], spans) == "GET /hello"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_queries_are_part_of_their_requests_trace_also_from_the_cache(
    http: httpx.AsyncClient, exporter: InMemorySpanExporter, method: str
) -> None:
    for number in range(2):
        headers = {"traceparent": f"00-{TRACE}-{SPAN[:-1]}{number}-01"}
        if method == "GET":
            answer = await http.get("/api/query?path=notes:count", headers=headers)
        else:
            answer = await http.post("/api/query", json={"path": "notes:count", "args": {}}, headers=headers)
        assert answer.json()["value"] == 0
    await http.post("/api/query", json={"path": "notes:count", "args": {}}, headers={"convex-request-id": "mine"})
    first, second, other = exporter.get_finished_spans()
    for number, span in enumerate((first, second)):
        assert span.parent is not None
        assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, f"{SPAN[:-1]}{number}")
        assert span.attributes is not None
        assert span.attributes["reactor.cached"] is bool(number)
    assert other.parent is None


async def test_a_query_at_a_timestamp_is_part_of_its_requests_trace(
    http: httpx.AsyncClient, exporter: InMemorySpanExporter
) -> None:
    body = {"path": "notes:count", "args": {}, **(await http.post("/api/query_ts", json={})).json()}
    await http.post("/api/query_at_ts", json=body, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    (span,) = exporter.get_finished_spans()
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN


async def test_failures_and_traces_of_our_own(http: httpx.AsyncClient, exporter: InMemorySpanExporter) -> None:
    for header in ({}, {"traceparent": "nonsense"}, {"traceparent": f"00-{'0' * 32}-{'0' * 16}-01"}):
        await http.post("/api/mutation", json={"path": "notes:add", "args": {"text": "no"}}, headers=header)
    spans = exporter.get_finished_spans()
    assert len(spans) == len({span.context.trace_id for span in spans}) == 3
    assert [span.parent for span in spans] == [None] * 3
    assert {(span.status.is_ok, span.status.description) for span in spans} == {(False, "Uncaught ConvexError: no")}


async def test_names_that_clients_make_up_are_no_span_names(
    http: httpx.AsyncClient, exporter: InMemorySpanExporter
) -> None:
    await http.post("/api/mutation", json={"path": "evil:name", "args": {}})
    assert [span.name for span in exporter.get_finished_spans()] == ["(unknown)"]


def test_nothing_is_imported_unless_asked_for() -> None:
    code = (
        "import sys, reactor.server; sys.exit(any(m.startswith(('opentelemetry', 'prometheus')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
