"""Counts, sums and ranks: the same as counting anew, after any writes; live; built for what is there already."""

from __future__ import annotations

import asyncio
import random
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reactor.clock import ManualClock
from reactor.config import load_settings
from reactor.errors import FunctionError, SchemaError
from reactor.kit import Aggregate
from reactor.server import Reactor
from reactor.testing import Backend
from tests.unit.kit.conftest import Project, rows

SCHEMA = """
    from reactor import Document, define_schema, define_table

    class Score(Document):
        game: str
        points: float
        player: str

    schema = define_schema(scores=define_table(Score).index("by_game", "game", "points"))
"""

APP = """
    from typing import Any

    from reactor import Id, MutationCtx, QueryCtx, mutation, query
    from reactor.kit import Aggregate
    from schema import Score

    by_points = Aggregate(Score, "points", sum="points", namespace="game")
    everywhere = Aggregate(Score, "game", "points")

    @mutation
    async def add(ctx: MutationCtx, game: str, points: float, player: str = "") -> Id[Score]:
        return await ctx.db.insert(Score(game=game, points=points, player=player))

    @mutation
    async def change(ctx: MutationCtx, id: Id[Score], changes: dict[str, Any]) -> None:
        await ctx.db.patch(id, changes)

    @mutation
    async def remove(ctx: MutationCtx, id: Id[Score]) -> None:
        await ctx.db.delete(id)

    @mutation
    async def half_way(ctx: MutationCtx) -> None:
        try:
            await ctx.run_mutation(fails)
        except ValueError:
            await ctx.db.insert(Score(game="g", points=5, player="kept"))

    @mutation
    async def fails(ctx: MutationCtx) -> None:
        await ctx.db.insert(Score(game="g", points=100, player="lost"))
        raise ValueError("no")

    @query
    async def count(ctx: QueryCtx, game: str, bounds: dict[str, float] | None = None) -> int:
        return await by_points.count(ctx, namespace=game, **(bounds or {}))

    @query
    async def facts(ctx: QueryCtx, game: str, low: float, high: float) -> list[Any]:
        return [
            await by_points.count(ctx, namespace=game),
            await by_points.sum(ctx, namespace=game),
            await by_points.count(ctx, namespace=game, gte=low, lt=high),
            await by_points.sum(ctx, namespace=game, gt=low, lte=high),
            await by_points.count(ctx, namespace=game, eq=low),
            await by_points.rank(ctx, low, namespace=game),
            await by_points.rank(ctx, low, namespace=game, descending=True),
            await by_points.min(ctx, namespace=game),
            await by_points.max(ctx, namespace=game),
            await everywhere.count(ctx, eq=game),
            await everywhere.count(ctx, gte=(game, low), lte=(game, high)),
        ]

    @query
    async def expected(ctx: QueryCtx, game: str, low: float, high: float) -> list[Any]:
        scores = await ctx.db.query(Score).with_index("by_game", game=game).collect()
        points = [score.points for score in scores]
        return [
            len(points), sum(points), sum(low <= p < high for p in points), sum(p for p in points if low < p <= high),
            points.count(low), sum(p < low for p in points), sum(p > low for p in points),
            min(points, default=None), max(points, default=None), len(points), sum(low <= p <= high for p in points),
        ]

    @query
    async def ranking(ctx: QueryCtx, game: str, descending: bool = True) -> list[str]:
        found = []
        while (id := await by_points.at(ctx, len(found), namespace=game, descending=descending)) is not None:
            score = await ctx.db.get(id)
            found.append(score.player)
        return found

    @query
    async def top(ctx: QueryCtx) -> Any:
        return await everywhere.max(ctx)

    @query
    async def nonsense(ctx: QueryCtx) -> int:
        return await by_points.count(ctx, namespace="g", eq=1, lt=3)
"""


async def test_any_writes_leave_what_counting_anew_gives(project: Project) -> None:
    rng = random.Random(1)
    async with project(APP, SCHEMA) as backend:
        ids: list[str] = []
        for step in range(400):
            kind = rng.random()
            if kind < 0.6 or not ids:
                game = rng.choice("gh")
                ids.append(await backend.mutation("f:add", game=game, points=float(rng.randrange(50))))
            elif kind < 0.75:
                await backend.mutation("f:change", id=rng.choice(ids), changes={"points": float(rng.randrange(50))})
            elif kind < 0.8:
                await backend.mutation("f:change", id=rng.choice(ids), changes={"game": rng.choice("gh")})
            elif kind < 0.85:
                await backend.mutation("f:change", id=rng.choice(ids), changes={"player": "x"})
            else:
                await backend.mutation("f:remove", id=ids.pop(rng.randrange(len(ids))))
            if step % 20 == 0:
                low, high = sorted((float(rng.randrange(50)), float(rng.randrange(50))))
                for game in "gh":
                    args: dict[str, Any] = {"game": game, "low": low, "high": high}
                    assert await backend.query("f:facts", **args) == await backend.query("f:expected", **args)
        for id in ids:
            await backend.mutation("f:remove", id=id)
        assert await backend.query("f:facts", game="g", low=0, high=9) == [0, 0, 0, 0, 0, 0, 0, None, None, 0, 0]


async def test_sums_of_fractions_do_not_drift(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.mutation("f:add", game="g", points=0.1)
        for _ in range(20):
            id = await backend.mutation("f:add", game="g", points=1e15)
            await backend.mutation("f:remove", id=id)
        assert (await backend.query("f:facts", game="g", low=0, high=1))[1] == 0.1


async def test_places_can_be_looked_up(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        for player, points in (("ann", 30), ("bob", 10), ("eve", 20), ("dan", 20)):
            await backend.mutation("f:add", game="g", points=points, player=player)
        assert await backend.query("f:ranking", game="g", descending=False) == ["bob", "eve", "dan", "ann"]
        assert await backend.query("f:ranking", game="g") == ["ann", "dan", "eve", "bob"]
        assert await backend.query("f:ranking", game="none") == []
        assert await backend.query("f:top") == ["g", 30]


async def test_what_a_failed_call_wrote_is_not_counted(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await backend.mutation("f:halfWay")
        with pytest.raises(ValueError, match="no"):
            await backend.mutation("f:fails")
        assert await backend.query("f:count", game="g") == 1


async def test_simultaneous_writers_are_all_counted(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await asyncio.gather(*[backend.mutation("f:add", game="g", points=n % 7) for n in range(200)])
        assert await backend.query("f:count", game="g") == 200


async def test_a_count_is_live_and_other_ranges_do_not_disturb_it(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        for number in range(200):
            await backend.mutation("f:add", game="g", points=number)
        async with backend.subscribe("f:count", game="g", bounds={"gte": 50, "lt": 60}) as updates:
            assert await updates.next() == 10
            await backend.mutation("f:add", game="g", points=55)
            assert await updates.next() == 11
            await backend.mutation("f:add", game="g", points=150)
            await backend.mutation("f:add", game="h", points=55)
            await updates.assert_quiet()


async def test_mistakes_are_told(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        with pytest.raises(FunctionError, match="`eq` goes without other bounds"):
            await backend.query("f:nonsense")
    with pytest.raises(SchemaError, match="say by which field"):
        Aggregate("scores")


# Apps that change


def write(directory: Path, functions: str) -> None:
    (directory / "functions").mkdir(exist_ok=True)
    (directory / "functions" / "f.py").write_text(textwrap.dedent(functions))
    (directory / "schema.py").write_text(textwrap.dedent(SCHEMA))


PLAIN = APP.replace("by_points = Aggregate", "hidden = lambda: Aggregate").replace(
    "everywhere = Agg", "other = lambda: Agg"
)


async def test_aggregates_are_built_for_what_is_there_and_forgotten_with_their_declaration(tmp_path: Path) -> None:
    clock = ManualClock()
    settings = load_settings(tmp_path, flags={"dev": True, "synchronous": "OFF", "data": tmp_path / "data"}, environ={})
    write(tmp_path, PLAIN)
    async with Reactor(settings=settings, clock=clock) as reactor:
        for number in range(250):
            await Backend(reactor).mutation("f:add", game="g", points=number)
    write(tmp_path, APP)
    async with Reactor(settings=settings, clock=clock) as reactor:
        backend = Backend(reactor)
        await backend.mutation("f:add", game="g", points=3)
        await backend.advance(timedelta(0))
        args: dict[str, Any] = {"game": "g", "low": 3.0, "high": 99.0}
        assert await backend.query("f:facts", **args) == await backend.query("f:expected", **args)
        nodes = await rows(backend, "_aggregate_nodes")
        assert nodes > 502
    async with Reactor(settings=settings, clock=clock) as reactor:
        backend = Backend(reactor)
        await backend.advance(timedelta(0))
        assert await rows(backend, "_aggregate_nodes") == nodes, "a restart builds nothing"
        write(tmp_path, PLAIN)
        await reactor.reload()
        await backend.advance(timedelta(0))
        assert await rows(backend, "_aggregate_nodes") == 0
        await backend.mutation("f:add", game="g", points=3)
        write(tmp_path, APP)
        await reactor.reload()
        await backend.advance(timedelta(0))
        assert await backend.query("f:facts", **args) == await backend.query("f:expected", **args)
        write(tmp_path, APP.replace('"points", sum="points"', '"points"'))
        await reactor.reload()
        await backend.advance(timedelta(0))
        assert (await backend.query("f:facts", **args))[:3] == [252, 0, 98]
