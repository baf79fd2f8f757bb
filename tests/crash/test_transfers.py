"""A kill in the middle of an import or export: all of it or nothing, said so, and nothing left behind."""

from __future__ import annotations

import json
import signal

import httpx
import pytest

from tests.support.server import ADMIN_KEY, ReactorProcess

pytestmark = pytest.mark.process

ADMIN = {"Authorization": f"Convex {ADMIN_KEY}"}
ROWS = "".join(json.dumps({"channel": "new", "body": f"b{n}", "author": "a", "number": n}) + "\n" for n in range(3000))


def last(server: ReactorProcess, query: str) -> dict:
    body = {"path": query, "args": {}, "format": "convex_encoded_json"}
    value = httpx.post(f"{server.url}/api/query", json=body, headers=ADMIN).json()["value"]
    return value[0] if isinstance(value, list) else value


def left_over(server: ReactorProcess) -> list[str]:
    return [path.name for path in (server.data / "transfer").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("point", "mode", "is_done"),
    [
        ("import.mid_load", "replace", False),
        ("import.mid_load", "append", False),
        ("import.before_swap", "replace", False),
        ("store.before_commit", "append", False),
        ("import.after_swap", "append", True),
    ],
)
def test_a_kill_during_an_import(server: ReactorProcess, point: str, mode: str, is_done: bool) -> None:
    server.mutation("messages:send", {"channel": "old", "body": "kept"})
    # Killed at the fourth time: in the middle of the steps, where there are several.
    count = {"import.mid_load": 4, "store.before_commit": 12}.get(point, 1)
    server.terminate()
    server.start(env={"REACTOR_FAULTS": f"{point}=kill:{count}"})
    with pytest.raises(httpx.TransportError):
        httpx.post(
            f"{server.url}/api/import?tableName=messages&format=jsonLines&mode={mode}",
            content=ROWS,
            headers=ADMIN,
            timeout=60,
        )
    assert server.wait_exit() == -signal.SIGKILL, server.log()
    server.start()
    state = last(server, "_system/cli/queryImport:list")["state"]
    kept = server.query("messages:bodies", {"channel": "old"})
    new = server.query("messages:count", {"channel": "new"})
    if is_done:
        assert state["state"] == "completed"
        assert (kept, new) == (["kept"], 3000)
    else:
        assert state["state"] == "failed"
        assert "The server was stopped before this import was done. Nothing was changed" in state["error_message"]
        assert (kept, new) == (["kept"], 0)
    assert left_over(server) == []
    # And it works when it is tried again.
    answer = httpx.post(
        f"{server.url}/api/import?tableName=messages&format=jsonLines&mode=replace",
        content=ROWS,
        headers=ADMIN,
        timeout=60,
    )
    assert answer.json() == {"numWritten": 3000}
    server.mutation("messages:send", {"channel": "new", "body": "more"})
    assert server.query("messages:count", {"channel": "new"}) == 3001


@pytest.mark.parametrize("point", ["export.after_copy", "export.before_done"])
def test_a_kill_during_an_export(server: ReactorProcess, point: str) -> None:
    server.mutation("messages:send", {"channel": "old", "body": "kept"})
    server.terminate()
    server.start(env={"REACTOR_FAULTS": f"{point}=kill:1"})
    httpx.post(f"{server.url}/api/export/request/zip", headers=ADMIN, timeout=60)
    assert server.wait_exit() == -signal.SIGKILL, server.log()
    server.start()
    export = last(server, "_system/cli/exports:getLatest")
    assert export["state"] == "failed"
    assert "Request it again" in export["error_message"]
    assert left_over(server) == []
    export_id = httpx.post(f"{server.url}/api/export/request/zip", headers=ADMIN).json()["exportId"]
    assert export_id != export["_id"]
