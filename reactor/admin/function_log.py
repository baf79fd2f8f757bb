"""The last executions in memory, with a cursor each, for those who follow the deployment's log.

A ring of the last 1,000 executions and the lines that running actions logged meanwhile, bounded in bytes too. Entries become
JSON when somebody reads them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, NamedTuple

from reactor.clock import Clock
from reactor.engine.usage import Usage
from reactor.runtime.executions import Executions, Finished, Line, identity_type
from reactor.runtime.logs import LogLine

__all__ = ["Entry", "FunctionLog", "completion", "progress"]

COMPLETIONS_KEPT: Final = 1_000
"""Source: deployment-api 4.1."""
ENTRIES_KEPT: Final = 10_000
BYTES_KEPT: Final = 16 * 1024 * 1024
UDF_TYPES: Final = {"query": "Query", "mutation": "Mutation", "action": "Action", "httpAction": "HttpAction"}


class Entry(NamedTuple):
    cursor: float
    """When it was entered, in milliseconds; greater than all before."""
    item: Finished | Line


class FunctionLog:
    """Follows `executions` from now on. Lives on the event loop."""

    def __init__(self, executions: Executions, clock: Clock) -> None:
        self._clock = clock
        self._entries: deque[tuple[int, Finished | Line, int]] = deque()
        """With their cursors in whole microseconds, which doubles of milliseconds can tell apart; and their sizes."""
        self._completions = 0
        self._bytes = 0
        self._last = 0
        self._waiters: list[asyncio.Future[None]] = []
        self.closed = False
        self.waits = 0
        """How many times somebody had to wait."""
        self._stop = executions.listen(self._finished, self._line)

    def now(self) -> float:
        """A cursor behind everything there is, and before all that will be entered."""
        self._last = max(self._last, self._clock.now_ns() // 1000)
        return self._last / 1000

    def after(self, cursor: float) -> list[Entry]:
        """The entries with a greater cursor, oldest first."""
        found: list[Entry] = []
        for us, item, _ in reversed(self._entries):
            if us / 1000 <= cursor:
                break
            found.append(Entry(us / 1000, item))
        found.reverse()
        return found

    async def wait(self, seconds: float) -> None:
        """Return when something was entered, when the log was closed, or after so many seconds."""
        if self.closed:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.waits += 1
        await asyncio.wait([waiter], timeout=seconds)
        if not waiter.done():
            self._waiters.remove(waiter)

    @property
    def followers(self) -> int:
        """How many wait."""
        return len(self._waiters)

    def close(self) -> None:
        """Nobody need wait any longer, and nothing more is entered."""
        self._stop()
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _finished(self, finished: Finished) -> None:
        size = 600
        if finished.log_lines:
            size += sum(map(_size, finished.log_lines))
        if finished.error is not None:
            size += len(finished.error)
        self._completions += 1
        self._enter(finished, size)

    def _line(self, line: Line) -> None:
        self._enter(line, 300 + _size(line.line))

    def _enter(self, item: Finished | Line, size: int) -> None:
        now = self._clock.now_ns() // 1000
        if now <= self._last:
            now = self._last + 1
        self._last = now
        self._entries.append((now, item, size))
        self._bytes += size
        while (
            self._completions > COMPLETIONS_KEPT or self._bytes > BYTES_KEPT or len(self._entries) > ENTRIES_KEPT
        ) and len(self._entries) > 1:
            _, gone, size = self._entries.popleft()
            self._bytes -= size
            if isinstance(gone, Finished):
                self._completions -= 1
        if self._waiters:
            self._wake()


def _size(line: LogLine) -> int:
    return 150 + sum(map(len, line.messages))


# As Convex's tools read them. Source: deployment-api 4.2.


def log_line(line: LogLine) -> dict[str, Any]:
    found: dict[str, Any] = {
        "messages": line.messages,
        "level": line.level,
        "timestamp": round(line.timestamp),
        "isTruncated": line.is_truncated,
    }
    if line.source is not None:
        found["udfPath"] = line.source
    return found


def progress(entry: Entry, line: Line) -> dict[str, Any]:
    """Lines of an action that is running."""
    return {
        "kind": "Progress",
        "udfType": UDF_TYPES[line.kind],
        "componentPath": None,
        "identifier": line.path,
        "timestamp": entry.cursor / 1000,
        "logLines": [log_line(line.line)],
        "requestId": line.request_id,
        "executionId": line.execution_id,
    }


def completion(entry: Entry, finished: Finished, *, as_text: bool = False) -> dict[str, Any]:
    """An execution. `as_text` for the older stream: lines are strings, and actions, whose lines are streamed, keep them."""
    if as_text:
        lines: list[Any] = [line.text for line in finished.log_lines]
    elif finished.kind in ("action", "httpAction"):
        lines = []
    else:
        lines = [log_line(line) for line in finished.log_lines]
    has_result = finished.error is None and finished.kind != "httpAction"
    return {
        "kind": "Completion",
        "udfType": UDF_TYPES[finished.kind],
        "identifier": finished.path,
        "componentPath": None,
        "logLines": lines,
        "timestamp": entry.cursor / 1000,
        "executionTime": finished.seconds,
        "userExecutionTime": None,
        "cachedResult": finished.is_cached,
        "success": {"status": str(finished.status)} if finished.kind == "httpAction" and finished.status else None,
        "error": finished.error,
        "requestId": finished.request_id,
        "executionId": finished.execution_id,
        "parentExecutionId": finished.parent,
        "caller": finished.door,
        "environment": "isolate",  # the tools know two, and the other one is "node"
        "identityType": identity_type(finished.caller),
        "returnBytes": finished.result_bytes if has_result else None,
        "occInfo": None,  # mutations never conflict
        "willRetry": False,
        "executionTimestamp": finished.began_ns / 1e9,
        "usageStats": _usage(finished.usage),
    }


def _usage(usage: Usage | None) -> dict[str, Any]:
    read = write = documents_read = documents_written = 0
    if usage is not None:
        read, write = usage.bytes_read, usage.bytes_written
        documents_read, documents_written = usage.documents_read, usage.documents_written
    return {
        "databaseReadBytes": read,
        "databaseWriteBytes": write,
        "databaseIoReadBytes": read,
        "databaseIoWriteBytes": write,
        "databaseReadDocuments": documents_read,
        "databaseWriteDocuments": documents_written,
        # Nobody counts these.
        "storageReadBytes": 0,
        "storageWriteBytes": 0,
        "vectorIndexReadBytes": 0,
        "vectorIndexWriteBytes": 0,
        "textIndexQueryBytes": 0,
        "textIndexWriteQueryBytes": 0,
        "vectorIndexReadQueryBytes": 0,
        "vectorIndexWriteQueryBytes": 0,
        "networkEgressBytes": 0,
        "memoryUsedMb": 0,
    }
