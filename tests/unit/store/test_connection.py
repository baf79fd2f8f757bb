"""The adapter to aiosqlite: engine rule 21."""

from __future__ import annotations

import ast
import asyncio
import re
import threading
from pathlib import Path

import aiosqlite
import pytest

import reactor
from reactor.errors import StoreError, Unavailable
from reactor.store.sqlite.connection import ThreadConnection

REPOSITORY = Path(reactor.__file__).parent.parent


async def opened(path: Path) -> ThreadConnection:
    return await ThreadConnection.open(path / "x.sqlite3", name="test", set_up=lambda raw: None)


def test_only_the_adapter_imports_aiosqlite_and_the_version_is_pinned() -> None:
    """engine rule 21"""
    users = set()
    for path in Path(reactor.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.split(".")[0] == "aiosqlite" for name in names):
                users.add(path.relative_to(REPOSITORY).as_posix())
    assert users == {"reactor/store/sqlite/connection.py"}
    assert re.search(r'"aiosqlite==0\.22\.1"', (REPOSITORY / "pyproject.toml").read_text())


async def test_jobs_run_on_the_connections_thread_in_order(tmp_path: Path) -> None:
    connection = await opened(tmp_path)
    seen: list[int] = []
    threads = await asyncio.gather(
        *(connection.run(lambda n=n: (seen.append(n), threading.current_thread())[1]) for n in range(10))
    )
    assert set(threads) == {connection.thread}
    assert seen == list(range(10))
    await connection.close()
    connection.thread.join(10)
    assert not connection.thread.is_alive()
    with pytest.raises(Unavailable):
        await connection.run(lambda: None)


async def test_the_self_test_notices_when_jobs_run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """engine rule 21"""

    async def elsewhere(self: object, fn, *args: object):
        return fn(*args)

    with monkeypatch.context() as patched:
        patched.setattr(aiosqlite.Connection, "_execute", elsewhere)
        with pytest.raises(StoreError, match=r"install aiosqlite==0\.22\.1"):
            await opened(tmp_path)


async def test_a_job_whose_caller_was_cancelled_still_runs(tmp_path: Path) -> None:
    connection = await opened(tmp_path)
    started, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def job() -> None:
        started.set()
        go_on.wait()
        done.set()

    task = asyncio.ensure_future(connection.run(job))
    await asyncio.get_running_loop().run_in_executor(None, started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await connection.run(lambda: None)
    assert done.is_set()
    await connection.close()


async def test_a_failing_set_up_leaves_no_thread_behind(tmp_path: Path) -> None:
    def refuse(raw: object) -> None:
        raise StoreError("no")

    before = threading.active_count()
    with pytest.raises(StoreError, match="no"):
        await ThreadConnection.open(tmp_path / "x", name="test", set_up=refuse)
    for thread in [thread for thread in threading.enumerate() if thread.name == "test"]:
        thread.join(10)
    assert threading.active_count() == before
