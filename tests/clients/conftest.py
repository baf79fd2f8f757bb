"""One server process for all client tests of a worker; tests keep apart by using channels and names of their own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.driver import Driver, node_driver, python_driver
from tests.support.official_cli import make_project
from tests.support.proxy import BreakingProxy, breaking_proxy
from tests.support.server import TOOLS_APP, ReactorProcess, running_server
from tests.support.sync_client import SyncClient


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReactorProcess]:
    with running_server(tmp_path_factory.mktemp("reactor")) as server:
        yield server


@pytest.fixture
def server(shared_server: ReactorProcess) -> ReactorProcess:
    """The shared server, still alive. Not to be stopped: take `own_server` for that."""
    assert shared_server.running, f"an earlier test ended the shared server:\n{shared_server.log()}"
    return shared_server


@pytest.fixture
def own_server(tmp_path: pytest.TempPathFactory) -> Iterator[ReactorProcess]:
    """A server for one test, which may stop, kill and restart it."""
    with running_server(tmp_path / "reactor") as server:  # type: ignore[operator]
        yield server


_channels = itertools.count()


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    return f"{request.node.name}-{next(_channels)}"[:200]


@pytest.fixture
async def npm() -> AsyncIterator[Driver]:
    """A Node process with the official npm client, and no client made yet."""
    async with node_driver() as driver:
        yield driver
        driver.assert_calm()


@pytest.fixture
async def react() -> AsyncIterator[Driver]:
    async with node_driver("react.mjs") as driver:
        yield driver
        driver.assert_calm()


@pytest.fixture
async def pypi() -> AsyncIterator[Driver]:
    """A Python process with the official PyPI client."""
    async with python_driver() as driver:
        yield driver
        driver.assert_calm()


@pytest.fixture
async def proxy(server: ReactorProcess) -> AsyncIterator[BreakingProxy]:
    async with breaking_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def raw(server: ReactorProcess) -> AsyncIterator[Callable[[], SyncClient]]:
    """Makes strict protocol clients, not opened yet; breaches of protocol fail the test at its end at the latest."""
    made: list[SyncClient] = []

    def make(url: str | None = None, **options: object) -> SyncClient:
        made.append(SyncClient(url or server.ws_url, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for client in made:
        await client.abort()
        if client.error is not None:
            raise client.error


@pytest.fixture(scope="session")
def tools_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReactorProcess]:
    """A server of the app that the official command line is tried with."""
    with running_server(tmp_path_factory.mktemp("tools"), app=TOOLS_APP) as server:
        yield server


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `npx convex` takes for a project."""
    return make_project(tmp_path_factory.mktemp("project"))
