"""`_system/frontend/…`: documents that an operator adds, changes and deletes (deployment-api 8, 10.2, and point 56)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reactor.admin.system.documents import ABSENT
from reactor.errors import ApplicationError, DatabaseError, FunctionNotFound, InvalidArguments
from reactor.values.types import Int64
from tests.unit.admin.conftest import Dashboard


async def test_56_the_schema_is_json_text_with_creation_times_in_indexes(dashboard: Dashboard) -> None:
    schemas = await dashboard.query("getSchemas")
    assert set(schemas) == {"active"}
    schema = json.loads(schemas["active"])
    _, notes, _, replies = schema["tables"]
    assert schema["schemaValidation"] is True
    assert notes["tableName"] == "notes"
    assert notes["indexes"] == [
        {"indexDescriptor": "by_rank", "fields": ["rank", "text", "_creationTime"]},
        {"indexDescriptor": "by_text", "fields": ["text", "_creationTime"]},
    ]
    assert notes["stagedDbIndexes"] == [{"indexDescriptor": "later", "fields": ["big", "_creationTime"]}]
    assert replies["documentType"]["value"] == {
        "noteId": {"fieldType": {"type": "id", "tableName": "notes"}, "optional": False}
    }
    assert {"searchIndexes", "stagedSearchIndexes", "vectorIndexes", "stagedVectorIndexes"} <= set(notes)


async def test_56_documents_are_added_and_listed_newest_first(dashboard: Dashboard) -> None:
    await dashboard.add("notes", {"text": "a"}, {"text": "b", "rank": 2}, {"text": "c", "big": Int64(7)})
    listed = await dashboard.newest("notes")
    assert [{k: v for k, v in note.items() if k[0] != "_"} for note in listed] == [
        {"text": "c", "big": Int64(7)},
        {"text": "b", "rank": 2},
        {"text": "a"},
    ]
    assert isinstance(listed[0]["big"], Int64)
    assert [note["text"] for note in await dashboard.newest("notes", 2)] == ["c", "b"]
    assert await dashboard.newest("notes", 0) == await dashboard.newest("nothing") == []


async def test_56_a_document_that_does_not_fit_fails_all_of_them(dashboard: Dashboard) -> None:
    with pytest.raises(ApplicationError, match="does not match the schema") as failed:
        await dashboard.add("notes", {"text": "a"}, {"text": 1})
    assert isinstance(failed.value.data, str)
    assert await dashboard.newest("notes") == []
    for wrong in (
        {"user_text": "a"},
        {"text": "a", "_x": 1},
        {"text": "a", "_id": "x"},
        {"text": "a", "rank": None},
        3,
    ):
        with pytest.raises(ApplicationError):
            await dashboard.add("notes", wrong)  # type: ignore[arg-type]
    assert await dashboard.newest("notes") == []


async def test_56_at_most_4096_at_once(dashboard: Dashboard) -> None:
    documents = [{"text": "x"}] * 4097
    answer = await dashboard.mutation("addDocument", table="notes", documents=documents)
    assert answer["success"] is False
    assert "4096" in answer["error"]
    assert await dashboard.newest("notes") == []
    await dashboard.add("notes", *documents[:4096])
    assert await dashboard.query("tableSize", tableName="notes") == 4096


async def test_56_a_table_is_cleared_page_by_page_oldest_first(dashboard: Dashboard) -> None:
    for start in (0, 2500):
        await dashboard.add("notes", *({"text": str(n)} for n in range(start, start + 2500)))
    first = await dashboard.mutation("clearTablePage", tableName="notes", cursor=None)
    assert (first["deleted"], first["hasMore"]) == (4000, True)
    assert [note["text"] for note in await dashboard.newest("notes", 5000)][-1] == "4000"
    rest = await dashboard.mutation("clearTablePage", tableName="notes", cursor=first["continueCursor"])
    assert (rest["deleted"], rest["hasMore"]) == (1000, False)
    assert await dashboard.newest("notes") == []
    gone = await dashboard.mutation("clearTablePage", tableName="nothing", cursor=None)
    assert (gone["deleted"], gone["hasMore"]) == (0, False)


async def test_an_undeclared_table_comes_to_be_with_its_first_document(dashboard: Dashboard) -> None:
    async with dashboard.subscribe("listTableScan", table="loose", limit=10) as updates:
        assert await updates.next() == []
        await dashboard.add("loose", {"any": ["thing", {"deep": b"bytes"}]})
        (document,) = await updates.next()
        assert document["any"] == ["thing", {"deep": b"bytes"}]


async def test_a_document_is_replaced(dashboard: Dashboard) -> None:
    await dashboard.add("notes", {"text": "a", "rank": 1})
    (note,) = await dashboard.newest("notes")
    async with dashboard.subscribe("listById", ids=[{"id": note["_id"], "tableName": "notes"}]) as updates:
        assert await updates.next() == [note]
        changed = {**note, "text": "b"}
        del changed["rank"]
        assert await dashboard.mutation("replaceDocument", id=note["_id"], document=changed) == {"success": True}
        assert await updates.next() == [changed]
    with pytest.raises(ApplicationError, match="does not match the schema"):
        await dashboard.mutation("replaceDocument", id=note["_id"], document={"text": 1})
    missing = {"success": False, "error": "Document does not exist."}
    await dashboard.mutation("deleteDocuments", toDelete=[{"id": note["_id"], "tableName": "notes"}])
    for id in (note["_id"], "x", ""):
        assert await dashboard.mutation("replaceDocument", id=id, document={"text": "c"}) == missing


async def test_fields_are_patched_in_some_documents_or_in_all(dashboard: Dashboard) -> None:
    await dashboard.add("notes", {"text": "a", "rank": 1}, {"text": "b", "rank": 2}, {"text": "c"})
    c, b, a = await dashboard.newest("notes")
    fields: dict[str, Any] = {"text": "z", "rank": ABSENT}
    done = await dashboard.mutation("patchDocumentsFields", table="notes", ids=[a["_id"], c["_id"]], fields=fields)
    assert done == {"success": True}
    assert [(n["text"], n.get("rank")) for n in await dashboard.newest("notes")] == [("z", None), ("b", 2), ("z", None)]
    await dashboard.mutation("patchDocumentsFields", table="notes", fields={"rank": 9})
    assert [n["rank"] for n in await dashboard.newest("notes")] == [9, 9, 9]
    with pytest.raises(ApplicationError, match="does not match the schema"):
        await dashboard.mutation("patchDocumentsFields", table="notes", fields={"rank": "high"})
    with pytest.raises(ApplicationError, match="not an id of the table 'replies'"):
        await dashboard.mutation("patchDocumentsFields", table="replies", ids=[b["_id"]], fields={"rank": 1})
    assert [n["rank"] for n in await dashboard.newest("notes")] == [9, 9, 9]


async def test_documents_are_deleted_all_or_none(dashboard: Dashboard) -> None:
    await dashboard.add("notes", {"text": "a"}, {"text": "b"})
    first, second = await dashboard.newest("notes")
    both = [{"id": note["_id"], "tableName": "notes"} for note in (first, second)]
    with pytest.raises(ApplicationError):
        await dashboard.mutation("deleteDocuments", toDelete=[*both, {"id": "x", "tableName": "notes"}])
    assert await dashboard.query("tableSize", tableName="notes") == 2
    assert await dashboard.mutation("deleteDocuments", toDelete=both) == {"success": True}
    assert await dashboard.newest("notes") == []


@pytest.mark.parametrize("table", ["_storage", "_scheduled_functions", "_environment_variables", "_nothing"])
async def test_system_tables_are_not_written(dashboard: Dashboard, table: str) -> None:
    with pytest.raises(ApplicationError, match="read-only"):
        await dashboard.add(table, {"name": "x", "value": "y"})
    with pytest.raises(ApplicationError, match="read-only"):
        await dashboard.mutation("createTable", table=table)
    with pytest.raises(ApplicationError, match="read-only"):
        await dashboard.mutation("patchDocumentsFields", table=table, fields={"x": 1})
    with pytest.raises(DatabaseError, match="read-only"):
        await dashboard.mutation("clearTablePage", tableName=table, cursor=None)
    job = await dashboard.backend.mutation("notes:later", {"text": "x", "seconds": 60})
    with pytest.raises(ApplicationError, match="read-only"):
        await dashboard.mutation("deleteDocuments", toDelete=[{"id": job, "tableName": "_scheduled_functions"}])
    with pytest.raises(ApplicationError, match="read-only"):
        await dashboard.mutation("replaceDocument", id=job, document={})


async def test_an_empty_table_is_made(dashboard: Dashboard) -> None:
    async with dashboard.subscribe("getTableMapping") as updates:
        before = await updates.next()
        await dashboard.mutation("createTable", table="fresh")
        after = await updates.next()
        assert set(after.values()) - set(before.values()) == {"fresh"}
        await dashboard.mutation("createTable", table="fresh")
        await updates.assert_quiet()
    assert "notes" in before.values()
    for name in ("a b", "", "x" * 65, "1a"):
        with pytest.raises(ApplicationError, match="can't be the name of a table"):
            await dashboard.mutation("createTable", table=name)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("getSchemas", {"what": 1}),
        ("listTableScan", {"table": "notes"}),
        ("listTableScan", {"table": 1, "limit": 1}),
        ("listById", {"ids": ["x"]}),
        ("paginatedTableDocuments", {"table": "notes", "filters": None, "paginationOpts": {}}),
    ],
)
async def test_wrong_arguments_are_refused(dashboard: Dashboard, name: str, args: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments):
        await dashboard.query(name, **args)


async def test_there_are_no_components(dashboard: Dashboard) -> None:
    assert await dashboard.query("tableSize", tableName="notes", componentId="") == 0
    with pytest.raises(DatabaseError, match="no component 'abc'"):
        await dashboard.query("tableSize", tableName="notes", componentId="abc")


@pytest.mark.parametrize("limit", [-1, 0.5, float("nan"), float("inf")])
async def test_a_limit_is_a_number_of_documents(dashboard: Dashboard, limit: float) -> None:
    with pytest.raises(DatabaseError, match="whole number"):
        await dashboard.newest("notes", limit)  # type: ignore[arg-type]


async def test_without_the_admin_key_they_do_not_exist(dashboard: Dashboard) -> None:
    from reactor.auth.identity import ANONYMOUS

    backend = dashboard.backend.reactor.backend
    for path in ("getSchemas", "listTableScan", "addDocument", "clearTablePage"):
        outcome = await backend.call(f"_system/frontend/{path}", b"{}", ANONYMOUS)
        assert "You do not have permission" in outcome.message  # type: ignore[union-attr]
    with pytest.raises(FunctionNotFound):
        await dashboard.query("nothingLikeThis")
