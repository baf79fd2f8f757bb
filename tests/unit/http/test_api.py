from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
from convex import ConvexError
from convex.http_client import ConvexHttpClient

from reactor.http.api import _path_problem
from reactor.limits import Limits
from tests.support.door import ADMIN_KEY, Door, open_door

ENCODED = "convex_encoded_json"
JSON_HEADERS = {"content-type": "application/json"}


async def call(http: httpx.AsyncClient, endpoint: str, path: str, args: Any = None, **extra: Any) -> httpx.Response:
    headers = extra.pop("headers", None)
    body = {"path": path, "args": {} if args is None else args, **extra}
    return await http.post(endpoint, json=body, headers=headers)


def refused(response: httpx.Response, status: int, code: str) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"code", "message"}
    assert body["code"] == code
    return body["message"]


@pytest.mark.parametrize("args", [{"name": "a"}, [{"name": "a"}]])
async def test_functions_take_an_object_or_an_array_of_one(door: Door, http: httpx.AsyncClient, args: Any) -> None:
    """client-protocol 37."""
    assert (await call(http, "/api/mutation", "counters:add", args, format=ENCODED)).json() == {
        "status": "success",
        "value": 1.0,
    }
    for endpoint in ("/api/query", "/api/query_at_ts"):
        response = await call(http, endpoint, "counters:get", args, ts="AQAAAAAAAAA=")
        assert response.status_code == 200
        assert response.text == '{"status":"success","value":1}'
    assert (await call(http, "/api/action", "demo:echo", args)).json()["value"] == {"name": "a"}
    assert (await http.post("/api/run/demo/echo", json={"args": args})).json()["value"] == {"name": "a"}
    admin = {"authorization": f"Convex {ADMIN_KEY}"}
    assert (await call(http, "/api/function", "demo:echo", args, headers=admin)).json()["value"] == {"name": "a"}
    batch = await http.post("/api/query_batch", json={"queries": [{"path": "counters:get", "args": args}] * 2})
    assert batch.json() == {"results": [{"status": "success", "value": 1}] * 2}


@pytest.mark.parametrize("endpoint", ["/api/query", "/api/mutation", "/api/action"])
async def test_failures_answer_200_and_data_only_where_there_is_some(http: httpx.AsyncClient, endpoint: str) -> None:
    """client-protocol 37, sections 0.4 and 0.13."""
    plain = await call(http, endpoint, "demo:boom")
    assert plain.status_code == 200
    assert plain.json()["status"] == "error"
    assert "Uncaught Error: boom" in plain.json()["errorMessage"]
    assert plain.json()["logLines"] == ["[LOG] 'before'"]
    assert "errorData" not in plain.json()
    rich = (await call(http, endpoint, "demo:convexError")).json()
    assert rich["errorData"] == {"why": "bad"}
    assert "logLines" not in rich
    unknown = (await call(http, endpoint, "nope:nope")).json()
    assert unknown["errorMessage"] == "Could not find public function for 'nope:nope'."


async def test_log_lines_are_there_only_when_something_was_logged(http: httpx.AsyncClient) -> None:
    assert (await call(http, "/api/query", "demo:log")).json() == {
        "status": "success",
        "value": None,
        "logLines": ["[LOG] 'hello'", "[WARN] 'ünï'"],
    }


async def test_redacted_failures_still_carry_their_data(door: Door, http: httpx.AsyncClient) -> None:
    """client-protocol 46, the door's part."""
    door.backend.redacted = True
    assert (await call(http, "/api/query", "demo:convexError")).json() == {
        "status": "error",
        "errorMessage": "[Request ID: 0123456789abcdef] Server Error",
        "errorData": {"why": "bad"},
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (None, '{"big":"33","bytes":"AQID","nan":"NaN","one":1}'),
        ("json", '{"big":"33","bytes":"AQID","nan":"NaN","one":1}'),
        ("convex_clean_json", '{"big":"33","bytes":"AQID","nan":"NaN","one":1}'),
        (
            "convex_encoded_json",
            '{"big":{"$integer":"IQAAAAAAAAA="},"bytes":{"$bytes":"AQID"},"nan":{"$float":"AAAAAAAA+H8="},"one":1.0}',
        ),
        (
            "convex_json",
            '{"big":{"$integer":"IQAAAAAAAAA="},"bytes":{"$bytes":"AQID"},"nan":{"$float":"AAAAAAAA+H8="},"one":1.0}',
        ),
        ("export_json", '{"big":33,"bytes":{"$bytes":"AQID"},"nan":{"$float":"AAAAAAAA+H8="},"one":1.0}'),
    ],
)
async def test_values_are_printed_in_the_format_asked_for(
    http: httpx.AsyncClient, name: str | None, value: str
) -> None:
    """client-protocol 38, section 0.15."""
    extra = {} if name is None else {"format": name}
    response = await call(http, "/api/query", "demo:values", **extra)
    assert response.text == '{"status":"success","value":' + value + "}"


async def test_an_unknown_format_is_refused(http: httpx.AsyncClient) -> None:
    """client-protocol 38."""
    refused(await call(http, "/api/query", "demo:values", format="xml"), 400, "BadFormat")


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"", JSON_HEADERS),
        (b"nonsense", JSON_HEADERS),
        (b"{}", JSON_HEADERS),
        (b'{"path":"a:b"}', JSON_HEADERS),
        (b'{"path":1,"args":{}}', JSON_HEADERS),
        (b'{"path":"a:b","args":{}} x', JSON_HEADERS),
        (b'{"path":"a:b","args":{"s":"\\ud8"}}', JSON_HEADERS),
        (b'{"path":"a:b","args":' + b"[" * 100_000 + b"}", JSON_HEADERS),
        (b'{"path":"\xff","args":{}}', JSON_HEADERS),
        (b'{"path":"demo:echo","args":{}}', {}),
        (b'{"path":"demo:echo","args":{}}', {"content-type": "text/plain"}),
    ],
)
@pytest.mark.parametrize("endpoint", ["/api/query", "/api/mutation", "/api/action"])
async def test_what_is_not_a_json_call_is_refused(
    http: httpx.AsyncClient, endpoint: str, content: bytes, headers: dict[str, str]
) -> None:
    """client-protocol 41."""
    refused(await http.post(endpoint, content=content, headers=headers), 400, "BadJsonBody")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_content_types_are_compared_as_http_does(http: httpx.AsyncClient, content_type: str) -> None:
    response = await http.post(
        "/api/query", content=b'{"path":"demo:echo","args":{}}', headers={"content-type": content_type}
    )
    assert response.json() == {"status": "success", "value": {}}


@pytest.mark.parametrize("path", ["", ":f", "a:", "a:b:c", "a b:c", "a/:c", "ä:b", "m:1f", "m:" + "f" * 65, "m" * 65])
async def test_a_path_that_cannot_be_a_function_is_refused(http: httpx.AsyncClient, path: str) -> None:
    """client-protocol 41."""
    message = refused(await call(http, "/api/query", path), 400, "BadConvexFunctionIdentifier")
    assert message.startswith(f"{path} is not a valid path to a Convex function.")


async def test_a_path_of_any_length_is_refused_and_not_remembered(http: httpx.AsyncClient) -> None:
    """Each part of it would be a name."""
    path = "a/" * 5000 + "b:c"
    remembered = _path_problem.cache_info().currsize
    for endpoint in ("/api/query", "/api/mutation", "/api/action"):
        message = refused(await call(http, endpoint, path), 400, "BadConvexFunctionIdentifier")
        assert len(message) < 1000
    assert _path_problem.cache_info().currsize == remembered


@pytest.mark.parametrize("path", ["messages:list", "messages.js:list", "a/b/c:d", "messages", "messages.js"])
async def test_a_path_that_may_be_a_function_reaches_the_backend(http: httpx.AsyncClient, path: str) -> None:
    """client-protocol 17."""
    assert "Could not find" in (await call(http, "/api/query", path)).json()["errorMessage"]


@pytest.mark.parametrize("args", [[], [{}, {}]])
async def test_an_array_of_any_other_length_is_refused(http: httpx.AsyncClient, args: Any) -> None:
    refused(await call(http, "/api/query", "demo:echo", args), 400, "BadArguments")


async def test_a_body_over_the_limit_is_refused() -> None:
    async with open_door(limits=Limits(arguments_bytes=10_000)) as door, httpx.AsyncClient(base_url=door.http) as http:
        assert (await call(http, "/api/query", "demo:echo", {"x": "x" * 9_000})).status_code == 200
        refused(await call(http, "/api/query", "demo:echo", {"x": "x" * 20_000}), 413, "BodyTooLarge")

        async def chunks() -> Any:
            for _ in range(20):
                yield b" " * 1_000

        refused(await http.post("/api/query", content=chunks(), headers=JSON_HEADERS), 413, "BodyTooLarge")


async def test_a_query_can_be_asked_by_url(http: httpx.AsyncClient) -> None:
    response = await http.get("/api/query", params={"path": "demo:echo", "args": '{"a":1}', "format": ENCODED})
    assert response.text == '{"status":"success","value":{"a":1.0}}'
    assert (await http.get("/api/query", params={"path": "demo:echo"})).json()["value"] == {}
    refused(await http.get("/api/query"), 400, "BadQueryParameters")
    refused(await http.get("/api/query", params={"path": "demo:echo", "args": "{"}), 400, "BadQueryParameters")


async def test_an_address_with_a_slash_at_its_end_works(door: Door, http: httpx.AsyncClient) -> None:
    """Section 1.1: clients join URLs by plain concatenation."""
    response = await http.post(f"{door.http}//api/query", json={"path": "demo:echo", "args": {}})
    assert response.json() == {"status": "success", "value": {}}
    response = await http.get(f"{door.http}///api/query?path=demo:echo")
    assert response.json() == {"status": "success", "value": {}}


async def test_a_snapshot_is_pinned_by_its_timestamp(http: httpx.AsyncClient) -> None:
    """client-protocol 39, the door's part."""
    ts = (await http.post("/api/query_ts")).json()
    assert set(ts) == {"ts"}
    assert len(base64.b64decode(ts["ts"])) == 8
    assert (await call(http, "/api/query_at_ts", "counters:get", {"name": "a"}, **ts)).json()["value"] == 0
    refused(await call(http, "/api/query_at_ts", "counters:get", {"name": "a"}, ts="AAAA"), 400, "BadTimestamp")
    refused(await call(http, "/api/query_at_ts", "counters:get", {"name": "a"}), 400, "BadJsonBody")


async def test_a_batch_answers_each_query_by_itself(http: httpx.AsyncClient) -> None:
    queries = [
        {"path": "demo:boom", "args": {}},
        {"path": "demo:values", "args": {}, "format": "json"},
        {"path": "demo:values", "args": {}, "format": ENCODED},
    ]
    results = (await http.post("/api/query_batch", json={"queries": queries})).json()["results"]
    assert [result["status"] for result in results] == ["error", "success", "success"]
    assert results[1]["value"]["big"] == "33"
    assert results[2]["value"]["big"] == {"$integer": "IQAAAAAAAAA="}
    assert (await http.post("/api/query_batch", json={"queries": []})).json() == {"results": []}
    refused(await http.post("/api/query_batch", json={"queries": queries * 400}), 400, "TooManyQueries")


async def test_any_function_by_admin_key_only(http: httpx.AsyncClient) -> None:
    """client-protocol 37 and 39."""
    refused(await call(http, "/api/function", "internal:secret"), 403, "BadDeployKey")
    refused(
        await call(http, "/api/function", "internal:secret", headers={"authorization": "Convex test|wrong"}),
        403,
        "BadDeployKey",
    )
    admin = {"authorization": f"Convex {ADMIN_KEY}"}
    assert (await call(http, "/api/function", "internal:secret", headers=admin)).json()["value"] == "secret"
    assert (await call(http, "/api/query", "internal:secret", headers=admin)).json()["value"] == "secret"
    component = await call(http, "/api/function", "internal:secret", componentPath="agent", headers=admin)
    assert component.json()["status"] == "error"


async def test_run_names_the_function_in_the_url(http: httpx.AsyncClient) -> None:
    """client-protocol 37."""
    response = await http.post("/api/run/sub/module/fn", json={"args": {}})
    assert response.json()["errorMessage"] == "Could not find public function for 'sub/module:fn'."
    encoded = await http.post("/api/run/sub%2Fmodule/fn", json={"args": {}})
    assert encoded.json()["errorMessage"] == "Could not find public function for 'sub/module:fn'."
    doubled = await http.post("/api//run/demo//echo", json={})
    assert doubled.json()["status"] == "success"
    assert (await http.post("/api/run/demo/echo", json={})).json() == {"status": "success", "value": {}}
    assert (await http.post("/api/run/demo/values", json={"format": "json"})).json()["value"]["big"] == "33"
    for path in ("/api/run/alone", "/api/run/", "/api/run/a//"):
        refused(await http.post(path, json={"args": {}}), 400, "MissingIdentifier")


USER = {"subject": "u1", "issuer": "https://i", "name": "N"}


@pytest.mark.parametrize("prefix", ["", "prod:", "dev:"])
@pytest.mark.parametrize("scheme", ["Convex", "convex"])
async def test_the_operator_may_act_as_a_user(http: httpx.AsyncClient, scheme: str, prefix: str) -> None:
    """client-protocol 35."""
    user = base64.b64encode(json.dumps(USER).encode()).decode()
    response = await call(
        http, "/api/query", "auth:whoami", headers={"authorization": f"{scheme} {prefix}{ADMIN_KEY}:{user}"}
    )
    assert response.json()["value"] == {**USER, "tokenIdentifier": "https://i|u1"}


async def test_the_admin_key_may_be_a_parameter(http: httpx.AsyncClient) -> None:
    body = {"path": "internal:secret", "args": {}}
    assert (await http.post("/api/query", params={"adminKey": ADMIN_KEY}, json=body)).json()["value"] == "secret"
    refused(await http.post("/api/query", params={"adminKey": "x"}, json=body), 403, "BadDeployKey")


@pytest.mark.parametrize("endpoint", ["/api/query", "/api/mutation", "/api/action"])
@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        ("Bearer invalid-token-one", 401, "NoAuthProvider"),
        ("bearer e30.e30.e30", 401, "NoAuthProvider"),
        ("x", 400, "InvalidHeaderFailure"),
        ("Basic dTpw", 400, "InvalidAdminKey"),
        ("Convex nope", 403, "BadDeployKey"),
        ("Convex nope:eyJzdWJqZWN0IjoidSIsImlzc3VlciI6ImkifQ==", 403, "BadDeployKey"),
        (f"Convex {ADMIN_KEY}:%%%", 400, "HeaderParseFailure"),
        (f"Convex {ADMIN_KEY}:e30=", 400, "HeaderParseFailure"),
    ],
)
async def test_a_credential_that_proves_nothing_is_never_ignored(
    http: httpx.AsyncClient, endpoint: str, header: str, status: int, code: str
) -> None:
    """client-protocol 35."""
    response = await call(http, endpoint, "demo:echo", headers={"authorization": header})
    message = refused(response, status, code)
    if code == "NoAuthProvider":
        assert "no providers configured" in message


async def test_a_client_without_a_version_is_refused(http: httpx.AsyncClient) -> None:
    response = await call(http, "/api/query", "demo:echo", headers={"convex-client": "nonsense"})
    refused(response, 400, "InvalidClientVersion")
    assert (await call(http, "/api/query", "demo:echo", headers={"convex-client": "x-1.0.0"})).status_code == 200


async def test_an_overloaded_server_answers_503(http: httpx.AsyncClient) -> None:
    for endpoint in ("/api/query", "/api/mutation", "/api/action"):
        refused(await call(http, endpoint, "demo:overloaded"), 503, "TooManyConcurrentRequests")


async def test_request_ids_are_the_client_s_or_random(door: Door, http: httpx.AsyncClient) -> None:
    await call(http, "/api/mutation", "counters:add", {"name": "a"}, headers={"convex-request-id": "mine"})
    await call(http, "/api/mutation", "counters:add", {"name": "a"})
    await call(http, "/api/mutation", "counters:add", {"name": "a"})
    first, second, third = door.backend.request_ids
    assert first == "mine"
    assert second is not None
    assert len(second) == 16
    assert int(second, 16) >= 0
    assert second != third


async def test_half_a_surrogate_pair_is_the_function_s_error_or_a_400(door: Door, http: httpx.AsyncClient) -> None:
    """api.md, "Loading apps"."""
    response = await http.post(
        "/api/query", content=rb'{"path":"demo:echo","args":{"s":"\ud800"}}', headers=JSON_HEADERS
    )
    message = refused(response, 400, "BadJsonBody")
    assert "surrogate" in message


async def test_a_client_that_leaves_early_does_not_stop_its_action(door: Door) -> None:
    """client-protocol 27, over HTTP."""
    gate = door.backend.hold("action")
    _, writer = await asyncio.open_connection(*door.host.split(":"))
    body = b'{"path":"demo:echo","args":{}}'
    writer.write(
        b"POST /api/action HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    async with asyncio.timeout(10):
        while not door.backend.actions_running:
            await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()
        gate.set()
        while not door.backend.actions_ended:
            await asyncio.sleep(0.01)
    assert door.backend.actions_ended == 1


async def test_a_bug_is_a_500_that_says_nothing(
    door: Door, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("a secret")

    door.backend.run_query = explode  # type: ignore[method-assign, assignment]
    message = refused(await call(http, "/api/query", "demo:echo"), 500, "InternalServerError")
    assert "secret" not in message
    assert "a secret" in caplog.text


async def test_the_python_client_works(door: Door) -> None:
    """client-protocol 40."""

    def use() -> None:
        client = ConvexHttpClient(door.http)
        assert client.query("counters:get", {"name": "a"}) == 0
        assert client.mutation("counters:add", {"name": "a"}) == 1
        assert client.action("demo:echo", {"x": [1, {"y": "ü"}]}) == {"x": [1, {"y": "ü"}]}
        with pytest.raises(Exception, match="Uncaught Error: boom"):
            client.query("demo:boom")
        with pytest.raises(ConvexError) as rich:
            client.mutation("demo:convexError")
        assert rich.value.data == {"why": "bad"}
        client.set_auth("invalid-token-one")
        with pytest.raises(Exception, match=r"401 NoAuthProvider: No auth provider found"):
            client.query("counters:get", {"name": "a"})
        client.set_admin_auth(ADMIN_KEY)
        assert client.query("internal:secret") == "secret"

    await asyncio.to_thread(use)
