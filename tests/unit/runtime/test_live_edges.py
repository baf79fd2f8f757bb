"""Live queries at the edges: followers that leave while a wave runs, snapshots that end under it, what the cache counts."""

from __future__ import annotations

import asyncio
from typing import Any

from reactor.engine.transaction import Transaction
from reactor.runtime.live import LiveQueries
from reactor.runtime.waist import next_cut
from reactor.store.protocol import SnapshotEnded
from tests.unit.runtime.test_live import ANN, BOB, Looks, World, counters, setting, value_of, world

__all__ = ["world"]


def counted(live: LiveQueries) -> tuple[int, int]:
    """What the cache believes it holds, and what it holds."""
    return live._idle_bytes, sum(live._idle.values())


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

    assert [e.stale_by for family in world.live._families.values() for e in family.values()] == [None]
