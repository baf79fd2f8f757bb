"""`npx convex logs` of the unmodified official command line (deployment-api 4.3, checklist 27 to 31)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.driver import require_node
from tests.support.official_cli import CONVEX_CLI, cli_environment, make_project, npx_convex
from tests.support.server import ADMIN_KEY, ReactorProcess, running_server
from tests.unit.runtime.harness import write_files

pytestmark = [pytest.mark.node, pytest.mark.process]

FUNCTIONS = """
    from reactor import ActionCtx, ApplicationError, MutationCtx, QueryCtx, action, mutation, query

    @query
    async def list(ctx: QueryCtx) -> int:
        ctx.log("listing", 42)
        return 1

    @mutation
    async def fail(ctx: MutationCtx) -> None:
        ctx.log.warn("about to")
        raise ApplicationError("boom")

    @mutation
    async def note(ctx: MutationCtx) -> None:
        print("noted")
        await ctx.db.insert("notes", {})

    @action
    async def steps(ctx: ActionCtx) -> None:
        print("step one")
        await ctx.run_query("talk:list")
        ctx.log.error("step two")
"""
HTTP = """
    from reactor import ActionCtx, HttpRouter
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse

    http = HttpRouter()

    @http.route("/hello", methods=["GET"])
    async def hello(ctx: ActionCtx, request: Request) -> PlainTextResponse:
        print("greeting")
        return PlainTextResponse("hello")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReactorProcess]:
    work = tmp_path_factory.mktemp("logs")
    app = write_files(work / "app", {"functions/talk.py": FUNCTIONS, "functions/http.py": HTTP})
    # Polls end after a second instead of a minute, so that renewing them is part of every test that follows.
    with running_server(work, app=app, env={"REACTOR_LIMITS_LOG_POLL_S": "1"}) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


class Follower:
    """A running `npx convex logs`, its output line by line."""

    def __init__(self, project: Path, server: ReactorProcess, *arguments: str) -> None:
        require_node()
        self._process = subprocess.Popen(
            ["node", str(CONVEX_CLI), "logs", *arguments],
            cwd=project,
            env=cli_environment(server),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def wait(self, text: str, seconds: float = 30) -> None:
        """Until a line with `text` came."""
        with self._changed:
            there = self._changed.wait_for(lambda: any(text in line for line in self.lines), seconds)
        assert there, (text, self.lines)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def running(self) -> bool:
        return self._process.poll() is None


@contextlib.contextmanager
def following(project: Path, server: ReactorProcess, *arguments: str) -> Iterator[Follower]:
    follower = Follower(project, server, *arguments)
    try:
        yield follower
    finally:
        follower.close()


def until(seen: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def when_it_waits(server: ReactorProcess) -> None:
    """Until the follower has had its first answer and asked again."""
    until(lambda: number(server, "reactor_log_followers") == 1)


def number(server: ReactorProcess, name: str) -> float:
    text = httpx.get(f"{server.url}/metrics", headers={"authorization": f"Convex {ADMIN_KEY}"}).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


def test_the_first_follow_of_an_empty_server_loses_nothing(project: Path, tmp_path: Path) -> None:
    """29, 28: a query, a failing mutation, an action's lines as they come, an HTTP action; and `--success`."""
    app = write_files(tmp_path / "app", {"functions/talk.py": FUNCTIONS, "functions/http.py": HTTP})
    with (
        running_server(tmp_path / "server", app=app) as server,
        following(project, server, "--success") as follower,
    ):
        when_it_waits(server)
        server.query("talk:list")
        httpx.get(f"http://127.0.0.1:{server.site_port}/hello")
        assert server.call("mutation", "talk:fail")["status"] == "error"
        assert server.call("action", "talk:steps")["status"] == "success"
        follower.wait("[CONVEX A(talk:steps)] Function executed in")
        # 31, and a stopping server does not wait for whoever waits
        when_it_waits(server)
        assert server.terminate() == 0
    text = "\n".join(follower.lines)
    assert "[CONVEX Q(talk:list)] [LOG] 'listing' 42" in text
    assert "[CONVEX Q(talk:list)] Function executed in" in text
    assert "[CONVEX M(talk:fail)] [WARN] 'about to'" in text
    assert "[CONVEX M(talk:fail)] Uncaught ConvexError: boom" in text
    assert "[CONVEX A(talk:steps)] [LOG] 'step one'" in text
    assert "[CONVEX A(talk:steps)] [ERROR] 'step two'" in text
    assert text.count("'step one'") == 1
    assert "[CONVEX H(GET /hello)] [LOG] 'greeting'" in text
    assert "[CONVEX H(GET /hello)] Function executed in" in text


def test_history_and_json_lines(project: Path, server: ReactorProcess) -> None:
    """27, 30, 31: three of the past; all keys; and polls that end without anything are renewed"""
    for _ in range(4):
        server.mutation("talk:note")
    server.call("mutation", "talk:fail")
    with following(project, server, "--history", "3", "--jsonl") as follower:
        follower.wait('"error":"Uncaught')
        before = [json.loads(line) for line in follower.lines if line.startswith("{")]
        before_idling = number(server, "reactor_log_waits_total")
        until(lambda: number(server, "reactor_log_waits_total") >= before_idling + 2)
        server.call("action", "talk:steps")
        follower.wait('"talk:steps","componentPath":null,"logLines":[],')
        assert follower.running
    assert [entry["identifier"] for entry in before] == ["talk:note", "talk:note", "talk:fail"]
    entries = [json.loads(line) for line in follower.lines if line.startswith("{")]
    completions = [entry for entry in entries if entry["kind"] == "Completion"]
    assert all(entry.keys() == COMPLETION for entry in completions)
    assert all(entry["usageStats"].keys() == USAGE for entry in completions)
    failed = before[2]
    assert (failed["udfType"], failed["caller"], failed["returnBytes"]) == ("Mutation", "HttpApi", None)
    (line,) = failed["logLines"]
    assert line | {"timestamp": 0} == {
        "messages": ["'about to'"],
        "level": "WARN",
        "timestamp": 0,
        "isTruncated": False,
    }
    listed, steps = (next(c for c in completions if c["identifier"] == name) for name in ("talk:list", "talk:steps"))
    assert (listed["caller"], listed["parentExecutionId"]) == ("Action", steps["executionId"])
    progress = [entry for entry in entries if entry["kind"] == "Progress"]
    assert {entry["executionId"] for entry in progress} == {steps["executionId"]}
    assert [entry["logLines"][0]["messages"] for entry in progress] == [["'step one'"], ["'step two'"]]


def test_a_wrong_key_ends_the_command(project: Path, server: ReactorProcess) -> None:
    done = npx_convex(project, server, "logs", admin_key="conformance|wrong")
    assert done.returncode != 0


COMPLETION = {
    "kind", "udfType", "identifier", "componentPath", "logLines", "timestamp", "executionTime", "userExecutionTime",
    "cachedResult", "success", "error", "requestId", "executionId", "parentExecutionId", "caller", "environment",
    "identityType", "returnBytes", "occInfo", "willRetry", "executionTimestamp", "usageStats",
}  # fmt: skip
USAGE = {
    "databaseReadBytes", "databaseWriteBytes", "databaseIoReadBytes", "databaseIoWriteBytes", "databaseReadDocuments",
    "databaseWriteDocuments", "storageReadBytes", "storageWriteBytes", "vectorIndexReadBytes", "vectorIndexWriteBytes",
    "textIndexQueryBytes", "textIndexWriteQueryBytes", "vectorIndexReadQueryBytes", "vectorIndexWriteQueryBytes",
    "networkEgressBytes", "memoryUsedMb",
}  # fmt: skip
