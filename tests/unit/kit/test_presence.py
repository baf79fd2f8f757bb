"""Who is here: coming, staying, going, and being gone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reactor.errors import SchemaError
from reactor.kit import Presence
from tests.unit.kit.conftest import Project, rows

APP = """
    from datetime import timedelta
    from typing import Any

    from reactor import MutationCtx, QueryCtx, UNSET, mutation, query
    from reactor.kit import Presence, Present

    documents = Presence("documents", timeout=timedelta(seconds=10))
    calls = Presence("calls", timeout=timedelta(seconds=60))

    @mutation
    async def beat(ctx: MutationCtx, room: str, user: str, session: str = "", data: Any = None, call: bool = False) -> None:
        await (calls if call else documents).heartbeat(
            ctx, room, user, session=session, data=UNSET if data is None else data
        )

    @mutation
    async def leave(ctx: MutationCtx, room: str, user: str, session: str | None = None) -> None:
        await documents.leave(ctx, room, user, session=session)

    @query
    async def here(ctx: QueryCtx, room: str) -> list[str]:
        return [present.user for present in await documents.list(ctx, room)]

    @query
    async def details(ctx: QueryCtx, room: str) -> list[Present]:
        return await documents.list(ctx, room)

    @query
    async def in_call(ctx: QueryCtx, room: str) -> list[str]:
        return [present.user for present in await calls.list(ctx, room)]

    @query
    async def facts(ctx: QueryCtx, room: str, user: str) -> list[Any]:
        present = await documents.get(ctx, room, user)
        return [
            await documents.count(ctx, room), present and present.user, await documents.rooms(ctx, user),
            len(await documents.list(ctx, room, limit=1)),
        ]
"""
TABLES = ("_presence", "_presence_sessions", "_presence_sweeps")
SECOND = timedelta(seconds=1)


async def test_who_comes_is_seen_and_who_stays_disturbs_nobody(project: Project) -> None:
    async with project(APP) as backend, backend.subscribe("f:here", room="r") as updates:
        assert await updates.next() == []
        await backend.mutation("f:beat", room="r", user="ann")
        assert await updates.next() == ["ann"]
        await backend.mutation("f:beat", room="r", user="bob")
        assert await updates.next() == ["ann", "bob"]
        for _ in range(5):
            await backend.advance(5 * SECOND)
            await backend.mutation("f:beat", room="r", user="ann")
            await backend.mutation("f:beat", room="r", user="bob")
        await backend.mutation("f:beat", room="another", user="eve")
        await updates.assert_quiet()


async def test_who_stops_saying_so_is_gone(project: Project) -> None:
    async with project(APP) as backend, backend.subscribe("f:here", room="r") as updates:
        await backend.mutation("f:beat", room="r", user="ann")
        await backend.advance(6 * SECOND)
        await backend.mutation("f:beat", room="r", user="bob")
        assert await updates.next() == ["ann", "bob"]
        await backend.advance(4 * SECOND)
        assert await updates.next() == ["bob"]
        await backend.advance(5 * SECOND)
        await updates.assert_quiet()
        await backend.advance(1 * SECOND)
        assert await updates.next() == []
        assert [await rows(backend, table) for table in TABLES] == [0, 0, 0]


async def test_who_comes_back_after_everybody_had_gone_expires_too(project: Project) -> None:
    async with project(APP) as backend:
        for _ in range(3):
            await backend.mutation("f:beat", room="r", user="ann")
            assert await backend.query("f:here", room="r") == ["ann"]
            await backend.advance(12 * SECOND)
            assert await backend.query("f:here", room="r") == []


async def test_a_short_timeout_is_not_kept_waiting_by_a_long_one(project: Project) -> None:
    async with project(APP) as backend:
        await backend.mutation("f:beat", room="r", user="ann", call=True)
        await backend.mutation("f:beat", room="r", user="ann")
        await backend.advance(11 * SECOND)
        assert await backend.query("f:here", room="r") == []
        assert await backend.query("f:inCall", room="r") == ["ann"]
        await backend.advance(50 * SECOND)
        assert await backend.query("f:inCall", room="r") == []


async def test_more_than_one_sweep_expire_in_turn(project: Project) -> None:
    async with project(APP) as backend:
        for number in range(600):
            await backend.mutation("f:beat", room=f"r{number % 7}", user=str(number))
        await backend.advance(10 * SECOND)
        await backend.advance(10 * SECOND)
        assert [await rows(backend, table) for table in TABLES] == [0, 0, 0]


async def test_leaving_takes_effect_at_once(project: Project) -> None:
    async with project(APP) as backend, backend.subscribe("f:here", room="r") as updates:
        await backend.mutation("f:beat", room="r", user="ann")
        assert await updates.next() == ["ann"]
        await backend.mutation("f:leave", room="r", user="ann")
        assert await updates.next() == []
        await backend.mutation("f:leave", room="r", user="ann")
        await updates.assert_quiet()


async def test_a_user_is_here_as_long_as_one_session_is(project: Project) -> None:
    async with project(APP) as backend, backend.subscribe("f:here", room="r") as updates:
        await backend.mutation("f:beat", room="r", user="ann", session="phone")
        await backend.mutation("f:beat", room="r", user="ann", session="laptop")
        await backend.mutation("f:beat", room="r", user="ann", session="tv")
        assert await updates.next() == ["ann"]
        await backend.mutation("f:leave", room="r", user="ann", session="phone")
        await backend.advance(8 * SECOND)
        await backend.mutation("f:beat", room="r", user="ann", session="tv")
        await backend.advance(8 * SECOND)
        await updates.assert_quiet()
        await backend.mutation("f:leave", room="r", user="ann")
        assert await updates.next() == []


async def test_what_users_show_is_seen_when_it_changes(project: Project) -> None:
    async with project(APP) as backend, backend.subscribe("f:details", room="r") as updates:
        await updates.next()
        came = backend.now()
        await backend.mutation("f:beat", room="r", user="ann", data={"typing": True})
        (ann,) = await updates.next()
        assert (ann.user, ann.data) == ("ann", {"typing": True})
        assert ann.since == pytest.approx(came, abs=1)
        await backend.mutation("f:beat", room="r", user="ann", data={"typing": True})
        await backend.mutation("f:beat", room="r", user="ann")
        await updates.assert_quiet()
        await backend.mutation("f:beat", room="r", user="ann", data={"typing": False})
        assert (await updates.next())[0].data == {"typing": False}


async def test_rooms_can_be_counted_and_users_found(project: Project) -> None:
    async with project(APP) as backend:
        for room in ("x", "r"):
            for user in ("ann", "bob"):
                await backend.mutation("f:beat", room=room, user=user)
        assert await backend.query("f:facts", room="r", user="bob") == [2, "bob", ["x", "r"], 1]
        assert await backend.query("f:facts", room="r", user="eve") == [2, None, [], 1]


def test_a_timeout_is_a_second_at_least() -> None:
    with pytest.raises(SchemaError, match="`timeout` is a second or more"):
        Presence("x", timeout=timedelta(milliseconds=10))
