"""A disk that is nearly full: imports, exports and backups end with a clear error, nothing of them stays, and writes go on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from reactor.errors import Unavailable
from reactor.model import transfers
from reactor.store import room
from reactor.store.room import MIB, RESERVE_BYTES, check_room
from reactor.transfer import child
from reactor.workers import import_placement
from tests.unit.transfer.conftest import Deployment, make_zip

TIGHT = RESERVE_BYTES + MIB // 8
"""Room for an upload of some bytes; a copy of the database takes more."""


class Disk:
    """What is free on it; after `looks` of them, that it is nearly full."""

    def __init__(self, free: int, looks: float = math.inf) -> None:
        self.free, self.looks = free, looks
        self.paths: list[str] = []

    def __call__(self, path: Path | str | int) -> int:
        self.paths.append(Path(path).name if not isinstance(path, int) else "open")
        self.looks -= 1
        return self.free if self.looks >= 0 else RESERVE_BYTES - 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Disk]:
    def make(free: int, looks: float = math.inf) -> Disk:
        disk = Disk(free, looks)
        monkeypatch.setattr(room, "free_bytes", disk)
        return disk

    return make


def test_the_real_disk_has_something_free(tmp_path: Path) -> None:
    """By path and by descriptor; and what nobody has room for is refused."""
    with (tmp_path / "file").open("wb") as file:
        assert room.free_bytes(tmp_path) > 0
        assert room.free_bytes(file.fileno()) > 0
    with pytest.raises(Unavailable):
        check_room(tmp_path, 2**62)


def test_the_error_says_what_is_there_and_what_to_do(tmp_path: Path, disk: Callable[..., Disk]) -> None:
    disk(300 * MIB)
    check_room(tmp_path)
    check_room(tmp_path, 44 * MIB)
    with pytest.raises(Unavailable) as caught:
        check_room(tmp_path, 44 * MIB + 1)
    assert caught.value.code == "DiskNearlyFull"
    assert str(caught.value) == (
        "The disk has only 300 MiB free, of which 256 MiB are kept for the database; 45 MiB more are needed. "
        "Free some space, then try again."
    )


async def failed_export(deployment: Deployment, *, storage: bool = False) -> str:
    """Make an export that fails; what is told of it."""
    exporter = deployment.reactor.exporter
    export_id = await exporter.request(include_storage=storage)
    assert exporter._running is not None
    await exporter._running[1]
    found = await deployment.reactor.database.read(lambda tx: transfers.read(tx, transfers.EXPORTS, export_id))
    assert found is not None
    assert found["state"] == "failed"
    return found["error_message"]


async def assert_writes_go_on(deployment: Deployment, names: list[str]) -> None:
    assert deployment.left_over() == []
    await deployment.mutation("items:add", name="more")
    assert await deployment.names() == [*names, "more"]


async def test_an_export_for_which_there_is_no_room_is_not_begun(
    deployment: Deployment, disk: Callable[..., Disk]
) -> None:
    looks = disk(TIGHT)
    assert "more are needed" in await failed_export(deployment)
    assert looks.paths == ["copies"]  # before there was a file
    await assert_writes_go_on(deployment, [])


async def test_an_export_ends_when_the_disk_fills_up_while_the_database_is_copied(
    deployment: Deployment, disk: Callable[..., Disk]
) -> None:
    looks = disk(2**40, looks=1)
    assert "only 255 MiB free" in await failed_export(deployment)
    assert looks.paths == ["copies", "open"]
    await assert_writes_go_on(deployment, [])


@pytest.mark.parametrize("before", ["documents", "files"])
async def test_an_export_ends_when_the_disk_fills_up_while_the_archive_is_written(
    deployment: Deployment, disk: Callable[..., Disk], monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.setattr(child, "SMALL_BYTES", math.inf)  # in this process, which has this disk
    await deployment.mutation("items:store", text="hello")
    looks = disk(2**40)
    await deployment.export(storage=True)
    archive = len([path for path in looks.paths if path.endswith(".part")])
    copying = len(looks.paths) - archive
    disk(2**40, copying + (archive - 1 if before == "files" else 1))
    assert "only 255 MiB free" in await failed_export(deployment, storage=True)
    await assert_writes_go_on(deployment, [])


async def test_a_backup_for_which_there_is_no_room_is_refused(
    deployment: Deployment, disk: Callable[..., Disk]
) -> None:
    disk(TIGHT)
    transport = httpx.ASGITransport(deployment.reactor)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        key = {"authorization": f"Convex {deployment.reactor.admin_keys[0]}"}
        answer = await client.get("/api/backup", headers=key)
        assert (answer.status_code, answer.json()["code"]) == (503, "DiskNearlyFull")
        assert "The backup could not be made: The disk has only 256 MiB free" in answer.json()["message"]
        assert not list(deployment.reactor.settings.data.rglob("backup-*"))
        disk(2**40)
        assert (await client.get("/api/backup", headers=key)).status_code == 200
    await assert_writes_go_on(deployment, [])


async def test_an_import_ends_wherever_the_disk_fills_up(
    deployment: Deployment, disk: Callable[..., Disk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is sent, read, sorted, or put into the database: at each look once."""
    monkeypatch.setattr(import_placement, "APPENDED_AT_ONCE", 0)
    monkeypatch.setattr(child, "SMALL_BYTES", math.inf)
    await deployment.import_([{"name": "kept"}])
    archive = make_zip({"items/documents.jsonl": "\n".join(['{"name": "%s"}' % ("x" * 100_000)] * 30)})
    looks = disk(2**40)
    await deployment.import_(archive, "zip", "replace")
    assert {"open", "staging"} < set(looks.paths)
    disk(2**40)
    await deployment.import_([{"name": "kept"}], mode="replace")
    for count in range(len(looks.paths)):
        disk(2**40, count)
        with pytest.raises(Unavailable, match="only 255 MiB free") as caught:
            await deployment.import_(archive, "zip", "replace")
        assert caught.value.code == "DiskNearlyFull"
        assert await deployment.names() == ["kept"]
        assert deployment.left_over() == []
    disk(2**40, len(looks.paths))
    await deployment.import_(archive, "zip", "replace")
    assert (await deployment.names())[0] == "x" * 100_000


async def test_an_import_that_fits_but_cannot_be_sorted_is_refused(
    deployment: Deployment, disk: Callable[..., Disk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sorting takes twice what there is: SQLite's own file, and the documents in their order."""
    monkeypatch.setattr(child, "SMALL_BYTES", math.inf)
    archive = make_zip({"items/documents.jsonl": "\n".join(['{"name": "%s"}' % ("x" * 100_000)] * 30)})
    disk(RESERVE_BYTES + 5 * MIB)
    with pytest.raises(Unavailable, match="more are needed"):
        await deployment.import_(archive, "zip")
    disk(RESERVE_BYTES + 6 * MIB)
    assert await deployment.import_(archive, "zip") == 30


async def test_what_is_sorted_stays_in_the_data_directory(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the disk that has room, and where nobody else reads: SQLite would take /var/tmp."""
    directories: list[Path] = []
    start = asyncio.create_subprocess_exec

    async def starting(*command: Any, env: dict[str, str], **options: Any) -> Any:
        directories.append(Path(env["SQLITE_TMPDIR"]))
        assert directories[-1].is_dir()
        return await start(*command, env=env, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", starting)
    await deployment.import_([{"name": "x" * 100_000}])
    await deployment.export()
    transfers = deployment.reactor.settings.data / "transfer"
    assert [directory.relative_to(transfers).parts[0] for directory in directories] == ["uploads", "exports"]
    assert deployment.left_over() == []
