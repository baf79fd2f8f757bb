"""Pulls: when a cut comes, what taking one back means, and how thousands are served (engine rules 13, 14)."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from reactor.engine.transaction import Transaction
from reactor.runtime import live as live_module
from reactor.runtime.waist import Cut, Success, next_cut
from tests.unit.runtime.test_live import ANN, BOB, Client, Looks, World, counters, setting, value_of, world

__all__ = ["world"]


class Pulls:
    """What a subscriber delivered, pulled again each time if asked."""

    def __init__(self, client: Client, *, go_on: bool = True) -> None:
        self.client, self.go_on = client, go_on
        self.got: list[Cut | BaseException] = []

    def take(self, cut: Cut | BaseException) -> None:
        self.got.append(cut)
        if self.go_on:
            self.client.subscriber.pull(self.take)

    async def until(self, count: int) -> list[Any]:
        """The values of the first query in the first `count` cuts."""
        async with asyncio.timeout(10):
            while len(self.got) < count:
                await asyncio.sleep(0)
        return [values(cut) for cut in self.got]


def values(cut: Cut | BaseException) -> list[bytes]:
    assert isinstance(cut, Cut)
    outcomes = [update.version.outcome for update in cut.updates]
    return [outcome.value for outcome in outcomes if isinstance(outcome, Success)]


async def quiet(world: World) -> None:
    """Wait until no wave runs any more."""
    async with asyncio.timeout(10):
        while world.live._wave is not None:
            await asyncio.sleep(0)


async def test_a_pull_waits_for_news_and_is_served_once(world: World) -> None:
    a, b = await counters(world, 2)
    client = world.client(("counter", {"id": a}))
    await client.cut()
    pulls = Pulls(client, go_on=False)
    client.subscriber.pull(pulls.take)
    await world.write(setting(b, 1))
    waiting = (list(pulls.got), client.subscriber.busy)
    await world.write(setting(a, 1))
    got = await pulls.until(1)
    await world.write(setting(a, 2))
    await quiet(world)

    assert waiting == ([], False)
    assert got == [[b"1"]]
    assert len(pulls.got) == 1


async def test_a_pull_that_is_fulfilled_at_once_calls_back_before_it_returns(world: World) -> None:
    (a,) = await counters(world, 1)
    client = world.client(("counter", {"id": a}))
    await client.cut()
    got: list[Cut | BaseException] = []
    client.subscriber.pull(got.append, 0)

    assert got == [Cut(world.live.processed_ts, [])]


async def test_what_a_withdrawn_pull_would_have_told_is_told_by_the_next(world: World) -> None:
    (a,) = await counters(world, 1)
    client = world.client(("counter", {"id": a}))
    await client.cut()
    pulls = Pulls(client)
    client.subscriber.pull(pulls.take)
    client.subscriber.withdraw()
    await world.write(setting(a, 1))
    await quiet(world)
    runs_meanwhile = len(world.ran)
    client.subscriber.pull(pulls.take)
    while client.subscriber.wave is None:
        await asyncio.sleep(0)
    client.subscriber.withdraw()  # in the middle of the run
    await quiet(world)
    told_meanwhile = list(pulls.got)
    client.subscriber.pull(pulls.take)

    assert runs_meanwhile == 1
    assert told_meanwhile == []
    assert await pulls.until(1) == [[b"1"]]
    assert len(world.ran) == 2


async def test_a_pull_with_a_later_bound_takes_the_place_of_the_one_before(world: World) -> None:
    (a,) = await counters(world, 1)
    go_on = threading.Event()
    go_on.set()

    def held(tx: Transaction, looks: Looks) -> Any:
        value = value_of(tx, looks.args["id"])
        assert go_on.wait(10)
        return value

    world.functions["held"] = held
    client = world.client(("held", {"id": a}))
    await client.cut()
    first, second = Pulls(client, go_on=False), Pulls(client, go_on=False)
    await world.write(setting(a, 1))
    go_on.clear()
    client.subscriber.pull(first.take)
    while client.subscriber.wave is None:
        await asyncio.sleep(0)
    later, _ = await world.write(setting(a, 2))
    client.subscriber.pull(second.take, later)
    go_on.set()

    assert await second.until(1) == [[b"2"]]
    assert first.got == []
    (cut,) = second.got
    assert isinstance(cut, Cut)
    assert cut.ts >= later


async def test_followers_share_a_cut_of_one_moment_but_not_of_another(world: World) -> None:
    """engine rule 14: however well the result is known, whoever asks for a later time gets that."""
    a, b = await counters(world, 2)
    clients = [world.client(("counter", {"id": a})) for _ in range(3)]
    first = await clients[0].cut()
    second = await clients[1].cut()
    later, _ = await world.write(setting(b, 1))
    third = await clients[2].cut(later)

    assert first is second
    assert third.ts == later
    assert third.updates[0].version is first.updates[0].version


async def test_a_subscriber_that_was_closed_has_no_more_cuts(world: World) -> None:
    client = world.client()
    client.subscriber.close()
    with pytest.raises(asyncio.CancelledError):
        await next_cut(client.subscriber, 0)


async def test_who_waits_for_a_cut_is_told_when_the_backend_closes(world: World) -> None:
    (a,) = await counters(world, 1)
    client = world.client(("counter", {"id": a}))
    waiting = asyncio.ensure_future(next_cut(client.subscriber, 0))
    while client.subscriber.wave is None:
        await asyncio.sleep(0)
    await world.live.close()
    await asyncio.wait((waiting,), timeout=10)

    assert waiting.cancelled()


async def test_followers_beyond_one_step_are_all_served_and_those_who_leave_meanwhile_are_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two steps of a delivery others have the loop: here they close, withdraw and write."""
    monkeypatch.setattr(live_module, "DELIVERIES_PER_STEP", 3)
    (a,) = await counters(world, 1)
    clients = [world.client(("counter", {"id": a})) for _ in range(20)]
    await asyncio.gather(*[c.cut() for c in clients])
    pulls = [Pulls(client) for client in clients]
    for p in pulls:
        p.client.subscriber.pull(p.take)
    await world.write(setting(a, 1))
    await pulls[0].until(1)
    served_first = sum(bool(p.got) for p in pulls)
    clients[10].subscriber.close()
    clients[11].subscriber.withdraw()
    last, _ = await world.write(setting(a, 2))
    for p in pulls:
        if p.client not in (clients[10], clients[11]):
            async with asyncio.timeout(10):
                while [b"2"] not in [values(cut) for cut in p.got]:
                    await asyncio.sleep(0)

    assert served_first == 3
    assert not pulls[10].got
    assert not pulls[11].got
    for p in pulls:
        told = [value for cut in p.got for value in values(cut)]
        assert told in ([b"1", b"2"], [b"2"], [])
        assert not any(isinstance(cut, Cut) and cut.ts > last for cut in p.got)


async def test_a_wave_that_splits_a_query_serves_each_identity_once(world: World) -> None:
    """engine rule 15, with a client that follows the query twice and one that needs another result of the same wave."""
    a, b = await counters(world, 2)

    def sometimes(tx: Transaction, looks: Looks) -> Any:
        n = value_of(tx, looks.args["id"])
        return looks.caller().key if n else "everybody"

    world.functions["sometimes"] = sometimes
    query = ("sometimes", {"id": a})
    clients = [
        world.client(query, caller=ANN),
        world.client(query, query, caller=BOB),
        world.client(query, ("counter", {"id": b}), caller=BOB),
        world.client(("counter", {"id": b}), query, caller=ANN),
    ]
    for client in clients:
        await client.cut()
    world.ran.clear()

    def both(tx: Any) -> None:
        setting(a, 1)(tx)
        setting(b, 5)(tx)

    ts, _ = await world.write(both)
    cuts = await asyncio.gather(*[client.next() for client in clients])

    assert [c.state for c in clients] == [
        {0: ANN.key},
        {0: BOB.key, 1: BOB.key},
        {0: BOB.key, 1: 5},
        {0: 5, 1: ANN.key},
    ]
    assert len({cut.ts for cut in cuts}) == 1
    assert all(cut.ts >= ts for cut in cuts)
    assert sorted(path for path, _ in world.ran) == ["counter", "sometimes", "sometimes"]
