"""What is in an uploaded snapshot: tables, their numbers, files. Names in it are matched, and never become paths.

Source of the layout: deployment-api 5.3.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Final

from reactor.engine.write_transaction import check_table_name
from reactor.errors import DatabaseError
from reactor.store.catalogue import FIRST_USER_TABLE
from reactor.transfer.rows import ImportRefused, json_line_rows
from reactor.transfer.uniform import from_plain

__all__ = ["STORAGE", "Archive", "reading_archive", "unpacked_size"]

STORAGE: Final = "_storage"
MAX_ENTRIES: Final = 200_000
MAX_TABLE_NUMBER: Final = 2**32 - 1

_BUFFER: Final = 256 * 1024

_DOCUMENTS = re.compile(r"(?:.*/)?([^/]+)/documents\.jsonl")
_SCHEMA = re.compile(r"(?:.*/)?([^/]+)/generated_schema\.jsonl")
_FILE = re.compile(r"(?:.*/)?_storage/([^/.]+)(?:\.[^/]*)?")
_COMPONENT = re.compile(r"(?:.*/)?_components/([^/]+)/")


@dataclass
class Archive:
    """Entries by what they hold: tables' documents, tables whose numbers are told apart ("uniform"), files by storage id."""

    zip: zipfile.ZipFile
    documents: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    uniform: set[str] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)
    files: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    components: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    """System tables that are ours to keep."""

    @contextmanager
    def open(self, entry: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
        """Read one entry. What turns out to be broken while it is read is an ImportRefused, too."""
        try:
            with _opened(self.zip, entry) as file, io.BufferedReader(file, _BUFFER) as lines:  # type: ignore[arg-type]
                # A line of its own takes microseconds, and blank ones are a byte, which hardly needs any room in a zip.
                yield lines
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise _broken(f"{entry.filename[:200]}: {error or type(error).__name__}") from None


def unpacked_size(file: IO[bytes]) -> int:
    """How many bytes all entries have at most: reading one ends at the size that it claims. 0 for what is no archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OSError, OverflowError):
        return 0


def _opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return archive.open(entry)
    except ValueError as error:  # it is before the beginning of the file, or its name is no text
        raise zipfile.BadZipFile(str(error)) from None


def _broken(why: str) -> ImportRefused:
    return ImportRefused(f"The file isn't a ZIP archive that can be read: {why}", code="InvalidZip")


@contextmanager
def reading_archive(file: IO[bytes]) -> Iterator[Archive]:
    """Look through an archive. Raises ImportRefused for what is no snapshot."""
    try:
        opened = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OSError, OverflowError) as error:
        raise _broken(str(error)) from None
    with opened:
        yield _sorted_out(opened)


def _sorted_out(opened: zipfile.ZipFile) -> Archive:
    archive = Archive(opened)
    entries = opened.infolist()
    if len(entries) > MAX_ENTRIES:
        raise _broken(f"it has {len(entries)} entries; {MAX_ENTRIES} is the most")
    schemas: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.filename
        if name.endswith("/"):
            continue
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _broken(f"{name[:200]} is compressed in another way than by deflate, which is the usual one")
        if found := _COMPONENT.match(name):
            archive.components.add(found.group(1))
        elif found := _DOCUMENTS.fullmatch(name):
            _once(archive.documents, found.group(1), entry)
        elif found := _SCHEMA.fullmatch(name):
            _once(schemas, found.group(1), entry)
        elif found := _FILE.fullmatch(name):
            _once(archive.files, found.group(1), entry)
    for table, entry in schemas.items():
        with archive.open(entry) as file:
            if file.readline(64).strip() == b'"uniform"':
                archive.uniform.add(table)
    if (numbers := archive.documents.pop("_tables", None)) is not None:
        archive.numbers = _numbers(archive, numbers)
    for name in list(archive.documents):
        if name.startswith("_") and name != STORAGE:
            archive.skipped.add(name)
            del archive.documents[name]
        elif name != STORAGE:
            try:
                check_table_name(name)
            except DatabaseError as error:
                raise ImportRefused(str(error), code="InvalidTableName") from None
    if not archive.documents:
        raise ImportRefused(
            "There is no table in this ZIP archive: a snapshot has entries like messages/documents.jsonl.",
            code="InvalidZip",
        )
    return archive


def _once(found: dict[str, Any], name: str, entry: zipfile.ZipInfo) -> None:
    if name in found:
        raise _broken(f'"{name[:100]}" is there twice: {found[name].filename[:200]} and {entry.filename[:200]}')
    found[name] = entry


def _numbers(archive: Archive, entry: zipfile.ZipInfo) -> dict[str, int]:
    numbers: dict[str, int] = {}
    with archive.open(entry) as file:
        for row, fields in json_line_rows(file, from_plain):
            name, number = fields.get("name"), fields.get("id")
            if isinstance(number, float) and number.is_integer():
                number = int(number)
            if not isinstance(name, str) or type(number) is not int or not 0 < number <= MAX_TABLE_NUMBER:
                raise ImportRefused(f'Row {row} of _tables needs a "name" and an "id"', code="InvalidZip")
            if name.startswith("_") and name != STORAGE:
                continue
            if number < FIRST_USER_TABLE and name != STORAGE:
                raise ImportRefused(f'Table "{name[:100]}" can\'t have number {number}', code="InvalidZip")
            if name in numbers or number in numbers.values():
                raise ImportRefused(f'Row {row} of _tables names "{name[:100]}" or {number} again', code="InvalidZip")
            numbers[name] = number
    return numbers
