"""`reactor serve` for machines that collect logs: one JSON object a line, for log records and for executions of functions."""

from __future__ import annotations

import asyncio
import logging
import queue
import re
import sys
import threading
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

import msgspec

from reactor.cli.error_text import format_error
from reactor.config import Settings
from reactor.runtime.executions import Finished

__all__ = ["ExecutionLines", "JsonFormatter", "execution_object", "json_line", "writes_json"]

FLUSH_S: Final = 0.05
"""Executions are encoded and written by a thread of their own, so many at a time."""
EXTRA: Final = ("request_id", "function", "url", "site_url")
"""What records may carry beside their text."""
_DEL_AND_C1: Final = re.compile(rb"\x7f|\xc2[\x80-\x9f]")
"""Control characters that JSON need not escape, which some terminal will be shown."""


def writes_json(settings: Settings) -> bool:
    """Whether this process writes JSON lines: in production, when asked to or when nobody watches a terminal."""
    if settings.dev:
        return False
    return settings.log_format == "json" or (settings.log_format == "auto" and not sys.stdout.isatty())


def json_line(level: str, logger: str, message: str, **more: Any) -> bytes:
    """One line about something that happens now."""
    now = datetime.now(UTC)
    return _line({"timestamp": _iso(now), "level": level, "logger": logger, "message": message, **more})


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(content: dict[str, Any]) -> bytes:
    try:
        return _DEL_AND_C1.sub(lambda found: b"\\u%04x" % found[0][-1], msgspec.json.encode(content)) + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, in what a function printed
        text = repr(content).encode("utf-8", "backslashreplace").decode()
        return (
            msgspec.json.encode({"timestamp": content["timestamp"], "level": content["level"], "message": text}) + b"\n"
        )


class JsonFormatter(logging.Formatter):
    """Log records. `error` holds the traceback from where the app's code begins."""

    def format(self, record: logging.LogRecord) -> str:
        content: dict[str, Any] = {
            "timestamp": _iso(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        content.update((name, getattr(record, name)) for name in EXTRA if hasattr(record, name))
        if record.exc_info and (error := record.exc_info[1]) is not None:
            content["error"] = {"type": type(error).__name__, "message": str(error), "traceback": format_error(error)}
        return _line(content).decode().rstrip("\n")


def execution_object(finished: Finished) -> dict[str, Any]:
    """An execution, with the lines that it logged itself; those of functions it called are with theirs."""
    ended = datetime.fromtimestamp(finished.began_ns / 1e9 + finished.seconds, UTC)
    content: dict[str, Any] = {
        "timestamp": _iso(ended),
        "level": "INFO" if finished.error is None else "ERROR",
        "logger": "reactor.functions",
        "message": f"{finished.kind} {finished.path} {'ended' if finished.error is None else 'failed'}",
        "kind": finished.kind,
        "function": finished.path,
        "request_id": finished.request_id,
        "execution_id": finished.execution_id,
        "caller": finished.door,
        "outcome": "success" if finished.error is None else "failure",
        "duration_ms": round(finished.seconds * 1000, 3),
    }
    if finished.parent is not None:
        content["parent_execution_id"] = finished.parent
    if finished.status:
        content["status"] = finished.status
    if finished.error is not None:
        content["error"] = {"code": finished.code, "message": finished.error.rstrip()}
    lines = [
        {"level": line.level, "message": " ".join(line.messages), "timestamp": line.timestamp}
        for line in finished.log_lines
        if line.source is None
    ]
    if lines:
        content["log_lines"] = lines
    return content


class ExecutionLines:
    """A listener of executions that writes a line for each, but for results from the cache. `close` writes what is left."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._pending: list[Finished] = []
        self._batches: queue.SimpleQueue[list[Finished] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="execution log", daemon=True)
        self._thread.start()

    def __call__(self, finished: Finished) -> None:
        if finished.is_cached:
            return
        if not self._pending:
            asyncio.get_running_loop().call_later(FLUSH_S, self._flush)
        self._pending.append(finished)

    def _flush(self) -> None:
        batch, self._pending = self._pending, []
        if batch:
            self._batches.put(batch)

    def close(self) -> None:
        self._flush()
        self._batches.put(None)
        self._thread.join(2.0)

    def _write(self) -> None:
        while (batch := self._batches.get()) is not None:
            self._out.write(b"".join([_line(execution_object(finished)) for finished in batch]))
            self._out.flush()
