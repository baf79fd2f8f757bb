"""What functions print and log: captured per call as lines with a level and a time, bounded.

`print` and everything else that writes to `sys.stdout`, and `logging` from INFO up whatever the root logger is set to,
become lines of the function that is running in the current context; outside of functions nothing changes.
"""

from __future__ import annotations

import contextvars
import logging
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TextIO

import msgspec

from reactor.clock import Clock
from reactor.limits import Limits

__all__ = [
    "CURRENT",
    "ContextLog",
    "LogCapture",
    "LogLine",
    "LogLines",
    "capture_output",
    "is_capturing",
    "line_texts",
]

_LEVELS: Final = {"debug": "DEBUG", "log": "LOG", "info": "INFO", "warn": "WARN", "error": "ERROR"}
_TRUNCATED: Final = " (truncated due to length)"


class LogLine(msgspec.Struct, frozen=True, gc=False):
    """One line. `messages` are the rendered values that were logged together; `timestamp` is in milliseconds."""

    level: str
    """LOG, INFO, WARN, ERROR or DEBUG."""
    messages: tuple[str, ...]
    timestamp: float
    is_truncated: bool = False
    source: str | None = None
    """The function that logged it, where it is among the lines of the action that called it."""

    @property
    def text(self) -> str:
        """The line as clients get it: `[LEVEL] text`."""
        return f"[{self.level}] {' '.join(self.messages)}{_TRUNCATED if self.is_truncated else ''}"

    @classmethod
    def of_text(cls, text: str) -> LogLine:
        """A line from its text; the time it was logged is not known any more."""
        level, _, message = text.partition("] ")
        return cls(level[1:], (message.removesuffix(_TRUNCATED),), 0.0, message.endswith(_TRUNCATED))


def line_texts(lines: Iterable[LogLine]) -> tuple[str, ...]:
    """The lines as clients get them."""
    return tuple([line.text for line in lines]) if lines else ()


class LogLines:
    """The log lines of one top-level call, its nested calls included."""

    closed = False
    """Set once the call has ended; what its left-over tasks print is nobody's then."""
    _overflowed = False
    _partial = ""

    on_line: Callable[[LogLine], None] | None = None
    """Told of each line as it is added, but for those that were taken over."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.lines: list[LogLine] = []
        self._limits = limits
        self._clock = clock

    def add(self, level: str, *messages: str) -> None:
        """Add a line. `level` is LOG, INFO, WARN, ERROR or DEBUG; `messages` are already rendered."""
        most = self._limits.log_line_chars
        is_truncated = sum(map(len, messages)) + len(messages) - 1 > most
        if is_truncated:
            messages = (" ".join(messages)[:most],)
        self._append(LogLine(level, messages, self._clock.now_ns() // 1_000 / 1_000, is_truncated))

    def extend(self, lines: tuple[LogLine, ...], source: str) -> None:
        """Take over the lines of a function that was called, an execution of its own."""
        for line in lines:
            taken = LogLine(line.level, line.messages, line.timestamp, line.is_truncated, line.source or source)
            self._append(taken)

    def _append(self, line: LogLine) -> None:
        most = self._limits.log_lines
        if len(self.lines) >= most:
            if self._overflowed:
                return
            self._overflowed = True
            text = f"Log overflow (maximum {most}). Remaining log lines omitted."
            # It takes the place of the last one, so that there are never more than the limit.
            line = self.lines[-1] = LogLine("ERROR", (text,), line.timestamp)
        else:
            self.lines.append(line)
        if self.on_line is not None and line.source is None:
            self.on_line(line)

    def write(self, text: str) -> None:
        """Take a piece of what is printed. A piece that ends in a newline ends a line, as `print` does it."""
        if len(self._partial) <= self._limits.log_line_chars:
            self._partial += text
        if text.endswith("\n"):
            line, self._partial = self._partial.removesuffix("\n"), ""
            self.add("LOG", quote(line))

    def finish(self) -> tuple[LogLine, ...]:
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


def render(values: tuple[Any, ...]) -> tuple[str, ...]:
    """Values the way a console shows them: strings in quotes."""
    return tuple([repr(value) for value in values])


class ContextLog:
    """`ctx.log(…)`: adds a line to the function's log; `ctx.log.warn(…)` and the others set its level."""

    __slots__ = ("_lines",)

    def __init__(self, lines: LogLines) -> None:
        self._lines = lines

    def __call__(self, *values: object) -> None:
        self._lines.add("LOG", *render(values))

    def debug(self, *values: object) -> None:
        self._lines.add("DEBUG", *render(values))

    def info(self, *values: object) -> None:
        self._lines.add("INFO", *render(values))

    def warn(self, *values: object) -> None:
        self._lines.add("WARN", *render(values))

    def error(self, *values: object) -> None:
        self._lines.add("ERROR", *render(values))


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
