"""The pytest plugin that comes with reactor: the fixtures `backend`, also as `reactor_backend`, and `issuer`.

Coroutine tests that take them need no marker. The app is the project's own: the directory of pyproject.toml, or what
`reactor_app` in pytest's settings or `app` in `[tool.reactor]` say.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from reactor.testing.harness import Backend
    from reactor.testing.issuer import TestIssuer

__all__ = ["backend", "issuer", "reactor_backend"]

_FIXTURES = {"backend", "issuer", "reactor_backend"}

try:
    from pytest_asyncio import fixture as _async_fixture
except ImportError:  # then the fixture says what is missing
    _async_fixture = None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("reactor_app", "Directory of the app that the `backend` fixture serves.", default=None)


def _app_directory(config: pytest.Config) -> Path:
    told = config.getini("reactor_app")
    if told:
        return config.rootpath / told
    from reactor.config import load_settings

    return load_settings(cwd=config.rootpath).app


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Let tests import the app (`from functions import tasks`) wherever pytest was started."""
    pyproject = early_config.rootpath / "pyproject.toml"
    told = early_config.getini("reactor_app")
    if not told and not (pyproject.is_file() and "[tool.reactor" in pyproject.read_text("utf-8", errors="replace")):
        return
    app = str(_app_directory(early_config))
    if app not in sys.path:
        sys.path.insert(0, app)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> None:
    """Mark coroutine tests that take a fixture of ours, before pytest-asyncio looks at them."""
    if not name.startswith("test") or not inspect.iscoroutinefunction(obj):
        return
    if _FIXTURES.isdisjoint(obj.__code__.co_varnames[: obj.__code__.co_argcount + obj.__code__.co_kwonlyargcount]):
        return
    theirs = {mark.name for mark in getattr(obj, "pytestmark", [])} | {mark.name for mark in collector.iter_markers()}
    if not theirs & {"asyncio", "anyio", "trio"}:
        pytest.mark.asyncio(obj)


def _without_asyncio() -> None:
    """A whole backend, in memory, with the project's app and a clock that stands still."""
    pytest.fail("the `backend` fixture needs pytest-asyncio: pip install pytest-asyncio", pytrace=False)


async def _reactor_backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """The same as `backend`, for projects that have a fixture of that name."""
    from reactor.testing.harness import backend

    async with backend(_app_directory(request.config)) as running:
        yield running


async def _backend(reactor_backend: Backend) -> Backend:
    """A whole backend, in memory, with the project's app and a clock that stands still."""
    return reactor_backend


async def _issuer(reactor_backend: Backend) -> AsyncIterator[TestIssuer]:
    """An identity provider whose tokens `backend` accepts: `await backend.with_token(issuer.token("ann"))`."""
    from reactor.testing.issuer import TestIssuer

    with TestIssuer(clock=reactor_backend.clock) as running:
        reactor_backend.reactor.identities.trust(running.provider)
        yield running


if _async_fixture is None:
    reactor_backend = backend = pytest.fixture(name="backend")(_without_asyncio)
    issuer = pytest.fixture(name="issuer")(_without_asyncio)
else:
    issuer = _async_fixture(name="issuer")(_issuer)
    reactor_backend = _async_fixture(name="reactor_backend")(_reactor_backend)
    backend = _async_fixture(name="backend")(_backend)
