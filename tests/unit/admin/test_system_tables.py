"""The `_system/cli/…` queries about tables: what they show, how they page, and what makes them run again (deployment-api 3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from reactor.errors import ApplicationError, DatabaseError, InvalidArguments
from reactor.limits import ARRAY_MAX_ELEMENTS
from reactor.runtime.loader import AppLoader
from reactor.testing import Backend
from reactor.testing import backend as make_backend

SCHEMA = """
from reactor import Document, Int64, define_schema, define_table


class Note(Document):
    text: str
    big: Int64 | None = None


class Other(Document):
    text: str


schema = define_schema(notes=define_table(Note).index("by_text", "text"), empty=define_table(Other))
"""

NOTES = """
from typing import Any
from reactor import Int64, MutationCtx, mutation
from schema import Note


@mutation
async def add(ctx: MutationCtx, count: int, size: int = 1) -> None:
    for number in range(count):
        await ctx.db.insert(Note(text="x" * size, big=Int64(number)))


@mutation
async def add_loose(ctx: MutationCtx, table: str, content: Any) -> None:
    await ctx.db.insert(table, {"content": content})


@mutation
async def later(ctx: MutationCtx) -> None:
    await ctx.scheduler.run_after(60_000, add, count=1)
"""


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    (tmp_path / "functions").mkdir()
    (tmp_path / "schema.py").write_text(SCHEMA)
    (tmp_path / "functions" / "notes.py").write_text(NOTES)
    async with make_backend(AppLoader(tmp_path, private=True).load()) as running:
        yield running


def page(number: float = 10_000, cursor: str | None = None) -> dict[str, Any]:
    return {"numItems": number, "cursor": cursor}


def data(table: str, order: str = "asc", **options: Any) -> tuple[str, dict[str, Any]]:
    return "_system/cli/tableData:default", {"table": table, "order": order, "paginationOpts": page(**options)}


async def test_user_tables_are_listed_by_name_and_no_others(backend: Backend) -> None:
    listed = await backend.query("_system/cli/tables:default", {"paginationOpts": page()})
    assert listed["page"] == [{"name": "empty"}, {"name": "notes"}]
    assert listed["isDone"] is True


async def test_a_table_that_comes_to_be_is_listed_at_once_and_other_writes_change_nothing(backend: Backend) -> None:
    async with backend.subscribe("_system/cli/tables:default", {"paginationOpts": page()}) as updates:
        await updates.next()
        await backend.mutation("notes:add", count=1)
        await updates.assert_quiet()
        await backend.mutation("notes:addLoose", table="ideas", content=1)
        assert [table["name"] for table in (await updates.next())["page"]] == ["empty", "ideas", "notes"]


async def test_the_list_of_tables_has_pages(backend: Backend) -> None:
    path = "_system/cli/tables:default"
    first = await backend.query(path, {"paginationOpts": page(1)})
    assert (first["page"], first["isDone"]) == ([{"name": "empty"}], False)
    second = await backend.query(path, {"paginationOpts": page(1, first["continueCursor"])})
    assert (second["page"], second["isDone"]) == ([{"name": "notes"}], True)
    nothing = await backend.query(path, {"paginationOpts": page(1, second["continueCursor"])})
    assert (nothing["page"], nothing["isDone"]) == ([], True)


async def test_documents_come_as_they_are_stored(backend: Backend) -> None:
    await backend.mutation("notes:add", count=2)
    first, second = (await backend.query(*data("notes")))["page"]
    assert list(first) == ["_creationTime", "_id", "big", "text"]
    assert (first["big"], first["text"]) == (0, "x")
    newest = await backend.query(*data("notes", "desc", number=1))
    assert (newest["page"], newest["isDone"]) == ([second], False)


async def test_a_page_is_cut_at_the_longest_array_and_the_next_goes_on(backend: Backend) -> None:
    for _ in range(2):
        await backend.mutation("notes:add", count=5_000)
    first = await backend.query(*data("notes", number=25_001))
    assert (len(first["page"]), first["isDone"]) == (ARRAY_MAX_ELEMENTS, False)
    second = await backend.query(*data("notes", number=25_001, cursor=first["continueCursor"]))
    assert (len(second["page"]), second["isDone"]) == (10_000 - ARRAY_MAX_ELEMENTS, True)
    ids = [document["_id"] for document in first["page"] + second["page"]]
    assert len(set(ids)) == 10_000


async def test_a_page_of_large_documents_ends_at_its_bytes(backend: Backend) -> None:
    await backend.mutation("notes:add", count=12, size=900_000)
    sizes = []
    cursor = None
    while True:
        part = await backend.query(*data("notes", number=100, cursor=cursor))
        sizes.append(len(part["page"]))
        if part["isDone"]:
            break
        cursor = part["continueCursor"]
    assert sizes == [6, 6, 0], "5 MiB take six of these"


async def test_system_tables_that_functions_can_read_are_shown_and_our_own_are_not(backend: Backend) -> None:
    await backend.mutation("notes:later")
    (job,) = (await backend.query(*data("_scheduled_functions")))["page"]
    assert job["name"] == "notes.js:add"
    assert job["state"] == {"kind": "pending"}
    await backend.set_environment(SECRET="x")
    for hidden in ("_environment_variables", "_files", "_nothing"):
        assert (await backend.query(*data(hidden)))["page"] == []


async def test_an_unknown_table_is_an_empty_page_until_it_is_there(backend: Backend) -> None:
    async with backend.subscribe(*data("ideas")) as updates:
        assert (await updates.next())["isDone"] is True
        await backend.mutation("notes:addLoose", table="ideas", content=[1])
        assert [document["content"] for document in (await updates.next())["page"]] == [[1]]


async def test_sizes_follow_the_table(backend: Backend) -> None:
    watch = "_system/cli/queryTable:default"
    async with (
        backend.subscribe("_system/cli/tableSize:default", {"tableName": "notes"}) as sizes,
        backend.subscribe(watch, {"tableName": "notes"}) as changes,
        backend.subscribe(watch, {"tableName": "empty"}) as others,
    ):
        before = [await sizes.next(), await changes.next()]
        await others.next()
        await backend.mutation("notes:add", count=3)
        assert (before[0], await sizes.next()) == (0, 3)
        assert await changes.next() != before[1]
        await others.assert_quiet()
    assert await backend.query("_system/cli/tableSize:default", {"tableName": "nothing"}) == 0


@pytest.mark.parametrize(
    ("path", "args"),
    [
        ("_system/cli/tables:default", {}),
        ("_system/cli/tableData:default", {"table": "notes", "order": "sideways", "paginationOpts": page()}),
        ("_system/cli/tableData:default", {"table": 1, "order": "asc", "paginationOpts": page()}),
        ("_system/cli/tableData:default", {"table": "notes", "order": "asc", "paginationOpts": {"numItems": 1}}),
        ("_system/cli/tableSize:default", {"tableName": "notes", "more": 1}),
    ],
)
async def test_arguments_are_checked(backend: Backend, path: str, args: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments):
        await backend.query(path, args)


@pytest.mark.parametrize("number", [0, -1, float("-inf")])
async def test_numbers_of_rows_that_make_no_sense_are_refused(backend: Backend, number: float) -> None:
    with pytest.raises(DatabaseError, match=r"numItems|at least 1 document"):
        await backend.query(*data("notes", number=number))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300])
async def test_more_rows_than_there_can_be_are_as_many_as_a_page_takes(backend: Backend, number: float) -> None:
    await backend.mutation("notes:add", count=2)
    assert len((await backend.query(*data("notes", number=number)))["page"]) == 2


async def test_cursors_are_good_for_their_own_table_only(backend: Backend) -> None:
    await backend.mutation("notes:add", count=2)
    first = await backend.query(*data("notes", number=1))
    with pytest.raises(ApplicationError, match="InvalidCursor"):
        await backend.query(*data("empty", number=1, cursor=first["continueCursor"]))
    with pytest.raises(ApplicationError, match="InvalidCursor"):
        await backend.query(*data("notes", number=1, cursor="made up"))
