"""Changing the schema of a live database: new indexes filled while it serves, documents checked, then one switch.

The order (engine.md rule 25): tables and indexes are made, writers maintain the new indexes from then on; current documents
are entered in short steps; meanwhile every write is checked against the new schema too; documents that are already there
are checked; and one commit makes the new indexes usable, drops the old ones and stores the schema. Whatever fails before
that commit leaves the old schema, its indexes and the code that serves as they were.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from reactor.engine.commit_record import CommitKind, CommitRecord, tables_changed
from reactor.engine.database import Database, PendingSchema
from reactor.engine.index_kinds import fill
from reactor.engine.write_transaction import DocumentCheck
from reactor.errors import InvalidDocument, SchemaError
from reactor.faults import hit
from reactor.store.catalogue import BY_CREATION_TIME, BY_ID, Catalogue, IndexInfo, IndexKind
from reactor.store.protocol import Backfill, IndexChange, Reader, Writer
from reactor.values.wire import decode

__all__ = ["BEFORE_SWITCH", "MID_BACKFILL", "WantedIndex", "WantedTable", "deploy"]

logger = logging.getLogger("reactor.engine")

MID_BACKFILL: Final = "deploy.mid_backfill"
BEFORE_SWITCH: Final = "deploy.before_switch"

STEP_S: Final = 0.005
STEP_ROWS: Final = 128
OFFENDERS: Final = 10
"""So many documents that do not fit are listed."""

_SCHEMA_META: Final = "schema"
_NEW: Final = "~new"
"""Ends the name of an index that is being filled to replace another of the same name."""


@dataclass(frozen=True, slots=True)
class WantedIndex:
    """What the schema says of an index. `fields` and `dimensions` as in `IndexInfo`."""

    name: str
    fields: tuple[str, ...]
    staged: bool = False
    kind: IndexKind = "database"
    dimensions: int | None = None

    def is_held_by(self, index: IndexInfo) -> bool:
        """Whether `index` holds what this one asks for, whatever its name and state."""
        return (self.kind, self.fields, self.dimensions) == (index.kind, index.fields, index.dimensions)


@dataclass(frozen=True, slots=True)
class WantedTable:
    """What the schema says of a table. `check` is None where documents are not validated; `validator` is its JSON form."""

    name: str
    indexes: tuple[WantedIndex, ...]
    check: DocumentCheck | None
    validator: Any


Progress = Callable[[str, int], None]
"""Called with what is going on and how many documents that has covered."""


async def deploy(
    database: Database,
    tables: Sequence[WantedTable],
    *,
    fits: Callable[[Any, WantedTable], bool] | None = None,
    progress: Progress | None = None,
    names: Sequence[str] = ("code",),
) -> CommitRecord | None:
    """Bring the database to this schema; returns the commit of the switch.

    `fits(old validator, table)` may say that no document of the table needs checking because the old validator, as it
    was stored, allowed nothing that the new one refuses. Raises SchemaError, naming the first documents that don't fit.
    """
    report = progress or (lambda what, count: None)
    wanted = {t.name: t for t in tables}
    checks: Mapping[str, DocumentCheck] = {t.name: t.check for t in tables if t.check is not None}
    await _discard_unfinished(database)
    add, drop = _index_changes(database.catalogue, wanted)
    missing = [name for name in wanted if name not in database.catalogue.tables]
    if missing or add:
        await database.commit_alone(lambda writer: _prepare(writer, missing, add))
    stored = await database.store.read(lambda reader: reader.get_meta(_SCHEMA_META))
    old_validators: dict[str, Any] = msgspec.json.decode(stored) if stored else {}
    pending = database.pending_schema = PendingSchema(checks)
    try:
        for info in _unfinished(database.catalogue):
            await _backfill(database, info, report)
        for table in tables:
            if table.check is None:
                continue
            old = old_validators.get(table.name)
            # The stored form went through JSON: compare it with one that did, too.
            if old is not None and (
                old == msgspec.json.decode(msgspec.json.encode(table.validator))
                or (fits is not None and fits(old, table))
            ):
                continue
            await _check_documents(database, table, report)
        hit(BEFORE_SWITCH)

        def switch(writer: Writer) -> CommitRecord:
            if pending.violation is not None:
                name, _, error = pending.violation
                raise SchemaError(f'New document in table "{name}" does not match the schema: {error}')
            filled = [_finished(i, wanted) for i in _unfinished(database.catalogue)]
            writer.change_indexes(add=(), drop=drop, enable=[*filled, *_unstaged(database.catalogue, wanted)])
            writer.put_meta(
                _SCHEMA_META, msgspec.json.encode({t.name: t.validator for t in tables if t.check is not None})
            )
            return CommitRecord(0, CommitKind.DEPLOY, [], tuple(names))

        def committed() -> None:
            database.checks = checks

        # On the writer's thread: nobody writes between this commit and the new checks.
        return await database.commit_alone(switch, committed)
    except BaseException:
        await _discard_unfinished(database)
        raise
    finally:
        database.pending_schema = None


def _prepare(writer: Writer, missing: Sequence[str], add: Sequence[IndexChange]) -> CommitRecord:
    if missing:
        writer.create_tables(missing)
    if add:
        writer.change_indexes(add=add, drop=())
    return CommitRecord(0, CommitKind.DEPLOY, [], tables_changed(missing))


def _user_indexes(catalogue: Catalogue) -> list[IndexInfo]:
    return [
        index
        for table in catalogue.tables.values()
        if not table.is_system
        for index in table.all_indexes
        if index.name not in (BY_ID, BY_CREATION_TIME)
    ]


def _index_changes(
    catalogue: Catalogue, wanted: Mapping[str, WantedTable]
) -> tuple[list[IndexChange], list[IndexInfo]]:
    """What to add now and what to drop at the switch."""
    existing = {(i.table, i.name): i for i in _user_indexes(catalogue)}
    add: list[IndexChange] = []
    kept: set[tuple[str, str]] = set()
    for table in wanted.values():
        for index in table.indexes:
            there = existing.get((table.name, index.name))
            if there is not None and index.is_held_by(there):
                kept.add((table.name, index.name))
                continue
            name = index.name if there is None else index.name + _NEW
            add.append(IndexChange(table.name, name, index.fields, kind=index.kind, dimensions=index.dimensions))
    return add, [i for key, i in existing.items() if key not in kept]


def _unfinished(catalogue: Catalogue) -> list[IndexInfo]:
    return [i for i in _user_indexes(catalogue) if i.state == "backfilling"]


def _finished(index: IndexInfo, wanted: Mapping[str, WantedTable]) -> IndexInfo:
    """A filled index under its own name, staged if the schema wants it so."""
    name = index.name.removesuffix(_NEW)
    staged = any(w.name == name and w.staged for w in wanted[index.table].indexes)
    return dataclasses.replace(index, name=name, state="staged" if staged else "ready")


def _unstaged(catalogue: Catalogue, wanted: Mapping[str, WantedTable]) -> list[IndexInfo]:
    """Staged indexes whose flag the schema has dropped: they are full already."""
    return [
        dataclasses.replace(index, state="ready")
        for index in _user_indexes(catalogue)
        if index.state == "staged" and index.table in wanted
        for w in wanted[index.table].indexes
        if w.name == index.name and w.is_held_by(index) and not w.staged
    ]


async def _discard_unfinished(database: Database) -> None:
    """Drop what a deploy that failed, or a process that died in one, has left behind."""
    left = _unfinished(database.catalogue)
    if left:

        def change(writer: Writer) -> CommitRecord:
            writer.change_indexes(add=(), drop=left)
            return CommitRecord(0, CommitKind.DEPLOY, [])

        await database.commit_alone(change)


async def _backfill(database: Database, index: IndexInfo, report: Progress) -> None:
    """Enter the documents that were there before writers began to maintain the index. Steps of a few milliseconds."""
    table = database.catalogue.tables[index.table]
    by_id = table.indexes[BY_ID]
    label = f"index {index.table}.{index.name.removesuffix(_NEW)}"
    count = 0
    start = b""

    def step(writer: Writer, start: bytes, entered: int) -> tuple[bytes | None, int]:
        until = time.monotonic() + STEP_S
        done = 0
        writer.begin()
        while True:
            rows = writer.scan(by_id, start, None, reverse=False, limit=STEP_ROWS)
            for key, body in rows:
                document: Any = decode(body)
                fill(writer, index, document)
                start = key + b"\x00"
            done += len(rows)
            if not rows or time.monotonic() > until:
                writer.put_backfill(index, Backfill(start, entered + done) if rows else None)
                writer.commit()
                return (start if rows else None), done

    while True:
        following, done = await database.store.write(
            lambda writer, start=start, count=count: step(writer, start, count)
        )
        count += done
        report(label, count)
        hit(MID_BACKFILL)
        if following is None:
            return
        start = following


async def _check_documents(database: Database, table: WantedTable, report: Progress) -> None:
    """Read every document of a table in short snapshots; those written meanwhile are checked by their writers."""
    info = database.catalogue.tables[table.name]
    check = table.check
    assert check is not None
    offenders: list[str] = []
    count = 0
    start = b""

    def step(reader: Reader, start: bytes) -> tuple[bytes, int, list[str]]:
        rows = reader.scan(info.indexes[BY_ID], start, None, reverse=False, limit=STEP_ROWS)
        found: list[str] = []  # the store may run a step again
        for key, body in rows:
            start = key + b"\x00"
            document: Any = decode(body)
            try:
                check(body, document)
            except InvalidDocument as error:
                found.append(
                    f'Document with ID "{document["_id"]}" in table "{table.name}" does not match the schema: {_reason(error)}'
                )
        return start, len(rows), found

    while len(offenders) < OFFENDERS:
        start, done, found = await database.store.read(lambda reader, start=start: step(reader, start))
        if not done:
            break
        offenders += found
        count += done
        report(f"checking table {table.name}", count)
    if offenders:
        raise SchemaError(
            "\n".join(offenders[:OFFENDERS])
            + "\nNothing was changed. Make the schema fit them (an optional field, a wider type), or change the documents first."
        )


def _reason(error: InvalidDocument) -> str:
    _, found, reason = str(error).partition("does not match the schema: ")
    return (reason if found else str(error)).replace("\n", " ")
