"""`_system/frontend/paginatedTableDocuments` with its filters, and documents by id (deployment-api 10.2)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from reactor.admin.system.documents import ABSENT
from reactor.admin.system.filters import parse_filters
from reactor.errors import DatabaseError
from reactor.store.catalogue import TableInfo
from reactor.values.ids import encode_id
from reactor.values.types import Int64
from tests.unit.admin.conftest import Dashboard


def encoded(filters: Any) -> str:
    return base64.b64encode(json.dumps(filters).encode()).decode()


def clause(field: str | None, op: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value, **more}


async def page(dashboard: Dashboard, filters: Any = None, *, table: str = "things", **options: Any) -> dict[str, Any]:
    text = filters if filters is None or isinstance(filters, str) else encoded(filters)
    pagination = {"cursor": None, "numItems": 25, "id": 1, **options}
    return await dashboard.query("paginatedTableDocuments", table=table, filters=text, paginationOpts=pagination)


THINGS: list[dict[str, Any]] = [
    {"name": "zero", "value": 0},
    {"name": "one", "value": 1},
    {"name": "two", "value": 2, "deep": {"at": "x"}},
    {"name": "big", "value": Int64(1)},
    {"name": "text", "value": "1"},
    {"name": "none", "value": None},
    {"name": "list", "value": [1, 2]},
    {"name": "object", "value": {"a": 1}},
    {"name": "bytes", "value": b"1"},
    {"name": "true", "value": True},
    {"name": "absent"},
]
INT64_ONE = {"$integer": "AQAAAAAAAAA="}


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ([clause("value", "eq", 1)], "one"),
        ([clause("value", "eq", INT64_ONE)], "big"),
        ([clause("value", "eq", {"$bytes": "MQ=="})], "bytes"),
        ([clause("value", "eq", None)], "none"),
        ([clause("value", "eq", [1, 2])], "list"),
        ([clause("value", "eq", {"a": 1})], "object"),
        ([clause("value", "eq", ABSENT)], "absent"),
        ([{"field": "value", "op": "eq"}], "absent"),
        ([clause("deep.at", "eq", "x")], "two"),
        ([clause("value", "neq", 1), clause("value", "type", "number")], "two zero"),
        ([clause("value", "gt", 0), clause("value", "lt", 2)], "one"),
        ([clause("value", "gte", 0), clause("value", "lte", 2)], "two one zero"),
        ([clause("value", "anyOf", [0, "1", INT64_ONE])], "text big zero"),
        ([clause("value", "noneOf", [0, 1, 2]), clause("value", "type", "number")], ""),
        ([clause("value", "type", "bigint")], "big"),
        ([clause("value", "type", "string")], "text"),
        ([clause("value", "type", "boolean")], "true"),
        ([clause("value", "type", "array")], "list"),
        ([clause("value", "type", "object")], "object"),
        ([clause("value", "type", "bytes")], "bytes"),
        ([clause("value", "type", "null")], "none"),
        ([clause("value", "type", "unset")], "absent"),
        ([clause("_id", "type", "id"), clause("name", "eq", "one")], "one"),
        ([clause("name", "type", "id")], ""),
        ([clause("value", "notype", "unset"), clause("value", "lt", 1)], "none big zero"),
        ([clause("name", "eq", "one", enabled=False), clause("name", "eq", "two")], "two"),
        ([clause(None, "eq", 1), clause("name", "eq", "two")], "two"),
        ([clause("value", "anyOf", []), clause("name", "eq", "two")], "two"),
    ],
)
def test_clauses_compare_one_field_each(filters: list[Any], kept: str) -> None:
    asked = parse_filters(encoded({"clauses": filters}))
    things = [{**thing, "_id": encode_id(10_001, bytes([number] * 16))} for number, thing in enumerate(THINGS)]
    assert [thing["name"] for thing in reversed(things) if asked.keeps(thing)] == kept.split()


async def test_a_page_has_what_the_clauses_keep(dashboard: Dashboard) -> None:
    await dashboard.add("things", *THINGS)
    found = await page(dashboard, {"clauses": [clause("value", "lt", "1"), clause("value", "type", "number")]})
    assert [thing["name"] for thing in found["page"]] == ["two", "one", "zero"]
    assert found["isDone"] is True


async def test_pages_go_on_newest_first_or_oldest_first(dashboard: Dashboard) -> None:
    await dashboard.add("things", *({"name": str(n)} for n in range(10)))
    first = await page(dashboard, numItems=4)
    assert [thing["name"] for thing in first["page"]] == ["9", "8", "7", "6"]
    second = await page(dashboard, numItems=4, cursor=first["continueCursor"])
    assert [thing["name"] for thing in second["page"]] == ["5", "4", "3", "2"]
    ascending = await page(dashboard, {"clauses": [], "order": "asc"}, numItems=3)
    assert [thing["name"] for thing in ascending["page"]] == ["0", "1", "2"]
    assert (await page(dashboard, table="nothing"))["page"] == []


async def test_one_document_by_its_id(dashboard: Dashboard) -> None:
    await dashboard.add("things", *THINGS[:3])
    wanted = (await dashboard.newest("things"))[1]
    found = await page(dashboard, {"clauses": [clause("_id", "eq", wanted["_id"])]})
    assert found["page"] == [wanted]
    for missing in ("x", 3, (await page(dashboard, table="notes"))["continueCursor"]):
        assert (await page(dashboard, {"clauses": [clause("_id", "eq", missing)]}))["page"] == []
    by_id = [{"id": wanted["_id"], "tableName": name} for name in ("things", "notes", "nothing", "_storage")]
    assert await dashboard.query("listById", ids=by_id) == [wanted, None, None, None]


async def test_an_index_narrows_what_is_read(dashboard: Dashboard) -> None:
    await dashboard.add("notes", *({"text": f"{n % 3}", "rank": n} for n in range(12)))

    def by(name: str, *clauses: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"clauses": [], "index": {"name": name, "clauses": list(clauses)}, **more}

    equal = {"type": "indexEq", "enabled": True, "value": "1"}
    found = await page(dashboard, by("by_text", equal), table="notes")
    assert [note["rank"] for note in found["page"]] == [10, 7, 4, 1]
    between = {
        "type": "indexRange", "enabled": True, "lowerOp": "gt", "lowerValue": 3, "upperOp": "lte", "upperValue": 6,
    }  # fmt: skip
    found = await page(dashboard, by("by_rank", between, order="asc"), table="notes")
    assert [note["rank"] for note in found["page"]] == [4, 5, 6]
    found = await page(
        dashboard, {**by("by_text", equal), "clauses": [clause("rank", "gt", 4)]}, table="notes", numItems=1
    )
    assert [note["rank"] for note in found["page"]] == [10]
    found = await page(
        dashboard,
        {**by("by_text", equal), "clauses": [clause("rank", "gt", 4)]},
        table="notes",
        numItems=5,
        cursor=found["continueCursor"],
    )
    assert [note["rank"] for note in found["page"]] == [7]
    disabled = {**equal, "enabled": False}
    assert len((await page(dashboard, by("by_text", disabled), table="notes"))["page"]) == 12
    for wrong, told in (
        (by("by_nothing", equal), "does not exist"),
        (by("later", equal), "does not exist"),
        (by("by_text", equal, equal, equal), "has 2 fields"),
        (by("by_rank", disabled, equal), "after an disabled clause"),
        (by("by_rank", between, equal), "range filter"),
        (by("by_rank", {**equal, "value": {"$integer": "x"}}), "Invalid value"),
    ):
        (problem,) = (await page(dashboard, wrong, table="notes"))["page"]
        assert problem["filter"] == -1
        assert told in problem["error"]


@pytest.mark.parametrize(
    ("filters", "number"),
    [
        ({"clauses": [clause("a", "eq", 1), clause("a", "eq", {"$integer": "no"})]}, 1),
        ({"clauses": [clause("a", "anyOf", [{"$what": 1}])]}, 0),
        ({"clauses": [clause("a", "anyOf", 3)]}, 0),
        ({"clauses": [clause("a", "type", "colour")]}, 0),
        ({"clauses": [clause("a", "type", ["string"])]}, 0),
        ({"clauses": [clause("a", "like", "x")]}, -1),
        ({"clauses": [clause("a", "eq", 1)] * 101}, -1),
        ({"clauses": 3}, -1),
        ([], -1),
        ("%%%", -1),
        (base64.b64encode(b"\xff\xfe{").decode(), -1),
        (base64.b64encode(b"[" * 50_000).decode(), -1),
    ],
)
def test_what_is_wrong_with_filters_is_told(filters: Any, number: int) -> None:
    text = filters if isinstance(filters, str) else encoded(filters)
    (problem,) = parse_filters(text).problems(TableInfo(10_001, "things", {}))
    assert problem["filter"] == number
    assert isinstance(problem["error"], str)


async def test_wrong_filters_stand_in_the_page(dashboard: Dashboard) -> None:
    await dashboard.add("things", *THINGS)
    found = await page(dashboard, {"clauses": [clause("a", "eq", 1), clause("a", "eq", {"$integer": "no"})]})
    assert found["page"] == [{"filter": 1, "error": 'Invalid value: {"$integer":"no"}.'}]
    assert (found["isDone"], found["continueCursor"]) == (True, "")


async def test_a_page_follows_what_changes_in_it(dashboard: Dashboard) -> None:
    await dashboard.add("things", *THINGS[:3])
    options = {"cursor": None, "numItems": 2}
    arguments: dict[str, Any] = {"table": "things", "filters": None, "paginationOpts": options}
    async with dashboard.subscribe("paginatedTableDocuments", **arguments) as updates:
        assert [thing["name"] for thing in (await updates.next())["page"]] == ["two", "one"]
        await dashboard.add("things", {"name": "three"})
        assert [thing["name"] for thing in (await updates.next())["page"]] == ["three", "two", "one"]
    async with dashboard.subscribe("tableSize", tableName="things") as sizes:
        assert await sizes.next() == 4
        await dashboard.add("things", {"name": "four"})
        assert await sizes.next() == 5


async def test_our_own_tables_are_not_shown(dashboard: Dashboard) -> None:
    assert (await page(dashboard, table="_environment_variables"))["page"] == []
    assert await dashboard.newest("_environment_variables") == []
    await dashboard.backend.mutation("notes:later", {"text": "x", "seconds": 60})
    assert [job["name"] for job in (await page(dashboard, table="_scheduled_functions"))["page"]] == ["notes.js:remind"]
    with pytest.raises(DatabaseError):
        await page(dashboard, table="notes", numItems=0)
