"""`POST /api/delete_tables` (deployment-api 10.2): whole tables go, those that the schema needs stay."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.admin.conftest import Dashboard


async def delete(dashboard: Dashboard, *names: str, **more: Any) -> tuple[int, str]:
    answer = await dashboard.http("POST", "/api/delete_tables", {"tableNames": names, "componentId": None, **more})
    return answer.status_code, answer.json()["code"] if answer.content else ""


async def test_a_table_goes_with_all_that_was_in_it_and_who_watched_it_sees_that(dashboard: Dashboard) -> None:
    await dashboard.add("loose", *({"n": n} for n in range(1500)))
    await dashboard.add("other", {"n": 1})
    first = (await dashboard.newest("loose", 1))[0]
    before = await dashboard.query("getTableMapping")
    backend = dashboard.backend
    async with (
        backend.subscribe("notes:countOf", {"table": "loose"}) as counts,
        backend.subscribe("notes:get", {"id": first["_id"]}) as by_id,
        dashboard.subscribe("getTableMapping") as mapping,
        dashboard.subscribe("listTableScan", table="other", limit=5) as others,
    ):
        assert await counts.next() == 1500
        assert (await by_id.next())["n"] == 1499
        await mapping.next()
        await others.next()
        assert await delete(dashboard, "loose") == (200, "")
        assert await counts.next() == 0
        assert await by_id.next() is None
        assert set(before.values()) - set((await mapping.next()).values()) == {"loose"}
        await others.assert_quiet()
    assert await dashboard.newest("loose") == []
    assert await dashboard.query("listById", ids=[{"id": first["_id"], "tableName": "loose"}]) == [None]
    # A table of the same name is another table: ids of the old one are none of its own.
    await dashboard.add("loose", {"n": "new"})
    after = await dashboard.query("getTableMapping")
    assert {number for number, name in before.items() if name == "loose"}.isdisjoint(
        number for number, name in after.items() if name == "loose"
    )
    replaced = await dashboard.mutation("replaceDocument", id=first["_id"], document={})
    assert replaced == {"success": False, "error": "Document does not exist."}
    assert [document["n"] for document in await dashboard.newest("loose")] == ["new"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("notes", "DeclaredTable"),
        ("replies", "DeclaredTable"),
        ("_storage", "SystemTableError"),
        ("_environment_variables", "SystemTableError"),
        ("nothing", "TableNotFound"),
        ("pages", "ReferencedTable"),
    ],
)
async def test_what_can_not_be_deleted_keeps_the_others_too(dashboard: Dashboard, name: str, code: str) -> None:
    await dashboard.add("loose", {"n": 1})
    await dashboard.add("pages", {"n": 1})
    assert await delete(dashboard, "loose", name) == (400, code)
    assert len(await dashboard.newest("loose")) == 1


async def test_only_for_operators(dashboard: Dashboard) -> None:
    await dashboard.add("loose", {"n": 1})
    answer = await dashboard.http("POST", "/api/delete_tables", {"tableNames": ["loose"]}, key=None)
    assert answer.status_code == 403
    assert await delete(dashboard, "loose", componentId="abc") == (400, "ComponentNotFound")
    assert (await dashboard.http("POST", "/api/delete_tables", {"tableNames": "loose"})).status_code == 400
    assert len(await dashboard.newest("loose")) == 1
    assert await delete(dashboard) == (200, "")


async def test_declared_indexes_with_their_state(dashboard: Dashboard) -> None:
    await dashboard.backend.reactor.backfills.idle()
    by_name = {
        index["name"]: index for index in await dashboard.query("indexes", tableName="notes", tableNamespace=None)
    }
    assert by_name["by_rank"] == {
        "name": "by_rank",
        "staged": False,
        "fields": ["rank", "text", "_creationTime"],
        "backfill": {"state": "done"},
    }
    assert (by_name["later"]["staged"], by_name["later"]["backfill"]) == (True, {"state": "backfilled"})
    assert set(by_name) == {"by_rank", "by_text", "later"}
    for name in (None, "nothing", ""):
        assert await dashboard.query("indexes", tableName=name, tableNamespace=None) is None
