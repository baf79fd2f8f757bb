"""Actions: separate transactions, identity, no ctx.db, deadlines (server-semantics 4.1, 4.5, checklist 45)."""

from __future__ import annotations

import pytest

from reactor.auth.identity import ADMIN, acting_as
from reactor.errors import FunctionError, InvalidArguments, LimitExceeded
from reactor.limits import Limits
from reactor.runtime.execute import execution_of
from reactor.runtime.logs import line_texts
from tests.unit.runtime.conftest import Project
from tests.unit.runtime.harness import Harness

FILES = {
    "schema.py": """
        from reactor import Document, define_schema, define_table
        class Item(Document):
            name: str
        schema = define_schema(items=define_table(Item))
    """,
    "functions/things.py": """
        import asyncio
        from typing import Any
        from reactor import (ActionCtx, ApplicationError, Environment, MutationCtx, QueryCtx, Struct, action,
                             internal_action, internal_mutation, internal_query)
        from schema import Item

        class Env(Environment):
            NAME: str
            SIZE: int = 3
            ON: bool = False
            MODE: str | None = None

        @internal_query
        async def items(ctx: QueryCtx) -> list[Item]:
            return await ctx.db.query(Item).collect()

        @internal_mutation
        async def add(ctx: MutationCtx, name: str) -> None:
            await ctx.db.insert(Item(name=name))

        @internal_mutation
        async def refuse(ctx: MutationCtx) -> None:
            raise ApplicationError({"no": True})

        @internal_query
        async def who(ctx: QueryCtx) -> str | None:
            identity = await ctx.auth.get_user_identity()
            return identity.subject if identity else None

        @internal_action
        async def double(ctx: ActionCtx, n: int) -> int:
            return 2 * n

        @action
        async def two_steps_then_fail(ctx: ActionCtx) -> None:
            await ctx.run_mutation(add, name="one")
            await ctx.run_mutation(add, name="two")
            raise ValueError("after")

        @action
        async def uses_all(ctx: ActionCtx) -> Any:
            await ctx.run_mutation(add, "x")
            found = await ctx.run_query(items)
            doubled, again = await asyncio.gather(ctx.run_action(double, n=2), ctx.run_action("things:double", n=4))
            return [[type(i).__name__ + i.name for i in found], doubled, again]

        @action
        async def catches(ctx: ActionCtx) -> Any:
            try:
                await ctx.run_mutation(refuse)
            except ApplicationError as error:
                return error.data

        @action
        async def me(ctx: ActionCtx) -> Any:
            identity = await ctx.auth.get_user_identity()
            return [identity and identity.subject, await ctx.run_query(who), ctx.auth.is_admin]

        @action
        async def touches_db(ctx: ActionCtx) -> None:
            await ctx.db.get("x")

        @action
        async def wrong_kind(ctx: ActionCtx) -> None:
            await ctx.run_query(add, name="x")

        @action
        async def wrong_argument(ctx: ActionCtx) -> None:
            await ctx.run_mutation(add, name=5)

        @action
        async def hangs(ctx: ActionCtx) -> None:
            await asyncio.Event().wait()

        @action
        async def exits(ctx: ActionCtx) -> None:
            raise SystemExit(3)

        @internal_query
        async def prints_and_fails(ctx: QueryCtx) -> None:
            print("inside")
            raise ValueError("inner")

        async def late(ctx):
            await asyncio.sleep(0)
            print("late")
            done.set()

        tasks, done = [], asyncio.Event()

        @action
        async def calls_failing(ctx: ActionCtx) -> None:
            print("outside")
            await ctx.run_query(prints_and_fails)

        @action
        async def leaves_a_task(ctx: ActionCtx) -> None:
            print("in time")
            tasks.append(asyncio.create_task(late(ctx)))

        @action
        async def own_timeout(ctx: ActionCtx) -> str:
            try:
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            except TimeoutError:
                return "mine"
            return "none"

        @action
        async def raises_timeout(ctx: ActionCtx) -> None:
            raise TimeoutError("upstream")

        kept = []

        @action
        async def keeps(ctx: ActionCtx) -> None:
            kept.append(ctx)

        @action
        async def uses_kept(ctx: ActionCtx) -> None:
            await kept.pop().run_query(items)

        @action
        async def env(ctx: ActionCtx) -> Any:
            env = ctx.env(Env)
            return [env.NAME, env.SIZE, env.ON, env.MODE, ctx.env.get("OTHER"), ctx.env.get("OTHER", "d")]

        @internal_query
        async def env_in_query(ctx: QueryCtx) -> Any:
            return ctx.env(Env).NAME

        @internal_query
        async def env_invalid(ctx: QueryCtx) -> Any:
            return ctx.env(Env).SIZE
    """,
}


@pytest.fixture
async def app(project: Project) -> Harness:
    return await project(FILES)


async def test_finished_mutations_stay_when_the_action_fails_later(app: Harness) -> None:
    with pytest.raises(ValueError, match="after"):
        await app.action("things:twoStepsThenFail")
    assert [d["name"] for d in await app.documents("items")] == ["one", "two"]


async def test_queries_mutations_and_actions_are_called_with_typed_results(app: Harness) -> None:
    assert (await app.action("things:usesAll")).value == [["Itemx"], 4, 8]


async def test_application_errors_reach_the_action_unchanged(app: Harness) -> None:
    assert (await app.action("things:catches")).value == {"no": True}


async def test_identity_goes_along(app: Harness) -> None:
    """server-semantics 45"""
    app.caller = acting_as({"subject": "ann", "issuer": "i"})
    assert (await app.action("things:me")).value == ["ann", "ann", True]
    app.caller = ADMIN
    assert (await app.action("things:me")).value == [None, None, True]


async def test_touching_the_database_says_what_to_do(app: Harness) -> None:
    with pytest.raises(FunctionError, match=r"Actions have no ctx.db: .*ctx.run_query"):
        await app.action("things:touchesDb")


async def test_wrong_kinds_and_arguments_are_told(app: Harness) -> None:
    with pytest.raises(FunctionError, match="as Query, but it is defined as Mutation"):
        await app.action("things:wrongKind")
    with pytest.raises(InvalidArguments, match=r"^ArgumentValidationError: "):
        await app.action("things:wrongArgument")
    assert await app.documents("items") == []


async def test_an_action_has_a_deadline_and_its_own_timeouts_stay_its_own(project: Project) -> None:
    app = await project(FILES, Limits(action_time_s=0.05))
    with pytest.raises(LimitExceeded, match=r"timed out \(maximum duration: 0.05s\)"):
        await app.action("things:hangs")
    assert (await app.action("things:ownTimeout")).value == "mine"
    with pytest.raises(TimeoutError, match="upstream"):
        await app.action("things:raisesTimeout")


async def test_a_ctx_is_dead_after_its_action(app: Harness) -> None:
    await app.action("things:keeps")
    with pytest.raises(FunctionError, match="after things:keeps had ended"):
        await app.action("things:usesKept")


async def test_environment_variables_are_typed_and_a_dependency(app: Harness) -> None:
    """server-semantics 49"""
    with pytest.raises(FunctionError, match="NAME is not set"):
        await app.action("things:env")
    app.environment.update({"NAME": "n", "SIZE": "12", "ON": "true", "OTHER": "o"})
    assert (await app.action("things:env")).value == ["n", 12, True, None, "o", "o"]
    ran = await app.query("things:envInQuery")
    assert ran.value == "n"
    assert ran.read_set is not None
    assert ran.read_set.intervals  # of the index by name: setting the variable touches it
    app.environment["SIZE"] = "many"
    with pytest.raises(FunctionError, match="SIZE should be a whole number, but is 'many'"):
        await app.query("things:envInvalid")


async def test_leaving_by_system_exit_fails_the_action_not_the_server(app: Harness) -> None:
    with pytest.raises(FunctionError, match="raised SystemExit: 3"):
        await app.action("things:exits")


async def test_lines_of_a_failing_call_are_among_those_of_the_action(app: Harness) -> None:
    with pytest.raises(ValueError, match="inner") as caught:
        await app.action("things:callsFailing")
    assert line_texts(execution_of(caught.value).log_lines) == ("[LOG] 'outside'", "[LOG] 'inside'")


async def test_a_task_that_outlives_its_action_prints_to_the_console(
    app: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (await app.action("things:leavesATask")).logs == ("[LOG] 'in time'",)
    await app.app.modules["things"].done.wait()
    assert capsys.readouterr().out == "late\n"
