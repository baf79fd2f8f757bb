"""The official npm client with deployments that change, or that stand below a path of another application."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.driver import Driver
from tests.support.server import CONFORMANCE_APP, free_port, running_server

pytestmark = [pytest.mark.node, pytest.mark.process]

HOST_APPLICATION = """
import sys
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from reactor import Reactor

port, app, data = int(sys.argv[1]), sys.argv[2], sys.argv[3]
host = Starlette(routes=[Mount("/back/end", Reactor(app, data=data, dev=True))])
uvicorn.run(host, port=port, log_level="warning")
"""


async def test_it_works_below_a_path_of_another_application(tmp_path: Path, npm: Driver, channel: str) -> None:
    """client-protocol 1.1: it keeps the path of its deployment address"""
    port, script, log = free_port(), tmp_path / "host.py", tmp_path / "host.log"
    script.write_text(HOST_APPLICATION)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(script), str(port), str(CONFORMANCE_APP), str(tmp_path / "data")],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}/back/end"
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/version").status_code == 200:
                    break
            time.sleep(0.05)
        await npm.call("newClient", name="one", url=url)
        await npm.call("newHttpClient", name="http", url=url)
        await npm.call("subscribe", name="one", sub="n", path="messages:count", args={"channel": channel})
        append = {"path": "messages:append", "args": {"channel": channel, "body": "x"}}
        assert await npm.call("mutation", name="one", **append) == 0
        assert await npm.call("http", name="http", kind="mutation", **append) == 1
        await npm.until_update("n", lambda value: value == 2)
        # A 12 MB result, and a page, through the host's own WebSocket implementation.
        big = await npm.call("query", name="one", path="values:big", args={"megabytes": 12})
        assert len(big["rows"]) == 120
        await npm.until_update("n", lambda value: value == 2)
        assert (await npm.call("traffic", name="one"))["opened"] == 1
    finally:
        process.kill()
        process.wait()


async def test_saved_code_is_live_on_the_open_connection(tmp_path: Path, npm: Driver, channel: str) -> None:
    app = tmp_path / "app"
    shutil.copytree(CONFORMANCE_APP, app, ignore=shutil.ignore_patterns("__pycache__"))
    greet = app / "functions" / "greet.py"
    with running_server(tmp_path / "reactor", app=app) as server:
        await npm.call("newClient", name="one", url=server.url)
        await npm.call("subscribe", name="one", sub="hello", path="greet:default", args={})
        await npm.call("subscribe", name="one", sub="n", path="messages:count", args={"channel": channel})
        await npm.until_update("hello", lambda value: value == "hello world")
        greet.write_text(greet.read_text().replace("hello {name}", "good day {name}"))
        await npm.until_update("hello", lambda value: value == "good day world")
        greet.write_text("this is no Python\n")
        server.mutation("messages:send", {"channel": channel, "body": "x"})
        await npm.until_update("n", lambda value: value == 1)
        assert npm.updates("hello") == ["hello world", "good day world"]
        assert (await npm.call("traffic", name="one"))["opened"] == 1
