"""A `Reactor` inside other applications: below a path, beside another one, started by the first request, stopped at the end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.driver import node_driver
from tests.support.server import ReactorProcess, free_port
from tests.support.sync_client import SyncClient

pytestmark = pytest.mark.process

HOST_APPLICATION = """
import sys
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
import uvicorn
from reactor import Reactor

port, app, data, lifespan = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "lifespan"
left = Reactor(app, data=data + "/left", admin_keys=["key"])
right = Reactor(app, data=data + "/right")

async def home(request):
    return PlainTextResponse("the host's own page")

host = Starlette(
    routes=[Route("/", home), Mount("/live", left), Mount("/deep/er", right)],
    lifespan=left.lifespan if lifespan else None,
)
uvicorn.run(host, port=port, log_level="warning", ws="auto")
print("ended cleanly", flush=True)
"""


class Host:
    def __init__(self, tmp_path: Path, app: Path, *, lifespan: bool) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        script = tmp_path / "host.py"
        script.write_text(HOST_APPLICATION)
        self.output = tmp_path / "host.log"
        arguments = [str(self.port), str(app), str(tmp_path / "data"), "lifespan" if lifespan else "none"]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(script), *arguments], stdout=output, stderr=subprocess.STDOUT
            )
        with httpx.Client(transport=httpx.HTTPTransport(retries=20)) as http:
            assert http.get(self.url).text == "the host's own page"

    def call(self, mount: str, kind: str, path: str, **args: object) -> object:
        answer = httpx.post(f"{self.url}{mount}/api/{kind}", json={"path": path, "args": args}, timeout=30)
        assert answer.json()["status"] == "success", answer.text
        return answer.json()["value"]


@pytest.fixture(params=["first request", "lifespan"])
def host(request: pytest.FixtureRequest, tmp_path: Path, app: Path) -> Iterator[Host]:
    running = Host(tmp_path, app, lifespan=request.param == "lifespan")
    yield running
    running.process.kill()
    running.process.wait()


async def test_two_deployments_live_in_one_process_and_share_nothing(host: Host) -> None:
    assert host.call("/live", "query", "notes:count") == 0
    host.call("/live", "mutation", "notes:add", text="left")
    assert host.call("/live", "query", "notes:count") == 1
    assert host.call("/deep/er", "query", "notes:count") == 0
    assert httpx.get(f"{host.url}/live/version").status_code == 200
    page = httpx.get(f"{host.url}/live/", headers={"Accept": "text/html"})
    assert f"{host.url}/live" in page.text


async def test_live_queries_work_below_a_path(host: Host) -> None:
    client = SyncClient(f"ws://127.0.0.1:{host.port}/live/api/1.48.0/sync")
    await client.open()
    count = await client.subscribe("notes:count")
    assert count.value == 0
    await client.mutation("notes:add", {"text": "x"})
    assert count.value == 1
    await client.close()


@pytest.mark.node
async def test_the_official_npm_client_works_below_a_path(host: Host) -> None:
    """The PyPI client can't: it drops the path of its deployment's URL."""
    async with node_driver() as npm:
        await npm.call("newClient", name="c", url=f"{host.url}/live")
        await npm.call("subscribe", name="c", sub="s", path="notes:count", args={})
        await npm.until_update("s", lambda value: value == 0)
        await npm.call("mutation", name="c", path="notes:add", args={"text": "x"})
        assert npm.updates("s") == [0, 1]
        assert await npm.call("query", name="c", path="notes:word", args={}) == "first"
        npm.assert_calm()


async def test_the_host_ends_cleanly_with_open_sockets(host: Host) -> None:
    client = SyncClient(f"ws://127.0.0.1:{host.port}/live/api/1.48.0/sync")
    await client.open()
    await client.subscribe("notes:count")
    await client.mutation("notes:add", {"text": "x"})
    host.process.send_signal(signal.SIGINT)
    assert host.process.wait(20) == 0
    await client.until_closed()
    assert host.output.read_text().endswith("ended cleanly\n")
    assert "Traceback" not in host.output.read_text()
    data = host.output.parent / "data" / "left"
    assert not list(data.glob("*-wal")), "the database was not closed"


def test_a_data_directory_in_use_answers_503_until_it_is_free(tmp_path: Path, app: Path) -> None:
    other = ReactorProcess(tmp_path / "other", app=app)
    other.data = tmp_path / "data" / "right"
    other.start()
    running = Host(tmp_path, app, lifespan=False)
    try:
        body = {"path": "notes:count", "args": {}}
        assert httpx.post(f"{running.url}/deep/er/api/query", json=body).status_code == 503
        assert "is in use by another reactor" in running.output.read_text()
        other.terminate()
        assert running.call("/deep/er", "query", "notes:count") == 0
    finally:
        other.close()
        running.process.kill()
        running.process.wait()
