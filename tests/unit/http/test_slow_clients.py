"""A client that does not go on with its request is closed; one that is slow for a reason, or goes on, is not."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from reactor.http.request import OWN_PACE
from reactor.http.transport import STALL_BYTES, SyncHttpProtocol
from reactor.limits import Limits
from tests.support.door import ADMIN_KEY, Door, open_door
from tests.unit.http.test_direct import BODY, Wire, connect, post, value

STALL_S = 30.0
ADMIN = b"authorization: Convex %b" % ADMIN_KEY.encode()


class Hands:
    """The time of the protocols' loop, moved by hand; all else of the loop as it is."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls: list[tuple[float, Callable[[], None]]] = []
        self.made: list[SyncHttpProtocol] = []
        self.heard: dict[SyncHttpProtocol, int] = {}
        """How many bytes have come, by connection."""
        self.connected: set[SyncHttpProtocol] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio.get_running_loop(), name)

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[..., None], *args: Any) -> Any:
        entry = (self.now + delay, lambda: call(*args))
        self.calls.append(entry)

        class Handle:
            def cancel(_) -> None:
                with contextlib.suppress(ValueError):
                    self.calls.remove(entry)

        return Handle()

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while self.calls and (first := min(self.calls, key=lambda entry: entry[0]))[0] <= end:
            self.calls.remove(first)
            self.now = first[0]
            first[1]()
        self.now = end


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    connection_made, data_received = SyncHttpProtocol.connection_made, SyncHttpProtocol.data_received
    connection_lost = SyncHttpProtocol.connection_lost

    def made(protocol: SyncHttpProtocol, transport: asyncio.Transport) -> None:
        protocol.loop = hands  # type: ignore[assignment]
        hands.made.append(protocol)
        hands.heard[protocol] = 0
        hands.connected.add(protocol)
        connection_made(protocol, transport)

    def received(protocol: SyncHttpProtocol, data: bytes) -> None:
        hands.heard[protocol] += len(data)
        data_received(protocol, data)

    def lost(protocol: SyncHttpProtocol, error: Exception | None) -> None:
        hands.connected.discard(protocol)
        connection_lost(protocol, error)

    monkeypatch.setattr(SyncHttpProtocol, "connection_lost", lost)
    monkeypatch.setattr(SyncHttpProtocol, "connection_made", made)
    monkeypatch.setattr(SyncHttpProtocol, "data_received", received)
    return hands


class Reading:
    """An application that answers with how many bytes it read. It begins when `may_read` is set."""

    def __init__(self) -> None:
        self.own_pace = False
        self.answers_at_once = False
        self.answer = b""
        """What to answer with instead."""
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.requests = 0
        self.read = 0
        self.gone = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests += 1
        if self.answer:
            for event in (
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-length", b"%d" % len(self.answer))],
                },
                {"type": "http.response.body", "body": self.answer},
            ):
                await send(event)
            return
        if self.own_pace:
            scope[OWN_PACE] = True
        await self.may_read.wait()
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"7")]}
        if self.answers_at_once:
            await send(start)
        self.read, more = 0, True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                self.gone += 1
                return
            self.read += len(event["body"])
            more = event.get("more_body", False)
        if not self.answers_at_once:
            await send(start)
        await send({"type": "http.response.body", "body": b"%07d" % self.read})


@pytest.fixture
def reading() -> Reading:
    return Reading()


@pytest.fixture
async def slow(hands: Hands, reading: Reading) -> AsyncIterator[Door]:
    async with open_door(limits=Limits(request_stall_s=STALL_S), fallback=reading) as door:
        yield door


class Slow(Wire):
    """A client's connection, and the server's end of it."""

    def __init__(self, wire: Wire, hands: Hands) -> None:
        super().__init__(wire.reader, wire.writer)
        self.hands, self.protocol = hands, hands.made[-1]

    async def send(self, data: bytes) -> None:
        """Write, and wait until all of it has come."""
        expected = self.hands.heard[self.protocol] + len(data)
        self.writer.write(data)
        await until(lambda: self.hands.heard[self.protocol] >= expected or self.protocol.transport.is_closing())

    async def is_given_up(self) -> str:
        status, headers, body = await self.answer()
        assert (status, headers[b"connection"]) == (408, b"close")
        assert json.loads(body)["code"] == "RequestTimeout"
        assert await self.is_closed()
        return json.loads(body)["message"]


@asynccontextmanager
async def watched(door: Door, hands: Hands) -> AsyncIterator[Slow]:
    count = len(hands.made)
    async with connect(door) as wire:
        await until(lambda: len(hands.made) > count)
        yield Slow(wire, hands)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("earlier", [b"", post()], ids=["the first request", "a later one"])
async def test_a_head_a_byte_at_a_time_is_given_up(slow: Door, hands: Hands, earlier: bytes) -> None:
    async with watched(slow, hands) as wire:
        if earlier:
            wire.writer.write(earlier)
            assert value(await wire.answer()) == 1
            hands.pass_by(STALL_S * 2)  # an idle connection waits for longer
        for byte in b"POST /api/mut":
            await wire.send(bytes([byte]))
            hands.pass_by(1)
        assert not wire.protocol.transport.is_closing()
        hands.pass_by(STALL_S)
        assert "not all of its head arrived in 30 seconds" in await wire.is_given_up()


async def test_a_connection_that_never_asks_is_closed_without_a_word(slow: Door, hands: Hands) -> None:
    async with watched(slow, hands) as wire:
        hands.pass_by(wire.protocol.timeout_keep_alive - 1)
        assert not wire.protocol.transport.is_closing()
        hands.pass_by(STALL_S)
        assert await wire.is_closed()


async def test_the_time_of_a_head_begins_with_it(slow: Door, hands: Hands) -> None:
    async with watched(slow, hands) as wire:
        hands.pass_by(STALL_S * 2)  # as browsers connect before they know what to ask
        await wire.send(b"GET /ver")
        hands.pass_by(STALL_S - 1)
        assert not wire.protocol.transport.is_closing()
        await wire.send(b"sion HTTP/1.1\r\nhost: test\r\n\r\n")
        assert (await wire.answer())[2] == b"0.1.0"
        hands.pass_by(STALL_S * 2 + 9)
        await wire.send(b"GET /ver")
        hands.pass_by(STALL_S - 1)
        assert not wire.protocol.transport.is_closing()


@pytest.mark.parametrize("headers", [(), (ADMIN,)], ids=["direct", "through ASGI"])
@pytest.mark.parametrize("begun", [0, 10], ids=["no body", "some of it"])
async def test_a_body_that_does_not_come_is_given_up(
    slow: Door, hands: Hands, headers: tuple[bytes, ...], begun: int
) -> None:
    async with watched(slow, hands) as wire:
        await wire.send(post(BODY, *headers)[: begun - len(BODY)])
        for byte in BODY[begun:-1]:
            await wire.send(bytes([byte]))
            hands.pass_by(0.5)
        assert not wire.protocol.transport.is_closing()
        hands.pass_by(STALL_S)
        assert "less than 65536 bytes of its body arrived" in await wire.is_given_up()
    async with connect(slow) as wire:
        wire.writer.write(post())
        assert value(await wire.answer()) == 1, "what was given up did not run"


async def test_a_body_that_nobody_reads_any_more_is_given_up(slow: Door, hands: Hands) -> None:
    async with watched(slow, hands) as wire:
        await wire.send(post(BODY, b"convex-client: npm", ADMIN)[:-5])
        wire.writer.write(BODY[-5:])
        assert (await wire.answer())[0] == 400
        await wire.send(post(b"x" * 1000, path=b"/version")[:-900])
        assert (await wire.answer())[0] == 405
        began = hands.now
        while not wire.protocol.transport.is_closing():
            assert hands.now < began + STALL_S * 2
            await wire.send(b"x")
            hands.pass_by(1)
        assert await wire.is_closed()


async def test_a_body_that_comes_slowly_is_taken(slow: Door, hands: Hands, reading: Reading) -> None:
    body = b"x" * (STALL_BYTES * 4)
    async with watched(slow, hands) as wire:
        await wire.send(post(body, path=b"/slowly")[: -len(body)])
        for start in range(0, len(body), STALL_BYTES // 2):
            await wire.send(body[start : start + STALL_BYTES // 2])
            hands.pass_by(STALL_S / 2 - 1)
        assert (await wire.answer())[2] == b"%07d" % len(body)


async def test_a_body_that_we_do_not_read_is_nobody_s_fault(slow: Door, hands: Hands, reading: Reading) -> None:
    reading.may_read.clear()
    body = b"x" * 3_000_000
    async with watched(slow, hands) as wire:
        wire.writer.write(post(body, path=b"/busy"))
        await until(lambda: wire.protocol.flow.read_paused)
        hands.pass_by(STALL_S * 4)
        reading.may_read.set()
        assert (await wire.answer())[2] == b"3000000"


async def test_who_waits_to_be_asked_for_the_body_is_not_given_up(slow: Door, hands: Hands, reading: Reading) -> None:
    reading.may_read.clear()
    async with watched(slow, hands) as wire:
        await wire.send(post(b"x", b"expect: 100-continue", path=b"/asked")[:-1])
        await until(lambda: reading.requests)
        hands.pass_by(STALL_S * 4)
        reading.may_read.set()
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.writer.write(b"x")
        assert (await wire.answer())[2] == b"0000001"


async def test_an_application_may_watch_the_pace_itself(slow: Door, hands: Hands, reading: Reading) -> None:
    reading.own_pace = True
    async with watched(slow, hands) as wire:
        await wire.send(post(b"xx", path=b"/stream")[:-2])
        for _ in range(2):
            await until(lambda: reading.requests)
            hands.pass_by(STALL_S * 4)
            await wire.send(b"x")
        assert (await wire.answer())[2] == b"0000002"


async def test_an_answer_that_has_begun_is_broken_off(slow: Door, hands: Hands, reading: Reading) -> None:
    reading.answers_at_once = True
    async with watched(slow, hands) as wire:
        await wire.send(post(b"xx", path=b"/both")[:-1])
        assert b"200" in await wire.reader.readuntil(b"\r\n\r\n")
        hands.pass_by(STALL_S * 2)
        assert await wire.is_closed()
        await until(lambda: reading.gone == 1)


GET: bytes = b"GET /large HTTP/1.1\r\nhost: test\r\n%b\r\n"
MORE_THAN_SOCKETS_HOLD = b"x" * 40_000_000


@pytest.mark.parametrize("last", [GET % b"connection: close\r\n", GET % b"" + post(b" " * 200_000)])
async def test_a_client_that_does_not_read_its_answer_is_closed(
    slow: Door, hands: Hands, reading: Reading, last: bytes
) -> None:
    reading.answer = MORE_THAN_SOCKETS_HOLD
    async with watched(slow, hands) as wire:
        wire.writer.write(last)
        await until(lambda: wire.protocol.transport.get_write_buffer_size())
        hands.pass_by(STALL_S)
        await asyncio.sleep(0.01)
        assert wire.protocol in hands.connected
        hands.pass_by(STALL_S)
        await until(lambda: wire.protocol not in hands.connected)
    assert slow.app._bodies.used == 0


async def test_a_client_that_reads_its_answer_slowly_gets_it(slow: Door, hands: Hands, reading: Reading) -> None:
    reading.answer = MORE_THAN_SOCKETS_HOLD
    async with watched(slow, hands) as wire:
        await wire.send(GET % b"")
        await until(lambda: wire.protocol.flow.write_paused)
        await wire.reader.readuntil(b"\r\n\r\n")
        unsent, read = wire.protocol.transport.get_write_buffer_size(), 0
        while unsent:
            hands.pass_by(STALL_S - 1)
            while (now := wire.protocol.transport.get_write_buffer_size()) == unsent:
                read += len(await wire.reader.read(1_000_000))
            unsent = now
        await wire.reader.readexactly(len(reading.answer) - read)


async def test_a_request_that_runs_for_long_is_left_alone(slow: Door, hands: Hands) -> None:
    held = slow.backend.hold("mutation")
    async with watched(slow, hands) as wire:
        await wire.send(post() + b"GET /ver")
        await until(lambda: slow.backend.mutations)
        hands.pass_by(STALL_S * 4)
        held.set()
        assert value(await wire.answer()) == 1
        wire.writer.write(b"sion HTTP/1.1\r\nhost: test\r\n\r\n")
        assert (await wire.answer())[2] == b"0.1.0"


async def test_sockets_of_the_sync_protocol_are_not_looked_at(slow: Door, hands: Hands) -> None:
    import websockets

    async with websockets.connect(slow.rust_ws) as socket:
        hands.pass_by(1000)
        assert hands.calls == []
        await socket.ping()


async def test_it_is_so_with_the_clock_of_the_wall() -> None:
    async with open_door(limits=Limits(request_stall_s=0.02)) as door, connect(door) as wire:
        wire.writer.write(b"GET /version HTTP/1.1\r\n")
        assert (await wire.answer())[0] == 408
        assert await wire.is_closed()
