"""What functions print and log: captured per call, rendered as `[LEVEL] text` lines, bounded.

`print` and everything else that writes to `sys.stdout`, and `logging` from INFO up whatever the root logger is set to,
become lines of the function that is running in the current context; outside of functions nothing changes.
"""

from __future__ import annotations

import contextvars
import logging
import sys
import traceback
from typing import Any, Final, Protocol, TextIO

from reactor.limits import Limits

__all__ = ["CURRENT", "ContextLog", "LogCapture", "LogLines", "capture_output", "is_capturing"]

_LEVELS: Final = {"debug": "DEBUG", "log": "LOG", "info": "INFO", "warn": "WARN", "error": "ERROR"}
_TRUNCATED: Final = " (truncated due to length)"


class LogLines:
    """The log lines of one top-level call, its nested calls included."""

    closed = False
    """Set once the call has ended; what its left-over tasks print is nobody's then."""
    _overflowed = False
    _partial = ""

    def __init__(self, limits: Limits) -> None:
        self.lines: list[str] = []
        self._limits = limits

    def add(self, level: str, text: str) -> None:
        """Add a line. `level` is LOG, INFO, WARN, ERROR or DEBUG; `text` is already rendered."""
        limits = self._limits
        if len(self.lines) >= limits.log_lines:
            if not self._overflowed:
                self._overflowed = True
                # The overflow line takes the place of the last one, so that there are never more than the limit.
                self.lines[-1] = f"[ERROR] Log overflow (maximum {limits.log_lines}). Remaining log lines omitted."
            return
        if len(text) > limits.log_line_chars:
            text = text[: limits.log_line_chars] + _TRUNCATED
        self.lines.append(f"[{level}] {text}")

    def extend(self, lines: tuple[str, ...]) -> None:
        """Take over the lines of a function that was called."""
        for line in lines:
            level, _, text = line.partition("] ")
            self.add(level[1:], text)

    def write(self, text: str) -> None:
        """Take a piece of what is printed. A piece that ends in a newline ends a line, as `print` does it."""
        if len(self._partial) <= self._limits.log_line_chars:
            self._partial += text
        if text.endswith("\n"):
            line, self._partial = self._partial.removesuffix("\n"), ""
            self.add("LOG", quote(line))

    def finish(self) -> tuple[str, ...]:
        """All lines, an unfinished one included; the call has ended."""
        self.closed = True
        if self._partial:
            line, self._partial = self._partial, ""
            self.add("LOG", quote(line))
        return tuple(self.lines)


class LogCapture(Protocol):
    """What the current context may hold: a running call."""

    is_transactional: bool
    logs: LogLines


CURRENT: Final[contextvars.ContextVar[Any]] = contextvars.ContextVar("reactor_call", default=None)
"""The call that runs in this context (a `LogCapture`), or None."""


def quote(text: str) -> str:
    """A string as log lines show it: in single quotes where possible."""
    return repr(text)


def render(values: tuple[Any, ...]) -> str:
    """Several values the way a console shows them: strings in quotes, separated by spaces."""
    return " ".join(repr(value) for value in values)


class ContextLog:
    """`ctx.log(…)`: adds a line to the function's log; `ctx.log.warn(…)` and the others set its level."""

    __slots__ = ("_lines",)

    def __init__(self, lines: LogLines) -> None:
        self._lines = lines

    def __call__(self, *values: object) -> None:
        self._lines.add("LOG", render(values))

    def debug(self, *values: object) -> None:
        self._lines.add("DEBUG", render(values))

    def info(self, *values: object) -> None:
        self._lines.add("INFO", render(values))

    def warn(self, *values: object) -> None:
        self._lines.add("WARN", render(values))

    def error(self, *values: object) -> None:
        self._lines.add("ERROR", render(values))


class _Stdout:
    """Stands in for `sys.stdout`: what a running function writes goes to its log, everything else to the real one."""

    def __init__(self, real: TextIO) -> None:
        self._real = real

    def write(self, text: str) -> int:
        call = CURRENT.get()
        if call is None or call.logs.closed:
            return self._real.write(text)
        if text:
            call.logs.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._real.flush()

    def isatty(self) -> bool:
        return CURRENT.get() is None and self._real.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _level(levelno: int) -> str:
    if levelno >= logging.ERROR:
        return "ERROR"
    if levelno >= logging.WARNING:
        return "WARN"
    return "INFO" if levelno >= logging.INFO else "DEBUG"


_is_enabled_for = logging.Logger.isEnabledFor
_call_handlers = logging.Logger.callHandlers


def _is_own(logger: logging.Logger) -> bool:
    return logger.name == "reactor" or logger.name.startswith("reactor.")


def _enabled(self: logging.Logger, level: int) -> bool:
    if level >= logging.INFO and (call := CURRENT.get()) is not None and not call.logs.closed and not _is_own(self):
        return True
    return _is_enabled_for(self, level)


def _handle(self: logging.Logger, record: logging.LogRecord) -> None:
    call = CURRENT.get()
    if call is None or call.logs.closed or _is_own(self):
        _call_handlers(self, record)
        return
    text = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None:
        text += "\n" + "".join(traceback.format_exception(record.exc_info[1])).rstrip()
    call.logs.add(_level(record.levelno), quote(text))
    # Handlers see it exactly when they would have without us.
    if _is_enabled_for(self, record.levelno):
        _call_handlers(self, record)


_patched = False


def is_capturing() -> bool:
    """Whether `capture_output` has nothing to do."""
    return type(sys.stdout) is _Stdout and _patched


def capture_output() -> None:
    """Make sure that output of functions is captured from here on. Called at the start of calls.

    Whether a logger is enabled is decided by the logger before any handler is asked, so INFO can only be had "whatever
    the root logger says" by wrapping `logging.Logger`'s own decision; it is unchanged outside of functions.
    """
    global _patched
    out = sys.stdout
    if type(out) is not _Stdout and out is not None:
        sys.stdout = _Stdout(out)
    if not _patched:
        _patched = True
        logging.Logger.isEnabledFor = _enabled
        logging.Logger.callHandlers = _handle
