"""HTTP actions on a real server: what only shows on a socket (server-semantics 43, client-protocol 45)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.server import ReactorProcess, running_server

pytestmark = pytest.mark.process

MIB = 1024 * 1024

FUNCTIONS = """
from reactor import MutationCtx, QueryCtx, mutation, query


@mutation
async def note(ctx: MutationCtx, text: str) -> None:
    await ctx.db.insert("notes", {"text": text})


@query
async def notes(ctx: QueryCtx) -> list[str]:
    return [note["text"] for note in await ctx.db.query("notes").collect()]
"""

HTTP = """
import asyncio

from functions import store
from reactor import ActionCtx, HttpRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

http = HttpRouter()
gates: dict[str, asyncio.Event] = {}


def gate(name: str) -> asyncio.Event:
    return gates.setdefault(name, asyncio.Event())


@http.route("/open", methods=["POST"])
async def open_(ctx: ActionCtx, request: Request) -> Response:
    gate(request.query_params["gate"]).set()
    return Response()


@http.route("/gated", methods=["GET"])
async def gated(ctx: ActionCtx, request: Request) -> Response:
    name = request.query_params["gate"]

    async def produce():
        yield b"first"
        await gate(name).wait()
        yield b"second"
        await ctx.run_mutation(store.note, text=f"{name} done")

    return StreamingResponse(produce(), media_type="text/plain")


@http.route("/waiting", methods=["GET"])
async def waiting(ctx: ActionCtx, request: Request) -> Response:
    name = request.query_params["gate"]
    await ctx.run_mutation(store.note, text=f"{name} begun")
    await gate(name).wait()
    await ctx.run_mutation(store.note, text=f"{name} done")
    return Response()


@http.route("/upload", methods=["POST"])
async def upload(ctx: ActionCtx, request: Request) -> Response:
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total and "gate" in request.query_params:
            await ctx.run_mutation(store.note, text="first bytes")
            await gate(request.query_params["gate"]).wait()
    return PlainTextResponse(str(total))


@http.route("/download", methods=["GET"])
async def download(ctx: ActionCtx, request: Request) -> Response:
    size = int(request.query_params["size"])

    async def produce():
        left = size
        while left:
            piece = min(left, 1 << 16)
            yield bytes(piece)
            left -= piece

    return StreamingResponse(produce())


@http.route("/break", methods=["GET"])
async def break_(ctx: ActionCtx, request: Request) -> Response:
    async def produce():
        yield b"begun"
        raise ValueError("half way")

    return StreamingResponse(produce())


@http.route("/cookies", methods=["GET"])
async def cookies(ctx: ActionCtx, request: Request) -> Response:
    response = PlainTextResponse(str(request.url))
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReactorProcess]:
    work = tmp_path_factory.mktemp("site")
    functions = work / "app" / "functions"
    functions.mkdir(parents=True)
    (functions / "store.py").write_text(FUNCTIONS)
    (functions / "http.py").write_text(HTTP)
    with running_server(work / "server", app=work / "app") as running:
        yield running


@pytest.fixture
async def site(server: ReactorProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.site_port}", timeout=30) as client:
        yield client


async def notes(server: ReactorProcess) -> list[str]:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{server.url}/api/query", json={"path": "store:notes", "args": {}})
        return answer.json()["value"]


async def noted(server: ReactorProcess, text: str) -> None:
    while text not in await notes(server):
        await asyncio.sleep(0.01)


async def test_chunks_arrive_before_the_answer_is_complete(server: ReactorProcess, site: httpx.AsyncClient) -> None:
    async with site.stream("GET", "/gated?gate=chunks") as answer:
        assert answer.headers["content-type"].startswith("text/plain")
        chunks = answer.aiter_bytes()
        assert await anext(chunks) == b"first"
        await site.post("/open?gate=chunks")
        assert [chunk async for chunk in chunks] == [b"second"]
    assert "chunks done" in await notes(server)


async def test_a_request_body_arrives_as_it_is_sent(server: ReactorProcess, site: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        await noted(server, "first bytes")
        await site.post("/open?gate=upload")
        yield b"y" * 1000

    answer = await site.post("/upload?gate=upload", content=body())
    assert answer.text == "2000"


async def test_a_client_that_leaves_does_not_stop_the_handler(server: ReactorProcess, site: httpx.AsyncClient) -> None:
    request = asyncio.create_task(site.get("/waiting?gate=left"))
    await noted(server, "left begun")
    request.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await request
    async with (
        httpx.AsyncClient(base_url=str(site.base_url)) as impatient,
        impatient.stream("GET", "/gated?gate=left-stream") as answer,
    ):
        assert await anext(answer.aiter_bytes()) == b"first"
    await site.post("/open?gate=left")
    await site.post("/open?gate=left-stream")
    await noted(server, "left done")
    await noted(server, "left-stream done")


@pytest.mark.parametrize("declared", [True, False])
async def test_20_mib_go_in_and_one_byte_more_does_not(site: httpx.AsyncClient, declared: bool) -> None:
    async def pieces(size: int) -> AsyncIterator[bytes]:
        while size:
            piece = min(size, MIB)
            yield bytes(piece)
            size -= piece

    def body(size: int) -> Any:
        return bytes(size) if declared else pieces(size)

    answer = await site.post("/upload", content=body(20 * MIB))
    assert (answer.status_code, answer.text) == (200, str(20 * MIB))
    answer = await site.post("/upload", content=body(20 * MIB + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "HttpRequestTooLarge")


async def test_20_mib_come_out_and_one_byte_more_is_cut(server: ReactorProcess, site: httpx.AsyncClient) -> None:
    assert len((await site.get(f"/download?size={20 * MIB}")).content) == 20 * MIB
    with pytest.raises(httpx.RemoteProtocolError):
        await site.get(f"/download?size={20 * MIB + 1}")
    assert "HttpResponseTooLarge: HTTP actions support responses up to 20 MiB" in server.log()


async def test_an_error_half_way_closes_the_connection(server: ReactorProcess, site: httpx.AsyncClient) -> None:
    async with site.stream("GET", "/break") as answer:
        chunks = answer.aiter_bytes()
        assert await anext(chunks) == b"begun"
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(chunks)
    assert "half way" in server.log()


async def test_both_ports_serve_it_and_cookies_stay_apart(server: ReactorProcess, site: httpx.AsyncClient) -> None:
    for base in (str(site.base_url).rstrip("/"), f"{server.url}/http"):
        answer = await site.get(f"{base}/cookies?a=b")
        assert answer.headers.get_list("set-cookie") == ["a=1; Path=/; SameSite=lax", "b=2; Path=/; SameSite=lax"]
    assert answer.text == f"{server.url}/cookies?a=b"


async def test_an_edited_http_module_is_served_at_once(tmp_path: Path) -> None:
    functions = tmp_path / "app" / "functions"
    functions.mkdir(parents=True)
    (functions / "store.py").write_text(FUNCTIONS)
    with running_server(tmp_path / "server", app=tmp_path / "app") as server:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.site_port}") as site:
            assert (await site.get("/cookies")).text == "This Convex deployment does not have HTTP actions enabled."
            (functions / "http.py").write_text(HTTP)
            while (await site.get("/cookies")).status_code == 404:
                await asyncio.sleep(0.02)
            (functions / "http.py").write_text(HTTP.replace('"/cookies"', '"/biscuits"'))
            while (await site.get("/biscuits")).status_code == 404:
                await asyncio.sleep(0.02)
            assert (await site.get("/cookies")).text == "No matching routes found"
