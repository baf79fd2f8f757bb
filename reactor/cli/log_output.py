"""How log records look on the terminal: functions' lines under their names, tracebacks without our own frames."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from reactor.cli.error_text import format_error
from reactor.cli.json_log import JsonFormatter
from reactor.cli.terminal_text import harmless

__all__ = ["set_up_logging"]

_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[1;31m"}
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def set_up_logging(*, dev: bool, json: bool = False) -> None:
    """Show warnings of everybody and all that reactor says from INFO up, on stderr. `dev` for people, else for log files."""
    handler = logging.StreamHandler()
    if json:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TerminalFormatter(colour=dev and sys.stderr.isatty()) if dev else FileFormatter())
    handler.addFilter(_is_not_in_a_log_line)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("reactor").setLevel(logging.INFO)


def _is_not_in_a_log_line(record: logging.LogRecord) -> bool:
    """What a function logs is among its log lines, which are shown: not twice."""
    from reactor.runtime.logs import CURRENT

    return record.name.partition(".")[0] == "reactor" or CURRENT.get() is None


class FileFormatter(logging.Formatter):
    """One line with date, level and name; tracebacks begin where the app's code does."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatException(
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        error = ei[1]
        return "" if error is None else harmless(format_error(error))

    def formatMessage(self, record: logging.LogRecord) -> str:
        return harmless(super().formatMessage(record))


class TerminalFormatter(FileFormatter):
    """Time of day and text; the level shows as a colour, or as a word where there are none."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def formatMessage(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno < logging.WARNING else record.levelname + " "
        source = "" if record.name.partition(".")[0] == "reactor" else f"{record.name}: "
        text = harmless(source + record.message)
        if not self._colour:
            return f"{clock} {level}{text}"
        colour = _COLOURS.get(record.levelno, "")
        return f"{_DIM}{clock}{_PLAIN} {colour}{text}{_PLAIN if colour else ''}"
