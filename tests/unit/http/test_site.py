"""HTTP actions as clients see them: routes, bodies both ways, errors, identity, limits (server-semantics 43)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from reactor.clock import ManualClock
from reactor.limits import Limits
from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader
from reactor.testing import Backend, TestIssuer
from reactor.testing import backend as make_backend

SCHEMA = """
from reactor import Document, define_schema, define_table


class Note(Document):
    text: str


schema = define_schema(notes=define_table(Note))
"""

NOTES = """
from reactor import ApplicationError, MutationCtx, QueryCtx, mutation, query
from schema import Note


@mutation
async def add(ctx: MutationCtx, text: str) -> int:
    await ctx.db.insert(Note(text=text))
    if text == "refused":
        raise ApplicationError({"reason": text})
    return await ctx.db.query(Note).count()


@query
async def count(ctx: QueryCtx) -> int:
    return await ctx.db.query(Note).count()


@query
async def me(ctx: QueryCtx) -> str | None:
    identity = await ctx.auth.get_user_identity()
    return None if identity is None else identity.subject
"""

HTTP = """
from typing import Annotated, Any, Literal
import anyio
from functions import notes
from reactor import ActionCtx, ApplicationError, HttpRouter, Int64, Projection, Struct, cors
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

http = HttpRouter()


class Line(Struct):
    product_id: str
    quantity: int = 1


class Order(Struct):
    lines: list[Line]
    note: str | None = None


class Receipt(Struct):
    order_count: int
    big: Int64 | None = None


class Event(Projection):
    kind: str


@http.route("/exact", methods=["GET", "POST"])
async def exact(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse(f"exact {request.method} {request.url.path} {request.query_params.get('x', '-')}")


@http.route("/exact/", methods=["PUT"])
async def exact_put(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse("put")


@http.route(prefix="/files/", methods=["GET"])
async def files(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse("files:" + request.path_params["path"])


@http.route(prefix="/files/deep/", methods=["GET"])
async def deep(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse("deep:" + request.path_params["path"])


@http.route("/files/exact", methods=["POST"])
async def only_post(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse("posted")


@http.route("/files/deep/exact", methods=["GET"])
async def deep_exact(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse("exact wins")


@http.route("/order", methods=["POST"])
async def order(ctx: ActionCtx, body: Order) -> Receipt:
    return Receipt(order_count=sum(line.quantity for line in body.lines))


@http.route("/order-and-request", methods=["POST"])
async def order_and_request(ctx: ActionCtx, request: Request, *, body: Order) -> Response:
    return JSONResponse([request.headers["x-shop"], body.lines[0].product_id, body.note])


@http.route("/event", methods=["POST"])
async def event(ctx: ActionCtx, event: Event) -> Response:
    return PlainTextResponse(event.kind)


@http.route("/big", methods=["GET"])
async def big(ctx: ActionCtx, request: Request) -> Receipt:
    return Receipt(order_count=3, big=Int64(2**60))


@http.route("/echo", methods=["POST"])
async def echo(ctx: ActionCtx, request: Request) -> Response:
    return Response(await request.body(), media_type=request.headers.get("content-type"))


@http.route("/size", methods=["POST", "GET", "DELETE"])
async def size(ctx: ActionCtx, request: Request) -> Response:
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
    return PlainTextResponse(str(total))


@http.route("/cookies", methods=["GET"])
async def cookies(ctx: ActionCtx, request: Request) -> Response:
    response = PlainTextResponse("ok")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


@http.route("/crash", methods=["GET"])
async def crash(ctx: ActionCtx, request: Request) -> Response:
    print("about to")
    raise ValueError("boom")


@http.route("/refuse", methods=["GET"])
async def refuse(ctx: ActionCtx, request: Request) -> Response:
    raise ApplicationError({"code": "NO", "left": Int64(3)})


@http.route("/refuse-below", methods=["GET"])
async def refuse_below(ctx: ActionCtx, request: Request) -> Response:
    await ctx.run_mutation(notes.add, text="refused")
    return Response()


@http.route("/http-exception", methods=["GET"])
async def http_exception(ctx: ActionCtx, request: Request) -> Response:
    raise HTTPException(418, "teapot", headers={"x-tea": "green"})


@http.route("/wrong", methods=["GET"])
async def wrong(ctx: ActionCtx, request: Request):
    return {"a": 1}


@http.route("/exit", methods=["GET"])
async def leave(ctx: ActionCtx, request: Request) -> Response:
    raise SystemExit(3)


@http.route("/add", methods=["POST"])
async def add(ctx: ActionCtx, request: Request) -> Response:
    count = await ctx.run_mutation(notes.add, text=(await request.body()).decode())
    return JSONResponse({"count": count}, status_code=201)


@http.route("/me", methods=["GET"])
async def me(ctx: ActionCtx, request: Request) -> Response:
    identity = await ctx.auth.get_user_identity()
    return PlainTextResponse("nobody" if identity is None else identity.subject)


@http.route("/me-below", methods=["GET"])
async def me_below(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse(str(await ctx.run_query(notes.me)))


@http.route("/admin", methods=["GET"])
async def admin(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse(str(ctx.auth.is_admin))


@http.route("/own-secret", methods=["GET"])
async def own_secret(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse(request.headers["authorization"])


@http.route("/url", methods=["GET"])
async def url(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse(str(request.url))


@http.route("/stream/{n}", methods=["GET"])
async def never(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse("literal braces")


@http.route("/stream", methods=["GET"])
async def stream(ctx: ActionCtx, request: Request) -> Response:
    n, size = int(request.query_params["n"]), int(request.query_params.get("size", "1"))

    async def produce():
        for _ in range(n):
            yield b"x" * size
        await ctx.run_mutation(notes.add, text="streamed")

    return StreamingResponse(produce())


@http.route("/whole", methods=["GET"])
async def whole(ctx: ActionCtx, request: Request) -> Response:
    return Response(b"x" * int(request.query_params["size"]))


@http.route("/break", methods=["GET"])
async def break_(ctx: ActionCtx, request: Request) -> Response:
    async def produce():
        yield b"begun"
        raise ConnectionResetError("upstream")

    return StreamingResponse(produce())


@http.route("/background", methods=["GET"])
async def background(ctx: ActionCtx, request: Request) -> Response:
    async def later() -> None:
        await ctx.run_mutation(notes.add, text="later")

    return PlainTextResponse("now", background=BackgroundTask(later))


@http.route("/slow", methods=["GET"])
async def slow(ctx: ActionCtx, request: Request) -> Response:
    await anyio.sleep(60)
    return Response()


@http.route("/form", methods=["POST"])
async def form(ctx: ActionCtx, request: Request) -> Response:
    form = await request.form()
    return JSONResponse(dict(form))


site = cors("https://app.example", "https://*.example.org", expose=["x-total"])


@http.route("/shared", methods=["GET", "POST"], cors=site)
async def shared(ctx: ActionCtx, request: Request) -> Response:
    if request.query_params:
        raise ValueError("no")
    return PlainTextResponse("ok", headers={"x-total": "3"})


@http.route("/shared-json", methods=["POST"], cors=cors())
async def shared_json(ctx: ActionCtx, body: Order) -> Receipt:
    return Receipt(order_count=1)


@http.route("/with-cookies", methods=["GET"], cors=cors("https://app.example", credentials=True, headers=["x-key"]))
async def with_cookies(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse("ok")


@http.route("/own-options", methods=["OPTIONS"])
async def own_options(ctx: ActionCtx, request: Request) -> Response:
    return Response(status_code=204, headers={"allow": "GET"})
"""


def write(directory: Path, http: str = HTTP) -> Path:
    (directory / "functions").mkdir(parents=True)
    (directory / "schema.py").write_text(SCHEMA)
    (directory / "functions" / "notes.py").write_text(NOTES)
    (directory / "functions" / "http.py").write_text(http)
    return directory


@pytest.fixture(scope="session")
def shop_app(tmp_path_factory: pytest.TempPathFactory) -> App:
    return AppLoader(write(tmp_path_factory.mktemp("shop") / "app")).load()


@pytest.fixture
async def shop(shop_app: App) -> AsyncIterator[Backend]:
    async with make_backend(shop_app, admin_keys=("key|secret",)) as running:
        yield running


async def through_main_port(backend: Backend, path: str, method: str = "GET", **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(backend.reactor)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://main.test") as client:
        return await client.request(method, path, **options)


# Routes


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/exact", "exact GET /exact -"),
        ("GET", "/exact?x=1", "exact GET /exact 1"),
        ("POST", "/exact", "exact POST /exact -"),
        ("PUT", "/exact/", "put"),
        ("GET", "/files/a/b", "files:a/b"),
        ("GET", "/files/", "files:"),
        ("GET", "/files/deep/x", "deep:x"),
        ("GET", "/files/deep", "files:deep"),
        ("GET", "/files/deep/exact", "exact wins"),
        ("GET", "/files/exact", "files:exact"),
        ("POST", "/files/exact", "posted"),
        ("GET", "/files/%C3%A4%20b", "files:ä b"),
        ("GET", "/stream/{n}", "literal braces"),
    ],
)
async def test_exact_paths_win_over_the_longest_prefix(shop: Backend, method: str, path: str, expected: str) -> None:
    answer = await shop.fetch(path, method)
    assert (answer.status_code, answer.text) == (200, expected)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/exact"),
        ("GET", "/exact/"),
        ("GET", "/Exact"),
        ("GET", "/files"),
        ("POST", "/files/a"),
        ("OPTIONS", "/exact"),
        ("GET", "/"),
        ("TRACE", "/exact"),
    ],
)
async def test_what_no_route_has_is_404_whatever_the_method(shop: Backend, method: str, path: str) -> None:
    """Trailing slashes and letters count; OPTIONS is not answered by itself (client-protocol 45)."""
    answer = await shop.fetch(path, method)
    assert (answer.status_code, answer.text) == (404, "No matching routes found")


async def test_head_runs_the_get_route_and_drops_the_body(shop: Backend) -> None:
    answer = await shop.fetch("/exact", "HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len("exact HEAD /exact -"))
    assert (await shop.fetch("/add", "HEAD")).status_code == 404
    streamed = await shop.fetch("/stream?n=3", "HEAD")
    assert (streamed.status_code, streamed.content) == (200, b"")
    assert await shop.query("notes:count") == 1


async def test_an_own_options_route_is_run(shop: Backend) -> None:
    answer = await shop.fetch("/own-options", "OPTIONS")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET")


async def test_without_an_http_module_the_site_says_so(tmp_path: Path) -> None:
    """client-protocol 45"""
    async with make_backend(App({})) as bare:
        for answer in (await bare.fetch("/x"), await through_main_port(bare, "/http/x")):
            assert answer.status_code == 404
            assert answer.text == "This Convex deployment does not have HTTP actions enabled."


async def test_the_main_port_serves_the_same_below_http(shop: Backend) -> None:
    """client-protocol 45"""
    assert (await through_main_port(shop, "/http/exact?x=2")).text == "exact GET /exact 2"
    assert (await through_main_port(shop, "/http/nope")).text == "No matching routes found"
    assert (await through_main_port(shop, "/http/exact", "OPTIONS")).status_code == 404
    assert (await through_main_port(shop, "/exact")).status_code == 404
    assert (await through_main_port(shop, "/http/files/a%20b")).text == "files:a b"


async def test_the_request_has_the_url_that_clients_used(shop: Backend) -> None:
    async def url(path: str, **headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await shop.fetch(path, headers={"host": "api.example", **named})).text

    assert await url("/url?a=1") == "http://api.example/url?a=1"
    assert await url("/url", x_forwarded_proto="https") == "https://api.example/url"
    assert await url("/url", x_forwarded_proto="https, http") == "https://api.example/url"
    assert await url("/url", x_forwarded_proto="javascript") == "http://api.example/url"
    assert await url("/url", forwarded='for=1.2.3.4;proto="https";host=x') == "https://api.example/url"
    answer = await through_main_port(shop, "/http/url", headers={"host": "main.example"})
    assert answer.text == "http://main.example/url"


# Bodies


async def test_a_struct_takes_the_validated_body_and_a_struct_is_the_answer(shop: Backend) -> None:
    answer = await shop.fetch("/order", "POST", json={"lines": [{"productId": "p", "quantity": 2}, {"productId": "q"}]})
    assert (answer.status_code, answer.json()) == (200, {"orderCount": 3})
    assert answer.headers["content-type"] == "application/json"


async def test_a_large_body_is_validated_as_well(shop: Backend) -> None:
    lines = [{"productId": "p" * 100, "quantity": 1}] * 8000
    assert (await shop.fetch("/order", "POST", json={"lines": lines})).json() == {"orderCount": 8000}
    lines[-1] = {"productId": 1, "quantity": 1}  # type: ignore[dict-item]
    answer = await shop.fetch("/order", "POST", json={"lines": lines})
    assert (answer.status_code, answer.json()["error"]["path"]) == (400, ".lines[7999].productId")


async def test_the_body_may_stand_beside_the_request(shop: Backend) -> None:
    body = {"lines": [{"productId": "p"}], "note": "n"}
    answer = await shop.fetch("/order-and-request", "POST", json=body, headers={"x-shop": "s"})
    assert answer.json() == ["s", "p", "n"]


async def test_answers_are_plain_json(shop: Backend) -> None:
    assert (await shop.fetch("/big")).json() == {"orderCount": 3, "big": str(2**60)}


async def test_a_projection_takes_the_fields_it_lists_and_ignores_the_others(shop: Backend) -> None:
    answer = await shop.fetch("/event", "POST", json={"kind": "paid", "object": {"ö": 1}, "$x": 1})
    assert (answer.status_code, answer.text) == (200, "paid")
    assert (await shop.fetch("/event", "POST", json={"object": {}})).status_code == 400


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (b"", "BadJsonBody", ""),
        (b"{", "BadJsonBody", ""),
        (b"\xff", "BadJsonBody", ""),
        (b'"\\ud800"', "BadJsonBody", ""),
        (b"[" * 100_000, "BadJsonBody", ""),
        (b"[]", "InvalidBody", ""),
        (b"{}", "InvalidBody", ""),
        (b'{"lines": [{"productId": "p", "quantity": 1.5}]}', "InvalidBody", ".lines[0].quantity"),
        (b'{"lines": [], "other": 1}', "InvalidBody", ""),
        (b'{"lines": [], "note": null}', "InvalidBody", ".note"),
    ],
)
async def test_what_does_not_fit_the_struct_is_a_json_400(shop: Backend, body: bytes, code: str, path: str) -> None:
    answer = await shop.fetch("/order", "POST", content=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["path"]) == (code, path)
    assert error["message"]


@pytest.mark.parametrize("body", [b"", bytes(range(256)) * 1000])
async def test_binary_bodies_pass_both_ways(shop: Backend, body: bytes) -> None:
    answer = await shop.fetch("/echo", "POST", content=body, headers={"content-type": "image/x"})
    assert (answer.content, answer.headers["content-type"]) == (body, "image/x")


async def test_several_cookies_are_several_headers(shop: Backend) -> None:
    answer = await shop.fetch("/cookies")
    assert answer.headers.get_list("set-cookie") == ["a=1; Path=/; SameSite=lax", "b=2; Path=/; SameSite=lax"]


async def test_get_has_no_body_and_delete_may(shop: Backend) -> None:
    assert (await shop.fetch("/size", "GET", content=b"abc")).text == "0"
    assert (await shop.fetch("/size", "DELETE", content=b"abc")).text == "3"


async def test_forms_are_read(shop: Backend) -> None:
    assert (await shop.fetch("/form", "POST", data={"text": "hi", "user": "ann"})).json() == {
        "text": "hi",
        "user": "ann",
    }
    broken = await shop.fetch(
        "/form", "POST", content=b"x", headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert broken.status_code == 400


async def test_a_handler_calls_functions_and_chooses_its_status(shop: Backend) -> None:
    answer = await shop.fetch("/add", "POST", content=b"first")
    assert (answer.status_code, answer.json()) == (201, {"count": 1})


async def test_background_tasks_run_after_the_answer(shop: Backend) -> None:
    assert (await shop.fetch("/background")).text == "now"
    assert await shop.query("notes:count") == 1


# Limits


@pytest.fixture
async def small(shop_app: App) -> AsyncIterator[Backend]:
    limits = Limits(http_request_bytes=1000, http_response_bytes=2000, action_time_s=0.05)
    async with make_backend(shop_app, limits=limits) as running:
        yield running


async def chunks(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


async def test_a_request_body_of_exactly_the_limit_passes_and_one_byte_more_is_413(small: Backend) -> None:
    assert (await small.fetch("/size", "POST", content=b"x" * 1000)).text == "1000"
    assert (await small.fetch("/size", "POST", content=chunks(500, 500))).text == "1000"
    for body in (b"x" * 1001, chunks(500, 501)):
        answer = await small.fetch("/size", "POST", content=body)
        assert answer.status_code == 413
        assert answer.json() == {
            "code": "HttpRequestTooLarge",
            "message": "HTTP actions support requests up to 1000 bytes",
        }


async def test_large_bodies_share_the_budget_of_all_doors(shop_app: App) -> None:
    async with make_backend(shop_app, limits=Limits(request_bodies_bytes=300_000)) as running:
        bodies = running.reactor._doors.site._bodies
        assert bodies is not None
        assert bodies is running.reactor._doors.router._bodies
        bodies._wait_most_s = 0.001
        assert (await running.fetch("/size", "POST", content=chunks(150_000, 150_000))).text == "300000"
        assert bodies.used == 0
        taken = await bodies.take(200_000)
        answer = await running.fetch("/size", "POST", content=chunks(100_000, 100_000))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["code"] == "TooManyRequestBodies"
        assert (await running.fetch("/size", "POST", content=chunks(50_000, 49_999))).text == "99999"
        bodies.give_back(taken)
        assert (await running.fetch("/size", "POST", content=chunks(100_000, 100_000))).text == "200000"
        assert bodies.used == 0


async def test_a_client_that_sends_no_more_is_given_up_while_others_wait_for_their_turn(shop_app: App) -> None:
    async def nothing_more() -> AsyncIterator[bytes]:
        yield b"some"
        stopped.set()
        await asyncio.Event().wait()

    async with make_backend(shop_app, limits=Limits(concurrent_http_actions=1)) as running:
        site = running.reactor._doors.site
        site._slow._patience_s = 0.01
        for path in ("/size", "/echo"):
            stopped = asyncio.Event()
            slow = asyncio.create_task(running.fetch(path, "POST", content=nothing_more()))
            await stopped.wait()
            assert (await running.fetch("/size", "POST", content=chunks(1, 2))).text == "3"
            refused = await slow
            assert (refused.status_code, refused.json()["code"]) == (408, "RequestTimeout")
        assert not site._slow.holding


async def test_the_limits_are_20_mib_each() -> None:
    assert Limits().http_request_bytes == Limits().http_response_bytes == 20 * 1024 * 1024


async def test_an_answer_of_exactly_the_limit_passes_and_one_byte_more_is_cut(
    small: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    assert len((await small.fetch("/stream?n=4&size=500")).content) == 2000
    assert len((await small.fetch("/whole?size=2000")).content) == 2000
    with pytest.raises(httpx.RemoteProtocolError):
        await small.fetch("/stream?n=5&size=500")
    assert "HttpResponseTooLarge: HTTP actions support responses up to 2000 bytes" in caplog.text


async def test_an_answer_that_says_it_is_too_large_is_not_begun(small: Backend) -> None:
    answer = await small.fetch("/whole?size=2001")
    assert answer.status_code == 500
    assert "HTTP actions support responses up to 2000 bytes" in answer.json()["code"]


async def test_a_handler_that_takes_too_long_is_stopped(small: Backend) -> None:
    answer = await small.fetch("/slow")
    assert answer.status_code == 500
    assert answer.json()["code"].endswith("Server Error: Function execution timed out (maximum duration: 0.05s)")


# Errors


async def test_an_exception_is_a_500_with_its_message_and_the_frames_of_the_app(shop: Backend) -> None:
    answer = await shop.fetch("/crash", headers={"convex-request-id": "abc"})
    assert answer.status_code == 500
    error = answer.json()
    assert error["code"] == "[Request ID: abc] Server Error: Uncaught ValueError: boom"
    assert error["trace"].startswith("Uncaught ValueError: boom\n    at crash (functions/http.py:")
    assert set(error) == {"code", "trace"}


async def test_in_production_an_exception_says_nothing(shop_app: App) -> None:
    """client-protocol 46"""
    async with make_backend(shop_app, dev=False) as shop:
        answer = await shop.fetch("/crash", headers={"convex-request-id": "abc"})
        assert (answer.status_code, answer.json()) == (500, {"code": "[Request ID: abc] Server Error"})
        assert (await shop.fetch("/refuse")).json() == {"error": {"code": "NO", "left": "3"}}


@pytest.mark.parametrize(
    ("path", "data"), [("/refuse", {"code": "NO", "left": "3"}), ("/refuse-below", {"reason": "refused"})]
)
async def test_an_application_error_is_a_400_with_its_data(shop: Backend, path: str, data: Any) -> None:
    answer = await shop.fetch(path)
    assert (answer.status_code, answer.json()) == (400, {"error": data})
    assert await shop.query("notes:count") == 0


async def test_starlettes_own_exception_keeps_its_status(shop: Backend) -> None:
    answer = await shop.fetch("/http-exception")
    assert (answer.status_code, answer.json(), answer.headers["x-tea"]) == (418, {"error": "teapot"}, "green")


async def test_a_handler_that_returns_neither_response_nor_struct_is_told(shop: Backend) -> None:
    answer = await shop.fetch("/wrong")
    assert answer.status_code == 500
    assert "must return a Response (from starlette.responses) or a Struct, not dict" in answer.json()["code"]


async def test_system_exit_ends_only_the_handler(shop: Backend) -> None:
    assert (await shop.fetch("/exit")).status_code == 500
    assert (await shop.fetch("/exact")).status_code == 200


async def test_an_error_after_the_head_cuts_the_answer_and_is_logged(
    shop: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await shop.fetch("/break")
    assert "upstream" in caplog.text


# Who asks


async def test_nobody_is_nobody(shop: Backend) -> None:
    assert (await shop.fetch("/me")).text == "nobody"


@pytest.mark.parametrize("header", ["Basic dTpw", "x", "", "Hawk id=1", "Convex wrong-key"])
async def test_a_foreign_header_is_nobodys_and_does_not_block(shop: Backend, header: str) -> None:
    headers = {"authorization": header}
    assert (await shop.fetch("/me", headers=headers)).text == "nobody"
    assert (await shop.fetch("/own-secret", headers=headers)).text == header


@pytest.mark.parametrize("token", ["my-own-secret", "a.b.c", "é"])
async def test_a_foreign_bearer_token_blocks_only_who_asks_for_the_user(shop: Backend, token: str) -> None:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    assert (await shop.fetch("/exact", headers=headers)).status_code == 200
    assert (await shop.fetch("/own-secret", headers=headers)).status_code == 200
    for path in ("/me", "/me-below"):
        answer = await shop.fetch(path, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["code"] in ("NoAuthProvider", "InvalidAuthHeader")


async def test_the_operator_is_known_by_the_admin_key(shop: Backend) -> None:
    assert (await shop.fetch("/admin", headers={"authorization": "Convex key|secret"})).text == "True"
    assert (await shop.fetch("/admin")).text == "False"


async def test_tests_ask_as_whom_they_like(shop: Backend) -> None:
    assert (await shop.as_user("ann").fetch("/me")).text == "ann"
    assert (await shop.as_user("ann").fetch("/me-below")).text == "ann"


# Pages of other origins

APP = {"origin": "https://app.example"}


async def test_cors_headers_are_on_success_error_and_404(shop: Backend) -> None:
    for path, status in (("/shared", 200), ("/shared?x=1", 500)):
        answer = await shop.fetch(path, headers=APP)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["access-control-expose-headers"] == "x-total"
        assert answer.headers["vary"] == "origin"
    missing = await shop.fetch("/shared", "DELETE", headers=APP)
    assert (missing.status_code, missing.headers["access-control-allow-origin"]) == (404, "https://app.example")
    invalid = await shop.fetch("/shared-json", "POST", content=b"{", headers=APP)
    assert (invalid.status_code, invalid.headers["access-control-allow-origin"]) == (400, "*")


async def test_preflights_are_answered_for_routes_with_cors(shop: Backend) -> None:
    asked = {**APP, "access-control-request-method": "POST", "access-control-request-headers": "content-type,x-a"}
    answer = await shop.fetch("/shared", "OPTIONS", headers=asked)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-methods"] == "GET, POST"
    assert answer.headers["access-control-allow-headers"] == "content-type,x-a"
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["access-control-max-age"] == "86400"
    assert "access-control-allow-credentials" not in answer.headers


async def test_other_origins_get_no_permission(shop: Backend) -> None:
    for origin in (
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil",
        "https://example.org",
        "null",
    ):
        for method in ("GET", "OPTIONS"):
            answer = await shop.fetch("/shared", method, headers={"origin": origin})
            assert "access-control-allow-origin" not in answer.headers
            assert "origin" in answer.headers["vary"]
    sub = await shop.fetch("/shared", headers={"origin": "https://a.b.example.org"})
    assert sub.headers["access-control-allow-origin"] == "https://a.b.example.org"


async def test_credentials_are_for_named_origins(shop: Backend) -> None:
    answer = await shop.fetch("/with-cookies", headers=APP)
    assert answer.headers["access-control-allow-credentials"] == "true"
    preflight = await shop.fetch(
        "/with-cookies", "OPTIONS", headers={**APP, "access-control-request-headers": "x-other"}
    )
    assert preflight.headers["access-control-allow-headers"] == "x-key"


# The server's end, and its guests


LIFE = """
import asyncio

from reactor import ActionCtx, HttpRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

http = HttpRouter()
begun = asyncio.Event()
go_on = asyncio.Event()
ended: list[str] = []


@http.route("/wait", methods=["GET"])
async def wait(ctx: ActionCtx, request: Request) -> Response:
    begun.set()
    try:
        await go_on.wait()
    finally:
        ended.append(type(ctx).__name__)
    return PlainTextResponse("done")


@http.route("/quick", methods=["GET"])
async def quick(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse("quick")


@http.route("/tidy", methods=["GET"])
async def tidy(ctx: ActionCtx, request: Request) -> Response:
    async def produce():
        try:
            while True:
                yield b"x" * 1000
        finally:
            ended.append("tidied")

    return StreamingResponse(produce())
"""


@pytest.fixture
def life_app(tmp_path: Path) -> App:
    return AppLoader(write(tmp_path / "app", LIFE)).load()


async def test_a_stopping_server_waits_for_handlers_and_then_cancels_them(life_app: App) -> None:
    module: Any = life_app.modules["http"]
    async with make_backend(life_app, stop_grace_s=10.0) as backend:
        finished = asyncio.create_task(backend.fetch("/wait"))
        await module.begun.wait()
        asyncio.get_running_loop().call_later(0.01, module.go_on.set)
    assert (await finished).text == "done"
    module.begun.clear()
    module.go_on.clear()
    async with make_backend(life_app, stop_grace_s=0.01) as backend:
        cancelled = asyncio.create_task(backend.fetch("/wait"))
        await module.begun.wait()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert len(module.ended) == 2


async def test_only_so_many_handlers_run_at_once(life_app: App) -> None:
    module: Any = life_app.modules["http"]
    async with make_backend(life_app, limits=Limits(concurrent_http_actions=1)) as backend:
        first = asyncio.create_task(backend.fetch("/wait"))
        await module.begun.wait()
        second = asyncio.create_task(backend.fetch("/quick"))
        await backend.settle()
        assert not second.done()
        module.go_on.set()
        assert [(await first).text, (await second).text] == ["done", "quick"]


async def test_only_so_many_requests_wait(life_app: App) -> None:
    module: Any = life_app.modules["http"]
    limits = Limits(concurrent_http_actions=1, waiting_http_actions=1)
    async with make_backend(life_app, limits=limits) as backend:
        first = asyncio.create_task(backend.fetch("/wait"))
        await module.begun.wait()
        second = asyncio.create_task(backend.fetch("/quick"))
        await backend.settle()
        refused = await backend.fetch("/quick")
        assert (refused.status_code, refused.json()["code"]) == (429, "TooManyConcurrentRequests")
        module.go_on.set()
        assert [(await first).text, (await second).text] == ["done", "quick"]
        assert (await backend.fetch("/quick")).status_code == 200


async def test_a_generator_that_is_cut_off_is_closed_at_once(life_app: App) -> None:
    module: Any = life_app.modules["http"]
    async with make_backend(life_app, limits=Limits(http_response_bytes=2000)) as backend:
        with pytest.raises(httpx.RemoteProtocolError):
            await backend.fetch("/tidy")
        assert module.ended == ["tidied"]


async def test_a_mounted_app_serves_them_below_its_own_path(shop: Backend) -> None:
    host = Starlette(routes=[Mount("/live", shop.reactor)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(host), base_url="http://host.test") as client:
        assert (await client.get("/live/http/exact")).text == "exact GET /exact -"
        assert (await client.get("/live/http/url?a=1")).text == "http://host.test/url?a=1"
        assert (await client.get("/live/http/files/a/b")).text == "files:a/b"


async def test_a_valid_token_makes_the_user(tmp_path: Path) -> None:
    """client-protocol 35, server-semantics 43"""
    clock = ManualClock()
    with TestIssuer(clock=clock) as issuer:
        directory = write(tmp_path / "app")
        config = f"providers = [OidcProvider(domain={issuer.url!r}, application_id={issuer.application_id!r})]"
        (directory / "functions" / "auth_config.py").write_text(f"from reactor import OidcProvider\n\n{config}\n")
        async with make_backend(AppLoader(directory).load(), clock=clock) as shop:
            good = {"authorization": f"Bearer {issuer.token('ann')}"}
            assert (await shop.fetch("/me", headers=good)).text == "ann"
            assert (await shop.fetch("/me-below", headers=good)).text == "ann"
            stale = {"authorization": f"Bearer {issuer.token('ann', exp=clock.now_ns() // 10**9 - 60)}"}
            assert (await shop.fetch("/exact", headers=stale)).status_code == 200
            answer = await shop.fetch("/me", headers=stale)
            assert (answer.status_code, answer.json()["code"]) == (401, "Unauthenticated")
