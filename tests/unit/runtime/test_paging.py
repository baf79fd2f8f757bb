"""`paginate` inside functions: journals, one per function, what clients get (server-semantics 20, client-protocol 51-55)."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.engine.pagination import InvalidCursor
from reactor.errors import DatabaseError, InvalidArguments
from reactor.runtime.failures import failure_of
from tests.unit.runtime.conftest import Project
from tests.unit.runtime.harness import Harness

SCHEMA = """
    from reactor import Document, define_schema, define_table

    class Note(Document):
        topic: str
        rank: int

    schema = define_schema(notes=define_table(Note).index("by_topic_rank", "topic", "rank"))
"""

FUNCTIONS = """
    from typing import Any
    from reactor import MutationCtx, PaginationOptions, PaginationResult, QueryCtx, mutation, query
    from schema import Note

    @query
    async def page(ctx: QueryCtx, topic: str, pagination_opts: PaginationOptions) -> PaginationResult[Note]:
        return await ctx.db.query(Note).with_index("by_topic_rank", topic=topic).paginate(pagination_opts)

    @query
    async def ranks(ctx: QueryCtx, topic: str, pagination_opts: PaginationOptions) -> PaginationResult[int]:
        found = await page(ctx, topic, pagination_opts)
        return found.map(lambda note: note.rank)

    @query
    async def missing_table(ctx: QueryCtx, pagination_opts: PaginationOptions) -> Any:
        return await ctx.db.query("nothing").paginate(pagination_opts)

    @query
    async def twice(ctx: QueryCtx, pagination_opts: PaginationOptions) -> Any:
        await ctx.db.query(Note).paginate(pagination_opts)
        await ctx.db.query(Note).paginate(pagination_opts)

    @query
    async def nested(ctx: QueryCtx, pagination_opts: PaginationOptions) -> Any:
        inner = [await ctx.run_query(ranks, "a", pagination_opts) for _ in range(2)]
        mine = await ctx.db.query(Note).paginate(pagination_opts)
        return [len(inner[0].page), len(inner[1].page), len(mine.page)]

    @mutation
    async def add(ctx: MutationCtx, topic: str, ranks: list[int]) -> None:
        for rank in ranks:
            await ctx.db.insert(Note(topic=topic, rank=rank))

    @mutation
    async def fill(ctx: MutationCtx) -> None:
        for n in range(3):
            await ctx.db.insert("nothing", {"n": n})

    @mutation
    async def page_in_mutation(ctx: MutationCtx, pagination_opts: PaginationOptions) -> int:
        return len((await ctx.db.query(Note).paginate(pagination_opts)).page)
"""


@pytest.fixture
async def app(project: Project) -> Harness:
    return await project({"schema.py": SCHEMA, "functions/notes.py": FUNCTIONS})


def options(**changes: Any) -> dict[str, Any]:
    return {"numItems": 2, "cursor": None, **changes}


async def test_the_result_has_all_keys_and_a_string_cursor_even_when_done(app: Harness) -> None:
    """client-protocol 51"""
    await app.mutation("notes:add", topic="a", ranks=[1])
    result = (await app.query("notes:page", topic="a", paginationOpts=options(id=1))).value
    assert result.keys() == {"page", "isDone", "continueCursor", "splitCursor", "pageStatus"}
    assert (result["isDone"], result["splitCursor"], result["pageStatus"]) == (True, None, None)
    assert isinstance(result["continueCursor"], str)


@pytest.mark.parametrize(
    "extra", [{}, {"id": -1}, {"endCursor": None}, {"maximumRowsRead": 5, "maximumBytesRead": 5000.0}]
)
async def test_the_options_take_every_key_that_clients_send(app: Harness, extra: dict[str, Any]) -> None:
    """client-protocol 51"""
    assert (await app.query("notes:ranks", topic="a", paginationOpts=options(**extra))).value["page"] == []


async def test_the_options_are_checked(app: Harness) -> None:
    with pytest.raises(InvalidArguments):
        await app.query("notes:ranks", topic="a", paginationOpts={"numItems": 2})
    with pytest.raises(InvalidArguments):
        await app.query("notes:ranks", topic="a", paginationOpts=options(numItems=1.5))


async def test_a_rerun_with_its_journal_keeps_the_page_in_place(app: Harness) -> None:
    """client-protocol 52, 53"""
    await app.mutation("notes:add", topic="a", ranks=[10, 20, 30])
    first = await app.query("notes:ranks", topic="a", paginationOpts=options())
    journal = first.execution.journal
    assert journal is not None
    await app.mutation("notes:add", topic="a", ranks=[5, 15, 25])
    again = await app.query("notes:ranks", journal, topic="a", paginationOpts=options())
    assert again.value["page"] == [5, 10, 15, 20]
    assert (again.value["continueCursor"], again.execution.journal) == (first.value["continueCursor"], journal)
    rest = await app.query("notes:ranks", topic="a", paginationOpts=options(numItems=9, cursor=journal))
    assert rest.value["page"] == [25, 30]


async def test_an_end_cursor_in_the_arguments_wins_over_the_journal(app: Harness) -> None:
    await app.mutation("notes:add", topic="a", ranks=[1, 2, 3, 4])
    two = (await app.query("notes:ranks", topic="a", paginationOpts=options())).value["continueCursor"]
    three = (await app.query("notes:ranks", topic="a", paginationOpts=options(numItems=3))).execution.journal
    ran = await app.query("notes:ranks", three, topic="a", paginationOpts=options(endCursor=two))
    assert ran.value["page"] == [1, 2]


async def test_a_cursor_or_journal_of_another_query_tells_clients_to_start_over(app: Harness) -> None:
    """client-protocol 55"""
    await app.mutation("notes:add", topic="a", ranks=[1, 2, 3])
    cursor = (await app.query("notes:ranks", topic="a", paginationOpts=options())).value["continueCursor"]
    for journal, given in ((None, cursor), (cursor, None), (None, "garbage")):
        with pytest.raises(InvalidCursor) as caught:
            await app.query("notes:ranks", journal, topic="b", paginationOpts=options(cursor=given))
        failure = failure_of(caught.value)
        assert "InvalidCursor" in failure.message
        assert failure.data == b'{"isConvexSystemError":true,"paginationError":"InvalidCursor"}'
        assert failure_of(caught.value, redact=True).data == failure.data


async def test_one_paginate_per_function_but_nested_functions_have_their_own(app: Harness) -> None:
    await app.mutation("notes:add", topic="a", ranks=[1, 2, 3])
    with pytest.raises(DatabaseError, match="ran multiple paginated queries") as caught:
        await app.query("notes:twice", paginationOpts=options())
    assert caught.value.code == "MultiplePaginatedDatabaseQueries"
    assert (await app.query("notes:nested", paginationOpts=options())).value == [2, 2, 2]


async def test_mutations_may_paginate(app: Harness) -> None:
    await app.mutation("notes:add", topic="a", ranks=[1, 2, 3])
    assert (await app.mutation("notes:pageInMutation", paginationOpts=options())).value == 2


async def test_a_table_that_does_not_exist_yet_is_one_empty_page(app: Harness) -> None:
    ran = await app.query("notes:missingTable", paginationOpts=options())
    assert (ran.value["page"], ran.value["isDone"]) == ([], True)
    again = await app.query("notes:missingTable", ran.execution.journal, paginationOpts=options())
    assert again.value == ran.value
    await app.mutation("notes:fill")
    again = await app.query("notes:missingTable", ran.execution.journal, paginationOpts=options())
    assert [row["n"] for row in again.value["page"]] == [0, 1, 2]
    assert again.value["continueCursor"] == ran.value["continueCursor"]
