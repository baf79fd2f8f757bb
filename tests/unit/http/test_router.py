from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from reactor.http.misc import ECHOES_AT_ONCE
from reactor.http.router import route_path
from tests.support.door import Door, open_door

ORIGIN = {"origin": "http://localhost:5173"}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/version", "0.1.0"),
        ("/instance_name", "test"),
        ("/instance_version", "0.1.0"),
        ("/", "This Convex deployment is running. See https://docs.convex.dev/."),
    ],
)
async def test_small_routes_answer_text(http: httpx.AsyncClient, path: str, text: str) -> None:
    """client-protocol 43."""
    response = await http.get(path)
    assert (response.status_code, response.text) == (200, text)
    assert response.headers["content-type"].startswith("text/plain")
    head = await http.head(path)
    assert (head.status_code, head.content) == (200, b"")


async def test_echo_gives_back_the_body(http: httpx.AsyncClient) -> None:
    response = await http.post("/echo", content=b"\x00\x01" * 1000, headers={"content-type": "application/x-thing"})
    assert response.content == b"\x00\x01" * 1000
    assert response.headers["content-type"] == "application/x-thing"


async def test_debug_events_are_taken(http: httpx.AsyncClient) -> None:
    """Section 1.10."""
    response = await http.post("/api/debug_event", json={"event": "LongWebsocketDisconnect"})
    assert response.status_code == 200


async def test_what_is_not_there_is_a_404_in_json(http: httpx.AsyncClient) -> None:
    response = await http.get("/nothing")
    assert response.status_code == 404
    assert set(response.json()) == {"code", "message"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("path", ["/api/of_tomorrow", "/api/v1/of/tomorrow", "/api/"])
async def test_unknown_endpoints_of_the_api_are_never_a_404(http: httpx.AsyncClient, method: str, path: str) -> None:
    """deployment-api 3: the official command line would try a 404 again for half a minute."""
    response = await http.request(method, path)
    assert (response.status_code, response.json()["code"]) == (400, "UnknownEndpoint")


async def test_a_wrong_method_is_a_405(http: httpx.AsyncClient) -> None:
    for method, path in (
        ("PUT", "/api/query"),
        ("GET", "/api/mutation"),
        ("GET", "/api/run/a/b"),
        ("POST", "/version"),
    ):
        assert (await http.request(method, path)).status_code == 405


@pytest.mark.parametrize("path", ["/api/query", "/api/mutation", "/api/run/a/b", "/api/storage/upload", "/version"])
async def test_a_preflight_passes(http: httpx.AsyncClient, path: str) -> None:
    """client-protocol 42."""
    response = await http.options(
        path,
        headers={
            **ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type, convex-client, authorization",
        },
    )
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["access-control-allow-headers"] == "content-type, convex-client, authorization"
    assert set(response.headers["access-control-allow-methods"].split(",")) == {
        "GET",
        "POST",
        "OPTIONS",
        "PATCH",
        "DELETE",
        "PUT",
    }
    assert response.headers["access-control-max-age"] == "86400"


async def test_every_answer_mirrors_the_origin(http: httpx.AsyncClient) -> None:
    """client-protocol 42: errors too, or a browser shows none of them."""
    good = {"path": "demo:echo", "args": {}}
    responses = [
        await http.post("/api/query", json=good, headers=ORIGIN),
        await http.post("/api/query", json={}, headers=ORIGIN),
        await http.post("/api/query", json=good, headers={**ORIGIN, "authorization": "Bearer x.y.z"}),
        await http.get("/version", headers=ORIGIN),
        await http.get("/nothing", headers=ORIGIN),
        await http.put("/api/query", headers=ORIGIN),
        await http.post("/echo", headers=ORIGIN),
    ]
    assert [response.status_code for response in responses] == [200, 400, 401, 200, 404, 405, 200]
    for response in responses:
        assert response.headers["access-control-allow-origin"] == "http://localhost:5173"
        assert response.headers["access-control-allow-credentials"] == "true"
        assert "origin" in response.headers["vary"]
    assert "access-control-allow-origin" not in (await http.get("/version")).headers


async def fallback(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4001})
        return
    body = f"fallback {scope['path']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def test_everything_else_goes_to_the_framework() -> None:
    async with open_door(fallback=fallback) as door, httpx.AsyncClient(base_url=door.http) as http:
        assert (await http.get("/http/hook", headers=ORIGIN)).text == "fallback /http/hook"
        response = await http.get("/api/storage/x", headers=ORIGIN)
        assert response.text == "fallback /api/storage/x"
        assert response.headers["access-control-allow-origin"] == "http://localhost:5173"
        hook = await http.options("/http/hook", headers=ORIGIN)
        assert hook.text == "fallback /http/hook", "HTTP actions answer for themselves"
        assert "access-control-allow-origin" not in hook.headers
        assert (await http.get("/version")).text == "0.1.0"


async def test_all_of_it_works_below_a_mount() -> None:
    def wrap(app: Any) -> Any:
        async def mounted(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "root_path": "/live"}, receive, send)

        return mounted

    async with open_door(wrap=wrap) as door, httpx.AsyncClient(base_url=door.http) as http:
        assert (await http.get("/live/version")).text == "0.1.0"
        assert (await http.get("/live")).status_code == 200
        response = await http.post("/live//api/query", json={"path": "demo:echo", "args": {}})
        assert response.json()["status"] == "success"
        run = await http.post("/live/api/run/demo/echo", json={"args": {"a": 1}})
        assert run.json()["value"] == {"a": 1}


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/api/query", "", "/api/query"),
        ("//api//query", "", "/api/query"),
        ("/live/api/query", "/live", "/api/query"),
        ("/live", "/live", "/"),
        ("/liveness", "/live", "/liveness"),
        ("/live//api/query", "/live", "/api/query"),
        ("/api/query", "/live", "/api/query"),
        ("/a/", "/a/", "/"),
    ],
)
def test_the_path_below_the_mount(path: str, root: str, expected: str) -> None:
    assert route_path({"path": path, "root_path": root}) == expected


async def test_an_unexpected_lifespan_is_answered(door: Door) -> None:
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Any:
        return next(events)

    async def send(event: Any) -> None:
        sent.append(event["type"])

    await door.app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_few_echoes_are_in_memory_at_once(door: Door) -> None:
    """Each may have 128 MiB, and no key is needed."""
    reading = 0
    go_on = asyncio.Event()
    answered: list[bytes] = []

    async def receive() -> dict[str, Any]:
        nonlocal reading
        reading += 1
        await go_on.wait()
        return {"type": "http.request", "body": b"x"}

    async def send(event: Any) -> None:
        if event["type"] == "http.response.body":
            answered.append(event["body"])

    scope = {"type": "http", "method": "POST", "path": "/echo", "headers": [], "query_string": b""}
    requests = [asyncio.create_task(door.app(scope, receive, send)) for _ in range(5)]
    while not reading:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert reading == ECHOES_AT_ONCE
    go_on.set()
    await asyncio.gather(*requests)
    assert answered == [b"x"] * 5
