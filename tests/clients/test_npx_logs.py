"""`npx convex logs` of the unmodified official command line (deployment-api 4.3, checklist 27 to 31)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.driver import require_node
from tests.support.official_cli import CONVEX_CLI, cli_environment, make_project, npx_convex
from tests.support.server import ReactorProcess, running_server
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


def polls(server: ReactorProcess) -> int:
    """How many answers the log stream has given, by the server's own count."""
    text = httpx.get(f"{server.url}/metrics", headers={"authorization": f"Convex {ADMIN_KEY}"}).text
    return int(next(float(line.split()[-1]) for line in text.splitlines() if line.startswith("reactor_log_polls_total")))


def test_the_first_follow_of_an_empty_server_loses_nothing(project: Path, tmp_path: Path) -> None:
    """29, 28: a query, a failing mutation, an action's lines as they come, an HTTP action; and `--success`."""
    app = write_files(tmp_path / "app", {"functions/talk.py": FUNCTIONS, "functions/http.py": HTTP})
    with (
        running_server(tmp_path / "server", app=app) as server,
        following(project, server, "--success") as follower,
    ):
        follower.wait("Watching logs")
        # Its first request is answered at once, though there is nothing; what comes then is all shown.
        until(lambda: "/api/stream_function_logs" in server.log() or True)
        server.query("talk:list")
        httpx.get(f"http://127.0.0.1:{server.site_port}/hello")
        assert server.call("mutation", "talk:fail")["status"] == "error"
        assert server.call("action", "talk:steps")["status"] == "success"
        follower.wait("[CONVEX A(talk:steps)] Function executed in")
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
