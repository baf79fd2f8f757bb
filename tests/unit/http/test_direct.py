"""Mutations without a token go from the parser to the backend: the same answers as through ASGI, whatever the wire does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from reactor.limits import REQUEST_HEAD_MAX_BYTES, Limits
from tests.support.door import ADMIN_KEY, Door, open_door

BODY = b'{"path":"counters:add","args":{"name":"a"}}'


def post(body: bytes = BODY, *headers: bytes, path: bytes = b"/api/mutation", version: bytes = b"1.1") -> bytes:
    lines = [b"POST %b HTTP/%b" % (path, version), b"host: test", b"content-type: application/json", *headers]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, *lines = head.rstrip(b"\r\n").split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        return int(status.split()[1]), headers, await self.reader.readexactly(int(headers[b"content-length"]))

    async def is_closed(self) -> bool:
        return await self.reader.read(1) == b""


@asynccontextmanager
async def connect(door: Door) -> AsyncIterator[Wire]:
    host, _, port = door.host.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


async def until_one_waits(door: Door) -> None:
    while not door.backend.mutations:
        await asyncio.sleep(0.001)


def value(answer: tuple[int, dict[bytes, bytes], bytes]) -> int:
    status, headers, body = answer
    assert (status, headers[b"content-type"]) == (200, b"application/json"), body
    return json.loads(body)["value"]


async def test_a_connection_is_kept_and_bodies_come_in_pieces(door: Door) -> None:
    door.app._routes.clear()  # nothing answers but the direct way
    async with connect(door) as wire:
        for number in range(1, 4):
            wire.writer.write(post(path=b"/api/mutation?format=json"))
            assert value(await wire.answer()) == number
        for byte in post():
            wire.writer.write(bytes([byte]))
            await wire.writer.drain()
        assert value(await wire.answer()) == 4


async def test_a_body_of_unknown_length_goes_the_other_way(door: Door) -> None:
    async with connect(door) as wire:
        chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (9, BODY[:9], len(BODY) - 9, BODY[9:])
        head = post(b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
        wire.writer.write(head + chunks + post())
        assert value(await wire.answer()) == 1
        assert value(await wire.answer()) == 2


async def test_pipelined_requests_of_both_ways_are_answered_in_order(door: Door) -> None:
    admin = b"authorization: Convex %b" % ADMIN_KEY.encode()
    held = door.backend.hold("mutation")
    async with connect(door) as wire:
        wire.writer.write(post() + post(BODY, admin) + b"GET /version HTTP/1.1\r\nhost: test\r\n\r\n" + post())
        await until_one_waits(door)
        held.set()
        assert [value(await wire.answer()), value(await wire.answer())] == [1, 2]
        assert (await wire.answer())[2] == b"0.1.0"
        assert value(await wire.answer()) == 3


@pytest.mark.parametrize("headers", [(), (b"authorization: Convex " + ADMIN_KEY.encode(),)])
async def test_both_ways_answer_alike(door: Door, headers: tuple[bytes, ...]) -> None:
    bad = [
        (post(b"{", *headers), 400, "BadJsonBody"),
        (post(b'{"path":"a b","args":{}}', *headers), 400, "BadConvexFunctionIdentifier"),
        (post(BODY, b"convex-client: npm", *headers), 400, "InvalidClientVersion"),
        (post(BODY, *headers).replace(b"application/json", b"text/plain"), 400, "BadJsonBody"),
    ]
    async with connect(door) as wire:
        for request, status, code in bad:
            wire.writer.write(request)
            got, _, body = await wire.answer()
            assert (got, json.loads(body)["code"]) == (status, code)
        wire.writer.write(post(BODY, b"origin: http://x", b"convex-request-id: mine", *headers))
        answer = await wire.answer()
        assert value(answer) == 1
        assert answer[1][b"access-control-allow-origin"] == b"http://x"
        assert set(answer[1]) == {
            b"content-type",
            b"content-length",
            b"access-control-allow-origin",
            b"access-control-allow-credentials",
            b"vary",
        }
        assert door.backend.request_ids == ["mine"]


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_connection_is_closed_when_the_client_says_so(door: Door, version: bytes) -> None:
    async with connect(door) as wire:
        wire.writer.write(post(BODY, b"connection: close", version=version))
        answer = await wire.answer()
        assert (value(answer), answer[1][b"connection"]) == (1, b"close")
        assert await wire.is_closed()


async def test_a_body_that_is_too_large_is_refused_once_and_the_next_request_is_read() -> None:
    async with open_door(limits=Limits(arguments_bytes=1000)) as door, connect(door) as wire:
        wire.writer.write(post(b" " * 500_000) + post())
        status, _, body = await wire.answer()
        assert (status, json.loads(body)["code"]) == (413, "BodyTooLarge")
        assert value(await wire.answer()) == 1


async def test_requests_of_traces_go_the_way_on_which_they_are_noticed() -> None:
    told: list[tuple[str, bytes]] = []
    async with open_door(on_traceparent=lambda *seen: told.append(seen)) as door, connect(door) as wire:
        wire.writer.write(post(BODY, b"traceparent: 00-a-b-01", b"convex-request-id: mine"))
        assert value(await wire.answer()) == 1
        assert told == [("mine", b"00-a-b-01")]
        assert door.backend.request_ids == ["mine"]


async def test_a_client_that_expects_to_be_asked_for_the_body_is_asked(door: Door) -> None:
    async with connect(door) as wire:
        request = post(BODY, b"expect: 100-continue")
        wire.writer.write(request.removesuffix(BODY))
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.writer.write(BODY)
        assert value(await wire.answer()) == 1


async def test_a_client_that_goes_away_has_its_mutation_done_and_nobody_else_notices(
    door: Door, http: httpx.AsyncClient
) -> None:
    held = door.backend.hold("mutation")
    async with connect(door) as wire:
        wire.writer.write(post())
        await until_one_waits(door)
    held.set()
    response = await http.post("/api/mutation", json={"path": "counters:add", "args": {"name": "a"}})
    assert response.json()["value"] == 2


async def test_a_stopping_server_answers_what_it_accepted_and_closes() -> None:
    opening = open_door(whole_server=True)
    door = await opening.__aenter__()
    held = door.backend.hold("mutation")
    async with connect(door) as wire:
        wire.writer.write(post())
        await until_one_waits(door)
        stopping = asyncio.create_task(opening.__aexit__(None, None, None))
        with pytest.raises(ConnectionError):  # noqa: PT012  # it listens until it has begun to stop
            while True:
                async with connect(door):
                    await asyncio.sleep(0.01)
        held.set()
        assert value(await wire.answer()) == 1
        assert await wire.is_closed()
    await stopping


async def test_a_broken_backend_is_an_internal_error(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(door.backend, "mutation", broken)
    async with connect(door) as wire:
        wire.writer.write(post())
        status, _, body = await wire.answer()
        assert status == 500
        assert json.loads(body)["code"] == "InternalServerError"
        assert not re.search(b"secret", body)


@pytest.mark.parametrize("what", ["one header", "the URL", "many headers", "the trailers"])
async def test_a_head_without_an_end_is_not_collected(door: Door, what: str) -> None:
    """The parser would keep all of it: a stranger could fill the memory."""
    begin, more = {
        "one header": (b"GET /version HTTP/1.1\r\nhost: test\r\nx: ", b"a" * 10_000),
        "the URL": (b"GET /version?", b"a" * 10_000),
        "many headers": (b"GET /version HTTP/1.1\r\nhost: test\r\n", b"a: b\r\n" * 1_000),
        "the trailers": (
            b"POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
            b"a: b\r\n" * 1_000,
        ),
    }[what]
    async with connect(door) as wire:
        wire.writer.write(begin)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not wire.reader.at_eof() and sent < 10_000_000:
                wire.writer.write(more)
                await wire.writer.drain()
                await asyncio.sleep(0)
                sent += len(more)
        assert sent < 10_000_000


async def test_a_head_that_is_too_large_is_told(door: Door) -> None:
    async with connect(door) as wire:
        head = b"GET /version HTTP/1.1\r\nhost: test\r\nx: "
        wire.writer.write(head + b"a" * (REQUEST_HEAD_MAX_BYTES - len(head) + 1))  # nothing is left unread
        status, _, body = await wire.answer()
        assert (status, json.loads(body)["code"]) == (431, "HeadersTooLarge")
        assert await wire.is_closed()


async def test_large_heads_that_end_are_heard(door: Door) -> None:
    async with connect(door) as wire:
        for _ in range(4):
            wire.writer.write(post(BODY, b"x: " + b"a" * 50_000))
            assert value(await wire.answer())
