"""The first half of an import: an uploaded file becomes a staging file, every row read, checked and put in order.

It needs neither the database nor the app: a `Plan` says what there is. So it is done in a process of its own when it is
much (`transfer.child`). What is wrong with the file is found here, before anything is touched.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import math
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import msgspec

from reactor.engine.index_keys import key_tail, key_with_tail
from reactor.errors import InvalidDocument, InvalidValue, LimitExceeded
from reactor.schema.spec import validator_from_json
from reactor.schema.validators import Object, String, Validator
from reactor.schema.validators import Union as AnyOf
from reactor.store.blobs import new_blob_name
from reactor.store.catalogue import BY_CREATION_TIME, IndexInfo
from reactor.store.room import check_room
from reactor.store.sqlite.staging import StagingFile
from reactor.transfer.archive import STORAGE, Archive, reading_archive
from reactor.transfer.parts import open_parts
from reactor.transfer.rows import ImportRefused, Row, csv_rows, json_array_rows, json_line_rows
from reactor.transfer.scratch import Trickle
from reactor.transfer.uniform import from_plain, from_uniform
from reactor.values.ids import decode_id, new_id
from reactor.values.size import check_document_limits
from reactor.values.wire import encode

__all__ = ["Format", "Mode", "Plan", "PlannedIndex", "PlannedTable", "Staged", "StagedTable", "convert"]

Format = Literal["csv", "jsonLines", "jsonArray", "zip"]
Mode = Literal["requireEmpty", "append", "replace", "replaceAll"]

FILES: Final = "_files"
REPORT_EVERY: Final = 5_000
CHECK_EVERY: Final = 1024 * 1024
"""Bytes read between two looks at the room on the disk."""


class PlannedIndex(msgspec.Struct, frozen=True):
    """A database index: its name and the fields of its keys."""

    name: str
    fields: tuple[str, ...]


class PlannedTable(msgspec.Struct, frozen=True):
    """A table as it is now. `validator` in JSON form, None where documents are not checked."""

    number: int
    is_empty: bool
    indexes: tuple[PlannedIndex, ...] = ()
    validator: Any = None


class Plan(msgspec.Struct, frozen=True):
    """What is to be staged, and where. `tables` are those that exist or that the schema has."""

    parts: tuple[str, ...]
    format: Format
    mode: Mode
    table: str | None
    staging: str
    tables: dict[str, PlannedTable]
    next_number: int
    now_ms: float
    max_bytes: int


class StagedTable(msgspec.Struct, frozen=True):
    """`source` and `keys` (index name → source) are tables of the staging file."""

    name: str
    number: int
    rows: int
    source: str
    keys: dict[str, str]
    has_ids: bool
    size: int
    """Of the documents, in bytes."""


class Staged(msgspec.Struct, frozen=True):
    tables: list[StagedTable]
    files: int = 0
    notes: list[str] = []


class StagedBlob(msgspec.Struct, frozen=True):
    """A file of a snapshot: `entry` of the archive, to be stored as `blob`; what its contents must be."""

    entry: str
    blob: str
    size: int
    sha256: str


Report = Callable[[str], None]


def convert(plan: Plan, report: Report) -> Staged:
    """Do it. Raises ImportRefused, OSError, Unavailable when the disk is nearly full."""
    with open_parts(plan.parts) as file:
        if plan.format == "zip":
            with reading_archive(file) as archive, contextlib.closing(_Conversion(plan, report)) as conversion:
                return conversion.archive(archive)
        assert plan.table is not None
        rows = _rows_of(plan, file)
        with contextlib.closing(_Conversion(plan, report)) as conversion:
            return conversion.single(plan.table, rows)


def _rows_of(plan: Plan, file: Any) -> Iterator[Row]:
    if plan.format == "jsonLines":
        return json_line_rows(file)
    if plan.format == "jsonArray":
        return json_array_rows(file)
    validator = plan.tables[plan.table].validator if plan.table in plan.tables else None
    optional, texts = _columns(None if validator is None else validator_from_json(validator))
    return csv_rows(file, optional=optional, texts=texts)


def _columns(validator: Validator | None) -> tuple[set[str], set[str]]:
    """Fields whose empty cells are left out, and fields that only hold text."""
    optional: set[str] = set()
    texts: set[str] = set()
    if isinstance(validator, Object):
        for name, (content, is_optional) in validator.fields.items():
            members = content.members if isinstance(content, AnyOf) else (content,)
            if all(isinstance(m, String) for m in members):
                texts.add(name)
            if is_optional and not any(isinstance(m, String) for m in members):
                optional.add(name)
    return optional, texts


class _Conversion:
    def __init__(self, plan: Plan, report: Report) -> None:
        self._plan, self._report = plan, report
        with open(plan.staging, "xb"):
            pass
        with contextlib.ExitStack() as undo:
            self._trickle = undo.enter_context(contextlib.closing(Trickle(plan.staging)))
            self._staging = StagingFile(plan.staging, self._trickle)
            undo.pop_all()
        self._time = plan.now_ms
        self._read = self._checked = 0
        self._names: dict[int, str] = {}
        """What every table number will mean once the import is done."""

    def close(self) -> None:
        self._staging.close()  # which may still write, and then calls the other
        self._trickle.close()

    def single(self, table: str, rows: Iterator[Row]) -> Staged:
        first = next(rows, None)
        known = self._plan.tables.get(table)
        number = None if known is None else known.number
        if (known is None or known.is_empty or self._replaces) and first is not None and "_id" in first[1]:
            # Whoever brings ids decides about the number in them; where the table has documents to keep, they decide.
            number = _number_of(first[1]["_id"], table, first[0])
        self._assign({table: number})
        return self._finished([self._table(table, _chained(first, rows))], 0, [])

    @property
    def _replaces(self) -> bool:
        return self._plan.mode in ("replace", "replaceAll")

    def archive(self, archive: Archive) -> Staged:
        for table in sorted(archive.documents):
            if table == STORAGE and table not in archive.numbers:
                with archive.open(archive.documents[table]) as file:
                    for row, fields in json_line_rows(file):
                        archive.numbers[STORAGE] = _number_of(fields.get("_id"), table, row)
                        break
        known = self._plan.tables
        wanted = {
            name: archive.numbers.get(name, known[name].number if name in known else None) for name in archive.documents
        }
        self._assign(wanted)
        notes = [f"Skipped component {name!r}: there are no components here." for name in sorted(archive.components)]
        notes += [
            f"Skipped system table {name!r}: it is kept by the deployment itself." for name in sorted(archive.skipped)
        ]
        staged: list[StagedTable] = []
        files = 0
        for name, entry in archive.documents.items():
            read = from_uniform if name in archive.uniform else from_plain
            with archive.open(entry) as file:
                if name == STORAGE:
                    tables, files = self._storage(archive, json_line_rows(file, read))
                    staged += tables
                else:
                    staged.append(self._table(name, json_line_rows(file, read)))
        return self._finished(staged, files, notes)

    def _assign(self, wanted: dict[str, int | None]) -> None:
        """Settle the number of each table. Raises ImportRefused when two would have the same."""
        plan = self._plan
        following = plan.next_number
        self._numbers: dict[str, int] = {}
        for name, number in wanted.items():
            known = plan.tables.get(name)
            if number is None:
                following = max([following, *(n + 1 for n in wanted.values() if n is not None)])
                number, following = following, following + 1
            if plan.mode == "append" and known is not None and not known.is_empty and known.number != number:
                raise ImportRefused(
                    f'The ids in "{name}" belong to table number {number}; here the table has number {known.number}, '
                    "and documents. Import it with replace, or leave out the ids.",
                    code="TableNumberConflict",
                )
            self._numbers[name] = number
        for name, known in plan.tables.items():
            if name in self._numbers or (plan.mode == "replaceAll" and not name.startswith("_")):
                continue
            taken = next((n for n, number in self._numbers.items() if number == known.number), None)
            if taken is not None:
                raise ImportRefused(
                    f'The ids in "{taken}" belong to table number {known.number}, which table "{name}" has here. '
                    "Import into a new deployment, or with replace all.",
                    code="TableNumberConflict",
                )
            self._names[known.number] = name
        if len(set(self._numbers.values())) < len(self._numbers):
            raise ImportRefused(
                "Two tables of this import have the same number in their ids.", code="TableNumberConflict"
            )
        self._names |= {number: name for name, number in self._numbers.items()}

    # Documents

    def _table(self, name: str, rows: Iterator[Row]) -> StagedTable:
        known = self._plan.tables.get(name)
        validator = None if known is None or known.validator is None else validator_from_json(known.validator)
        adding = _Adding(self, name, self._numbers[name], () if known is None else known.indexes)
        for row, fields in rows:
            adding.add(row, self._document(name, row, fields, validator), has_id="_id" in fields)
        return adding.finish()

    def _document(self, name: str, row: int, fields: dict[str, Any], validator: Validator | None) -> dict[str, Any]:
        """The whole document of a row, checked but for its size."""
        number = self._numbers[name]
        document = fields.copy()
        if "_id" in fields:
            if _number_of(fields["_id"], name, row) != number:
                raise ImportRefused(
                    f'Row {row} of "{name}" has an _id that is not an id of this table: {fields["_id"]!r}',
                    code="InvalidId",
                )
        else:
            document["_id"] = new_id(number, int(self._plan.now_ms * 1e6))
        time = fields.get("_creationTime")
        if time is None:
            self._time = math.nextafter(self._time, math.inf)
            document["_creationTime"] = self._time
        elif type(time) not in (int, float) or not math.isfinite(time):
            raise ImportRefused(
                f'Row {row} of "{name}" has a _creationTime that is not a number: {time!r}', code="InvalidConvexValue"
            )
        body = {key: value for key, value in fields.items() if key not in ("_id", "_creationTime")}
        for key in body:
            if key[:1] == "_":
                raise ImportRefused(
                    f"Row {row} wasn't a valid Convex value: field '{key[:100]}' starts with an underscore, which is only "
                    "for system fields like '_id'",
                    code="InvalidConvexValue",
                )
        if validator is not None:
            try:
                validator.check(body, self._names.get)
            except InvalidValue as error:
                raise ImportRefused(
                    f'Row {row} does not match the schema of table "{name}": {error}', code="SchemaEnforcementError"
                ) from None
        return document

    def counted(self, name: str, row: int, size: int) -> None:
        self._read += size
        if self._read > self._plan.max_bytes:
            raise ImportRefused(
                f"The import is too large: unpacked it has more than {self._plan.max_bytes} bytes (import_bytes).",
                code="ImportTooLarge",
            )
        if self._read - self._checked >= CHECK_EVERY:
            self.check_room()
            self._checked = self._read
        if row % REPORT_EVERY == 0:
            self._report(f'Reading "{name}" ({row} documents)')

    def check_room(self, size: int = 0) -> None:
        """Raises Unavailable when the disk is nearly full, or would be with `size` bytes more."""
        check_room(self._plan.staging, size)

    @property
    def staging(self) -> StagingFile:
        return self._staging

    # Files

    def _storage(self, archive: Archive, rows: Iterator[Row]) -> tuple[list[StagedTable], int]:
        """`_storage`, and the rows of ours that tie each file to its URL and its contents."""
        known = self._plan.tables
        self._numbers[FILES] = known[FILES].number
        documents = _Adding(self, STORAGE, self._numbers[STORAGE], known[STORAGE].indexes)
        ties = _Adding(self, FILES, self._numbers[FILES], known[FILES].indexes)
        keys: set[str] = set()
        for row, fields in rows:
            entry = archive.files.get(str(fields.get("_id")))
            if entry is None:
                raise ImportRefused(
                    f"Row {row} of _storage names a file that the archive does not have: {fields.get('_id')!r}",
                    code="InvalidZip",
                )
            file = _StoredFile(row, fields)
            content = {"sha256": file.sha256, "size": float(file.size), "contentType": file.content_type}
            system = {name: fields[name] for name in ("_id", "_creationTime") if name in fields}
            document = self._document(STORAGE, row, {**content, **system}, None)
            documents.add(row, document, has_id=True)
            key = file.key if file.key not in keys else str(uuid.uuid4())
            keys.add(key)
            tie = {"storageId": document["_id"], "key": key, "blob": new_blob_name()}
            ties.add(row, self._document(FILES, row, tie, None), has_id=False)
            blob = StagedBlob(entry.filename, tie["blob"], file.size, file.sha256)
            self._staging.add_blob(msgspec.json.encode(blob))
        return [documents.finish(), ties.finish()], len(keys)

    def _finished(self, tables: list[StagedTable], files: int, notes: list[str]) -> Staged:
        self._staging.finish()
        return Staged(tables, files, notes)


class _StoredFile:
    def __init__(self, row: int, fields: dict[str, Any]) -> None:
        size, digest = fields.get("size"), fields.get("sha256")
        if type(size) is float and size.is_integer():
            size = int(size)
        if not isinstance(size, int) or size < 0:
            raise ImportRefused(f"Row {row} of _storage has no size.", code="InvalidZip")
        try:
            if not isinstance(digest, str) or len(base64.b64decode(digest, validate=True)) != 32:
                raise ValueError
        except (ValueError, binascii.Error):
            raise ImportRefused(f"Row {row} of _storage has no sha256 in base64.", code="InvalidZip") from None
        kind = fields.get("contentType")
        if not (
            kind is None or (isinstance(kind, str) and kind.isascii() and kind.isprintable() and len(kind) <= 1000)
        ):
            raise ImportRefused(f"Row {row} of _storage has a contentType that is none.", code="InvalidZip")
        self.size, self.sha256, self.content_type = int(size), digest, kind
        try:
            self.key = str(uuid.UUID(fields.get("internalId")))
        except (ValueError, AttributeError, TypeError):
            self.key = str(uuid.uuid4())


class _Adding:
    """One table on its way into the staging file."""

    def __init__(self, conversion: _Conversion, name: str, number: int, indexes: tuple[PlannedIndex, ...]) -> None:
        self._conversion, self.name, self._number = conversion, name, number
        self._source = f"t{number}"
        staging = conversion.staging
        staging.create(self._source, keys=False)
        self._keys: dict[str, str] = {}
        self._indexes: list[tuple[str, IndexInfo]] = []
        for at, index in enumerate((PlannedIndex(BY_CREATION_TIME, ()), *indexes)):
            source = self._keys[index.name] = f"{self._source}_{at}"
            staging.create(source, keys=True)
            self._indexes.append((source, IndexInfo(0, name, number, index.name, index.fields)))
        self._has_ids = False
        self._size = 0

    def add(self, row: int, document: dict[str, Any], *, has_id: bool) -> None:
        try:
            body = encode(document)
            check_document_limits(document, body)
            tail = key_tail(document)
            keys = [(source, b"".join(key_with_tail(index, document, tail))) for source, index in self._indexes]
        except (InvalidValue, InvalidDocument, LimitExceeded) as error:
            raise ImportRefused(f"Row {row} wasn't a valid Convex value: {error}", code="InvalidConvexValue") from None
        add, document_id = self._conversion.staging.add, document["_id"]
        add(self._source, document_id, body)
        for source, key in keys:
            add(source, key, document_id)
        self._has_ids = self._has_ids or has_id
        self._size += len(body)
        self._conversion.counted(self.name, row, len(body))

    def finish(self) -> StagedTable:
        staging = self._conversion.staging
        self._conversion.check_room(2 * self._size)  # sorting writes all of it twice more, and is not interrupted
        rows = staging.sort(self._source)
        for source in self._keys.values():
            staging.sort(source)
        if self._has_ids and (twice := staging.duplicate(self._source)) is not None:
            raise ImportRefused(f'The id {twice} is there twice in "{self.name}"', code="DuplicateId")
        return StagedTable(self.name, self._number, rows, self._source, self._keys, self._has_ids, self._size)


def _number_of(document_id: Any, table: str, row: int) -> int:
    try:
        if not isinstance(document_id, str):
            raise InvalidValue("it is no text")
        return decode_id(document_id)[0]
    except InvalidValue as error:
        raise ImportRefused(f'Row {row} of "{table}" has an _id that is none: {error}', code="InvalidId") from None


def _chained(first: Row | None, rows: Iterator[Row]) -> Iterator[Row]:
    if first is not None:
        yield first
        yield from rows
