"""What operators ask: `/healthz`, `/metrics` and the log stream, of a whole deployment in process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from reactor.admin.function_log import BYTES_KEPT, COMPLETIONS_KEPT, FunctionLog
from reactor.auth.identity import ANONYMOUS
from reactor.clock import ManualClock
from reactor.runtime.executions import Executions, Finished
from reactor.runtime.failures import request_id_of
from reactor.runtime.logs import LogLine
from reactor.runtime.waist import next_cut
from reactor.server import Reactor
from tests.unit.runtime.harness import write_files

KEY = "test|0123456789abcdef"
OPERATOR = {"authorization": f"Convex {KEY}"}
FUNCTIONS = """
    from reactor import ActionCtx, ApplicationError, MutationCtx, QueryCtx, action, mutation, query

    @query
    async def count(ctx: QueryCtx) -> int:
        return await ctx.db.query("notes").count()

    @mutation
    async def add(ctx: MutationCtx, text: str) -> None:
        print("adding", text)
        if text == "no":
            raise ApplicationError("no")
        if text == "bug":
            raise ValueError("bug")
        await ctx.db.insert("notes", {"text": text})

    @action
    async def relay(ctx: ActionCtx, text: str) -> None:
        await ctx.run_mutation("notes:add", text=text)
"""


@pytest.fixture
async def reactor(tmp_path: Path) -> AsyncIterator[Reactor]:
    app = write_files(tmp_path / "app", {"functions/notes.py": FUNCTIONS})
    options: dict[str, Any] = {"synchronous": "OFF", "admin_keys": (KEY,), "limits": {"log_poll_s": 0.2}}
    async with Reactor(app, data=tmp_path / "data", clock=ManualClock(), **options) as reactor:
        yield reactor


@pytest.fixture
async def http(reactor: Reactor) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(reactor, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


async def call(http: httpx.AsyncClient, kind: str, path: str, **args: Any) -> dict[str, Any]:
    return (await http.post(f"/api/{kind}", json={"path": path, "args": args})).json()


async def metrics(http: httpx.AsyncClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = await http.get("/metrics", headers=OPERATOR)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


# Metrics


async def test_metrics_count_functions_by_name_kind_and_outcome(http: httpx.AsyncClient) -> None:
    for text in ("a", "b", "no", "bug"):
        await call(http, "mutation", "notes:add", text=text)
    for _ in range(3):
        await call(http, "query", "notes:count")
    found = await metrics(http)
    ran = {
        dict(tags)["outcome"]: v
        for (n, tags), v in found.items()
        if n == "reactor_function_executions_total" and ("function", "notes:add") in tags
    }
    assert ran == {"success": 2, "application_error": 1, "error": 1}
    assert found["reactor_function_duration_seconds_count", labels(function="notes:add", kind="mutation")] == 4
    assert (
        found["reactor_function_duration_seconds_bucket", labels(function="notes:add", kind="mutation", le="+Inf")] == 4
    )
    assert found["reactor_function_cached_total", labels(function="notes:count", kind="query")] == 2
    assert found["reactor_query_cache_hits_total", labels()] == 2
    assert found["reactor_query_cache_misses_total", labels()] == 1
    assert found["reactor_commit_batch_size_sum", labels()] >= 2
    assert found["reactor_commit_batch_size_count", labels()] == found["reactor_commit_seconds_count", labels()]
    assert found["reactor_wal_bytes", labels()] > 0
    assert found["reactor_vectors", labels()] == found["reactor_vector_index_bytes", labels()] == 0
    assert found["process_resident_memory_bytes", labels()] > 0


async def test_names_that_clients_make_up_are_no_labels(http: httpx.AsyncClient) -> None:
    for n in range(3):
        await call(http, "mutation", f"evil:name{n}")
        await call(http, "query", f"evil:name{n}")
    found = await metrics(http)
    names = {dict(tags).get("function") for _, tags in found} - {None}
    assert names == {"(unknown)"}
    assert found["reactor_function_executions_total", labels(function="(unknown)", kind="query", outcome="error")] == 3


async def test_live_queries_and_why_they_ran(http: httpx.AsyncClient, reactor: Reactor) -> None:
    subscriber = reactor.backend.subscriber(ANONYMOUS)
    subscriber.add(0, "notes:count", b"{}")
    await next_cut(subscriber, 0)
    await call(http, "mutation", "notes:add", text="a")
    await next_cut(subscriber)
    found = await metrics(http)
    assert found["reactor_subscriptions", labels()] == 1
    assert found["reactor_live_queries", labels()] == 1
    assert found["reactor_live_query_runs_total", labels(cause="first")] == 1
    assert sum(v for (n, _), v in found.items() if n == "reactor_live_query_runs_total") == 2
    subscriber.close()


async def test_metrics_are_for_operators(http: httpx.AsyncClient, tmp_path: Path) -> None:
    refused = await http.get("/metrics")
    assert (refused.status_code, refused.json()["code"]) == (403, "BadDeployKey")
    app = write_files(tmp_path / "other", {})
    async with Reactor(app, data=tmp_path / "d2", synchronous="OFF", open_metrics=True) as opened:
        for client, status in (("127.0.0.1", 200), ("::1", 200), ("10.0.0.7", 403)):
            transport = httpx.ASGITransport(opened, client=(client, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as other:
                assert (await other.get("/metrics")).status_code == status


async def test_charts_over_time_are_refused_with_what_to_do(http: httpx.AsyncClient) -> None:
    """deployment-api 10.2"""
    answer = await http.get("/api/app_metrics/udf_rate?path=a:b", headers=OPERATOR)
    assert (answer.status_code, answer.json()["code"]) == (400, "NoTimeSeries")
    assert "/metrics" in answer.json()["message"]
    assert (await http.get("/api/app_metrics/latency_percentiles")).status_code == 403


# Health


async def test_health_without_a_key(http: httpx.AsyncClient) -> None:
    answer = await http.get("/healthz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "checks": {"writer": "ok", "reader": "ok", "app": "ok"}}
    assert (await http.head("/healthz")).status_code == 200


async def test_health_of_a_held_writer(http: httpx.AsyncClient, reactor: Reactor) -> None:
    reactor._doors.health._patience_s = 0.05
    release = threading.Event()
    held = asyncio.create_task(reactor.database.store.write(lambda writer: release.wait(10)))
    try:
        answer = await http.get("/healthz")
    finally:
        release.set()
        await held
    assert answer.status_code == 503
    assert answer.json()["checks"]["writer"] == "slow"


async def test_health_of_code_that_does_not_load(http: httpx.AsyncClient, reactor: Reactor) -> None:
    (reactor.settings.app / "functions" / "notes.py").write_text("1 +")
    with pytest.raises(Exception, match="syntax"):
        await reactor.reload()
    answer = await http.get("/healthz")
    assert (answer.status_code, answer.json()["checks"]["app"]) == (200, "stale")


async def test_health_while_stopping(http: httpx.AsyncClient, reactor: Reactor) -> None:
    reactor.quiesce()
    answer = await http.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (503, "stopping")


# The log stream (deployment-api 4.1)


async def stream(http: httpx.AsyncClient, name: str = "stream_function_logs", **parameters: Any) -> dict[str, Any]:
    answer = await http.get(f"/api/{name}", params=parameters, headers=OPERATOR)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_first_answer_comes_at_once_and_never_has_the_cursor_0(http: httpx.AsyncClient) -> None:
    first = await stream(http, cursor=0)
    assert first["entries"] == []
    assert first["newCursor"] == 1_700_000_000_000


async def test_entries_come_once_each_with_a_growing_cursor(http: httpx.AsyncClient) -> None:
    cursor = (await stream(http, cursor=0))["newCursor"]
    seen: list[str] = []
    for text in ("a", "b"):
        await call(http, "mutation", "notes:add", text=text)
        answer = await stream(http, cursor=cursor)
        assert answer["newCursor"] > cursor
        cursor = answer["newCursor"]
        seen += [line["messages"][0] for entry in answer["entries"] for line in entry["logLines"]]
    assert seen == ["'adding a'", "'adding b'"]
    assert await stream(http, cursor=cursor) == {"entries": [], "newCursor": cursor}


async def test_a_waiting_poll_is_answered_when_something_happens(http: httpx.AsyncClient, reactor: Reactor) -> None:
    reactor.log.close()  # the deployment's own would give up after 0.2 s
    log = FunctionLog(reactor.executions, reactor.clock)
    cursor = log.now()
    waiting = asyncio.create_task(log.wait(30))
    await asyncio.sleep(0)
    await call(http, "mutation", "notes:add", text="a")
    await waiting
    assert len(log.after(cursor)) == 1


async def test_one_request_of_a_session(http: httpx.AsyncClient, reactor: Reactor) -> None:
    for number in range(2):
        request_id = request_id_of("the-session", number)
        await reactor.backend.action("notes:relay", b'{"text":"a"}', ANONYMOUS, request_id=request_id)
    answer = await stream(http, cursor=0, sessionId="the-session", clientRequestCounter=1)
    assert [(e["identifier"], e["requestId"]) for e in answer["entries"]] == [("notes:relay", request_id)]


async def test_the_older_stream_has_completions_with_texts(http: httpx.AsyncClient) -> None:
    await call(http, "action", "notes:relay", text="a")
    for name in ("stream_udf_execution", "app_metrics/stream_udf_execution"):
        add, relay = (await stream(http, name, cursor=0))["entries"]
        assert (add["kind"], add["logLines"]) == ("Completion", ["[LOG] 'adding a'"])
        assert relay["logLines"] == ["[LOG] 'adding a'"]


async def test_bad_cursors_and_strangers_are_refused(http: httpx.AsyncClient) -> None:
    for cursor in ("x", "nan", "-1", "inf"):
        answer = await http.get("/api/stream_function_logs", params={"cursor": cursor}, headers=OPERATOR)
        assert (answer.status_code, answer.json()["code"]) == (400, "BadCursor")
    refused = await http.get("/api/app_metrics/stream_function_logs?cursor=0")
    assert (refused.status_code, refused.json()["code"]) == (403, "BadDeployKey")


async def test_the_end_of_the_server_ends_polls_with_an_error(http: httpx.AsyncClient, reactor: Reactor) -> None:
    cursor = (await stream(http, cursor=0))["newCursor"]
    polling = asyncio.create_task(http.get(f"/api/stream_function_logs?cursor={cursor}", headers=OPERATOR))
    while not reactor.log.followers:
        await asyncio.sleep(0)
    reactor.quiesce()
    answer = await polling
    assert (answer.status_code, answer.json()["code"]) == (503, "ShuttingDown")


async def test_half_a_surrogate_pair_does_not_break_the_stream(http: httpx.AsyncClient, reactor: Reactor) -> None:
    line = LogLine("LOG", ("'\ud800'",), 1.0)
    reactor.executions.report(Finished("query", "a:b", "r", ANONYMOUS, "HttpApi", 0.0, 0.0, (line,)))
    (entry,) = (await stream(http, cursor=0))["entries"]
    assert entry["logLines"][0]["messages"] == ["'?'"]


def _finished(text: str = "") -> Finished:
    return Finished("query", "a:b", "r", ANONYMOUS, "HttpApi", 0.0, 0.0, (LogLine("LOG", (text,), 1.0),))


async def test_the_ring_keeps_the_last_thousand_and_is_bounded_in_bytes() -> None:
    executions = Executions()
    log = FunctionLog(executions, ManualClock())
    for _ in range(COMPLETIONS_KEPT + 7):
        executions.report(_finished())
    kept = log.after(0)
    assert len(kept) == COMPLETIONS_KEPT
    assert all(a.cursor < b.cursor for a, b in pairwise(kept))
    assert json.loads(json.dumps(kept[-1].cursor)) == kept[-1].cursor == log.now()
    executions.report(_finished("x" * (BYTES_KEPT - 2_000)))
    assert 1 <= len(log.after(0)) < 5
