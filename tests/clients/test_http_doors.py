"""The HTTP API as plain HTTP clients meet it, on a real server process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.server import ADMIN_KEY, ReactorProcess, running_server

pytestmark = pytest.mark.process


@pytest.fixture
def http(server: ReactorProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def _post(http: httpx.Client, endpoint: str, path: str, args: Any, **more: Any) -> dict[str, Any]:
    headers = more.pop("headers", {})
    response = http.post(f"/api/{endpoint}", json={"path": path, "args": args, **more}, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("wrap", [lambda args: args, lambda args: [args]], ids=["object", "array"])
def test_arguments_come_as_an_object_or_in_an_array(http: httpx.Client, channel: str, wrap: Any) -> None:
    """client-protocol 37"""
    args = wrap({"channel": channel})
    admin = {"headers": {"Authorization": f"Convex {ADMIN_KEY}"}}
    assert _post(http, "query", "messages:count", args)["value"] == 0
    assert _post(http, "mutation", "messages:append", wrap({"channel": channel, "body": "x"}))["value"] == 0
    assert _post(http, "action", "actions:echo", wrap({"value": 1}))["value"] == 1
    assert _post(http, "function", "messages:count", args, **admin)["value"] == 1
    assert http.post("/api/run/messages/count", json={"args": args}).json()["value"] == 1
    assert http.post("/api/run/admin/deepTools/answer", json={"args": wrap({})}).json()["value"] == 42
    ts = http.post("/api/query_ts").json()["ts"]
    assert _post(http, "query_at_ts", "messages:count", args, ts=ts)["value"] == 1


def test_a_query_at_a_timestamp_does_not_see_later_writes(own_server: ReactorProcess, channel: str) -> None:
    """client-protocol 39. On a server of its own, because only so many snapshots are kept (engine rule 17)"""
    args = {"channel": channel}
    with httpx.Client(base_url=own_server.url, timeout=30) as http:
        before = http.post("/api/query_ts").json()["ts"]
        own_server.mutation("messages:append", {"channel": channel, "body": "x"})
        assert _post(http, "query_at_ts", "messages:count", args, ts=before)["value"] == 0
        assert _post(http, "query", "messages:count", args)["value"] == 1
        assert _post(http, "query_at_ts", "messages:count", {"channel": "another"}, ts=before)["value"] == 0
        future = http.post("/api/query_at_ts", json={"path": "messages:count", "args": args, "ts": "/////////38="})
        assert future.json()["status"] == "error"
        bad = http.post("/api/query_at_ts", json={"path": "messages:count", "args": args, "ts": "soon"})
        assert bad.status_code == 400


def test_a_batch_of_queries_is_answered_at_one_time(http: httpx.Client, channel: str) -> None:
    """client-protocol 2.1"""
    queries = [
        {"path": "messages:count", "args": {"channel": channel}},
        {"path": "messages:nope", "args": {}},
        {"path": "messages:bodies", "args": [{"channel": channel}]},
    ]
    response = http.post("/api/query_batch", json={"queries": queries})
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [result["status"] for result in results] == ["success", "error", "success"]


def test_errors_are_answers_with_data_only_for_application_errors(http: httpx.Client) -> None:
    """client-protocol 37"""
    for endpoint, path in (
        ("query", "failures:inQuery"),
        ("mutation", "failures:inMutation"),
        ("action", "failures:inAction"),
    ):
        plain = _post(http, endpoint, path, {"how": "plain"})
        assert plain["status"] == "error"
        assert "errorData" not in plain
        assert "a plain error" in plain["errorMessage"]
        assert any("about to fail" in line for line in plain["logLines"])
        told = _post(http, endpoint, path, {"how": "none"})
        assert told["errorData"] is None
        assert _post(http, endpoint, path, {"how": "string"})["errorData"] == "a broken string"


@pytest.mark.parametrize(
    ("endpoint", "path", "args", "text"),
    [
        ("query", "messages:nope", {}, "Could not find public function for 'messages:nope'"),
        ("query", "hidden:recall", {"label": "x"}, "Could not find public function for 'hidden:recall'"),
        (
            "mutation",
            "messages:count",
            {"channel": "c"},
            "Trying to execute messages.js:count as Mutation, but it is defined as Query",
        ),
        ("query", "messages:count", {"channel": 1}, "channel"),
        ("action", "actions:byName", {"path": "messages:nope", "args": {}}, "messages:nope"),
    ],
)
def test_mistakes_in_calls_are_answers(http: httpx.Client, endpoint: str, path: str, args: Any, text: str) -> None:
    """client-protocol 37"""
    answer = _post(http, endpoint, path, args)
    assert answer["status"] == "error"
    assert text in answer["errorMessage"]
    assert "errorData" not in answer


ODD = {
    "int": {"$integer": "IQAAAAAAAAA="},
    "nan": {"$float": "AAAAAAAA+H8="},
    "infinity": {"$float": "AAAAAAAA8P8="},
    "bytes": {"$bytes": "AQID"},
    "three": 3,
    "list": [1, 2.5],
}


def test_formats(http: httpx.Client) -> None:
    """client-protocol 38"""

    def raw(**format: str) -> str:
        response = http.post("/api/query", json={"path": "values:echo", "args": {"value": ODD}, **format})
        assert response.status_code == 200, response.text
        return response.text.replace(" ", "")

    for name in ("convex_encoded_json", "convex_json"):
        text = raw(format=name)
        assert json.loads(text)["value"] == ODD
        assert '"three":3.0' in text
        assert '"list":[1.0,2.5]' in text
    for options in ({}, {"format": "json"}, {"format": "convex_clean_json"}):
        value = json.loads(raw(**options))["value"]
        assert value == {
            "int": "33",
            "nan": "NaN",
            "infinity": "-Infinity",
            "bytes": "AQID",
            "three": 3,
            "list": [1, 2.5],
        }
    text = raw(format="export_json")
    assert '"int":33' in text
    assert '"three":3.0' in text
    assert json.loads(text)["value"]["bytes"] == {"$bytes": "AQID"}
    bad = http.post("/api/query", json={"path": "values:echo", "args": {"value": 1}, "format": "yaml"})
    assert (bad.status_code, bad.json()["code"]) == (400, "BadFormat")


@pytest.mark.parametrize("endpoint", ["query", "mutation", "action", "query_at_ts", "function"])
@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"", {"content-type": "application/json"}),
        (b"{", {"content-type": "application/json"}),
        (b"[]", {"content-type": "application/json"}),
        (b'{"args":{}}', {"content-type": "application/json"}),
        (b'{"path":5,"args":{}}', {"content-type": "application/json"}),
        (b'{"path":"messages:count","args":{"channel":"\xff"}}', {"content-type": "application/json"}),
        (b'{"path":"messages:count","args":' + b"[" * 100_000, {"content-type": "application/json"}),
        (b'{"path":"messages:count","args":{"channel":"c"}}', {}),
        (b'{"path":"messages:count","args":{"channel":"c"}}', {"content-type": "text/plain"}),
    ],
)
def test_bad_bodies(http: httpx.Client, endpoint: str, content: bytes, headers: dict[str, str]) -> None:
    """client-protocol 41"""
    if endpoint == "function":
        headers = {**headers, "Authorization": f"Convex {ADMIN_KEY}"}
    response = http.post(f"/api/{endpoint}", content=content, headers=headers)
    assert response.status_code == 400, response.text
    assert response.json()["code"] == "BadJsonBody"
    assert set(response.json()) == {"code", "message"}


def test_a_lone_surrogate_in_arguments_is_a_clear_400(http: httpx.Client) -> None:
    content = b'{"path":"values:lengthOf","args":{"text":"\\ud800"}}'
    response = http.post("/api/query", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text


@pytest.mark.parametrize("path", ["", ":", "a:b:c", "mess ages:count", "messages:co-unt", "messages:" + "x" * 65])
def test_bad_paths(http: httpx.Client, path: str) -> None:
    """client-protocol 41"""
    response = http.post("/api/query", json={"path": path, "args": {}})
    assert (response.status_code, response.json()["code"]) == (400, "BadConvexFunctionIdentifier"), response.text


def test_run_needs_a_module_and_a_name(http: httpx.Client) -> None:
    """client-protocol 2.1"""
    response = http.post("/api/run/messages", json={"args": {}})
    assert (response.status_code, response.json()["code"]) == (400, "MissingIdentifier")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Authorization": "Bearer invalid-token-one"}, 401, None),
        ({"Authorization": "Convex conformance|wrong"}, 403, "BadDeployKey"),
        ({"Authorization": "short"}, 400, "InvalidHeaderFailure"),
        ({"Authorization": "Basic abcdefgh"}, 400, "InvalidAdminKey"),
        ({"Convex-Client": "nonsense"}, 400, "InvalidClientVersion"),
    ],
)
def test_bad_headers(http: httpx.Client, channel: str, headers: dict[str, str], status: int, code: str | None) -> None:
    """client-protocol 35"""
    response = http.post("/api/query", json={"path": "messages:count", "args": {"channel": channel}}, headers=headers)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"code", "message"}
    if code is not None:
        assert response.json()["code"] == code


@pytest.mark.parametrize("authorization", ["Convex {key}", "convex {key}", "Convex prod:{key}", None])
def test_admin_keys(http: httpx.Client, authorization: str | None) -> None:
    """client-protocol 35"""
    headers = {"Authorization": authorization.format(key=ADMIN_KEY)} if authorization else {}
    params = {} if authorization else {"adminKey": ADMIN_KEY}
    response = http.post("/api/query", json={"path": "identity:isAdmin", "args": {}}, headers=headers, params=params)
    assert response.json() == {"status": "success", "value": True}


def test_only_admins_may_call_any_function(http: httpx.Client, channel: str) -> None:
    """client-protocol 37"""
    body = {"path": "hidden:recall", "args": {"label": channel}}
    assert http.post("/api/function", json=body).status_code == 403
    headers = {"Authorization": f"Convex {ADMIN_KEY}"}
    assert http.post("/api/function", json=body, headers=headers).json()["value"] == "0 remembered"


def test_plain_routes(http: httpx.Client) -> None:
    """client-protocol 43"""
    for path in ("/version", "/instance_name", "/instance_version"):
        response = http.get(path)
        assert response.status_code == 200
        assert response.text
        assert "json" not in response.headers["content-type"]
    assert http.get("/").status_code == 200


def test_cross_origin_headers(http: httpx.Client) -> None:
    """client-protocol 42"""
    origin = "http://localhost:5173"
    preflight = http.options(
        "/api/query",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,convex-client,authorization",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == origin
    assert preflight.headers["access-control-allow-credentials"] == "true"
    allowed = preflight.headers["access-control-allow-headers"].replace(" ", "").split(",")
    assert {"content-type", "convex-client", "authorization"} <= set(allowed)
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for response in (
        http.post("/api/query", json={"path": "greet", "args": {}}, headers={"Origin": origin}),
        http.post("/api/query", content=b"{", headers={"Origin": origin}),
        http.get("/version", headers={"Origin": origin}),
    ):
        assert response.headers["access-control-allow-origin"] == origin


def test_a_body_beyond_the_limit_is_refused(http: httpx.Client) -> None:
    """client-protocol 50"""
    try:
        response = http.post("/api/query", json={"path": "values:lengthOf", "args": {"text": "x" * 18_000_000}})
    except httpx.TransportError:
        return  # refused while still being sent
    assert response.status_code in (400, 413), response.text[:200]


def test_15_mib_of_arguments_are_taken(http: httpx.Client) -> None:
    """client-protocol 50"""
    answer = _post(http, "query", "values:lengthOf", {"text": "x" * 15_000_000})
    assert answer["value"] == 15_000_000


def test_redaction_in_production(tmp_path: Any) -> None:
    """client-protocol 46"""
    with running_server(tmp_path / "reactor", mode="serve") as server:
        plain = server.call("query", "failures:inQuery", {"how": "plain"})
        assert plain["errorMessage"].endswith("] Server Error")
        assert plain["errorMessage"].startswith("[Request ID: ")
        assert "\n" not in plain["errorMessage"]
        assert plain.get("logLines", []) == []
        told = server.call("query", "failures:inQuery", {"how": "object"})
        assert told["errorData"]["code"] == "BROKEN"
        assert told["errorMessage"].endswith("] Server Error")
        page = server.call(
            "query", "messages:page", {"channel": "c", "paginationOpts": {"numItems": 1, "cursor": "garbage"}}
        )
        assert page["errorData"] == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
        assert server.call("query", "logs:fromQuery").get("logLines", []) == []
        assert "a plain error" in server.log(100_000), "the operator sees what the client does not"


def test_batches_and_writers_at_the_same_time(server: ReactorProcess, channel: str) -> None:
    """client-protocol 14 and 2.1: both counters of a batch are equal, however many batches and writes there are"""
    left, right = f"{channel} left", f"{channel} right"
    queries = [{"path": "counters:read", "args": {"name": name}} for name in (left, right, left)]

    def write(_: int) -> None:
        for _ in range(40):
            server.mutation("counters:incrementBoth", {"left": left, "right": right})

    def read(_: int) -> list[list[float]]:
        with httpx.Client(base_url=server.url, timeout=30) as http:
            answers = [http.post("/api/query_batch", json={"queries": queries}).json() for _ in range(40)]
        return [[result["value"] for result in answer["results"]] for answer in answers]

    with ThreadPoolExecutor(6) as threads:
        writes = threads.map(write, range(3))
        reads = [row for rows in threads.map(read, range(3)) for row in rows]
        list(writes)
    assert all(a == b == c for a, b, c in reads), reads
    assert server.query("counters:read", {"name": left}) == 120
