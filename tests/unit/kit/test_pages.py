"""Several pages in one function, by index key."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.errors import ApplicationError, DatabaseError
from tests.unit.kit.conftest import Project

SCHEMA = """
    from reactor import Document, define_schema, define_table

    class Note(Document):
        topic: str
        number: int

    notes = define_table(Note).index("by_topic", "topic", "number").search_index("search_topic", "topic")
    schema = define_schema(notes=notes)
"""

APP = """
    from typing import Any

    from reactor import MutationCtx, PaginationOptions, PaginationResult, QueryCtx, mutation, query
    from reactor.kit import get_page, paginator
    from schema import Note

    @mutation
    async def add(ctx: MutationCtx, topic: str, number: int) -> None:
        await ctx.db.insert(Note(topic=topic, number=number))

    @mutation
    async def remove(ctx: MutationCtx, topic: str, number: int) -> None:
        note = await ctx.db.query(Note).with_index("by_topic", topic=topic, number=number).unique()
        await ctx.db.delete(note)

    def notes(ctx: QueryCtx, topic: str, order: Any = "asc", least: int = 0) -> Any:
        return ctx.db.query(Note).with_index("by_topic", lambda q: q.eq("topic", topic).gte("number", least)).order(order)

    @query
    async def page(
        ctx: QueryCtx, topic: str, pagination_opts: PaginationOptions, order: str = "asc", odd: bool = False
    ) -> PaginationResult[Note]:
        found = notes(ctx, topic, order)
        return await paginator(found.filter(lambda n: n.number % 2) if odd else found).paginate(pagination_opts)

    @query
    async def two_topics(ctx: QueryCtx, size: int) -> list[list[int]]:
        pages = []
        for topic in ("a", "b"):
            result = await paginator(notes(ctx, topic)).paginate(PaginationOptions(num_items=size, cursor=None))
            pages.append([note.number for note in result.page])
        return pages

    @query
    async def all_in_pages(ctx: QueryCtx, topic: str, size: int) -> list[list[int]]:
        pages, cursor, done = [], None, False
        while not done:
            result = await paginator(notes(ctx, topic)).paginate(PaginationOptions(num_items=size, cursor=cursor))
            pages.append([note.number for note in result.page])
            cursor, done = result.continue_cursor, result.is_done
        return pages

    @query
    async def searched(ctx: QueryCtx, how: str) -> Any:
        found = ctx.db.query(Note).with_search_index("search_topic", lambda q: q.search("topic", "a"))
        if how == "getPage":
            return (await get_page(found, limit=100)).items
        return (await paginator(found).paginate(PaginationOptions(num_items=100, cursor=None))).page

    @query
    async def got(
        ctx: QueryCtx, topic: str, limit: int, after: str | None = None, until: str | None = None, order: str = "asc",
        least: int = 0,
    ) -> Any:
        page = await get_page(notes(ctx, topic, order, least), limit=limit, after=after, until=until)
        return {
            "numbers": [note.number for note in page.items],
            "cursors": page.cursors, "cursor": page.cursor, "more": page.has_more,
        }

    @query
    async def by_time(ctx: QueryCtx, after: str) -> None:
        await get_page(ctx.db.query(Note), limit=1, after=after)

    @query
    async def undeclared(ctx: QueryCtx) -> list[Any]:
        page = await get_page(ctx.db.query("nowhere"), limit=3)
        result = await paginator(ctx.db.query("nowhere")).paginate(PaginationOptions(num_items=3, cursor=None))
        return [page.items, page.has_more, result.page, result.is_done]
"""


async def fill(backend: Any) -> None:
    for number in range(7):
        await backend.mutation("f:add", topic="a", number=number)
        await backend.mutation("f:add", topic="b", number=number * 10)


def options(size: int, cursor: str | None = None, **more: Any) -> dict[str, Any]:
    return {"numItems": size, "cursor": cursor, **more}


async def test_one_function_reads_several_pages(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await fill(backend)
        assert await backend.query("f:twoTopics", size=3) == [[0, 1, 2], [0, 10, 20]]
        assert await backend.query("f:allInPages", topic="a", size=3) == [[0, 1, 2], [3, 4, 5], [6]]


async def test_cursors_outlive_the_row_they_were_made_at_and_other_filters_and_orders(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await fill(backend)
        first = await backend.query("f:page", topic="a", paginationOpts=options(3))
        assert ([n.number for n in first.page], first.is_done) == ([0, 1, 2], False)
        await backend.mutation("f:remove", topic="a", number=2)
        rest = await backend.query("f:page", topic="a", paginationOpts=options(10, first.continue_cursor))
        assert ([n.number for n in rest.page], rest.is_done) == ([3, 4, 5, 6], True)
        odd = await backend.query("f:page", topic="a", odd=True, paginationOpts=options(10, first.continue_cursor))
        assert [n.number for n in odd.page] == [3, 5]
        back = await backend.query("f:page", topic="a", order="desc", paginationOpts=options(10, first.continue_cursor))
        assert [n.number for n in back.page] == [1, 0]


async def test_with_an_end_cursor_a_page_holds_what_lies_between(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await fill(backend)
        first = await backend.query("f:page", topic="a", paginationOpts=options(3))
        await backend.mutation("f:add", topic="a", number=1)
        again = await backend.query(
            "f:page", topic="a", paginationOpts=options(3, None, endCursor=first.continue_cursor)
        )
        assert [n.number for n in again.page] == [0, 1, 1, 2]


async def test_a_page_that_is_followed_has_no_journal_and_depends_on_no_more_than_it_holds(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await fill(backend)
        async with backend.subscribe("f:page", topic="a", paginationOpts=options(3)) as updates:
            await updates.next()
            await backend.mutation("f:add", topic="a", number=5)
            await updates.assert_quiet()
            await backend.mutation("f:add", topic="a", number=1)
            assert [n.number for n in (await updates.next()).page] == [0, 1, 1]


async def test_get_page_gives_each_document_a_cursor(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await fill(backend)
        got = await backend.query("f:got", topic="a", limit=3)
        assert (got["numbers"], got["more"], got["cursor"]) == ([0, 1, 2], True, got["cursors"][-1])
        on = await backend.query("f:got", topic="a", limit=100, after=got["cursors"][1])
        assert (on["numbers"], on["more"]) == ([2, 3, 4, 5, 6], False)
        assert (await backend.query("f:got", topic="a", limit=100, after=on["cursor"]))["numbers"] == []
        between = await backend.query("f:got", topic="a", limit=100, after=got["cursors"][0], until=got["cursors"][2])
        assert (between["numbers"], between["more"], between["cursor"]) == ([1, 2], True, got["cursors"][2])
        back = await backend.query("f:got", topic="a", limit=2, after=got["cursors"][2], order="desc")
        assert back["numbers"] == [1, 0]
        narrowed = await backend.query("f:got", topic="a", limit=100, after=got["cursors"][0], least=5)
        assert narrowed["numbers"] == [5, 6], "a cursor never leads out of the query's range"
        other = await backend.query("f:got", topic="b", limit=100, after=got["cursors"][0])
        assert other["numbers"] == [0, 10, 20, 30, 40, 50, 60]


async def test_cursors_are_sealed_and_belong_to_an_index(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        await fill(backend)
        cursor = (await backend.query("f:got", topic="a", limit=3))["cursor"]
        with pytest.raises(ApplicationError):
            await backend.query("f:byTime", after=cursor)
        with pytest.raises(ApplicationError):
            await backend.query("f:got", topic="a", limit=3, after=("y" if cursor[0] == "x" else "x") + cursor[1:])
        with pytest.raises(DatabaseError, match="`limit` is a positive number, not 0"):
            await backend.query("f:got", topic="a", limit=0)


async def test_a_table_that_is_not_there_has_one_empty_page(project: Project) -> None:
    async with project(APP, SCHEMA) as backend:
        assert await backend.query("f:undeclared") == [[], False, [], True]


@pytest.mark.parametrize("how", ["getPage", "paginator"])
async def test_a_search_has_no_index_key_to_go_on_from(project: Project, how: str) -> None:
    async with project(APP, SCHEMA) as backend:
        await fill(backend)
        with pytest.raises(DatabaseError, match=r"A search is in order of relevance.*\.paginate"):
            await backend.query("f:searched", how=how)
