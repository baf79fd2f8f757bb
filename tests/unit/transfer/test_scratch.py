"""Large scratch files come and go bit by bit, and nothing of them stays open."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reactor.errors import Unavailable
from reactor.model import transfers
from reactor.store.sqlite import staging
from reactor.store.sqlite.staging import StagingFile
from reactor.transfer import child, scratch, snapshot
from reactor.transfer.rows import ImportRefused
from reactor.transfer.scratch import FLUSH_BYTES, Trickle, remove_large
from tests.unit.transfer.conftest import Deployment, make_zip


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were brought to the disk."""
    names: list[str] = []

    def fdatasync(descriptor: int) -> None:
        names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    monkeypatch.setattr(scratch.os, "fdatasync", fdatasync)
    return names


@pytest.fixture
def trickle(tmp_path: Path) -> Callable[[], Trickle]:
    path = tmp_path / "large"
    path.touch()
    return lambda: Trickle(path)


def open_files(name: str) -> list[str]:
    """The descriptors of this process that are of files called so, deleted ones too."""
    found: list[str] = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:  # the one of the listing itself
            continue
        if Path(target.removesuffix(" (deleted)")).name == name:
            found.append(target)
    return found


def test_it_waits_for_the_disk_after_each_megabyte_and_not_before(
    trickle: Callable[[], Trickle], flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 5 * FLUSH_BYTES  # by others, before
    monkeypatch.setattr(scratch, "written_bytes", lambda: written)
    monkeypatch.setattr(scratch, "FLUSH_S", math.inf)
    wait = trickle()
    counts: list[int] = []
    for more in (0, FLUSH_BYTES - 1, 1, FLUSH_BYTES - 1, 0, 2 * FLUSH_BYTES, 0):
        written += more
        wait()
        counts.append(len(flushed))
    wait.close()
    assert counts == [0, 0, 1, 1, 1, 2, 2]
    assert set(flushed) == {"large"}


def test_where_nobody_counts_what_is_written_it_goes_by_time(
    trickle: Callable[[], Trickle], flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "resource", None)
    assert scratch.written_bytes() == 0
    monkeypatch.setattr(scratch, "FLUSH_S", math.inf)
    wait = trickle()
    wait()
    assert flushed == []
    monkeypatch.setattr(scratch, "FLUSH_S", 0.0)
    wait()
    assert flushed == ["large"]
    wait.close()


async def test_a_large_file_goes_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "STEP_BYTES", 1000)
    path = tmp_path / "large"
    path.write_bytes(b"x" * 3500)
    truncate, sizes = os.truncate, list[int]()

    def noted(path: Path, size: int) -> None:
        truncate(path, size)
        sizes.append(path.stat().st_size)

    monkeypatch.setattr(scratch.os, "truncate", noted)
    await remove_large(path)
    assert sizes == [2500, 1500, 500]
    assert not path.exists()
    small = tmp_path / "small"
    small.write_bytes(b"x" * 1000)
    await remove_large(str(small))
    assert (len(sizes), small.exists()) == (3, False)


async def test_what_is_not_there_need_not_be_removed(tmp_path: Path) -> None:
    await remove_large(tmp_path / "never")
    with pytest.raises(OSError, match="directory"):
        await remove_large(tmp_path)


def test_a_staging_file_calls_in_the_meantime(tmp_path: Path) -> None:
    calls: list[int] = []
    file = StagingFile(tmp_path / "staging", lambda: calls.append(1))
    file.create("t", keys=False)
    for n in range(5_000):
        file.add("t", f"{n * 7919 % 5000:04}", b"body")
    added = len(calls)
    assert file.sort("t") == 5_000
    file.finish()
    assert 0 < added < len(calls)
    ids = [i for some in StagingFile.read_ids(tmp_path / "staging", "t") for i in some]
    assert ids == [f"{n:04}" for n in range(5_000)]


async def test_what_is_read_on_a_thread_of_the_server_waits_for_the_disk_too(
    deployment: Deployment, flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "FLUSH_BYTES", 0)
    monkeypatch.setattr(staging, "PROGRESS_STEPS", 50)
    rows = [{"name": f"row {n:03}", "n": n} for n in range(600)]
    assert await deployment.import_(rows) == 600
    assert await deployment.names() == [row["name"] for row in rows]
    assert "staging" in flushed
    assert open_files("staging") == []


@pytest.mark.parametrize("format", ["jsonLines", "zip"])
async def test_a_refused_file_leaves_nothing_open(deployment: Deployment, format: str) -> None:
    """Also while its error is still looked at: the server would run out of descriptors."""
    lines = '{"name": "a", "n": 1}\n{"name": 7}'
    content = make_zip({"items/documents.jsonl": lines}) if format == "zip" else lines.encode()
    with pytest.raises(ImportRefused, match="Row 2") as caught:
        await deployment.import_(content, format)  # type: ignore[arg-type]
    assert caught.value.__traceback__ is not None
    assert open_files("staging") == []


async def test_a_staging_file_that_cannot_be_opened_leaves_nothing_open(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no descriptor left, say; and it is told as the disk's other failures are."""
    connect = sqlite3.connect

    def fail(path: str | Path, *args: Any, **options: Any) -> sqlite3.Connection:
        if Path(path).name == "staging":
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path, *args, **options)

    monkeypatch.setattr(staging.sqlite3, "connect", fail)
    with pytest.raises(Unavailable, match="staging file") as caught:
        await deployment.import_([{"name": "a"}])
    assert caught.value.__traceback__ is not None
    assert open_files("staging") == []
    assert deployment.left_over() == []


async def test_an_export_that_fails_leaves_nothing_open(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, which can be looked at; exports run in one of their own."""

    def fail(body: bytes) -> bytes:
        raise OSError("fault injected")

    monkeypatch.setattr(child, "SMALL_BYTES", math.inf)
    monkeypatch.setattr(snapshot, "to_uniform", fail)
    await deployment.mutation("items:add", name="a")
    exporter = deployment.reactor.exporter
    export_id = await exporter.request(include_storage=False)
    assert exporter._running is not None
    await exporter._running[1]
    found = await deployment.reactor.database.read(lambda tx: transfers.read(tx, transfers.EXPORTS, export_id))
    assert found is not None
    assert (found["state"], "fault injected" in found["error_message"]) == ("failed", True)
    assert open_files(f"{export_id}.part") == open_files(export_id) == []
    assert deployment.left_over() == []
