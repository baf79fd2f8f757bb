"""Functions calling functions inside one transaction (server-semantics 4.5, checklist 25, 27, 28)."""

from __future__ import annotations

import pytest

from reactor.auth.identity import acting_as
from reactor.errors import (
    ApplicationError,
    FunctionError,
    FunctionNotFound,
    InvalidArguments,
    InvalidResult,
)
from tests.unit.runtime.conftest import Project
from tests.unit.runtime.harness import Harness

SCHEMA = """
    from reactor import Document, define_schema, define_table

    class Item(Document):
        name: str

    schema = define_schema(items=define_table(Item).index("by_name", "name"))
"""

FUNCTIONS = """
    from typing import Any
    from reactor import (ApplicationError, Id, LimitExceeded, MutationCtx, QueryCtx, api, internal, internal_mutation,
                         internal_query, mutation, query, action, ActionCtx)
    from schema import Item

    @internal_query
    async def names(ctx: QueryCtx, prefix: str = "") -> list[str]:
        return [item.name async for item in ctx.db.query(Item) if item.name.startswith(prefix)]

    @internal_mutation
    async def add(ctx: MutationCtx, item_name: str) -> Id[Item]:
        return await ctx.db.insert(Item(name=item_name))

    @internal_mutation
    async def add_many(ctx: MutationCtx, count: int) -> int:
        for n in range(count):
            await ctx.db.insert(Item(name=f"many{n}"))
        return count

    @internal_mutation
    async def add_then_fail(ctx: MutationCtx, item_name: str) -> None:
        await ctx.db.insert(Item(name=item_name))
        raise ApplicationError({"code": "NO"})

    @internal_mutation
    async def wrong_result(ctx: MutationCtx) -> int:
        await ctx.db.insert(Item(name="wrong"))
        return "text"

    @mutation
    async def sees_each_other(ctx: MutationCtx) -> list[Any]:
        await ctx.db.insert(Item(name="mine"))
        id = await ctx.run_mutation(add, item_name="theirs")
        return [await ctx.run_query(names), (await ctx.db.get(id)).name]

    @mutation
    async def catches(ctx: MutationCtx) -> Any:
        await ctx.db.insert(Item(name="before"))
        try:
            await ctx.run_mutation(add_then_fail, item_name="gone")
        except ApplicationError as error:
            caught = error.data
        await ctx.db.insert(Item(name="after"))
        return [caught, await ctx.run_query(names)]

    @mutation
    async def child_then_fail(ctx: MutationCtx) -> None:
        await ctx.run_mutation(add, item_name="child")
        raise ValueError("parent")

    @mutation
    async def catches_wrong_result(ctx: MutationCtx) -> list[str]:
        try:
            await ctx.run_mutation(wrong_result)
        except Exception as error:
            return [type(error).__name__, str(error).splitlines()[0], *await ctx.run_query(names)]
        return []

    @mutation
    async def by_reference(ctx: MutationCtx) -> list[str]:
        await ctx.run_mutation("things:add", {"itemName": "mapping"})
        await ctx.run_mutation("things.js:add", itemName="wire keyword")
        await ctx.run_mutation("things:add", item_name="python keyword")
        await ctx.run_mutation(internal.things.add, item_name="proxy")
        await ctx.run_mutation(api["things"].add, {"item_name": "mapping by python name"})
        await ctx.run_mutation(add, "positional")
        return await ctx.run_query(names)

    @mutation
    async def call(ctx: MutationCtx, path: str, args: dict[str, Any]) -> Any:
        return await ctx.run_mutation(path, args)

    @query
    async def call_mutation(ctx: QueryCtx) -> Any:
        return await ctx.run_query(add, item_name="x")

    @mutation
    async def call_action(ctx: MutationCtx) -> Any:
        return await ctx.run_mutation(an_action)

    @action
    async def an_action(ctx: ActionCtx) -> None:
        pass

    @internal_query
    async def deep(ctx: QueryCtx, level: int) -> int:
        return level if level == 0 else await ctx.run_query(deep, level=level - 1)

    @mutation
    async def within_limits(ctx: MutationCtx, count: int, budget: int) -> Any:
        try:
            await ctx.with_limits(documents_written=budget).run_mutation(add_many, count=count)
            outcome = "done"
        except LimitExceeded as error:
            outcome = error.code
        await ctx.db.insert(Item(name="after"))
        return [outcome, len(await ctx.run_query(names)), ctx.metrics.documents_written.used]

    @mutation
    async def plain_call(ctx: MutationCtx) -> list[str]:
        await add(ctx, "plain")
        return await names(ctx, prefix="pl")

    @query
    async def same_moment(ctx: QueryCtx) -> bool:
        return ctx.now() == await ctx.run_query("things:now")

    @internal_query
    async def now(ctx: QueryCtx) -> float:
        return ctx.now()

    @internal_query
    async def who(ctx: QueryCtx) -> str | None:
        identity = await ctx.auth.get_user_identity()
        return identity.subject if identity else None

    @query
    async def who_nested(ctx: QueryCtx) -> str | None:
        return await ctx.run_query(who)

    kept = []

    @internal_query
    async def keep_ctx(ctx: QueryCtx) -> None:
        kept.append(ctx)

    @query
    async def uses_a_dead_ctx(ctx: QueryCtx) -> Any:
        await ctx.run_query(keep_ctx)
        return await kept.pop().db.query(Item).collect()

    @query
    async def forgets_in_nested(ctx: QueryCtx) -> Any:
        return await ctx.run_query(forgets)

    @internal_query
    async def forgets(ctx: QueryCtx) -> None:
        ctx.run_query(names)
"""


@pytest.fixture
async def app(project: Project) -> Harness:
    return await project({"schema.py": SCHEMA, "functions/things.py": FUNCTIONS})


async def test_nested_calls_see_each_others_writes(app: Harness) -> None:
    assert (await app.mutation("things:seesEachOther")).value == [["mine", "theirs"], "theirs"]


async def test_a_caught_failure_undoes_the_sub_transaction_and_nothing_else(app: Harness) -> None:
    """server-semantics 27"""
    assert (await app.mutation("things:catches")).value == [{"code": "NO"}, ["before", "after"]]
    assert [d["name"] for d in await app.documents("items")] == ["before", "after"]


async def test_a_failing_parent_undoes_its_children(app: Harness) -> None:
    """server-semantics 27"""
    with pytest.raises(ValueError, match="parent"):
        await app.mutation("things:childThenFail")
    assert await app.documents("items") == []


async def test_results_are_validated_and_a_wrong_one_undoes_the_child(app: Harness) -> None:
    """server-semantics 25"""
    assert (await app.mutation("things:catchesWrongResult")).value == [
        "InvalidResult",
        "ReturnsValidationError: Value does not match validator.",
    ]
    assert await app.documents("items") == []


async def test_references_are_functions_paths_and_proxies_with_names_of_either_side(app: Harness) -> None:
    assert (await app.mutation("things:byReference")).value == [
        "mapping",
        "wire keyword",
        "python keyword",
        "proxy",
        "mapping by python name",
        "positional",
    ]


async def test_wrong_references_and_arguments_are_told(app: Harness) -> None:
    with pytest.raises(FunctionNotFound, match="Did you mean 'things:addMany'"):
        await app.mutation("things:call", path="things:addManny", args={})
    with pytest.raises(InvalidArguments, match=r"ArgumentValidationError: .*no parameter 'itemname'"):
        await app.mutation("things:call", path="things:add", args={"itemname": "x"})
    with pytest.raises(InvalidArguments, match="ArgumentValidationError: "):
        await app.mutation("things:call", path="things:add", args={"itemName": 5})
    with pytest.raises(FunctionError, match="not a valid path"):
        await app.mutation("things:call", path="a b:c", args={})


async def test_kinds_are_kept_apart(app: Harness) -> None:
    with pytest.raises(FunctionError, match="Cannot call a Mutation function from a Query function"):
        await app.query("things:callMutation")
    with pytest.raises(FunctionError, match="can't run actions"):
        await app.mutation("things:callAction")
    with pytest.raises(
        FunctionError, match=r"Trying to execute things.js:names as Mutation, but it is defined as Query."
    ):
        await app.mutation("things:call", path="things:names", args={})


async def test_nesting_goes_eight_levels_deep(app: Harness) -> None:
    """server-semantics 28"""
    assert (await app.query("things:deep", level=8)).value == 0
    with pytest.raises(FunctionError, match="call depth limit exceeded"):
        await app.query("things:deep", level=9)


async def test_a_narrower_limit_undoes_the_sub_transaction_and_can_be_handled(app: Harness) -> None:
    """server-semantics 28"""
    assert (await app.mutation("things:withinLimits", count=3, budget=3)).value == ["done", 4, 4]
    outcome = (await app.mutation("things:withinLimits", count=5, budget=2)).value
    assert outcome[:2] == ["TooManyWrites", 5]
    assert [d["name"] for d in await app.documents("items")] == ["many0", "many1", "many2", "after", "after"]


async def test_an_unknown_limit_is_an_error(project: Project) -> None:
    app = await project(
        {
            "functions/f.py": """
                from reactor import QueryCtx, query
                @query
                async def f(ctx: QueryCtx) -> None:
                    await ctx.with_limits(documents=5).run_query("f:f")
            """
        }
    )
    with pytest.raises(TypeError, match="unexpected keyword argument 'documents'"):
        await app.query("f:f")


async def test_calling_a_function_object_runs_the_plain_handler_in_the_same_transaction(app: Harness) -> None:
    assert (await app.mutation("things:plainCall")).value == ["plain"]


async def test_time_is_the_same_and_observing_it_is_noticed(app: Harness) -> None:
    """server-semantics 29"""
    ran = await app.query("things:sameMoment")
    assert ran.value is True
    assert ran.execution.observed_time
    assert not ran.execution.observed_identity


async def test_identity_is_inherited_and_observing_it_in_a_nested_call_is_noticed(app: Harness) -> None:
    """engine rule 15: a null answer counts, too"""
    ran = await app.query("things:whoNested")
    assert (ran.value, ran.execution.observed_identity) == (None, True)
    app.caller = acting_as({"subject": "ann", "issuer": "i"})
    assert (await app.query("things:whoNested")).value == "ann"


async def test_a_nested_ctx_is_dead_after_its_call(app: Harness) -> None:
    """engine rule 18"""
    with pytest.raises(FunctionError, match="was used after things:keepCtx had ended"):
        await app.query("things:usesADeadCtx")


async def test_an_operation_forgotten_in_a_nested_call_is_an_error_there(app: Harness) -> None:
    """engine rule 18"""
    with pytest.raises(FunctionError, match=r"ctx.run_query\(…\) was never awaited in things:forgets"):
        await app.query("things:forgetsInNested")


async def test_an_application_error_and_invalid_results_keep_their_kind(app: Harness) -> None:
    with pytest.raises(ApplicationError) as caught:
        await app.mutation("things:addThenFail", itemName="x")
    assert caught.value.data == {"code": "NO"}
    with pytest.raises(InvalidResult):
        await app.mutation("things:wrongResult")
    assert await app.documents("items") == []
