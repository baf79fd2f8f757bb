"""A snapshot as a ZIP archive: its tables, written from a copy of the database (source of the layout: deployment-api 5.3).

The files of `_storage` are added by whoever has them (`add_file`), behind the tables.
"""

from __future__ import annotations

import mimetypes
import time
import zipfile
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from reactor.faults import hit
from reactor.store.catalogue import TableInfo
from reactor.store.room import check_room
from reactor.store.sqlite.copies import CopyReader
from reactor.transfer.scratch import Trickle
from reactor.transfer.uniform import to_uniform
from reactor.values.wire import decode

__all__ = ["AFTER_TABLE", "ExportPlan", "Exported", "ExportedFile", "open_entry", "write_archive", "write_piece"]

AFTER_TABLE: Final = "export.after_table"
STORAGE: Final = "_storage"
FILES: Final = "_files"
REPORT_EVERY: Final = 10_000
PIECE: Final = 256 * 1024
LEVEL: Final = 6

README: Final = b"""\
# A snapshot of a reactor deployment

`<table>/documents.jsonl` has one document on each line, with `_id` and `_creationTime`. A number with a dot or an exponent
is a float64, one without is an int64; `{"$bytes": base64}` are bytes, `{"$float": base64}` numbers that JSON has no word for.
`_tables/documents.jsonl` has the number of each table, which is part of its ids. `_storage/` has the files, if they were
asked for: their metadata in `documents.jsonl`, their contents under their ids.

Import it with `npx convex import <file>` or `reactor import <file>`; with `--replace-all` the deployment is as it was.
"""


class ExportPlan(msgspec.Struct, frozen=True):
    copy: str
    archive: str
    include_storage: bool


class ExportedFile(msgspec.Struct, frozen=True):
    """A file whose contents are still to be added."""

    entry: str
    blob: str
    size: int


class Exported(msgspec.Struct, frozen=True):
    documents: int
    tables: int
    files: list[ExportedFile] = []


def write_archive(plan: ExportPlan, report: Callable[[str], None]) -> Exported:
    """Write the archive but for the files' contents. Raises OSError, Unavailable when the disk is nearly full."""
    with (
        closing(CopyReader(plan.copy)) as copy,
        zipfile.ZipFile(plan.archive, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive,
        closing(Trickle(plan.archive)) as trickle,
    ):
        return _Writing(copy, archive, report, trickle, plan).write()


class _Writing:
    def __init__(
        self,
        copy: CopyReader,
        archive: zipfile.ZipFile,
        report: Callable[[str], None],
        trickle: Trickle,
        plan: ExportPlan,
    ) -> None:
        self._copy, self._archive, self._report, self._trickle, self._plan = copy, archive, report, trickle, plan
        self._documents = 0

    def write(self) -> Exported:
        tables = [table for table in self._copy.catalogue.tables.values() if not table.name.startswith("_")]
        self._entry("README.md", [README])
        numbered = sorted(tables, key=lambda table: table.number)
        lines = [msgspec.json.encode({"name": t.name, "id": t.number}) + b"\n" for t in numbered]
        self._entry("_tables/documents.jsonl", lines)
        counts = {table.name: self._copy.count(table) for table in tables}
        for table in sorted(tables, key=lambda table: (counts[table.name], table.number)):
            self._entry(f"{table.name}/documents.jsonl", self._lines(table))
            self._entry(f"{table.name}/generated_schema.jsonl", [b'"uniform"\n'])
            hit(AFTER_TABLE)
        files = self._storage() if self._plan.include_storage else []
        return Exported(self._documents, len(tables), files)

    def _lines(self, table: TableInfo) -> Iterable[bytes]:
        for number, body in enumerate(self._copy.documents(table), 1):
            self._documents += 1
            if number % REPORT_EVERY == 0:
                self._report(f'Exporting "{table.name}" ({number} documents)')
            yield to_uniform(body) + b"\n"

    def _storage(self) -> list[ExportedFile]:
        tables = self._copy.catalogue.tables
        ties: dict[str, Any] = {}
        for body in self._copy.documents(tables[FILES]):
            tie: Any = decode(body)
            ties[tie["storageId"]] = tie
        files: list[ExportedFile] = []

        def lines() -> Iterable[bytes]:
            for body in self._copy.documents(tables[STORAGE]):
                file: Any = decode(body)
                tie = ties.get(file["_id"])
                if tie is None:
                    continue
                files.append(
                    ExportedFile(entry_for_file(file["_id"], file["contentType"]), tie["blob"], int(file["size"]))
                )
                fields = {"_id": file["_id"], "_creationTime": float(file["_creationTime"]), "sha256": file["sha256"]}
                rest = {"size": int(file["size"]), "contentType": file["contentType"], "internalId": tie["key"]}
                yield msgspec.json.encode({**fields, **rest}) + b"\n"

        self._entry("_storage/documents.jsonl", lines())
        self._entry("_storage/generated_schema.jsonl", [b'"uniform"\n'])
        return files

    def _entry(self, name: str, pieces: Iterable[bytes]) -> None:
        with open_entry(self._archive, name) as entry:
            buffer = bytearray()
            for piece in pieces:
                buffer += piece
                if len(buffer) >= PIECE:
                    write_piece(entry, buffer, self._plan.archive)
                    buffer.clear()
                    self._trickle()
            write_piece(entry, buffer, self._plan.archive)


def open_entry(archive: zipfile.ZipFile, name: str, *, size: int | None = None) -> IO[bytes]:
    """Begin an entry, of any size, compressed, readable by everybody."""
    info = zipfile.ZipInfo(name, time.gmtime()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return archive.open(info, "w", force_zip64=size is None or size >= 2**31)


def write_piece(entry: IO[bytes], piece: bytes | bytearray, archive: str | Path) -> None:
    """Go on with an entry. Raises Unavailable when the disk that the archive is on is nearly full."""
    check_room(archive, len(piece))
    entry.write(piece)


def entry_for_file(storage_id: str, content_type: str | None) -> str:
    """Where a file's contents are in an archive. The extension is for people; nothing relies on it."""
    extension = mimetypes.guess_extension((content_type or "").partition(";")[0].strip(), strict=True) or ""
    return f"_storage/{storage_id}{extension}"
