"""Workers on real live queries, over sockets that fill and drain at random: every transition shows what was true at its
timestamp, nobody is forgotten, and a full socket is sent no more than what was begun (engine rules 13-15, 23)."""

from __future__ import annotations

import asyncio
import base64
import bisect
import json
import os
import random
import time
from collections.abc import Callable, Collection, MutableMapping
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from reactor.auth.admin_key import AdminKeys
from reactor.auth.headers import Gatekeeper
from reactor.auth.identity import ANONYMOUS, Caller, acting_as
from reactor.clock import ManualClock
from reactor.engine.database import Database
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.limits import DEFAULT_LIMITS
from reactor.runtime import live as live_module
from reactor.runtime.subscriber import LiveSubscriber
from reactor.runtime.waist import Backend, Outcome, Success
from reactor.store.protocol import Snapshot, SnapshotEnded
from reactor.store.sqlite.store import SqliteStore
from reactor.sync import worker as worker_module
from reactor.sync.link import AsgiLink, Link, Message, whole
from reactor.sync.messages import Authenticate
from reactor.sync.transitions import TransitionEncoder
from reactor.sync.worker import ClientKind, Worker
from tests.unit.engine.conftest import Job
from tests.unit.runtime.test_live import Looks, World, counters, value_of
from tests.unit.sync.test_backpressure import HELLO, HandLink

ROUNDS = int(os.environ.get("REACTOR_TEST_ROUNDS", "8"))
PEOPLE = [ANONYMOUS, *(acting_as({"subject": name, "issuer": "https://i"}) for name in ("ann", "bob"))]
EXPIRY_NS = live_module.TIME_SENSITIVE_NS + 1

# What each query makes of a counter, and of who asks.
QUERIES: dict[str, Callable[[int, str], Any]] = {
    "plain": lambda n, key: n,
    "parity": lambda n, key: n % 2,
    "failing": lambda n, key: n if n % 3 else "failed",
    "timed": lambda n, key: n,
    "paged": lambda n, key: n,
    "who": lambda n, key: [key, n],
    "sometimes": lambda n, key: key if n % 2 else n,
    "slow": lambda n, key: n,
    "slow sometimes": lambda n, key: [key, n] if n % 3 == 1 else n,
}


class Wired:
    """The database, its live queries as a `Backend`, and what was true when: two counters that always sum to 100."""

    def __init__(self, world: World, ids: list[str], dice: random.Random) -> None:
        self.world, self.ids, self.dice = world, ids, dice
        self.history: list[tuple[int, int]] = []
        for path in QUERIES:
            world.functions[path] = self._run

    def _run(self, tx: Transaction, looks: Looks) -> Any:
        path = looks.call.path
        n = value_of(tx, looks.args["id"])
        looks.time = path == "timed"
        if path == "paged":
            looks.journal = looks.journal or "the end"
        if path.startswith("slow"):
            time.sleep(0.003)
        if path == "failing" and not n % 3:
            raise ValueError("failed")
        # Looks at the identity when the result differs by it.
        differs = QUERIES[path](n, "a") != QUERIES[path](n, "b")
        return QUERIES[path](n, looks.caller().key if differs else "")

    def set(self, x: int) -> Callable[[WriteTransaction], int]:
        def change(tx: WriteTransaction) -> int:
            table = tx.table("counters")
            assert table is not None
            for document_id, n in zip(self.ids, (x, 100 - x), strict=True):
                tx.patch(table, document_id, {"n": n})
            return x

        return change

    def counters_at(self, ts: int) -> tuple[int, int]:
        _, x = self.history[bisect.bisect_right(self.history, ts, key=lambda h: h[0]) - 1]
        return x, 100 - x

    # The waist.

    @property
    def processed_ts(self) -> int:
        return self.world.live.processed_ts

    def subscriber(self, caller: Caller, *, door: Any = "SyncWorker") -> LiveSubscriber:
        return self.world.live.subscriber(caller, door)

    def mutation(self, path: str, args: bytes, caller: Caller, done: Callable[[Outcome], None], **_: Any) -> None:
        given = json.loads(args)
        write = path == "set"
        job = Job(self.set(given["x"]) if write else lambda tx: None)

        def succeed(ts: int) -> None:
            if write:
                self.history.append((ts, given["x"]))
            done(Success(b"null", ts=ts))

        job.succeed = succeed
        self.world.database.submit(job)

    async def action(self, path: str, args: bytes, caller: Caller, **_: Any) -> Outcome:
        await asyncio.sleep(0)
        return Success(args)


class OwnWorker(Worker):
    """Takes everybody at their word."""

    __slots__ = ()

    def _operator(self, message: Authenticate) -> Caller:
        return PEOPLE[int(message.value or 0)]


class HandSide(HandLink):
    """A socket that fills after some messages; what is sent when it is full is counted."""

    unasked = 0

    def send(self, messages: Collection[Message]) -> None:
        if not self.writable:
            self.unasked += sum(whole(message).startswith(b'{"type":"Transition"') for message in messages)
            assert self.unasked <= 1, "more than what was begun was computed for a full socket"
        super().send(messages)

    def fill(self, dice: random.Random) -> None:
        self.full_after = dice.randrange(1, 4)

    def drain(self) -> None:
        self.unasked = 0
        if not self.writable:
            super().drain()

    @property
    def link(self) -> Link:
        return self


class AsgiSide:
    """A server that takes nothing while its gate is closed."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.inbox: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.link: Link = AsgiLink(self.inbox.get, self._send)

    async def _send(self, event: MutableMapping[str, Any]) -> None:
        await self.gate.wait()
        if event["type"] == "websocket.send":
            self.sent.append(json.loads(event["text"]))

    def receives(self, **message: Any) -> None:
        self.inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    def fill(self, dice: random.Random) -> None:
        self.gate.clear()

    def drain(self) -> None:
        self.gate.set()


class Person:
    """A client: what it asked for, what it was told, and whether that is right."""

    def __init__(self, wired: Wired, kind: Literal["hand", "asgi"], transitions: TransitionEncoder) -> None:
        self.wired, self.dice = wired, wired.dice
        self.side = HandSide() if kind == "hand" else AsgiSide()
        self.worker = OwnWorker(
            self.side.link,
            ClientKind(is_npm=True, chunks=False),
            backend=cast("Backend", wired),
            gatekeeper=Gatekeeper(AdminKeys()),
            limits=DEFAULT_LIMITS,
            clock=wired.world.clock,
            actions=set(),
            transitions=transitions,
        )
        self.running = asyncio.create_task(self.worker.run())
        self.version: dict[str, Any] = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
        self.state: dict[int, Any] = {}
        self.asked: dict[int, tuple[str, int]] = {}
        self.query_sets: list[set[int]] = [set()]
        self.identities = [ANONYMOUS]
        self.requests = 0
        self.unanswered: set[int] = set()
        self.owed: dict[int, int] = {}
        self._read = 0
        self.side.receives(**HELLO)

    def modify(self) -> None:
        now, changes = set(self.query_sets[-1]), []
        for _ in range(self.dice.randrange(4)):
            if now and self.dice.random() < 0.4:
                changes.append({"type": "Remove", "queryId": now.pop()})
            else:
                query_id, which = len(self.asked), self.dice.randrange(2)
                path = self.dice.choice(list(QUERIES))
                self.asked[query_id] = (path, which)
                now.add(query_id)
                args = [{"id": self.wired.ids[which]}]
                changes.append({"type": "Add", "queryId": query_id, "udfPath": path, "args": args})
        base = len(self.query_sets) - 1
        self.query_sets.append(now)
        self.side.receives(type="ModifyQuerySet", baseVersion=base, newVersion=base + 1, modifications=changes)

    def become(self) -> None:
        who, base = self.dice.randrange(len(PEOPLE)), len(self.identities) - 1
        self.identities.append(PEOPLE[who])
        proof = {"tokenType": "Admin", "value": str(who)} if who else {"tokenType": "None"}
        self.side.receives(type="Authenticate", baseVersion=base, **proof)

    def request(self) -> None:
        kind, path = self.dice.choice(
            [("Mutation", "set"), ("Mutation", "set"), ("Mutation", "look"), ("Action", "act")]
        )
        args = [{"x": self.dice.randrange(100)}]
        self.side.receives(type=kind, requestId=self.requests, udfPath=path, args=args)
        self.unanswered.add(self.requests)
        self.requests += 1

    def read(self) -> None:
        for message in self.side.sent[self._read :]:
            self._read += 1
            if message["type"] == "Transition":
                self._take(message)
            elif message["type"] != "Ping":
                self.unanswered.remove(message["requestId"])
                if message["type"] == "MutationResponse":
                    self.owed[message["requestId"]] = ts_of(message)

    def _take(self, transition: dict[str, Any]) -> None:
        start, self.version = transition["startVersion"], transition["endVersion"]
        ts = ts_of(self.version)
        assert ts >= ts_of(start)
        assert all(response <= ts for response in self.owed.values()), "older than a response before it"
        for change in transition["modifications"]:
            if change["type"] == "QueryRemoved":
                self.state.pop(change["queryId"], None)
            else:
                failed = change.get("errorMessage", "").partition("] ")[2]
                self.state[change["queryId"]] = failed or change["value"]
        assert self.state == self.expected(self.version["querySet"], self.version["identity"], ts)
        self.owed = {request: response for request, response in self.owed.items() if response > ts}

    def expected(self, query_set: int, identity: int, ts: int) -> dict[int, Any]:
        values, key = self.wired.counters_at(ts), self.identities[identity].key
        asked = {query_id: self.asked[query_id] for query_id in self.query_sets[query_set]}
        return {query_id: QUERIES[path](values[which], key) for query_id, (path, which) in asked.items()}

    def knows_all(self) -> bool:
        self.side.drain()
        self.read()
        query_set, identity = len(self.query_sets) - 1, len(self.identities) - 1
        up_to_date = (self.version["querySet"], self.version["identity"]) == (query_set, identity)
        latest = self.expected(query_set, identity, self.wired.processed_ts)
        return up_to_date and not self.unanswered and not self.owed and self.state == latest


def ts_of(holder: dict[str, Any]) -> int:
    return int.from_bytes(base64.b64decode(holder["ts"]), "little")


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with thousands of followers, and queries that take long."""
    monkeypatch.setattr(live_module, "DELIVERIES_PER_STEP", 2)
    monkeypatch.setattr(live_module, "SLOW_S", 0.0015)
    monkeypatch.setattr(live_module, "CHUNK_S", 0.0005)
    monkeypatch.setattr(worker_module, "REPLIES_WAIT_S", 20.0)


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_everybody_is_told_the_truth_and_nobody_is_forgotten(round_: int, tmp_path: Path) -> None:
    seed = int(os.environ.get("REACTOR_TEST_SEED", random.randrange(2**32)))
    print(f"REACTOR_TEST_SEED={seed}")
    dice = random.Random(seed)
    clock = ManualClock()
    database = Database(SqliteStore(tmp_path, clock=clock, synchronous="OFF"), clock, DEFAULT_LIMITS)
    await database.open()
    world = World(database, clock)
    wired = Wired(world, await counters(world, 2), dice)
    wired.history.append(await world.write(wired.set(1)))
    original = database.open_snapshots

    async def open_snapshots(count: int) -> list[Snapshot]:
        snapshots = await original(count)

        async def run(job: Any) -> Any:
            await asyncio.sleep(0)
            raise SnapshotEnded("The write-ahead log has become too large.")

        if dice.random() < 0.05:
            snapshots[-1].run = run
        return snapshots

    database.open_snapshots = open_snapshots
    transitions = TransitionEncoder()
    people = [Person(wired, "hand" if number % 3 else "asgi", transitions) for number in range(6)]
    for person in people:
        person.modify()
    for _ in range(120):
        person = dice.choice(people)
        moves: list[Callable[[], object]] = [
            person.modify,
            person.become,
            person.request,
            person.request,
            lambda: wired.mutation("set", b'{"x":%d}' % dice.randrange(100), ANONYMOUS, lambda _: None),
            lambda person=person: person.side.fill(dice),
            person.side.drain,
            person.side.drain,
            lambda: clock.advance(dice.choice([1, EXPIRY_NS])),
        ]
        dice.choice(moves)()
        for _ in range(dice.choice([0, 0, 1, 5])):
            await asyncio.sleep(0)
        for _ in range(dice.choice([0, 0, 0, 1, 4])):
            await world.write(lambda tx: None)  # as long as that takes, waves have the threads
        for other in people:
            other.read()
    async with asyncio.timeout(20):
        while sum(person.knows_all() for person in people) < len(people):
            await asyncio.sleep(0.001)
    for person in people:
        person.worker.close(1000)
    await asyncio.gather(*[person.running for person in people])

    assert world.live.subscription_count == 0
    await world.live.close()
    await database.close()
