"""Exports: what is in the archive, that it is of one moment, and that it imports into a fresh deployment as it was."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactor import faults
from reactor.model import transfers
from reactor.transfer.rows import ImportRefused
from reactor.transfer.uniform import from_uniform, to_uniform
from reactor.values.types import Int64, values_equal
from reactor.values.wire import encode
from reactor.workers.exporter import BEFORE_DONE, ExportRefused
from tests.unit.transfer.conftest import Deployment, entries_of, make_zip

VALUES = {
    "whole": 1,
    "half": 0.5,
    "large": 1e300,
    "int64": Int64(7),
    "low": Int64(-(2**63)),
    "negative zero": -0.0,
    "infinite": float("inf"),
    "bytes": b"\x00\xff",
    "nested": [{"a": [Int64(1), 1.0, None]}, "ü\u2028"],
}


async def add_all(deployment: Deployment) -> None:
    for name, value in VALUES.items():
        await deployment.mutation("items:addAny", table="things", fields={"content": [name, value]})
    for n in range(3):
        await deployment.mutation("items:add", name=f"item {n}", n=n)


async def test_the_archive(deployment: Deployment) -> None:
    """checklist 43"""
    await add_all(deployment)
    entries = entries_of(await deployment.export())
    assert list(entries)[:2] == ["README.md", "_tables/documents.jsonl"]
    # Smallest first.
    assert [name.partition("/")[0] for name in entries][2:] == ["notes"] * 2 + ["users"] * 2 + ["items"] * 2 + [
        "things"
    ] * 2
    numbers = [json.loads(line) for line in entries["_tables/documents.jsonl"].splitlines()]
    tables = deployment.reactor.database.catalogue.tables
    assert numbers == [{"name": name, "id": tables[name].number} for name in ("notes", "users", "items", "things")]
    assert entries["things/generated_schema.jsonl"] == b'"uniform"\n'
    contents = {
        line.partition(b'"content":["')[2].partition(b'"')[0]: line
        for line in entries["things/documents.jsonl"].splitlines()
    }
    written = {name.decode(): line.partition(b'",')[2].partition(b'],"_')[0] or line for name, line in contents.items()}
    by_name = {
        name: json.dumps(json.loads(line)["content"][1]) for name, line in zip(written, contents.values(), strict=True)
    }
    assert by_name["whole"] == "1.0"
    assert by_name["int64"] == "7"
    assert by_name["negative zero"] == "-0.0"
    assert by_name["large"] == "1e+300"
    assert json.loads(by_name["infinite"]) == {"$float": "AAAAAAAA8H8="}
    assert json.loads(by_name["bytes"]) == {"$bytes": "AP8="}
    first = json.loads(entries["items/documents.jsonl"].splitlines()[0])
    assert isinstance(first["_creationTime"], float)


async def test_what_is_exported_imports_into_a_fresh_deployment_as_it_was(
    deployment: Deployment, second: Deployment
) -> None:
    """checklist 47: the same documents, ids, files, and bytes of documents"""
    # Other numbers than the fresh deployment will have given.
    await deployment.import_([{"x": 1}], table="early")
    await add_all(deployment)
    user = await deployment.mutation("items:addAny", table="users", fields={"name": "ann"})
    await deployment.mutation("items:addAny", table="items", fields={"name": "owned", "owner": user})
    file = await deployment.mutation("items:store", text="the contents")
    archive = await deployment.export(storage=True)
    await second.import_([{"y": 1}], table="in_the_way")
    await second.mutation("items:add", name="gone")
    assert await second.import_(archive, "zip", "replaceAll") == len(VALUES) + 7
    for table in ("users", "items", "things", "early"):
        ours, theirs = await deployment.documents(table), await second.documents(table)
        assert [d["_id"] for d in ours] == [d["_id"] for d in theirs]
        assert all(values_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert "in_the_way" not in second.reactor.database.catalogue.tables
    size, kind, url = await second.query("items:file", id=file)
    assert (size, kind) == (12, "text/plain")
    found = await second.reactor.files.find(url.rpartition("/")[2])
    assert found is not None
    assert await second.reactor.files.read_all(found) == b"the contents"
    again = await second.export(storage=True)
    assert entries_of(again) == entries_of(archive)
    # New documents go on from there.
    assert await second.mutation("items:add", name="new")


async def test_it_is_of_one_moment(deployment: Deployment) -> None:
    await deployment.mutation("items:add", name="before")

    writes: list[asyncio.Task[Any]] = []
    faults.arm(
        "export.after_copy",
        lambda: writes.append(asyncio.ensure_future(deployment.mutation("items:add", name="after"))),
    )
    entries = entries_of(await deployment.export())
    await writes[0]
    assert entries["items/documents.jsonl"].count(b"\n") == 1
    assert "after" in await deployment.names()
    assert deployment.left_over() == []


async def test_one_at_a_time_and_the_newest_is_found(deployment: Deployment) -> None:
    """checklist 45, 46"""
    exporter = deployment.reactor.exporter
    await exporter.request(include_storage=False)
    with pytest.raises(ExportRefused) as caught:
        await exporter.request(include_storage=False)
    assert caught.value.code == "ExportInProgress"
    assert exporter._running is not None
    await exporter._running[1]
    first = await deployment.reactor.database.read(lambda tx: transfers.latest(tx, "_exports"))
    await deployment.mutation("items:add", name="new")
    await deployment.export()
    second = await deployment.reactor.database.read(lambda tx: transfers.latest(tx, "_exports"))
    assert first is not None
    assert second is not None
    assert first["state"] == second["state"] == "completed"
    assert second["start_ts"] > first["start_ts"]
    assert (await exporter.find(str(int(first["start_ts"]))))[1]["_id"] == first["_id"]
    with pytest.raises(ExportRefused, match="no such export"):
        await exporter.find("17")


async def test_exports_expire(deployment: Deployment) -> None:
    await deployment.export()
    exporter = deployment.reactor.exporter
    found = await deployment.reactor.database.read(lambda tx: transfers.latest(tx, "_exports"))
    assert found is not None
    path, _ = await exporter.find(found["_id"])
    now = deployment.reactor.clock.now_ns()
    await exporter.set_expiration(found["_id"], now + 3_600 * 10**9)
    await deployment.backend.advance(timedelta(minutes=59))
    assert path.exists()
    await deployment.backend.advance(timedelta(minutes=2))
    async with asyncio.timeout(20):
        while path.exists():
            await asyncio.sleep(0.01)
    with pytest.raises(ExportRefused):
        await exporter.find(found["_id"])
    limit = deployment.reactor.settings.limits.exports_kept
    for _ in range(limit + 1):
        await deployment.export()
    assert len(list(path.parent.glob("*.zip"))) == limit


async def test_an_export_can_be_canceled(deployment: Deployment) -> None:
    exporter = deployment.reactor.exporter
    export_id = await exporter.request(include_storage=False)
    await exporter.cancel(export_id)
    with pytest.raises(ExportRefused, match=r"canceled|completed") as caught:
        await exporter.find(export_id)
    assert caught.value.code == "ExportNotComplete"
    assert deployment.left_over() == []
    await deployment.export()


async def test_an_export_that_is_canceled_too_late_is_told_as_completed(deployment: Deployment) -> None:
    exporter = deployment.reactor.exporter
    export_id = await exporter.request(include_storage=False)
    canceling: list[asyncio.Task[None]] = []
    faults.arm(BEFORE_DONE, lambda: canceling.extend(asyncio.create_task(exporter.cancel(export_id)) for _ in range(2)))
    assert exporter._running is not None
    await exporter._running[1]
    for task in canceling:
        with pytest.raises(ExportRefused, match="too late") as caught:
            await task
        assert caught.value.code == "ExportCompleted"
    path, document = await exporter.find(export_id)
    assert path.stat().st_size == document["size"]
    assert deployment.left_over() == []
    await deployment.backend.advance(timedelta(seconds=deployment.reactor.settings.limits.export_kept_s + 60))
    async with asyncio.timeout(20):  # it expires like any other
        while path.exists():
            await asyncio.sleep(0.01)


async def test_an_archive_whose_export_is_just_being_noted_as_complete_is_nobody_s_to_delete(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another export expires at that moment."""
    exporter, database = deployment.reactor.exporter, deployment.reactor.database
    expiring: list[asyncio.Task[None]] = []
    write = database.write

    async def late(*args: Any, **options: Any) -> Any:
        if expiring and asyncio.current_task() is not expiring[0]:
            await asyncio.wait(expiring, timeout=0.3)
        return await write(*args, **options)

    monkeypatch.setattr(database, "write", late)
    faults.arm(BEFORE_DONE, lambda: expiring.append(asyncio.create_task(exporter._expire())))
    await deployment.export()
    await expiring[0]


async def test_append_adds_a_snapshot_s_documents(deployment: Deployment, second: Deployment) -> None:
    await add_all(deployment)
    archive = await deployment.export()
    await second.import_(archive, "zip")
    with pytest.raises(ImportRefused, match="is in"):
        await second.import_(archive, "zip", "append")
    without_ids = make_zip(
        {"dump/items/documents.jsonl": '{"name": "more"}', "dump/items/generated_schema.jsonl": '"uniform"\n'}
    )
    await second.import_(without_ids, "zip", "append")
    assert await second.names() == ["item 0", "item 1", "item 2", "more"]


_scalars = st.none() | st.booleans() | st.floats() | st.text() | st.binary(max_size=20)
_scalars |= st.integers(-(2**63), 2**63 - 1).map(Int64) | st.integers(-(2**53), 2**53)
_names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,6}", fullmatch=True)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(_names, _values, max_size=5))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_every_value_survives(fields: dict[str, Any]) -> None:
    """checklist 43, 47"""
    line = to_uniform(encode(fields))
    assert b"\n" not in line
    assert encode(from_uniform(line)) == encode(fields)
    # Each number shows of which kind it is.
    json.loads(line, parse_int=lambda text: text, parse_float=lambda text: text)
    assert to_uniform(encode(from_uniform(line))) == line
