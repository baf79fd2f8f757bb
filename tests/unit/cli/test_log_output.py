"""What log records look like on the terminal."""

from __future__ import annotations

import json
import logging

from reactor.cli.error_text import format_error
from reactor.cli.json_log import json_line
from reactor.cli.log_output import FileFormatter, TerminalFormatter
from reactor.cli.terminal_text import harmless_json
from reactor.errors import InvalidValue
from reactor.values.wire import decode


def record(level: int, name: str, message: str, error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord(name, level, __file__, 1, message, (), info)


def caught(call: object) -> BaseException:
    try:
        call()  # type: ignore[operator]
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_functions_stand_under_their_names_and_others_under_theirs() -> None:
    formatter = TerminalFormatter(colour=False)
    assert formatter.format(record(logging.INFO, "reactor.functions", "a:b: [LOG] 'x'"))[8:] == " a:b: [LOG] 'x'"
    assert formatter.format(record(logging.WARNING, "urllib3", "slow"))[8:] == " WARNING urllib3: slow"


def test_levels_are_colours_where_there_are_colours() -> None:
    text = TerminalFormatter(colour=True).format(record(logging.ERROR, "reactor.functions", "failed"))
    assert "\x1b[31mfailed\x1b[0m" in text
    assert "ERROR" not in text


def test_control_characters_are_shown() -> None:
    error = caught(lambda: decode(b"\x1b]0;title\x07"))
    hostile = record(logging.ERROR, "reactor.functions", "a:\x1b[31m\x9b2J\r\ud800\tb\nc\r\nd", error)
    for formatter in (FileFormatter(), TerminalFormatter(colour=False)):
        text = formatter.format(hostile)
        assert "a:\\x1b[31m\\x9b2J\\x0d\\ud800\tb\nc\r\nd\n" in text
        assert "\x1b" not in text
    text = TerminalFormatter(colour=True).format(hostile)
    assert "\x1b[31ma:\\x1b[31m\\x9b2J" in text


def test_json_has_no_control_characters_and_the_same_values() -> None:
    value = {"a\x7f": ["\x1b\x85\r\n", "ä 世 \x80", "\ud800"]}
    text = harmless_json(value)
    assert text == r'{"a\u007f": ["\u001b\u0085\r\n", "ä 世 \u0080", "\ud800"]}'
    assert json.loads(text) == value
    line = json_line("INFO", "reactor", "\x1b ä世 \x7f\x85\u0105")
    assert not set(line[:-1]) & {*range(0x20), 0x7F}
    assert b"\xc2\x85" not in line
    assert json.loads(line)["message"] == "\x1b ä世 \x7f\x85\u0105"


def test_tracebacks_leave_out_our_frames() -> None:
    text = format_error(caught(lambda: 1 / 0))
    assert "test_log_output.py" in text
    assert text.endswith("ZeroDivisionError: division by zero")
    # An error of ours that the app's code caused: the app's line, and what it called.
    text = format_error(caught(lambda: decode(b"nonsense")))
    assert "test_log_output.py" in text
    assert InvalidValue.__name__ in text


def test_an_error_that_is_all_ours_keeps_its_traceback() -> None:
    error = ValueError("ours")
    error.__traceback__ = _only_ours(caught(lambda: decode(b"nonsense")))
    assert "wire.py" in format_error(error)


def _only_ours(error: BaseException):  # type: ignore[no-untyped-def]
    """The part of a traceback that lies in the package."""
    tb = error.__traceback__
    while tb is not None and "reactor" not in tb.tb_frame.f_globals.get("__name__", "").split("."):
        tb = tb.tb_next
    assert tb is not None
    return tb


def test_log_files_get_date_level_and_name() -> None:
    text = FileFormatter().format(record(logging.ERROR, "reactor.functions", "failed", caught(lambda: 1 / 0)))
    assert " ERROR reactor.functions: failed\nTraceback" in text
