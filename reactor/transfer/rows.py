"""Rows of an uploaded file, one at a time: JSON lines, a JSON array, CSV. Nothing is held but the row at hand.

Errors are Convex's texts and codes; rows count from 1.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import IO, Any, Final

from reactor.errors import InvalidValue, ReactorError
from reactor.transfer.uniform import BadJson, from_plain
from reactor.values.names import shorten

__all__ = ["ImportRefused", "csv_rows", "json_array_rows", "json_line_rows"]

ROW_MAX_BYTES: Final = 16 * 1024 * 1024
"""One row as text. A document has 1 MiB at most, but JSON may spell it longer."""
_CHUNK: Final = 256 * 1024
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)

Row = tuple[int, dict[str, Any]]
"""Its number, and its fields as values."""


class ImportRefused(ReactorError):
    """What was uploaded can't be imported. Nothing was changed. The code is Convex's name for it."""

    code = "ImportFailed"


def _checked(number: int, read: Callable[[bytes], Any], text: bytes) -> dict[str, Any]:
    try:
        value = read(text)
    except BadJson as error:
        raise ImportRefused(f"Row {number} wasn't valid JSON: {error}", code="JsonInvalidRow") from None
    except InvalidValue as error:
        raise ImportRefused(f"Row {number} wasn't a valid Convex value: {error}", code="InvalidConvexValue") from None
    if type(value) is not dict:
        raise ImportRefused(f"Row {number} wasn't an object", code="NotAnObject")
    return value


def _too_long(number: int) -> ImportRefused:
    return ImportRefused(
        f"Row {number} wasn't valid JSON: it is longer than {ROW_MAX_BYTES // 1024**2} MiB", code="JsonInvalidRow"
    )


def json_line_rows(file: IO[bytes], read: Callable[[bytes], Any] = from_plain) -> Iterator[Row]:
    """One object on each line; empty lines don't count as rows."""
    number = 0
    while line := file.readline(ROW_MAX_BYTES + 1):
        if len(line) > ROW_MAX_BYTES:
            raise _too_long(number + 1)
        if not line.isspace():
            number += 1
            yield number, _checked(number, read, line)


def json_array_rows(file: IO[bytes]) -> Iterator[Row]:
    """The objects of one array, however long it is."""
    text = _Text(file)
    if (first := text.next_mark()) is None:
        return  # an empty file is no rows
    if first != "[":
        raise _not_an_array(f"it begins with {first!r}")
    text.at += 1
    number = 0
    if text.next_mark() == "]":
        text.at += 1
    else:
        while True:
            number += 1
            yield number, _checked(number, from_plain, text.element(number).encode())
            mark = text.next_mark()
            text.at += 1
            if mark == "]":
                break
            if mark != ",":
                raise _not_an_array(f"after row {number} a comma or ] is missing")
    if text.next_mark() is not None:
        raise _not_an_array("there is something behind the end of the array")


def _not_an_array(why: str) -> ImportRefused:
    return ImportRefused(f"Not a JSON array: {why}", code="NotJsonArray")


class _Text:
    """Text that is read as it is needed; what lies before `at` is forgotten."""

    _decoder = json.JSONDecoder(parse_int=float, parse_float=float)

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._ended = False
        self.at = 0

    def _more(self, count: int = _CHUNK) -> bool:
        if self._ended:
            return False
        data = self._file.read(count)
        self._ended = not data
        try:
            self._text = self._text[self.at :] + self._utf8.decode(data, self._ended)
        except UnicodeDecodeError:
            raise _not_an_array("it is not valid UTF-8") from None
        self.at = 0
        return True

    def next_mark(self) -> str | None:
        """The next character that is no blank, which `at` then points to; None at the end."""
        while True:
            while self.at < len(self._text):
                if (mark := self._text[self.at]) not in " \t\r\n":
                    return mark
                self.at += 1
            if not self._more():
                return None

    def element(self, number: int) -> str:
        """The text of the element that begins at the next mark."""
        if (mark := self.next_mark()) is None:
            raise _not_an_array(f"row {number} is missing")
        if mark != "{":
            raise ImportRefused(f"Row {number} wasn't an object", code="NotAnObject")
        while True:
            try:
                _, end = self._decoder.raw_decode(self._text, self.at)
            except RecursionError:
                raise ImportRefused(
                    f"Row {number} wasn't valid JSON: it is nested too deep", code="JsonInvalidRow"
                ) from None
            except ValueError as error:
                if len(self._text) - self.at > ROW_MAX_BYTES:
                    raise _too_long(number) from None
                # Perhaps it only goes on: as much again as there is, so that long rows are not read over and over.
                if not self._more(max(_CHUNK, len(self._text) - self.at)):
                    raise ImportRefused(f"Row {number} wasn't valid JSON: {error}", code="JsonInvalidRow") from None
                continue
            found = self._text[self.at : end]
            self.at = end
            return found


def csv_rows(file: IO[bytes], *, optional: Collection[str] = (), texts: Collection[str] = ()) -> Iterator[Row]:
    """Rows under a header. A cell that reads as a number is one; an empty cell of an `optional` column is left out.

    `texts` are columns that hold text only, by the schema: there a number stays as it is written.
    """
    csv.field_size_limit(ROW_MAX_BYTES)
    with io.TextIOWrapper(_Open(file), encoding="utf-8-sig", newline="") as text:
        lines = csv.reader(_bounded(text), strict=True)
        number = 0
        try:
            header = next((line for line in lines if line), None)
            if header is None:
                return
            names = [_header(name) for name in header]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ImportRefused(f'CSV header "{twice}" is there twice', code="CsvInvalidHeader")
            for line in lines:
                if not line:
                    continue
                number += 1
                if len(line) != len(names):
                    raise ImportRefused(
                        f"CSV row {number} doesn't have all of the fields in the header"
                        if len(line) < len(names)
                        else f"CSV row {number} has more fields than the header",
                        code="CsvRowMissingFields",
                    )
                row: dict[str, Any] = {}
                for name, cell in zip(names, line, strict=True):
                    if not cell and name in optional:
                        continue
                    row[name] = _cell(cell) if name not in texts else cell
                yield number, row
        except csv.Error as error:
            raise ImportRefused(f"CSV row {number + 1} can't be read: {error}", code="CsvInvalidRow") from None
        except UnicodeDecodeError:
            raise ImportRefused(f"CSV row {number + 1} is not valid UTF-8", code="CsvInvalidRow") from None


def _bounded(text: IO[str]) -> Iterator[str]:
    while line := text.readline(ROW_MAX_BYTES + 1):
        if len(line) > ROW_MAX_BYTES:
            raise csv.Error(f"a line is longer than {ROW_MAX_BYTES // 1024**2} MiB")
        yield line


class _Open(io.BufferedReader):
    """The text wrapper closes what it reads from; the file is somebody else's to close."""

    def __init__(self, file: Any) -> None:
        super().__init__(file if isinstance(file, io.RawIOBase) else _Raw(file), _CHUNK)


class _Raw(io.RawIOBase):
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _header(name: str) -> str:
    name = name.strip()
    bad = (
        "it is empty" if not name
        else "it begins with $" if name[0] == "$"
        else "it begins with an underscore" if name[0] == "_" and name not in ("_id", "_creationTime")
        else "" if name.isascii() and name.isprintable()
        else "it has characters outside of ASCII"
    )  # fmt: skip
    if bad:
        raise ImportRefused(f'CSV header "{shorten(name)}" isn\'t a valid field name: {bad}', code="CsvInvalidHeader")
    return name


def _cell(cell: str) -> Any:
    if _NUMBER.fullmatch(cell) and len(cell) < 400:
        number = float(cell)
        if number not in (float("inf"), float("-inf")):
            return number
    return cell
