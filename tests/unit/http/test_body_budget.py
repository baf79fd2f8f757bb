"""Large request bodies share a budget, at every HTTP door: the next one waits, small ones never do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from reactor.http.body_budget import LARGE_BODY_BYTES, BodiesBusy, BodyBudget, BodyShare
from reactor.http.exchange import Exchange
from reactor.http.pace import PACE, Pace, TooSlow
from reactor.limits import Limits
from tests.support.door import Door, open_door
from tests.unit.http.test_direct import connect, post

ROOM = 400_000
LARGE = "x" * 150_000


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def budget(door: Door) -> BodyBudget:
    return door.app._bodies


def waiting(door: Door) -> int:
    return len(budget(door)._waiting)


@pytest.fixture
async def narrow() -> AsyncIterator[Door]:
    """Room for two large bodies."""
    async with open_door(limits=Limits(request_bodies_bytes=ROOM, arguments_bytes=1_000_000)) as door:
        yield door


@pytest.fixture
async def client(narrow: Door) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=narrow.http, timeout=20) as client:
        yield client


def act(
    client: httpx.AsyncClient, text: str = LARGE, kind: str = "action", **options: Any
) -> asyncio.Task[httpx.Response]:
    body = {"path": "demo:echo", "args": {"text": text}}
    return asyncio.create_task(client.post(f"/api/{kind}", json=body, **options))


async def test_a_large_body_waits_for_its_share_and_small_ones_do_not(narrow: Door, client: httpx.AsyncClient) -> None:
    held = narrow.backend.hold("action")
    first, second = act(client), act(client)
    await until(lambda: narrow.backend.actions_running == 2)
    third = act(client, kind="query")
    await until(lambda: waiting(narrow) == 1)
    assert budget(narrow).used <= ROOM
    small = {"path": "counters:add", "args": {"name": "a"}}
    assert (await client.post("/api/mutation", json=small)).json()["value"] == 1
    almost = {"path": "demo:echo", "args": {"text": "x" * (LARGE_BODY_BYTES - 100)}}
    assert (await client.post("/api/query", json=almost)).json()["status"] == "success"
    assert waiting(narrow) == 1
    held.set()
    for answer in (await first, await second, await third):
        assert answer.json()["value"] == {"text": LARGE}
    assert budget(narrow).used == 0


async def test_mutations_count_until_they_are_answered(narrow: Door, client: httpx.AsyncClient) -> None:
    held = narrow.backend.hold("mutation")
    body = json.dumps({"path": "counters:add", "args": {"name": "a", "more": LARGE}}).encode()
    wires = [connect(narrow), connect(narrow), connect(narrow)]
    async with wires[0] as one, wires[1] as two, wires[2] as three:
        for wire in (one, two, three):
            wire.writer.write(post(body))
        await until(lambda: len(narrow.backend.mutations) == 2 and waiting(narrow) == 1)
        assert budget(narrow).used == 2 * len(body)
        held.set()
        assert sorted([json.loads((await wire.answer())[2])["value"] for wire in (one, two, three)]) == [1, 2, 3]
    assert budget(narrow).used == 0


async def test_who_waits_for_too_long_is_told_when_to_come_back() -> None:
    limits = Limits(request_bodies_bytes=ROOM, arguments_bytes=1_000_000)
    async with (
        open_door(limits=limits, body_wait_s=0.01) as door,
        httpx.AsyncClient(base_url=door.http, timeout=20) as client,
    ):
        held = door.backend.hold("action")
        running = [act(client), act(client)]
        await until(lambda: door.backend.actions_running == 2)
        refused = await act(client, headers={"origin": "http://x"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["code"] == "TooManyRequestBodies"
        assert "400000 bytes" in refused.json()["message"]
        assert refused.headers["access-control-allow-origin"] == "http://x"
        held.set()
        await asyncio.gather(*running)
        assert (await act(client)).status_code == 200
        assert budget(door).used == 0


async def test_bodies_of_unknown_length_hold_the_most_they_may_have_until_they_end(
    narrow: Door, client: httpx.AsyncClient
) -> None:
    body = json.dumps({"path": "demo:echo", "args": {"text": LARGE}}).encode()
    more = asyncio.Event()

    async def pieces(size: int) -> AsyncIterator[bytes]:
        yield body[:size]
        await more.wait()
        yield body[size:]

    headers = {"content-type": "application/json"}
    large = asyncio.create_task(client.post("/api/query", content=pieces(120_000), headers=headers))
    await until(lambda: budget(narrow).used == ROOM)
    small = json.dumps({"path": "demo:echo", "args": {}}).encode()

    async def slowly() -> AsyncIterator[bytes]:
        for byte in small:
            yield bytes([byte])

    assert (await client.post("/api/query", content=slowly(), headers=headers)).json()["status"] == "success"
    more.set()
    assert (await large).json()["value"] == {"text": LARGE}
    assert budget(narrow).used == 0


async def test_what_is_larger_than_all_the_room_goes_alone(narrow: Door, client: httpx.AsyncClient) -> None:
    text = "x" * 500_000
    assert (await act(client, text)).json()["value"] == {"text": text}
    assert budget(narrow).used == 0


async def test_what_is_too_large_is_refused_without_waiting(narrow: Door, client: httpx.AsyncClient) -> None:
    held = narrow.backend.hold("action")
    running = [act(client), act(client)]
    await until(lambda: narrow.backend.actions_running == 2)
    assert (await act(client, "x" * 1_100_000)).status_code == 413
    held.set()
    await asyncio.gather(*running)


async def test_a_client_that_goes_away_gives_back_its_share(narrow: Door) -> None:
    async with connect(narrow) as wire:
        wire.writer.write(post(b" " * 300_000, path=b"/api/query")[:-10_000])
        await until(lambda: budget(narrow).used == 300_000)
    await until(lambda: budget(narrow).used == 0)


async def test_shares_are_given_in_order_and_those_who_give_up_are_in_nobodys_way() -> None:
    shared = BodyBudget(10, wait_most_s=1000)
    assert await shared.take(8) == 8
    large, small, other = (asyncio.create_task(shared.take(size)) for size in (9, 2, 1))
    await asyncio.sleep(0)
    assert not small.done(), "who came later does not overtake, or a large one would wait for ever"
    large.cancel()
    assert await small == 2
    assert not other.done()
    shared.give_back(8)
    assert await other == 1
    assert shared.used == 3


async def test_a_share_that_comes_as_its_owner_gives_up_is_given_back() -> None:
    shared = BodyBudget(10, wait_most_s=1000)
    await shared.take(10)
    late = asyncio.create_task(shared.take(5))
    await asyncio.sleep(0)
    shared.give_back(10)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert shared.used == 0


async def test_waiting_ends() -> None:
    shared = BodyBudget(10, wait_most_s=0.001)
    await shared.take(10)
    with pytest.raises(BodiesBusy, match="Send this one again in 5 seconds"):
        await shared.take(1)
    shared.give_back(10)
    assert await shared.take(3) == 3
    assert shared.used == 3


async def test_a_client_with_a_share_that_sends_nothing_is_refused_while_others_wait() -> None:
    limits = Limits(request_bodies_bytes=ROOM, arguments_bytes=1_000_000)
    async with (
        open_door(limits=limits, body_patience_s=0.05) as door,
        httpx.AsyncClient(base_url=door.http, timeout=20) as client,
        connect(door) as one,
        connect(door) as two,
    ):
        for wire in (one, two):
            wire.writer.write(post(b" " * 200_000, path=b"/api/query")[:-10_000])
        await until(lambda: budget(door).used == ROOM)
        assert (await act(client, "x" * 300_000)).json()["value"] == {"text": "x" * 300_000}
        for wire in (one, two):
            status, _, body = await wire.answer()
            assert status == 408
            assert "came slowly while others waited" in json.loads(body)["message"]
        assert budget(door).used == 0


def some_body(pieces: list[bytes]) -> Callable[[], Any]:
    """An ASGI `receive`: these pieces, then nothing for ever."""

    async def receive() -> Any:
        if not pieces:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": pieces.pop(0), "more_body": True}

    return receive


class Later:
    """The loop's time, so many seconds from now."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time(self) -> float:
        return asyncio.get_running_loop().time() + self._seconds

    def call_later(self, *_: Any) -> None:
        return


async def test_only_the_slowest_are_refused_and_nobody_while_nobody_waits() -> None:
    shared = BodyBudget(1_000_000, wait_most_s=1000, patience_s=1000)
    received = {"idle": 0, "late": 20 * PACE, "at pace": 2000 * PACE, "idle, and not in the way": 10 * PACE}
    sizes = {"idle": 300_000, "late": 200_000, "at pace": 400_000, "idle, and not in the way": 100_000}

    async def read(name: str) -> None:
        share = BodyShare(shared, b"%d" % sizes[name], 1_000_000)
        try:
            await share.take(received[name])
            await share.pace.receive(some_body([]), received[name])
        finally:
            share.release()

    reading = {name: asyncio.create_task(read(name)) for name in sizes}
    await asyncio.sleep(0)
    assert shared.used == 1_000_000
    shared.slow._look(Later(2000))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert not any(task.done() for task in reading.values())
    waits = asyncio.create_task(shared.take(350_000))
    await asyncio.sleep(0)
    shared.slow._look(Later(2000))  # type: ignore[arg-type]
    assert await asyncio.wait_for(waits, 20) == 350_000
    done = {name for name, task in reading.items() if task.done()}
    assert done == {"idle", "idle, and not in the way"}
    for name in done:
        assert isinstance(reading[name].exception(), TooSlow)
    for task in reading.values():
        task.cancel()


async def test_time_that_the_application_takes_is_not_the_clients() -> None:
    pace, now = Pace(), asyncio.get_running_loop().time()
    await pace.receive(some_body([b"x"]), 0)
    assert pace.lateness(now + 1000) == 0
    receiving = asyncio.create_task(pace.receive(some_body([]), 1))
    await asyncio.sleep(0)
    assert 0 < pace.lateness(now + 1000) <= 1000
    receiving.cancel()


@pytest.fixture
async def busy() -> tuple[BodyBudget, BodyShare, Exchange]:
    """An HTTP action that has a part of a large body, while there is no room for it."""
    shared = BodyBudget(ROOM)
    await shared.take(ROOM)
    share = BodyShare(shared, b"200000", 1_000_000)
    scope = {"type": "http", "method": "POST", "headers": []}
    exchange = Exchange(scope, some_body([b"x", b"y", b"z"]), no_answer, Limits(), share=share)
    await exchange.receive()
    return shared, share, exchange


async def no_answer(_: Any) -> None:
    raise AssertionError("no answer is expected")


Busy = tuple[BodyBudget, BodyShare, Exchange]


async def test_a_body_that_is_read_twice_at_a_time_gives_back_both_shares(busy: Busy) -> None:
    shared, _, exchange = busy
    reading = [asyncio.create_task(exchange.receive()) for _ in range(2)]
    await asyncio.sleep(0)
    shared.give_back(ROOM)
    await asyncio.gather(*reading)
    exchange.release()
    assert shared.used == 0


async def test_a_body_that_is_read_on_after_the_answer_takes_nothing(busy: Busy) -> None:
    shared, _, exchange = busy
    reading = asyncio.create_task(exchange.receive())
    await asyncio.sleep(0)
    exchange.release()
    shared.give_back(ROOM)
    await reading
    assert shared.used == 0
    await exchange.receive()
    assert shared.used == 0
