"""`reactor serve` without a terminal: every line that it writes is one JSON object."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.server import ReactorProcess, running_server
from tests.unit.runtime.harness import write_files

pytestmark = pytest.mark.process

FUNCTIONS = """
    from reactor import ActionCtx, ApplicationError, MutationCtx, action, mutation

    @mutation
    async def add(ctx: MutationCtx, text: str) -> None:
        print("adding", text)
        if text == "no":
            raise ApplicationError("no")
        if text == "bug":
            raise ValueError("a bug")
        await ctx.db.insert("notes", {"text": text})

    @action
    async def relay(ctx: ActionCtx, text: str) -> None:
        ctx.log.warn("relaying", 2)
        await ctx.run_mutation("notes:add", text=text)
"""


def lines(server: ReactorProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log(1_000_000).splitlines() if not line.startswith("--- ")]


def when_told(server: ReactorProcess, message: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while True:
        found = [line for line in lines(server) if line["message"] == message]
        if found:
            return found[0]
        assert time.monotonic() < deadline, lines(server)
        time.sleep(0.02)


def test_every_line_is_an_object_with_what_happened(tmp_path: Path) -> None:
    app = write_files(tmp_path / "app", {"functions/notes.py": FUNCTIONS})
    with running_server(tmp_path, app=app, mode="serve") as server:
        ready = next(line for line in lines(server) if "url" in line)
        assert ready["url"] == server.url
        body = {"path": "notes:relay", "args": {"text": "a"}}
        httpx.post(f"{server.url}/api/action", json=body, headers={"convex-request-id": "req-1"})
        for text in ("no", "bug"):
            body = {"path": "notes:add", "args": {"text": text}}
            httpx.post(f"{server.url}/api/mutation", json=body, headers={"convex-request-id": f"req-{text}"})
        relay = when_told(server, "action notes:relay ended")
        add = when_told(server, "mutation notes:add ended")
        when_told(server, "mutation notes:add failed")
        bug = when_told(server, "[req-bug] notes:add failed")
        assert server.terminate() == 0
        everything = lines(server)
    assert {"timestamp", "level", "logger", "message"} <= set.intersection(*(set(line) for line in everything))
    assert everything[-1]["message"] == "stopped"
    assert (relay["function"], relay["kind"], relay["outcome"], relay["caller"]) == (
        "notes:relay",
        "action",
        "success",
        "HttpApi",
    )
    assert [(line["level"], line["message"]) for line in relay["log_lines"]] == [("WARN", "'relaying' 2")]
    assert [line["message"] for line in add["log_lines"]] == ["'adding a'"]
    assert add["request_id"] == relay["request_id"] == "req-1"
    assert add["parent_execution_id"] == relay["execution_id"]
    failures = {line["request_id"]: line for line in everything if line["message"] == "mutation notes:add failed"}
    assert failures["req-no"]["error"]["code"] == "ApplicationError"
    assert "Uncaught ConvexError: no" in failures["req-no"]["error"]["message"]
    assert (bug["request_id"], bug["function"], bug["error"]["type"]) == ("req-bug", "notes:add", "ValueError")
    assert "ValueError: a bug" in bug["error"]["traceback"]
    assert "req-bug" in failures


def test_text_where_it_is_asked_for(tmp_path: Path) -> None:
    app = write_files(tmp_path / "app", {"functions/notes.py": FUNCTIONS})
    with running_server(tmp_path, app=app, mode="serve", env={"REACTOR_LOG_FORMAT": "text"}) as server:
        server.mutation("notes:add", {"text": "a"})
        assert "INFO reactor.functions: notes:add: [LOG] 'adding a'" in server.log()
        assert "reactor serve ready in" in server.log()
