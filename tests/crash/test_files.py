"""`kill -9` between any two steps of an upload or a deletion: no half file, no row without its blob, nothing left for ever."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support.server import ReactorProcess

pytestmark = [pytest.mark.process, pytest.mark.timeout(150)]


def _start_armed(server: ReactorProcess, point: str) -> None:
    """Started, to be killed the next time that `point` is reached: those that starting reaches don't count."""
    gate = server.work / "started"
    gate.unlink(missing_ok=True)
    server.start(env={"REACTOR_FAULTS": f"{point}=kill:1", "REACTOR_FAULTS_WHILE": str(gate)})
    gate.touch()


def _list(server: ReactorProcess) -> list[dict[str, object]]:
    return server.query("files:list")


def _on_disk(server: ReactorProcess) -> set[str]:
    return {path.name for path in (server.data / "files").glob("??/*")}


def _wait_for_blobs(server: ReactorProcess, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(_on_disk(server)) != count:
        assert time.monotonic() < deadline, (_on_disk(server), server.log())
        time.sleep(0.02)


def _check(server: ReactorProcess) -> list[str]:
    """Every row has its blob, whole; the ids of all files."""
    rows = _list(server)
    for row in rows:
        url = server.query("files:url", {"id": row["_id"]})
        response = httpx.get(url)
        assert response.status_code == 200
        digest = server.query("files:metadata", {"id": row["_id"]})["sha256"]
        assert hashlib.sha256(response.content).hexdigest() == digest
    return [str(row["_id"]) for row in rows]


@pytest.mark.parametrize(
    ("point", "is_kept"),
    [
        ("blob_files.before_sync", False),
        ("blob_files.before_rename", False),
        ("blob_files.after_rename", False),
        ("files.before_record", False),
        ("committer.after_run", False),
        ("store.before_commit", False),
        ("store.after_commit", True),
        ("committer.before_publish", True),
        ("files.after_record", True),
    ],
)
def test_a_kill_between_the_steps_of_an_upload(server: ReactorProcess, point: str, is_kept: bool) -> None:
    before = httpx.post(server.mutation("files:generateUploadUrl"), content=b"before").json()["storageId"]
    url = server.mutation("files:generateUploadUrl")
    server.kill()
    _start_armed(server, point)
    data = os.urandom(1_000_000)
    with pytest.raises(httpx.TransportError):
        httpx.post(url, content=data, timeout=30)
    server.wait_exit()
    server.start()
    ids = _check(server)
    assert before in ids
    assert len(ids) == (2 if is_kept else 1)
    assert list((server.data / "files" / "incoming").iterdir()) == []
    _wait_for_blobs(server, len(ids))
    # The URL goes on working: what signs it is kept.
    again = httpx.post(url, content=data).json()["storageId"]
    assert again in _check(server)


def test_a_kill_in_the_middle_of_the_bytes(server: ReactorProcess) -> None:
    url = server.mutation("files:generateUploadUrl")

    def body() -> Iterator[bytes]:
        yield bytes(3_000_000)
        deadline = time.monotonic() + 30
        while not any(path.stat().st_size for path in (server.data / "files" / "incoming").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.kill()
        for _ in range(100):
            yield bytes(1_000_000)

    with pytest.raises(httpx.TransportError):
        httpx.post(url, content=body(), timeout=30)
    server.start()
    assert _list(server) == []
    assert list((server.data / "files" / "incoming").iterdir()) == []
    assert _on_disk(server) == set()


@pytest.mark.parametrize(
    ("point", "is_kept"),
    [
        ("committer.after_run", True),
        ("store.before_commit", True),
        ("store.after_commit", False),
        ("committer.before_publish", False),
    ],
)
def test_a_kill_between_the_steps_of_a_deletion(server: ReactorProcess, point: str, is_kept: bool) -> None:
    """A deletion that was committed takes its blob along, after the restart at the latest."""
    id = httpx.post(server.mutation("files:generateUploadUrl"), content=b"to go").json()["storageId"]
    server.kill()
    _start_armed(server, point)
    with pytest.raises(httpx.TransportError):
        server.mutation("files:delete", {"id": id})
    server.wait_exit()
    server.start()
    assert _check(server) == ([id] if is_kept else [])
    _wait_for_blobs(server, 1 if is_kept else 0)
