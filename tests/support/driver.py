"""Talks to a client driver: a subprocess that takes commands and tells events, one JSON object per line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

CLIENTS = Path(__file__).parents[1] / "clients"
PATIENCE_S = 30.0


def unavailable(what: str) -> None:
    """Skip loudly, or fail where nothing may be left out (CI)."""
    message = f"NOT RUN: {what}"
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def require_node() -> str:
    node = shutil.which("node")
    if node is None:
        unavailable("the npm client was not tested, because `node` is not on the PATH")
    if not (CLIENTS / "node_modules" / "convex").is_dir():
        unavailable("the npm client was not tested, because its packages are missing: `npm ci` in tests/clients")
    assert node is not None
    return node


class RemoteError(Exception):
    """What the client under test raised or rejected with."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(f"{told.get('name')}: {told.get('message')}")
        self.name: str = told.get("name", "")
        self.text: str = told.get("message", "")
        self.has_data = "data" in told
        self.data: Any = told.get("data")


class Driver:
    """One driver process. `call` sends a command and waits for its answer; `events` keeps all it told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.events: list[dict[str, Any]] = []
        self._changed = asyncio.Condition()
        self._errors: list[str] = []
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._read_errors())]

    def send(self, op: str, /, **command: Any) -> asyncio.Future[Any]:
        """Send a command; the future is its answer, so several can be under way."""
        self._number += 1
        future = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = future
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": self._number, "op": op, **command}).encode() + b"\n")
        return future

    async def answer(self, future: asyncio.Future[Any], *, patience: float = PATIENCE_S) -> Any:
        try:
            return await asyncio.wait_for(asyncio.shield(future), patience)
        except TimeoutError:
            raise AssertionError(f"no answer within {patience} s\n{self.tail()}") from None

    async def call(self, op: str, /, patience: float = PATIENCE_S, **command: Any) -> Any:
        return await self.answer(self.send(op, **command), patience=patience)

    async def until(self, condition: Callable[[], Any], *, patience: float = PATIENCE_S) -> Any:
        """Wait until the condition over `events` holds; its value is returned."""
        try:
            async with asyncio.timeout(patience), self._changed:
                return await self._changed.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"waited {patience} s in vain\n{self.tail()}") from None

    def updates(self, sub: str) -> list[Any]:
        """Values and failures that a subscription has told so far, in order; failures as dicts with "name"."""
        return [
            event["value"] if event["event"] == "update" else event["error"]
            for event in self.events
            if event.get("sub") == sub and event["event"] in ("update", "failure")
        ]

    async def until_update(self, sub: str, condition: Callable[[Any], Any], *, patience: float = PATIENCE_S) -> Any:
        """Wait until the last update of a subscription meets the condition, and return it."""
        await self.until(lambda: bool(seen := self.updates(sub)) and condition(seen[-1]), patience=patience)
        return self.updates(sub)[-1]

    def console(self, level: str | None = None) -> list[str]:
        return [e["line"] for e in self.events if e["event"] == "console" and level in (None, e["level"])]

    def assert_calm(self) -> None:
        """The client threw nothing into the void and met no protocol error."""
        trouble = [e for e in self.events if e["event"] == "uncaught"]
        trouble += [line for line in self.console() if "FATAL" in line or "Received unexpected" in line]
        assert not trouble, trouble
        assert "Invalid request id" not in "".join(self._errors), self._errors

    def tail(self) -> str:
        told = "\n".join(json.dumps(event)[:300] for event in self.events[-12:])
        return f"last events:\n{told}\nstderr:\n{''.join(self._errors)[-3000:]}"

    @property
    def stderr(self) -> str:
        return "".join(self._errors)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if "event" in message:
                self.events.append(message)
            elif (future := self._waiting.pop(message["id"])) and not future.done():
                if "error" in message:
                    future.set_exception(RemoteError(message["error"]))
                    future.exception()  # an answer nobody asks for is not an error of the test
                else:
                    future.set_result(message["ok"])
            async with self._changed:
                self._changed.notify_all()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(AssertionError(f"the driver ended\n{self.tail()}"))
                future.exception()

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(65536):
            self._errors.append(data.decode(errors="replace"))

    async def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await asyncio.wait(self._tasks, timeout=5)


@contextlib.asynccontextmanager
async def driver(*command: str) -> AsyncIterator[Driver]:
    """Start a driver process and wait until it says it is ready."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=128 * 1024 * 1024,
        cwd=CLIENTS,
    )
    running = Driver(process)
    try:
        await running.until(lambda: any(event["event"] == "ready" for event in running.events))
        yield running
    finally:
        await running.close()


def node_driver(script: str = "driver.mjs") -> contextlib.AbstractAsyncContextManager[Driver]:
    return driver(require_node(), str(CLIENTS / "js" / script))


def python_driver() -> contextlib.AbstractAsyncContextManager[Driver]:
    return driver(sys.executable, str(CLIENTS / "py_driver.py"))
