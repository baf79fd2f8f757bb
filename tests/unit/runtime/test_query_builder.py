"""Queries: index ranges, order, filters, projections, consumers, single use, and what each depends on (server-semantics 3.2-3.4, 5.2)."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.errors import DatabaseError
from tests.unit.runtime.conftest import Project
from tests.unit.runtime.harness import Harness
from tests.unit.runtime.test_database import FUNCTIONS, SCHEMA, look, run, user

TITLES = "[t.title for t in await ({}).collect()]"


@pytest.fixture
async def app(project: Project) -> Harness:
    """Two users; ann has tasks a0…a4 with ranks 0…4, bob b0…b2 with ranks 0…2."""
    harness = await project({"schema.py": SCHEMA, "functions/db.py": FUNCTIONS})
    for name, count in (("ann", 5), ("bob", 3)):
        id = await user(harness, name)
        for rank in range(count):
            await harness.mutation("db:addTask", userId=id, title=f"{name[0]}{rank}", rank=rank)
    return harness


ANN = 'ann = (await ctx.db.query(User).with_index("by_name", name="ann").unique()).id\n'


async def titles(app: Harness, query: str) -> list[str]:
    return await look(app, f"{ANN}return {TITLES.format(query)}")


async def test_equality_by_keywords_takes_python_names_and_reads_in_index_order(app: Harness) -> None:
    query = 'ctx.db.query(Task).with_index("by_user_rank", user_id=ann)'
    assert await titles(app, query) == ["a0", "a1", "a2", "a3", "a4"]
    assert await titles(app, f'{query}.order("desc")') == ["a4", "a3", "a2", "a1", "a0"]


async def test_keywords_may_come_in_any_order_as_long_as_they_form_a_prefix(app: Harness) -> None:
    """server-semantics 17"""
    assert await titles(app, 'ctx.db.query(Task).with_index("by_user_rank", rank=2, user_id=ann)') == ["a2"]
    with pytest.raises(DatabaseError, match="didn't use the index fields in order") as caught:
        await titles(app, 'ctx.db.query(Task).with_index("by_user_rank", rank=2)')
    assert caught.value.code == "InvalidIndexRange"


async def test_ranges_have_inclusive_and_exclusive_bounds(app: Harness) -> None:
    base = 'ctx.db.query(Task).with_index("by_user_rank", lambda q: q.eq("user_id", ann)'
    assert await titles(app, f'{base}.gt("rank", 1).lte("rank", 3))') == ["a2", "a3"]
    assert await titles(app, f'{base}.gte("rank", 3))') == ["a3", "a4"]
    assert await titles(app, f'{base}.lt("rank", 2))') == ["a0", "a1"]
    assert await titles(app, f'{base}.gt("rank", 3).lt("rank", 2))') == []
    assert await titles(app, f'{base}.lt("rank", 2).gte("rank", 1))') == ["a1"]


async def test_a_range_may_go_on_into_creation_time(app: Harness) -> None:
    found = await look(
        app,
        ANN
        + 'one = await ctx.db.query(Task).with_index("by_user_rank", user_id=ann, rank=2).unique()\n'
        + 'q = ctx.db.query(Task).with_index("by_user_rank", user_id=ann, rank=2, creation_time=one.creation_time)\n'
        + "return (await q.first()).title",
    )
    assert found == "a2"


@pytest.mark.parametrize(
    ("chain", "code"),
    [
        ('.gt("rank", 1).gte("rank", 2)', "AlreadyDefinedBound"),
        ('.lt("rank", 1).lte("rank", 2)', "AlreadyDefinedBound"),
        ('.eq("user_id", ann)', "AlreadyDefinedBound"),
        ('.eq("rank", 1).gt("rank", 2)', "AlreadyDefinedBound"),
        ('.gt("rank", 1).lt("creation_time", 2)', "BoundsOnMultipleFields"),
        ('.gt("creation_time", 1)', "InvalidIndexRange"),
        ('.gt("title", "x")', "FieldNotInIndex"),
    ],
)
async def test_each_impossible_range_has_its_error(app: Harness, chain: str, code: str) -> None:
    """server-semantics 17"""
    with pytest.raises(DatabaseError) as caught:
        await titles(app, f'ctx.db.query(Task).with_index("by_user_rank", lambda q: q.eq("user_id", ann){chain})')
    assert caught.value.code == code


async def test_a_range_builder_is_used_once_and_its_lambda_returns_it(app: Harness) -> None:
    with pytest.raises(DatabaseError, match="IndexRangeBuilder has already been used"):
        await titles(app, 'ctx.db.query(Task).with_index("by_rank", lambda q: (q.eq("rank", 1), q.eq("rank", 1))[1])')
    with pytest.raises(DatabaseError, match="a lambda that returns the builder"):
        await titles(app, 'ctx.db.query(Task).with_index("by_rank", lambda q: None)')


async def test_an_unknown_index_is_an_error_that_lists_those_there_are(app: Harness) -> None:
    with pytest.raises(DatabaseError, match=r"Index tasks.by_ranks not found. Did you mean 'by_rank'\?"):
        await titles(app, 'ctx.db.query(Task).with_index("by_ranks")')


async def test_with_index_on_another_kind_of_index_says_what_reads_it(project: Project) -> None:
    files = {
        "schema.py": """
            from reactor import Document, define_schema, define_table

            class Note(Document):
                text: str
                embedding: list[float]

            schema = define_schema(
                notes=define_table(Note)
                .search_index("search_text", "text")
                .vector_index("by_embedding", "embedding", dimensions=2)
            )
        """,
        "functions/user.py": """
            from reactor import QueryCtx, query

            @query
            async def read(ctx: QueryCtx, index: str) -> None:
                await ctx.db.query("notes").with_index(index).collect()
        """,
    }
    app = await project(files)
    with pytest.raises(DatabaseError, match=r"notes\.search_text is a search index: read it with `with_search_index`"):
        await app.query("user:read", index="search_text")
    with pytest.raises(DatabaseError, match=r"notes\.by_embedding is a vector index: read it with `ctx.vector_search`"):
        await app.query("user:read", index="by_embedding")


async def test_absent_optional_fields_are_found_with_none_and_skipped_with_a_lower_bound(app: Harness) -> None:
    """server-semantics 16"""
    await user(app, "cid", nick="c")
    by_nick = "[u.name for u in await ctx.db.query(User).with_index({}).collect()]"
    assert await look(app, f"return {by_nick.format(repr('by_nick') + ', nick_name=None')}") == ["ann", "bob"]
    lower = "'by_nick', lambda q: q.gt('nick_name', None)"
    assert await look(app, f"return {by_nick.format(lower)}") == ["cid"]


async def test_take_first_unique_and_count(app: Harness) -> None:
    """server-semantics 19"""
    tasks = 'ctx.db.query(Task).with_index("by_user_rank", user_id=ann)'
    code = (
        f"{ANN}return [len(await {tasks}.take(2)), len(await {tasks}.take(0)), len(await {tasks}.take(99)), "
        f"(await {tasks}.first()).title, await {tasks}.count(), await ctx.db.query(Task).count(), "
        'await ctx.db.query(Task).with_index("by_rank", rank=77).first(), '
        'await ctx.db.query(Task).with_index("by_rank", rank=77).unique()]'
    )
    assert await look(app, code) == [2, 0, 5, "a0", 5, 8, None, None]


@pytest.mark.parametrize("count", ["-1", "1.5", "True", '"2"'])
async def test_take_wants_a_non_negative_integer(app: Harness, count: str) -> None:
    with pytest.raises(DatabaseError, match="Arg 1 `n` to `take` must be a non-negative integer"):
        await look(app, f"return await ctx.db.query(Task).take({count})")


async def test_unique_names_the_table_and_two_ids_when_there_are_several(app: Harness) -> None:
    with pytest.raises(
        DatabaseError, match=r"unique\(\) query returned more than one result from table tasks:\n \[\w+, \w+, ...\]"
    ):
        await look(app, "return await ctx.db.query(Task).unique()")


async def test_filters_are_predicates_on_the_document_and_add_up(app: Harness) -> None:
    query = "ctx.db.query(Task).filter(lambda t: t.rank > 0).filter(lambda t: t.title.startswith('b'))"
    assert await titles(app, query) == ["b1", "b2"]
    assert await look(app, f"return (await {query}.first()).title") == "b1"
    assert await look(app, f"return len(await {query}.take(1))") == 1
    assert await look(app, f"return await {query}.count()") == 2


async def test_a_filter_must_be_a_plain_function(app: Harness) -> None:
    with pytest.raises(DatabaseError, match="can't be async"):
        await look(app, "async def p(t): return True\nreturn await ctx.db.query(Task).filter(p).collect()")
    with pytest.raises(DatabaseError, match="takes a function of the document"):
        await look(app, "return await ctx.db.query(Task).filter(True).collect()")


async def test_an_exception_in_a_filter_passes_through(app: Harness) -> None:
    with pytest.raises(ZeroDivisionError):
        await look(app, "return await ctx.db.query(Task).filter(lambda t: 1 / 0).collect()")
    assert await look(app, "return await ctx.db.query(Task).count()") == 8


async def test_select_gives_only_the_fields_of_the_projection(app: Harness) -> None:
    value = await look(
        app,
        ANN
        + 'rows = await ctx.db.query(Task).with_index("by_user_rank", user_id=ann).select(TaskName).take(2)\n'
        + "return [[type(r).__name__, r.title, ctx.db.normalize_id(Task, r.id) == r.id] for r in rows]",
    )
    assert value == [["TaskName", "a0", True], ["TaskName", "a1", True]]
    with pytest.raises(DatabaseError, match="Projection class"):
        await look(app, "return await ctx.db.query(Task).select(Task).collect()")


async def test_a_filter_before_select_sees_the_document_and_one_behind_it_the_projection(app: Harness) -> None:
    code = (
        "rows = await ctx.db.query(Task).filter(lambda t: t.rank == 2).select(TaskName)"
        ".filter(lambda t: not hasattr(t, 'rank') and t.title == 'a2').collect()\nreturn [r.title for r in rows]"
    )
    assert await look(app, code) == ["a2"]


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ('q.order("desc")\nreturn await q.collect()', "has been chained with another operator"),
        ('q.order("desc")\nq.order("asc")', "can only be chained once"),
        ("await q.first()\nreturn await q.first()", "This query is closed and can't emit any more values"),
        ("await q.first()\nq.filter(lambda t: True)", "can only be chained once"),
        ("async for t in q: break\nasync for t in q: pass", "Iteration can only begin on a query once"),
        ("return await q", "A query is not awaited itself"),
        ("return [t for t in q]", "`async for`"),
        ('return q.order("down")', '"asc" or "desc"'),
    ],
)
async def test_a_query_is_used_once_and_says_how(app: Harness, statements: str, message: str) -> None:
    """server-semantics 19"""
    with pytest.raises(DatabaseError, match=message):
        await look(app, f"q = ctx.db.query(Task)\n{statements}")


async def test_returning_an_unfinished_query_says_how_to_get_its_results(app: Harness) -> None:
    from reactor.errors import InvalidResult

    with pytest.raises(InvalidResult, match="Return value is a Query"):
        await look(app, "return ctx.db.query(Task)")


async def test_there_are_at_most_256_operators(app: Harness) -> None:
    with pytest.raises(DatabaseError, match="more than 256 operators"):
        await look(app, "q = ctx.db.query(Task)\nfor _ in range(257):\n    q = q.filter(lambda t: True)")


async def touched(app: Harness, code: str, change: str) -> bool:
    """Whether the query `code` depends on what the mutation `change` writes."""
    ran = await app.query("db:look", code=code)
    records: list[Any] = []
    app.database.listen(records.append, lambda: None)
    await run(app, change)
    app.database._listeners.pop()
    app.database._after_batch.pop()
    assert ran.read_set is not None
    return any(ran.read_set.touched_by(record) for record in records)


ADD = (
    "ann = (await ctx.db.query(User).first()).id\n"
    'await ctx.db.insert(Task(user_id=ann, title="new", rank={}, maybe=None))'
)


@pytest.mark.parametrize(
    ("query", "rank", "expected"),
    [
        ('ctx.db.query(Task).with_index("by_rank").take(3)', 0.5, True),
        ('ctx.db.query(Task).with_index("by_rank").take(3)', 3.0, False),
        ('ctx.db.query(Task).with_index("by_rank").first()', 1.0, False),
        ('ctx.db.query(Task).with_index("by_rank").order("desc").first()', 5.0, True),
        ('ctx.db.query(Task).with_index("by_rank").order("desc").first()', 1.0, False),
        ('ctx.db.query(Task).with_index("by_rank", rank=2).collect()', 2.0, True),
        ('ctx.db.query(Task).with_index("by_rank", rank=2).collect()', 3.0, False),
        ('ctx.db.query(Task).with_index("by_rank", lambda q: q.gt("rank", 1).lt("rank", 3)).collect()', 1.0, False),
        ('ctx.db.query(Task).with_index("by_rank", lambda q: q.gt("rank", 1).lt("rank", 3)).collect()', 2.5, True),
        ("ctx.db.query(Task).filter(lambda t: False).collect()", 1.0, True),
        ('ctx.db.query(Task).with_index("by_rank", rank=2).count()', 2.0, True),
        ('ctx.db.query(Task).with_index("by_rank", rank=2).count()', 9.0, False),
    ],
)
async def test_a_query_depends_on_exactly_the_range_it_read(
    app: Harness, query: str, rank: float, expected: bool
) -> None:
    """server-semantics 32"""
    assert await touched(app, f"await {query}", ADD.format(rank)) is expected


async def test_breaking_out_of_an_iteration_depends_on_the_rows_seen_only(app: Harness) -> None:
    code = 'async for t in ctx.db.query(Task).with_index("by_rank"):\n    if t.rank == 1: break'
    assert await touched(app, code, ADD.format(0.5)) is True
    assert await touched(app, code, ADD.format(3)) is False


async def test_a_miss_by_id_is_a_dependency(app: Harness) -> None:
    ann = await look(app, "return (await ctx.db.query(User).first()).id")
    ran = await app.query("db:look", code="return (await ctx.db.get(given)).name", given=ann)
    assert ran.read_set is not None
    assert ann in ran.read_set.points


async def test_comparing_an_int64_field_with_a_plain_int_means_an_int64(project: Project) -> None:
    app = await project(
        {
            "schema.py": """
                from reactor import Document, Int64, Struct, define_schema, define_table
                class Inner(Struct):
                    size: Int64
                class Big(Document):
                    n: Int64 | None = None
                    inner: Inner
                schema = define_schema(bigs=define_table(Big).index("by_n", "n").index("by_size", "inner.size"))
            """,
            "functions/f.py": """
                from reactor import Int64, MutationCtx, mutation
                from schema import Big, Inner
                @mutation
                async def f(ctx: MutationCtx) -> list[int]:
                    for n in range(4):
                        await ctx.db.insert(Big(n=Int64(n), inner=Inner(size=Int64(n))))
                    return [
                        await ctx.db.query(Big).with_index("by_n", n=2).count(),
                        await ctx.db.query(Big).with_index("by_n", n=Int64(2)).count(),
                        await ctx.db.query(Big).with_index("by_n", lambda q: q.gte("n", 1).lt("n", 3)).count(),
                        await ctx.db.query(Big).with_index("by_size", lambda q: q.gt("inner.size", 2)).count(),
                    ]
            """,
        }
    )
    assert (await app.mutation("f:f")).value == [1, 1, 2, 1]


async def test_unions_of_documents_are_one_table_and_structs_can_be_compared(project: Project) -> None:
    app = await project(
        {
            "schema.py": """
                from typing import Literal
                from reactor import Document, Struct, define_schema, define_table
                class Point(Struct):
                    x: int
                    y: int | None = None
                class Circle(Document):
                    kind: Literal["circle"]
                    at: Point
                class Square(Document):
                    kind: Literal["square"]
                    at: Point
                    side: float = 1
                schema = define_schema(shapes=define_table(Circle | Square).index("by_at", "at").index("by_kind", "kind"))
            """,
            "functions/f.py": """
                from reactor import MutationCtx, mutation
                from schema import Circle, Point, Square
                @mutation
                async def f(ctx: MutationCtx) -> list[str]:
                    circle = await ctx.db.insert(Circle(kind="circle", at=Point(x=1)))
                    await ctx.db.insert(Square(kind="square", at=Point(x=1, y=2)))
                    await ctx.db.patch(circle, at=Point(x=3))
                    found = await ctx.db.query(Circle | Square).with_index("by_at", at=Point(x=3)).unique()
                    rows = await ctx.db.query(Circle | Square).collect()
                    return [type(found).__name__, *[type(row).__name__ for row in rows]]
            """,
        }
    )
    assert (await app.mutation("f:f")).value == ["Circle", "Circle", "Square"]
