"""`_system/frontend/fileStorageV2` and `GET /api/shapes2` (deployment-api 10.2)."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import httpx
import pytest

from reactor.admin.shape_inference import shape_of
from reactor.errors import ApplicationError, InvalidArguments
from reactor.values.types import Int64
from tests.unit.admin.conftest import Dashboard


async def files(dashboard: Dashboard, **filters: Any) -> list[dict[str, Any]]:
    options = {"numItems": 10, "cursor": None}
    page = await dashboard.query("fileStorageV2:fileMetadata", filters=filters, paginationOpts=options)
    assert page["isDone"] is True
    return page["page"]


async def test_files_are_listed_found_and_deleted(dashboard: Dashboard) -> None:
    store = dashboard.backend.action
    async with dashboard.subscribe("fileStorageV2:numFiles") as updates:
        assert await updates.next() == 0
        first = await store("notes:store", {"data": b"one", "contentType": "text/plain"})
        await dashboard.backend.advance(timedelta(seconds=10))
        second = await store("notes:store", {"data": b"two!"})
        while await updates.next() != 2:
            pass
    newest, oldest = await files(dashboard)
    assert (newest["_id"], oldest["_id"]) == (second, first)
    assert (oldest["contentType"], oldest["size"]) == ("text/plain", 3)
    assert "contentType" not in newest
    assert {"sha256", "_creationTime"} <= set(newest)
    assert (await dashboard.backend.fetch(newest["url"])).content == b"two!"
    assert [file["_id"] for file in await files(dashboard, order="asc")] == [first, second]
    assert await files(dashboard, minCreationTime=oldest["_creationTime"] + 1) == [newest]
    assert await files(dashboard, maxCreationTime=oldest["_creationTime"]) == [oldest]
    assert await dashboard.query("fileStorageV2:getFile", storageId=first) == oldest
    assert await dashboard.query("fileStorageV2:getFile", storageId="x") is None
    await dashboard.mutation("fileStorageV2:deleteFile", storageId=second)
    with pytest.raises(ApplicationError):
        await dashboard.mutation("fileStorageV2:deleteFiles", storageIds=[first, second])
    assert await files(dashboard) == [oldest]
    await dashboard.mutation("fileStorageV2:deleteFiles", storageIds=[first])
    assert await files(dashboard) == []
    await dashboard.add("notes", {"text": "a"})
    with pytest.raises(InvalidArguments):
        await dashboard.mutation("fileStorageV2:deleteFiles", storageIds=[(await dashboard.newest("notes"))[0]["_id"]])


async def test_a_file_is_uploaded(dashboard: Dashboard) -> None:
    url = await dashboard.mutation("fileStorageV2:generateUploadUrl")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(dashboard.backend.reactor)) as client:
        answer = await client.post(url, content=b"abc", headers={"content-type": "image/png"})
    (file,) = await files(dashboard)
    assert answer.json() == {"storageId": file["_id"]}


FLOAT = {"type": "Float64", "float64Range": {"hasSpecialValues": False}}


async def test_shapes_of_tables_without_schema(dashboard: Dashboard) -> None:
    await dashboard.add("notes", {"text": "a"})
    (note,) = await dashboard.newest("notes")
    await dashboard.add("loose", {"a": 1, "note": note["_id"]}, {"a": "x", "note": note["_id"], "b": [True]})
    await dashboard.mutation("createTable", table="empty")
    answer = await dashboard.http("GET", "/api/shapes2")
    assert answer.status_code == 200
    shapes = answer.json()
    assert set(shapes) == {"links", "notes", "reminders", "replies", "loose", "empty"}
    assert shapes["empty"] == {"type": "Never"}
    assert shapes["loose"]["type"] == "Object"
    fields = {field["fieldName"]: (field["optional"], field["shape"]) for field in shapes["loose"]["fields"]}
    assert fields == {
        "_id": (False, {"type": "Id", "tableName": "loose"}),
        "_creationTime": (False, FLOAT),
        "a": (False, {"type": "Union", "shapes": [FLOAT, {"type": "String"}]}),
        "b": (True, {"type": "Array", "shape": {"type": "Boolean"}}),
        "note": (False, {"type": "Id", "tableName": "notes"}),
    }
    assert (await dashboard.http("GET", "/api/shapes2", key=None)).status_code == 403
    assert (await dashboard.http("GET", "/api/shapes2?component=x")).status_code == 400
    assert (await dashboard.http("GET", "/api/shapes2?component=")).status_code == 200


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ([], {"type": "Never"}),
        ([None, Int64(1)], {"type": "Union", "shapes": [{"type": "Int64"}, {"type": "Null"}]}),
        ([1, math.nan], {"type": "Float64", "float64Range": {"hasSpecialValues": True}}),
        ([-0.0], {"type": "Float64", "float64Range": {"hasSpecialValues": True}}),
        ([b""], {"type": "Bytes"}),
        ([[]], {"type": "Array", "shape": {"type": "Never"}}),
        ([{}], {"type": "Object", "fields": []}),
        (
            [{"a b": 1}],
            {"type": "Record", "keyShape": {"type": "String"}, "valueShape": {"optional": False, "shape": FLOAT}},
        ),
        (
            [{f"k{n}": "x"} for n in range(65)],
            {
                "type": "Record",
                "keyShape": {"type": "String"},
                "valueShape": {"optional": False, "shape": {"type": "String"}},
            },
        ),
    ],
)
def test_a_shape_fits_all_values(values: list[Any], shape: dict[str, Any]) -> None:
    assert shape_of(values, lambda number: None) == shape
