"""Why live queries ran: the cause of each run, down to the key that was written and the range it fell into."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from reactor.auth.identity import ADMIN, ANONYMOUS, Caller
from reactor.clock import ManualClock
from reactor.engine.commit_record import CommitKind, CommitRecord, DocumentWrite, KeyChange
from reactor.engine.read_set import EMPTY, Interval, ReadSet
from reactor.runtime.reruns import KEPT, Reruns
from reactor.runtime.waist import Success, next_cut
from reactor.server import Reactor
from reactor.testing.callers import user
from tests.unit.runtime.harness import write_files

SCHEMA = """
    from reactor import Document, define_schema, define_table

    class Message(Document):
        room: str
        rank: int
        likes: int = 0

    schema = define_schema(messages=define_table(Message).index("by_room", "room", "rank"))
"""
FUNCTIONS = """
    from typing import Any
    from reactor import Environment, Id, MutationCtx, QueryCtx, mutation, query
    from schema import Message

    class Env(Environment):
        GREETING: str | None = None

    @query
    async def of_room(ctx: QueryCtx, room: str) -> list[int]:
        return [m.rank for m in await ctx.db.query(Message).with_index("by_room", room=room).collect()]

    @query
    async def between(ctx: QueryCtx, room: str, low: int, high: int) -> list[int]:
        rows = ctx.db.query(Message).with_index("by_room", lambda q: q.eq("room", room).gt("rank", low).lte("rank", high))
        return [m.rank for m in await rows.collect()]

    @query
    async def first(ctx: QueryCtx, room: str) -> int | None:
        message = await ctx.db.query(Message).with_index("by_room", room=room).first()
        return message and message.rank

    @query
    async def one(ctx: QueryCtx, id: Id[Message]) -> int:
        return (await ctx.db.get(id)).likes

    @query
    async def greeting(ctx: QueryCtx) -> str | None:
        return ctx.env(Env).GREETING

    @query
    async def me(ctx: QueryCtx) -> str | None:
        identity = await ctx.auth.get_user_identity()
        return identity and identity.subject

    @mutation
    async def send(ctx: MutationCtx, room: str, rank: int) -> Id[Message]:
        return await ctx.db.insert(Message(room=room, rank=rank))

    @mutation
    async def like(ctx: MutationCtx, id: Id[Message]) -> None:
        await ctx.db.patch(id, likes=1)
"""


class World:
    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.subscriber = reactor.backend.subscriber(ANONYMOUS)
        self._queries = 0

    async def follow(self, path: str, **args: Any) -> None:
        self.subscriber.add(self._queries, path, json.dumps(args).encode())
        self._queries += 1
        await next_cut(self.subscriber, 0)

    async def mutate(self, path: str, request_id: str, **args: Any) -> Any:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.reactor.backend.mutation(
            path, json.dumps(args).encode(), ANONYMOUS, done.set_result, request_id=request_id
        )
        return json.loads((await done).value)

    async def next(self) -> None:
        await next_cut(self.subscriber)

    async def why(self, caller: Caller = ADMIN, **args: Any) -> list[dict[str, Any]]:
        outcome = await self.reactor.backend.action("_system/reactor/why", json.dumps(args).encode(), caller)
        assert isinstance(outcome, Success), outcome
        return json.loads(outcome.value)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    app = write_files(tmp_path / "app", {"schema.py": SCHEMA, "functions/messages.py": FUNCTIONS})
    async with Reactor(app, data=tmp_path / "data", synchronous="OFF", clock=ManualClock()) as reactor:
        world = World(reactor)
        yield world
        world.subscriber.close()


async def test_a_commit_is_named_with_mutation_index_range_and_key(world: World) -> None:
    await world.follow("messages:ofRoom", room="a")
    message = await world.mutate("messages:send", "r1", room="a", rank=3)
    await world.next()
    again, first = await world.why()
    assert (first["cause"], first["changed"]) == ("first", True)
    assert {k: again[k] for k in ("function", "args", "cause", "mutation", "requestId", "table", "document")} == {
        "function": "messages:ofRoom",
        "args": {"room": "a"},
        "cause": "commit",
        "mutation": "messages:send",
        "requestId": "r1",
        "table": "messages",
        "document": message,
    }
    assert (again["operation"], again["index"], again["range"]) == ("insert", "by_room", 'room = "a"')
    assert (again["key"]["room"], again["key"]["rank"], again["key"]["_id"]) == ("a", 3, message)
    assert (again["subscribers"], again["changed"], again["failed"]) == (1, True, False)
    assert int(again["commitTs"]) == world.reactor.backend.processed_ts
    assert again["why"] == (f'messages:send (request r1) inserted {message} in messages, within by_room: room = "a"')


async def test_the_ends_of_a_range_are_shown(world: World) -> None:
    await world.follow("messages:between", room="a", low=1, high=5)
    await world.mutate("messages:send", "r1", room="a", rank=9)  # outside
    await world.mutate("messages:send", "r2", room="a", rank=5)
    await world.next()
    (again, _first) = await world.why()
    assert (again["requestId"], again["range"]) == ("r2", 'room = "a" and rank > 1 and rank <= 5')


async def test_a_first_ends_at_the_row_it_found(world: World) -> None:
    message = await world.mutate("messages:send", "r0", room="a", rank=2)
    await world.follow("messages:first", room="a")
    await world.mutate("messages:send", "r1", room="a", rank=3)  # behind it
    await world.mutate("messages:send", "r2", room="a", rank=1)
    await world.next()
    (again, _first) = await world.why()
    assert again["requestId"] == "r2"
    assert again["range"].startswith('room = "a" and (rank, _creationTime, _id) <= (2, ')
    assert message in again["range"]


async def test_a_document_looked_up_by_id(world: World) -> None:
    message = await world.mutate("messages:send", "r0", room="a", rank=2)
    await world.follow("messages:one", id=message)
    await world.mutate("messages:like", "r1", id=message)
    await world.next()
    (again, _first) = await world.why()
    assert again["why"] == f"messages:like (request r1) updated {message} in messages, which it had looked up by its id"


async def test_a_run_that_changed_nothing_says_so(world: World) -> None:
    message = await world.mutate("messages:send", "r0", room="a", rank=2)
    await world.follow("messages:ofRoom", room="a")
    await world.mutate("messages:like", "r1", id=message)
    await world.next()
    assert [(r["cause"], r["changed"]) for r in await world.why()] == [("commit", False), ("first", True)]


async def test_environment_code_and_identity(world: World) -> None:
    await world.follow("messages:greeting")
    await world.reactor.environment.update([("GREETING", "hi")])
    await world.next()
    (again, _first) = await world.why(function="messages:greeting")
    assert (again["cause"], again["why"]) == ("environment", "the environment variable GREETING changed")
    await world.reactor.reload()
    await world.next()
    assert (await world.why(limit=1))[0]["why"] == "the app's code changed"
    await world.follow("messages:me")
    world.subscriber.set_caller(user("ann"))
    await world.next()
    assert (await world.why(function="messages:me", limit=1))[0]["cause"] == "identity"
    counts = world.reactor.backend.live.reruns.counts
    assert counts == {"first": 2, "environment": 1, "code": 1, "identity": 1}


async def test_only_operators_may_ask(world: World) -> None:
    outcome = await world.reactor.backend.action("_system/reactor/why", b"{}", ANONYMOUS)
    assert not isinstance(outcome, Success)
    outcome = await world.reactor.backend.action("_system/reactor/why", b'{"limit":0}', ADMIN)
    assert not isinstance(outcome, Success)


async def test_one_shot_queries_are_no_live_queries(world: World) -> None:
    await world.reactor.backend.query("messages:ofRoom", b'{"room":"a"}', ANONYMOUS)
    assert await world.why() == []


def _note(reruns: Reruns, record: CommitRecord, read_set: ReadSet = EMPTY) -> None:
    reruns.note("a:b", b"{}" * 5_000, record, read_set, followers=1, seconds=0.1, changed=True, failed=False)


def test_what_is_kept_is_bounded() -> None:
    reruns = Reruns(lambda: None)
    for ts in range(KEPT + 5):
        _note(reruns, CommitRecord(ts + 1, CommitKind.MUTATION, []))
    kept = list(reruns.newest())
    assert len(kept) == KEPT
    assert kept[0].commit_ts == KEPT + 5
    assert len(kept[0].args) == 1_024
    assert reruns.counts == {"commit": KEPT + 5}


def test_a_search_that_would_take_long_is_not_made() -> None:
    writes = [DocumentWrite(1, f"d{n}", "insert", (KeyChange(1, None, (b"\x10k\x00",)),), ()) for n in range(200)]
    record = CommitRecord(7, CommitKind.MUTATION, writes, by=("a:m", "r"))
    small = ReadSet(intervals=frozenset([Interval(1, 0, b"", b"", None)]))
    large = ReadSet(intervals=frozenset(Interval(1, 0, b"", b"%d" % n, None) for n in range(600)))
    reruns = Reruns(lambda: None)
    _note(reruns, record, small)
    _note(reruns, record, large)
    last, before = reruns.newest()
    assert (before.document, last.document) == ("d0", "")
    assert last.by == ("a:m", "r")
