"""What a client that does not read costs: nothing but its own connection. (engine rule 23)"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Collection, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect

from reactor.auth.admin_key import AdminKeys
from reactor.auth.headers import Gatekeeper
from reactor.clock import ManualClock
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.sync import worker
from reactor.sync.link import Message, whole
from reactor.sync.worker import ClientKind, Worker
from tests.support.door import open_door
from tests.support.fake_backend import FakeBackend

HELLO = {"type": "Connect", "sessionId": "0adb56b5-8c7e-467c-bfe3-f8fda4e3d000", "connectionCount": 0}


class HandLink:
    """A link whose socket drains when the test says so."""

    fragments = True
    heard_at: float | None = None

    def __init__(self) -> None:
        self.on_writable: Callable[[], None] | None = None
        self.on_full: Callable[[], None] | None = None
        self._writable = True
        self.sent_bytes = 0
        self.sent: list[dict[str, Any]] = []
        self.inbox: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.closed: tuple[int | None, str] | None = None
        self.full_after: int | None = None
        """Not writable any more once this many more messages were sent."""

    @property
    def writable(self) -> bool:
        return self._writable

    @writable.setter
    def writable(self, writable: bool) -> None:
        became_full = self._writable and not writable
        self._writable = writable
        if became_full and self.on_full is not None:
            self.on_full()

    def send(self, messages: Collection[Message]) -> None:
        for message in messages:
            self.sent.append(json.loads(whole(message)))
            if self.full_after is not None:
                self.full_after -= 1
                if self.full_after <= 0:
                    self.writable, self.full_after = False, None

    def ping(self) -> None:
        return

    async def receive(self) -> MutableMapping[str, Any]:
        return await self.inbox.get()

    def close(self, code: int | None, reason: str) -> None:
        if self.closed is None:
            self.closed = (code, reason)
            self.inbox.put_nowait({"type": "websocket.disconnect", "code": 1005})

    async def finish(self) -> None:
        return

    # The test's side.

    def receives(self, **message: Any) -> None:
        self.inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    def drain(self) -> None:
        self.writable = True
        if self.on_writable is not None:
            self.on_writable()

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.sent]


async def settle() -> None:
    """Let everything that can run run: nothing here waits for anything but the loop."""
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def working(limits: Limits = DEFAULT_LIMITS) -> AsyncIterator[tuple[HandLink, FakeBackend]]:
    link, backend = HandLink(), FakeBackend()
    running = Worker(
        link,
        ClientKind(is_npm=True, chunks=True),
        backend=backend,
        gatekeeper=Gatekeeper(AdminKeys()),
        limits=limits,
        clock=ManualClock(),
        actions=set(),
    )
    task = asyncio.create_task(running.run())
    link.receives(**HELLO)
    try:
        yield link, backend
    finally:
        link.close(1000, "the test is over")
        running.close(1000)
        await task


def follow(*names: str) -> dict[str, Any]:
    adds = [
        {"type": "Add", "queryId": query_id, "udfPath": "counters:get", "args": [{"name": name}]}
        for query_id, name in enumerate(names)
    ]
    return {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": adds}


def mutate(request_id: int, **args: Any) -> dict[str, Any]:
    return {"type": "Mutation", "requestId": request_id, "udfPath": "counters:add", "args": [{"name": "a", **args}]}


async def test_no_cut_is_computed_until_the_socket_has_drained_and_then_only_the_newest() -> None:
    async with working() as (link, backend):
        link.receives(**follow("a"))
        await settle()
        (subscriber,) = backend.subscribers
        assert subscriber.cuts == 1
        link.writable = False
        for _ in range(20):
            backend.commit("a")
            await settle()
        assert subscriber.cuts == 1
        assert len(link.sent) == 1
        link.drain()
        await settle()
        assert [change["value"] for change in link.sent[-1]["modifications"]] == [20]
        assert len(link.sent) == 2
        assert link.sent[1]["startVersion"] == link.sent[0]["endVersion"]


async def test_only_one_cut_at_a_time_however_much_changes_meanwhile() -> None:
    async with working() as (link, backend):
        gate = backend.hold("cut")
        link.receives(**follow("a"))
        await settle()
        for _ in range(5):
            backend.commit("a")
            await settle()
        assert backend.subscribers[0].cuts == 1
        gate.set()
        await settle()
        assert link.sent[0]["modifications"][0]["value"] == 5
        assert backend.subscribers[0].cuts <= 3


async def test_waking_up_twice_starts_one_cut() -> None:
    async with working() as (link, backend):
        link.receives(**follow("a"))
        await settle()
        link.writable = False
        backend.commit("a")
        await settle()
        cuts = backend.subscribers[0].cuts
        link.drain()
        link.drain()
        await settle()
        assert backend.subscribers[0].cuts == cuts + 1


async def test_a_response_waits_for_the_cut_that_is_being_computed() -> None:
    """Engine rule 14. Clients of Rust and Python take the transition after a response for one that shows the commit."""
    async with working() as (link, backend):
        gate = backend.hold("cut")
        link.receives(**follow("a"))
        await settle()
        link.receives(**mutate(0))
        await settle()
        assert link.sent == []
        gate.set()
        await settle()
        assert link.kinds()[:2] == ["MutationResponse", "Transition"]


async def test_what_commits_nothing_waits_for_no_cut() -> None:
    async with working() as (link, backend):
        backend.hold("cut")
        link.receives(**follow("a"))
        await settle()
        link.receives(type="Mutation", requestId=0, udfPath="no:such", args=[{}])
        link.receives(type="Action", requestId=1, udfPath="no:such", args=[{}])
        await settle()
        assert sorted(link.kinds()) == ["ActionResponse", "MutationResponse"]


async def test_a_response_does_not_wait_long_for_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "REPLIES_WAIT_S", 0.001)
    async with working() as (link, backend):
        gate = backend.hold("cut")
        link.receives(**follow("a"))
        await settle()
        link.receives(**mutate(0))
        async with asyncio.timeout(10):
            while link.kinds() != ["MutationResponse"]:
                await asyncio.sleep(0.001)
        gate.set()
        await settle()
        assert link.kinds()[:2] == ["MutationResponse", "Transition"]


async def test_responses_wait_for_the_socket_and_come_before_the_transition() -> None:
    async with working() as (link, _):
        link.receives(**follow("a"))
        await settle()
        link.writable = False
        for request_id in range(3):
            link.receives(**mutate(request_id))
        await settle()
        assert link.kinds() == ["Transition"]
        link.drain()
        await settle()
        assert link.kinds() == ["Transition", *["MutationResponse"] * 3, "Transition"]
        assert link.sent[-1]["modifications"][0]["value"] == 3


async def test_a_client_with_too_many_unread_responses_is_not_read_from() -> None:
    async with working(Limits(unsent_responses=10)) as (link, backend):
        link.receives(**follow("a"))
        await settle()
        link.writable = False
        for request_id in range(100):
            link.receives(**mutate(request_id))
            await settle()
        assert 11 <= len(backend.ran) <= 13
        link.drain()
        await settle()
        # All of them, in order, in gulps.
        for _ in range(20):
            link.drain()
            await settle()
        answered = [message["requestId"] for message in link.sent if message["type"] == "MutationResponse"]
        assert answered == list(range(100))
        assert link.closed is None


async def test_a_client_with_too_large_unread_responses_is_not_read_from() -> None:
    async with working(Limits(unsent_response_bytes=100_000)) as (link, backend):
        link.writable = False
        for request_id in range(100):
            link.receives(type="Action", requestId=request_id, udfPath="demo:echo", args=[{"text": "x" * 30_000}])
            await settle()
        assert backend.actions_ended <= 5
        link.drain()
        await settle()
        assert len([kind for kind in link.kinds() if kind == "ActionResponse"]) > 5


async def test_a_burst_of_mutations_does_not_fill_the_server_with_responses() -> None:
    async with working(Limits(unsent_responses=10)) as (link, backend):
        link.writable = False
        for request_id in range(1000):
            link.receives(**mutate(request_id))
        await settle()
        assert len(backend.ran) <= 256
        for _ in range(20):
            link.drain()
            await settle()
        answered = [message["requestId"] for message in link.sent if message["type"] == "MutationResponse"]
        assert answered == list(range(1000))
        assert link.closed is None


async def test_a_client_that_stops_reading_is_closed_with_1013() -> None:
    async with working(Limits(send_stall_s=0.3)) as (link, _):
        link.receives(**follow("a"))
        await settle()
        link.writable = False
        async with asyncio.timeout(20):
            while link.closed is None:
                await asyncio.sleep(0.01)
        assert link.closed[0] == 1013


async def test_a_client_that_reads_slowly_is_kept() -> None:
    async with working(Limits(send_stall_s=0.3)) as (link, _):
        link.receives(**follow("a"))
        await settle()
        link.writable = False
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.5
        while loop.time() < end:
            link.sent_bytes += 1
            await asyncio.sleep(0.01)
        assert link.closed is None


async def test_a_socket_that_is_full_is_not_pinged() -> None:
    async with working(Limits(ping_interval_s=0.05, send_stall_s=60)) as (link, _):
        async with asyncio.timeout(20):
            while "Ping" not in link.kinds():
                await asyncio.sleep(0.01)
        link.writable = False
        pings = link.kinds().count("Ping")
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.5
        while loop.time() < end:
            await asyncio.sleep(0.01)
        assert link.kinds().count("Ping") == pings


async def test_a_client_that_vanishes_while_it_is_not_read_from_is_let_go() -> None:
    async with working(Limits(unsent_responses=1)) as (link, backend):
        link.writable = False
        for request_id in range(10):
            link.receives(**mutate(request_id))
            await settle()
        assert len(backend.ran) < 10
        link.inbox = asyncio.Queue()
        link.inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
        link.drain()  # as the transport does when the connection is lost
        await settle()
        assert backend.subscribers == [] or all(subscriber.closed for subscriber in backend.subscribers)


async def test_over_a_real_socket_a_stalled_reader_gets_the_newest_state_and_not_the_backlog() -> None:
    """The server sees the transport's buffer, which uvicorn's `send` alone does not tell."""
    async with open_door() as door:
        door.backend.big = "0" * 8_000_000
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.connect((door.host.split(":")[0], int(door.host.split(":")[1])))
        sock.setblocking(False)
        async with connect(door.rust_ws, sock=sock, max_size=None, max_queue=1, compression=None) as client:
            await client.send(json.dumps(HELLO))
            add = {"type": "Add", "queryId": 0, "udfPath": "big:get", "args": [{}]}
            await client.send(
                json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]})
            )
            async with asyncio.timeout(30):
                while not any(subscriber.told for subscriber in door.backend.subscribers):
                    await asyncio.sleep(0.01)
            # Nobody reads. Twenty versions pass; no more than the pending one is ever serialized.
            for version in range(1, 21):
                door.backend.big = chr(ord("a") + version) * 8_000_000
                door.backend.commit("x")
                await asyncio.sleep(0.02)
            assert door.backend.subscribers[0].cuts <= 3
            values: list[str] = []
            async with asyncio.timeout(60):
                while not values or values[-1] != "u":
                    transition = json.loads(await client.recv())
                    if transition["type"] == "Transition":
                        values += [change["value"][0] for change in transition["modifications"]]
            assert values[0] == "0"
            assert len(values) <= 4


async def test_over_a_real_socket_a_stalled_reader_is_closed_with_1013() -> None:
    async with open_door(limits=Limits(send_stall_s=0.5)) as door:
        door.backend.big = "0" * 20_000_000
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.connect((door.host.split(":")[0], int(door.host.split(":")[1])))
        sock.setblocking(False)
        async with connect(door.rust_ws, sock=sock, max_size=None, max_queue=1, compression=None) as client:
            client.transport.pause_reading()
            await client.send(json.dumps(HELLO))
            add = {"type": "Add", "queryId": 0, "udfPath": "big:get", "args": [{}]}
            await client.send(
                json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]})
            )
            async with asyncio.timeout(30):
                while not door.backend.subscribers:
                    await asyncio.sleep(0.01)
                while door.sync.connections:
                    await asyncio.sleep(0.01)
            client.transport.resume_reading()
            await client.recv()
            await client.wait_closed()
            assert client.close_code == 1013
