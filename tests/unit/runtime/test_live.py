"""Entries, waves and cuts on a real database, with queries that are plain functions (engine rules 11-16)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reactor.auth.identity import ANONYMOUS, Caller, acting_as
from reactor.clock import ManualClock
from reactor.engine.database import Database
from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import StoreError
from reactor.limits import DEFAULT_LIMITS
from reactor.runtime.live import LiveQueries
from reactor.runtime.query_entry import QueryCall, QueryRun
from reactor.runtime.subscriber import LiveSubscriber
from reactor.runtime.waist import Cut, Failure, Success, next_cut
from reactor.store.protocol import Snapshot
from reactor.store.sqlite.store import SqliteStore
from reactor.values.wire import decode
from tests.unit.engine.conftest import Job

ANN = acting_as({"subject": "ann", "issuer": "https://i"})
BOB = acting_as({"subject": "bob", "issuer": "https://i"})


class Looks:
    """What a test query may look at besides the data."""

    def __init__(self, call: QueryCall) -> None:
        self.call = call
        self.args: Any = msgspec.json.decode(call.args)
        self.identity = False
        self.time = False
        self.journal = call.journal

    def caller(self) -> Caller:
        self.identity = True
        return self.call.caller


TestQuery = Callable[[Transaction, Looks], Any]


class World:
    """A database, its live queries, and functions by path."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.functions: dict[str, TestQuery] = {}
        self.ran: list[tuple[str, str]] = []
        self.live = LiveQueries(database, self._run)

    def _run(self, call: QueryCall, tx: Transaction) -> QueryRun:
        began = time.monotonic()
        self.ran.append((call.path, call.args.decode()))
        looks = Looks(call)
        try:
            value = self.functions[call.path](tx, looks)
            outcome: Success | Failure = Success(msgspec.json.encode(value), journal=looks.journal)
        except ValueError as error:
            outcome = Failure(f"[Request ID: {random.random()}] {error}")
        return QueryRun(outcome, tx.read_set(), looks.identity, looks.time, time.monotonic() - began)

    async def write(self, run: Callable[[WriteTransaction], Any]) -> tuple[int, Any]:
        job = Job(run)
        self.database.submit(job)
        return await job.done

    def client(self, *queries: tuple[str, dict[str, Any]], caller: Caller = ANONYMOUS) -> Client:
        return Client(self, caller, queries)


class Client:
    """A subscriber and what it has been told."""

    def __init__(self, world: World, caller: Caller, queries: tuple[tuple[str, dict[str, Any]], ...]) -> None:
        self.subscriber: LiveSubscriber = world.live.subscriber(caller)
        self.state: dict[int, Any] = {}
        self.journals: dict[int, str | None] = {}
        self.ts = 0
        for query_id, (path, args) in enumerate(queries):
            self.subscriber.add(query_id, path, msgspec.json.encode(args))

    async def cut(self, not_before: int = 0) -> Cut:
        return self.take(await asyncio.wait_for(next_cut(self.subscriber, not_before), 5))

    def take(self, cut: Cut) -> Cut:
        assert cut.ts >= self.ts
        self.ts = cut.ts
        for update in cut.updates:
            outcome = update.version.outcome
            self.state[update.query_id] = (
                msgspec.json.decode(outcome.value) if isinstance(outcome, Success) else outcome.message.split("] ")[1]
            )
            self.journals[update.query_id] = outcome.journal
        return cut

    async def next(self) -> Cut:
        """The next cut that may differ."""
        return self.take(await asyncio.wait_for(next_cut(self.subscriber), 5))


def value_of(tx: Transaction, document_id: str) -> Any:
    table = tx.table("counters")
    assert table is not None
    body = tx.get(table, document_id)
    return None if body is None else decode(body)["n"]  # type: ignore[index,call-overload]


def setting(document_id: str, n: Any) -> Callable[[WriteTransaction], None]:
    def change(tx: WriteTransaction) -> None:
        table = tx.table("counters")
        assert table is not None
        tx.patch(table, document_id, {"n": n})

    return change


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    database = Database(SqliteStore(tmp_path, clock=clock, synchronous="OFF"), clock, DEFAULT_LIMITS)
    await database.open()
    world = World(database, clock)
    world.functions["counter"] = lambda tx, looks: value_of(tx, looks.args["id"])
    yield world
    await world.live.close()
    await database.close()


async def counters(world: World, count: int) -> list[str]:
    return (await world.write(lambda tx: [tx.insert("counters", {"n": 0}) for _ in range(count)]))[1]


async def test_a_commit_reaches_those_who_read_what_it_wrote_and_runs_nothing_else(world: World) -> None:
    """client-protocol 13; server-semantics 32."""
    a, b = await counters(world, 2)
    first, second = world.client(("counter", {"id": a})), world.client(("counter", {"id": b}))
    await first.cut()
    await second.cut()
    world.ran.clear()

    await world.write(setting(a, 7))
    await first.next()

    assert first.state == {0: 7}
    assert [args for _, args in world.ran] == [f'{{"id":"{a}"}}']
    assert not second.subscriber.touched


async def test_many_followers_of_one_query_cost_one_run(world: World) -> None:
    """server-semantics 34."""
    (a,) = await counters(world, 1)
    clients = [world.client(("counter", {"id": a})) for _ in range(50)]
    await asyncio.gather(*[c.cut() for c in clients])
    await world.write(setting(a, 1))
    await asyncio.gather(*[c.next() for c in clients])

    assert all(c.state == {0: 1} for c in clients)
    assert len(world.ran) == 2
    assert len({id(c.subscriber._queries[0].entry) for c in clients}) == 1


async def test_an_equal_result_is_not_sent_again(world: World) -> None:
    """server-semantics 35."""
    (a,) = await counters(world, 1)
    world.functions["positive"] = lambda tx, looks: value_of(tx, looks.args["id"]) >= 0
    client = world.client(("positive", {"id": a}))
    await client.cut()
    await world.write(setting(a, 5))

    cut = await client.next()

    assert cut.updates == []
    assert len(world.ran) == 2


async def test_a_failing_query_stays_subscribed_and_recovers(world: World) -> None:
    """client-protocol 15; errors are compared without their request id."""
    (a,) = await counters(world, 1)

    def check(tx: Transaction, looks: Looks) -> str:
        if value_of(tx, looks.args["id"]) < 2:
            raise ValueError("too small")
        return "ok"

    world.functions["check"] = check
    client = world.client(("check", {"id": a}))
    await client.cut()
    await world.write(setting(a, 1))
    again = await client.next()
    failed = dict(client.state)
    await world.write(setting(a, 2))
    await client.next()

    assert (failed, again.updates, client.state) == ({0: "too small"}, [], {0: "ok"})


async def test_a_cut_includes_the_commit_it_was_asked_for(world: World) -> None:
    """engine rule 14."""
    (a,) = await counters(world, 1)
    client = world.client(("counter", {"id": a}))
    await client.cut()
    ts, _ = await world.write(setting(a, 3))

    cut = await client.cut(not_before=ts)

    assert cut.ts >= ts
    assert client.state == {0: 3}


async def test_a_cut_without_anything_to_run_opens_no_snapshot(world: World) -> None:
    """engine rule 14: all clean, T = P and no SQL."""
    (a,) = await counters(world, 1)
    client = world.client(("counter", {"id": a}))
    await client.cut()
    ts, _ = await world.write(lambda tx: tx.insert("other", {}))

    async def refuse(count: int) -> Any:
        raise AssertionError("a snapshot was opened")

    world.database.open_snapshots = refuse  # type: ignore[method-assign]
    cut = await client.cut(not_before=ts)

    assert (cut.ts, cut.updates) == (ts, [])


async def test_two_queries_of_a_client_are_never_seen_at_different_times(world: World) -> None:
    """client-protocol 14; engine rule 13: a slow query and a fast one, under a stream of transfers between the two."""
    a, b = await counters(world, 2)
    await world.write(setting(a, 100))

    def slowly(tx: Transaction, looks: Looks) -> Any:
        time.sleep(0.03)
        return value_of(tx, looks.args["id"])

    world.functions["slow"] = slowly
    client = world.client(("slow", {"id": a}), ("counter", {"id": b}))
    other = world.client(("counter", {"id": b}))
    stop = asyncio.Event()

    async def transfer() -> None:
        left = 100
        while not stop.is_set():
            left -= 1

            def change(tx: WriteTransaction, left: int = left) -> None:
                setting(a, left)(tx)
                setting(b, 100 - left)(tx)

            await world.write(change)
            await asyncio.sleep(0)

    writing = asyncio.create_task(transfer())
    seen: list[int] = []
    for _ in range(12):
        await client.next()
        seen.append(client.state[0] + client.state[1])
        await other.next()
    stop.set()
    await writing

    assert set(seen) == {100}
    assert client.ts > 0


async def test_a_slow_query_does_not_hold_up_others(world: World) -> None:
    """engine rule 13: a lane of its own once it is known to be slow."""
    a, b = await counters(world, 2)
    running = 0

    def slowly(tx: Transaction, looks: Looks) -> Any:
        nonlocal running
        running += 1
        time.sleep(0.2)
        running -= 1
        return value_of(tx, looks.args["id"])

    world.functions["slow"] = slowly
    slow, fast = world.client(("slow", {"id": a})), world.client(("counter", {"id": b}))
    await asyncio.gather(slow.cut(), fast.cut())
    await world.write(setting(a, 1))
    pending = asyncio.create_task(slow.next())
    while not running:
        await asyncio.sleep(0.001)
    served_meanwhile = 0
    while running and served_meanwhile < 3:
        await world.write(setting(b, served_meanwhile + 1))
        await fast.next()
        served_meanwhile += bool(running)
    await pending

    assert served_meanwhile == 3
    assert slow.state == {0: 1}


async def test_identities_share_a_query_that_does_not_look_at_them_and_only_that(world: World) -> None:
    """engine rule 15; server-semantics 34."""
    (a,) = await counters(world, 1)
    world.functions["who"] = lambda tx, looks: [looks.caller().key, value_of(tx, looks.args["id"])]
    everyone = [
        world.client(("counter", {"id": a}), ("who", {"id": a}), caller=caller) for caller in (ANN, BOB, ANN, BOB)
    ]
    for client in everyone:
        await client.cut()
    world.ran.clear()
    await world.write(setting(a, 1))
    await asyncio.gather(*[c.next() for c in everyone])

    assert [c.state for c in everyone] == [{0: 1, 1: [k, 1]} for k in (ANN.key, BOB.key, ANN.key, BOB.key)]
    assert sorted(path for path, _ in world.ran) == ["counter", "who", "who"]


async def test_when_a_shared_query_begins_to_look_at_the_identity_each_gets_its_own_result(world: World) -> None:
    """engine rule 15."""
    (a,) = await counters(world, 1)

    def sometimes(tx: Transaction, looks: Looks) -> Any:
        n = value_of(tx, looks.args["id"])
        return looks.caller().key if n else "everybody"

    world.functions["sometimes"] = sometimes
    ann, bob = (world.client(("sometimes", {"id": a}), caller=caller) for caller in (ANN, BOB))
    await ann.cut()
    await bob.cut()
    before = (ann.state[0], bob.state[0], len(world.ran))
    await world.write(setting(a, 1))
    await asyncio.gather(ann.next(), bob.next())

    assert before == ("everybody", "everybody", 1)
    assert (ann.state[0], bob.state[0]) == (ANN.key, BOB.key)


async def test_changing_the_caller_runs_again_exactly_the_queries_that_looked_at_it(world: World) -> None:
    (a,) = await counters(world, 1)
    world.functions["who"] = lambda tx, looks: looks.caller().key
    client = world.client(("counter", {"id": a}), ("who", {}), caller=ANN)
    await client.cut()
    await world.client(("counter", {"id": a}), caller=BOB).cut()  # shared from here on
    world.ran.clear()

    client.subscriber.set_caller(BOB)
    await client.cut()

    assert client.state == {0: 0, 1: BOB.key}
    assert [path for path, _ in world.ran] == ["who"]


async def test_a_page_keeps_its_journal_over_re_runs_and_newcomers_get_their_own(world: World) -> None:
    """client-protocol 53; engine rule 15."""
    (a,) = await counters(world, 1)
    started = 0

    def page(tx: Transaction, looks: Looks) -> Any:
        nonlocal started
        if looks.journal is None:
            started += 1
            looks.journal = f"end-{started}"
        return [looks.journal, value_of(tx, looks.args["id"])]

    world.functions["page"] = page
    first = world.client(("page", {"id": a}))
    await first.cut()
    await world.write(setting(a, 1))
    await first.next()
    second = world.client(("page", {"id": a}))
    await second.cut()
    resumed = world.live.subscriber(ANONYMOUS)
    resumed.add(0, "page", msgspec.json.encode({"id": a}), "end-1")
    cut = await next_cut(resumed, 0)

    assert first.state == {0: ["end-1", 1]}
    assert second.state == {0: ["end-2", 1]}
    assert isinstance(cut.updates[0].version.outcome, Success)
    assert cut.updates[0].version.outcome.value == b'["end-1",1]'
    assert len(world.ran) == 3


async def test_an_unfollowed_result_is_served_from_the_cache_until_a_commit_touches_it(world: World) -> None:
    (a,) = await counters(world, 1)

    async def once() -> Any:
        client = world.client(("counter", {"id": a}))
        await client.cut()
        client.subscriber.close()
        return client.state[0]

    values = [await once(), await once()]
    runs = len(world.ran)
    await world.write(setting(a, 9))
    runs_after_commit = len(world.ran)
    values.append(await once())

    assert values == [0, 0, 9]
    assert (runs, runs_after_commit, len(world.ran)) == (1, 1, 2)


async def test_a_result_that_looked_at_the_clock_is_not_served_to_newcomers_for_long(world: World) -> None:
    """server-semantics 5.4."""

    def timed(tx: Transaction, looks: Looks) -> str:
        looks.time = True
        return "now"

    world.functions["timed"] = timed
    for wait_s in (0, 16, 2):
        world.clock.advance(wait_s * 1_000_000_000)
        client = world.client(("timed", {}))
        await client.cut()
        client.subscriber.close()

    assert len(world.ran) == 2


async def test_a_snapshot_that_the_store_takes_back_only_means_another_run(world: World) -> None:
    """engine rule 3: the oldest snapshots are ended when the WAL is too large, and their queries run again."""
    (a,) = await counters(world, 1)
    client = world.client(("counter", {"id": a}))
    open_snapshots = world.database.open_snapshots
    ended = 0

    async def open_and_end_the_first(count: int) -> list[Snapshot]:
        nonlocal ended
        snapshots = await open_snapshots(count)
        if not ended:
            ended += 1
            for snapshot in snapshots:
                snapshot.interrupt()
        return snapshots

    world.database.open_snapshots = open_and_end_the_first  # type: ignore[method-assign]
    await client.cut()

    assert (ended, client.state) == (1, {0: 0})


async def test_a_store_that_fails_is_told_to_those_who_wait_and_later_cuts_work(world: World) -> None:
    (a,) = await counters(world, 1)
    client = world.client(("counter", {"id": a}))
    open_snapshots = world.database.open_snapshots

    async def fail(count: int) -> list[Snapshot]:
        raise StoreError("the disk is gone")

    world.database.open_snapshots = fail  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="gone"):
        await client.cut()
    world.database.open_snapshots = open_snapshots  # type: ignore[method-assign]
    await client.cut()

    assert client.state == {0: 0}


async def test_removing_queries_and_closing_leaves_nothing_registered(world: World) -> None:
    ids = await counters(world, 3)
    clients = [world.client(*[("counter", {"id": i}) for i in ids]) for _ in range(4)]
    await asyncio.gather(*[c.cut() for c in clients])
    clients[0].subscriber.remove(1)
    asking = asyncio.create_task(next_cut(clients[1].subscriber))
    await asyncio.sleep(0)
    for client in clients:
        client.subscriber.close()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await world.write(lambda tx: [setting(i, 1)(tx) for i in ids])

    assert world.live.entry_count == 0
    assert len(world.live._entries._index) == 0
    assert not world.live._entries._idle
    assert world.live._entries._idle_bytes == 0


async def test_after_random_writes_every_client_holds_what_a_fresh_one_would_be_told(world: World) -> None:
    """client-protocol 11-14 as a property: nothing missed, nothing stale, time never goes back."""
    rng = random.Random(7)
    ids = await counters(world, 6)

    def total(tx: Transaction, looks: Looks) -> Any:
        table = tx.table("counters")
        assert table is not None
        scan = tx.scan(make_range(table.indexes["by_creation_time"]))
        rows = [decode(row[1])["n"] for row in iter(scan.next, None)]  # type: ignore[index,call-overload]
        return sum(rows)

    world.functions["total"] = total
    clients = [world.client(("total", {}), *[("counter", {"id": i}) for i in rng.sample(ids, 3)]) for _ in range(5)]
    moved: list[asyncio.Task[Any]] = []
    for _ in range(60):
        source, target = rng.sample(ids, 2)

        def move(tx: WriteTransaction, source: str = source, target: str = target) -> None:
            n = rng.randrange(5)
            setting(source, value_of(tx, source) - n)(tx)
            setting(target, value_of(tx, target) + n)(tx)

        moved.append(asyncio.create_task(world.write(move)))
        if rng.random() < 0.5:
            for client in rng.sample(clients, 2):
                await client.cut()
                assert client.state[0] == 0
    last = max([ts for ts, _ in await asyncio.gather(*moved)])
    for client in clients:
        await client.cut(not_before=last)
        fresh = world.client()
        for query_id, followed in client.subscriber._queries.items():
            fresh.subscriber.add(query_id, followed.entry.call.path, followed.entry.call.args)
        await fresh.cut()
        assert client.state == fresh.state
