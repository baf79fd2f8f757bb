"""Live queries at the edges: followers that leave while a wave runs, snapshots that end under it, what the cache counts."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from reactor.engine.transaction import Transaction
from reactor.runtime import live as live_module
from reactor.runtime.live import SLOW_S, LiveQueries
from reactor.runtime.subscriber import LiveSubscriber
from reactor.runtime.waist import next_cut
from reactor.store.protocol import SnapshotEnded
from tests.unit.runtime.test_live import ANN, BOB, Client, Looks, World, counters, setting, value_of, world

__all__ = ["world"]


def counted(live: LiveQueries) -> tuple[int, int]:
    """What the cache believes it holds, and what it holds."""
    return live._entries._idle_bytes, sum(live._entries._idle.values())


async def leave_while_it_runs(world: World, clients: list[Any]) -> None:
    """Ask for cuts and go away when the queries are in flight."""
    cuts = [asyncio.ensure_future(next_cut(c.subscriber, 0)) for c in clients]
    for _ in range(10_000):
        if all(c.subscriber.wave is not None for c in clients):
            break
        await asyncio.sleep(0)
    for client in clients:
        client.subscriber.close()
    for cut in cuts:
        cut.cancel()
    await asyncio.gather(*cuts, return_exceptions=True)
    while world.live._wave is not None:
        await asyncio.sleep(0.001)


async def test_a_result_that_is_merged_into_a_cached_one_is_counted_once(world: World) -> None:
    (a,) = await counters(world, 1)
    query = ("counter", {"id": a})

    await leave_while_it_runs(world, [world.client(query, caller=ANN), world.client(query, caller=BOB)])

    held, real = counted(world.live)
    assert world.live.entry_count == 1
    assert held == real > 0
    await world.write(setting(a, 1))
    assert counted(world.live) == (0, 0)


async def test_a_split_entry_whose_owner_left_is_counted_once(world: World) -> None:
    (a,) = await counters(world, 1)

    def sometimes(tx: Transaction, looks: Looks) -> Any:
        n = value_of(tx, looks.args["id"])
        return [n, looks.caller().key] if n else n

    world.functions["sometimes"] = sometimes
    ann = world.client(("sometimes", {"id": a}), caller=ANN)
    await ann.cut()
    bob = world.client(("sometimes", {"id": a}), caller=BOB)
    await bob.cut()
    ann.subscriber.close()
    await world.write(setting(a, 1))
    await bob.next()

    held, real = counted(world.live)
    assert held == real
    await world.write(setting(a, 2))
    await bob.next()
    assert counted(world.live) == (0, 0)


async def test_who_is_merged_into_a_cached_result_hears_of_the_next_commit(world: World) -> None:
    """The other entry's followers left while the wave ran; the cache may drop its result, but not those who came."""
    (a,) = await counters(world, 1)

    def sometimes(tx: Transaction, looks: Looks) -> Any:
        n = value_of(tx, looks.args["id"])
        return [n, looks.caller().key] if n % 2 else n

    world.functions["sometimes"] = sometimes
    await world.write(setting(a, 1))
    ann, bob = (world.client(("sometimes", {"id": a}), caller=caller) for caller in (ANN, BOB))
    await ann.cut()
    await bob.cut()
    await world.write(setting(a, 2))
    cuts = [asyncio.ensure_future(client.next()) for client in (ann, bob)]
    async with asyncio.timeout(10):
        while not ann.subscriber.wave or not bob.subscriber.wave:
            await asyncio.sleep(0)
    ann.subscriber.close()
    await cuts[1]
    merged = (world.live.entry_count, counted(world.live))
    await world.write(setting(a, 4))
    await bob.next()
    cuts[0].cancel()

    assert merged == (1, (0, 0))
    assert bob.state == {0: 4}


async def test_what_nobody_waits_for_is_forgotten_when_its_snapshot_ends(world: World) -> None:
    (a,) = await counters(world, 1)
    client = world.client(("counter", {"id": a}))
    original = world.database.open_snapshots

    async def open_snapshots(count: int) -> list[Any]:
        snapshots = await original(count)

        async def run(job: Any) -> Any:
            await asyncio.sleep(0.02)
            raise SnapshotEnded("The read took too long.")

        for snapshot in snapshots:
            snapshot.run = run  # type: ignore[method-assign]
        return snapshots

    world.database.open_snapshots = open_snapshots  # type: ignore[method-assign]
    await leave_while_it_runs(world, [client])
    world.database.open_snapshots = original  # type: ignore[method-assign]

    assert world.live.entry_count == 0


async def test_a_wave_that_began_before_a_clients_last_cut_does_not_serve_it(world: World) -> None:
    """The point in time that a client holds only moves forward, however late the wave's snapshot comes to the loop."""
    a, b, c = await counters(world, 3)
    client = world.client(("counter", {"id": a}))
    await client.cut()
    other = world.client(("counter", {"id": c}))
    original = world.database.open_snapshots
    opened, go_on = asyncio.Event(), asyncio.Event()

    async def open_snapshots(count: int) -> list[Any]:
        snapshots = await original(count)
        opened.set()
        await go_on.wait()
        return snapshots

    world.database.open_snapshots = open_snapshots  # type: ignore[method-assign]
    waiting = asyncio.ensure_future(other.cut())
    await opened.wait()
    ts, _ = await world.write(setting(b, 1))
    assert (await client.cut(ts)).ts >= ts
    client.subscriber.add(1, "counter", f'{{"id":"{b}"}}'.encode())
    asking = asyncio.ensure_future(client.cut())
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(waiting, asking)

    assert client.state[1] == 1


async def test_a_result_that_is_fresh_keeps_no_commit_in_memory(world: World) -> None:
    """The ring bounds what commits take; entries may be many, and live for ever."""
    (a,) = await counters(world, 1)
    client = world.client(("counter", {"id": a}))
    await client.cut()
    await world.write(setting(a, 1))
    await client.next()

    assert [entry.stale_by for entry in world.live._entries] == [None]


async def test_what_an_entry_keeps_for_its_followers_is_never_older_than_its_result(world: World) -> None:
    """Or idle entries would hold results that `cached_query_bytes` does not count."""
    a, b = await counters(world, 2)
    one, both = world.client(("counter", {"id": a})), world.client(("counter", {"id": a}), ("counter", {"id": b}))
    await both.cut()
    await world.write(setting(a, 1))
    await one.cut()
    one.subscriber.close()

    def change(tx: Any) -> None:
        setting(a, 2)(tx)
        setting(b, 2)(tx)

    await world.write(change)
    await both.cut()
    entry = both.subscriber._queries[0].entry

    assert both.state == {0: 2, 1: 2}
    assert entry.last_cut is None or entry.last_cut.updates[0].version is entry.version


class SlowLane:
    """Queries `held` that run until they are let go, one by one; known to be slow."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.running = 0
        self._go_on = threading.Semaphore(0)
        self._holding = False
        world.functions["held"] = self.hold

    def hold(self, tx: Transaction, looks: Looks) -> Any:
        self.running += 1
        if self._holding:
            assert self._go_on.acquire(timeout=10)
        else:
            time.sleep(2 * SLOW_S)
        return value_of(tx, looks.args["id"])

    async def start(self, *clients: Client) -> list[asyncio.Future[Any]]:
        """All of them ask for what is stale; returns once the lane runs the first query."""
        self._holding = True
        before = self.running
        cuts = [asyncio.ensure_future(client.next()) for client in clients]
        async with asyncio.timeout(10):
            while self.running == before:
                await asyncio.sleep(0.001)
        return cuts

    def let_go(self, count: int = 100) -> None:
        self._go_on.release(count)

    async def until_waits(self, client: Client) -> None:
        """Wait until it has asked, and nothing but the slow lane runs."""
        async with asyncio.timeout(10):
            while not client.subscriber.busy or self.world.live._wave is not None:
                await asyncio.sleep(0)


@pytest.fixture
def lane(world: World) -> Iterator[SlowLane]:
    lane = SlowLane(world)
    yield lane
    lane.let_go()


async def test_those_who_wait_for_a_slow_query_cost_the_others_nothing(
    world: World, lane: SlowLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """engine rule 13; design promise 7: waves on the fast lane look at those who can take part."""
    a, b = await counters(world, 2)
    first, fast = world.client(("held", {"id": a})), world.client(("counter", {"id": b}))
    late = [world.client(("held", {"id": a})) for _ in range(30)]
    for client in (first, fast, *late):
        await client.cut()
    await world.write(setting(a, 1))
    running = await lane.start(first)
    waiting = [asyncio.ensure_future(client.next()) for client in late]
    await world.write(setting(b, -1))
    await fast.next()
    looked_at = [0]
    is_ready = LiveSubscriber.is_ready

    def counted_is_ready(self: LiveSubscriber, now: int) -> bool:
        looked_at[0] += self is not fast.subscriber
        return is_ready(self, now)

    monkeypatch.setattr(LiveSubscriber, "is_ready", counted_is_ready)
    for n in range(10):
        await world.write(setting(b, n))
        await fast.next()
    looked_at_meanwhile = looked_at[0]
    lane.let_go()
    await asyncio.gather(*running, *waiting)

    assert looked_at_meanwhile == 0
    assert fast.state == {0: 9}
    assert all(client.state == {0: 1} for client in (first, *late))


async def test_who_comes_to_a_query_that_runs_is_served_when_it_ends_not_when_the_lane_does(
    world: World, lane: SlowLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "CHUNK_S", -1)  # each result comes back by itself
    a, b = await counters(world, 2)
    clients = [world.client(("held", {"id": id})) for id in (a, b)]
    for client in clients:
        await client.cut()

    def change(tx: Any) -> None:
        setting(a, 1)(tx)
        setting(b, 1)(tx)

    await world.write(change)
    running = await lane.start(*clients)
    late = world.client(("held", {"id": a}))
    waiting = asyncio.ensure_future(late.cut())
    await lane.until_waits(late)
    lane.let_go(1)
    await waiting
    others_wait = not all(cut.done() for cut in running)
    lane.let_go()
    await asyncio.gather(*running)

    assert late.state == {0: 1}
    assert others_wait


async def test_who_gives_up_the_slow_query_is_served_at_once(world: World, lane: SlowLane) -> None:
    (a,) = await counters(world, 1)
    first, both = world.client(("held", {"id": a})), world.client(("held", {"id": a}), ("counter", {"id": a}))
    await first.cut()
    await both.cut()
    await world.write(setting(a, 1))
    running = await lane.start(first)
    waiting = asyncio.ensure_future(both.next())
    await lane.until_waits(both)
    both.subscriber.remove(0)
    await waiting
    runs_still = not running[0].done()
    lane.let_go()
    await asyncio.gather(*running)

    assert runs_still
    assert both.state[1] == 1


async def test_who_becomes_somebody_whose_result_is_there_is_served_at_once(world: World, lane: SlowLane) -> None:
    (a,) = await counters(world, 1)
    world.functions["own"] = lambda tx, looks: [looks.caller().key, lane.hold(tx, looks)]
    query = ("own", {"id": a})
    ann, bob, late = (world.client(query, caller=caller) for caller in (ANN, BOB, ANN))
    for client in (ann, bob, late):
        await client.cut()
    await world.write(setting(a, 1))
    await bob.next()
    running = await lane.start(ann)
    waiting = asyncio.ensure_future(late.next())
    await lane.until_waits(late)
    late.subscriber.set_caller(BOB)
    await waiting
    runs_still = not running[0].done()
    lane.let_go()
    await asyncio.gather(*running)

    assert runs_still
    assert late.state == bob.state == {0: [BOB.key, 1]}


async def test_who_waits_for_the_slow_lane_is_told_when_the_backend_closes_and_so_is_who_comes_later(
    world: World, lane: SlowLane
) -> None:
    """Nobody waits for ever."""
    (a,) = await counters(world, 1)
    first, second, third = [world.client(("held", {"id": a})) for _ in range(3)]
    await first.cut()
    await second.cut()
    await world.write(setting(a, 1))
    waiting = [*await lane.start(first), asyncio.ensure_future(second.next())]
    await world.write(lambda tx: tx.insert("other", {}))
    closing = asyncio.ensure_future(world.live.close())
    lane.let_go()
    await closing
    waiting.append(asyncio.ensure_future(third.next()))
    await asyncio.wait(waiting, timeout=10)

    assert [cut.cancelled() for cut in waiting] == [True, True, True]
