"""Changing the schema of a live database: new indexes filled while it serves, documents checked, then one switch.

The order (engine.md rule 25): tables and indexes are made, writers maintain the new indexes from then on; meanwhile every
write is checked against the new schema too; documents that are already there are checked, then entered into the new indexes
(`engine.backfill`); and one commit makes the new indexes usable, drops the old ones and stores the schema. Whatever fails
before that commit leaves the old schema, its indexes and the code that serves as they were.

A staged index is added at the switch and filled afterwards (`workers.backfill`); the deploy that drops its flag waits for
what is left. A process that dies on the way leaves partly filled indexes: the next deploy goes on with those that its
schema wants, and drops the others.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from reactor.engine.backfill import NEW, Progress, fill_index
from reactor.engine.commit_record import ANY_INDEX, CommitKind, CommitRecord, tables_changed
from reactor.engine.database import Database, PendingSchema
from reactor.engine.schema_progress import SchemaProgress
from reactor.engine.write_transaction import DocumentCheck
from reactor.errors import InvalidDocument, SchemaError, StoreError
from reactor.faults import hit
from reactor.store.catalogue import BY_CREATION_TIME, BY_ID, Catalogue, IndexInfo, IndexKind, IndexState
from reactor.store.protocol import IndexChange, Reader, Writer
from reactor.values.wire import decode

__all__ = ["BEFORE_SWITCH", "WantedIndex", "WantedTable", "deploy"]

logger = logging.getLogger("reactor.engine")

BEFORE_SWITCH: Final = "deploy.before_switch"

STEP_ROWS: Final = 128
OFFENDERS: Final = 10
"""So many documents that do not fit are listed."""

_SCHEMA_META: Final = "schema"


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


async def deploy(
    database: Database,
    tables: Sequence[WantedTable],
    *,
    fits: Callable[[Any, WantedTable], bool] | None = None,
    progress: Progress | None = None,
    names: Sequence[str] = ("code",),
    schema: str = "",
) -> CommitRecord | None:
    """Bring the database to this schema; returns the commit of the switch.

    `fits(old validator, table)` may say that no document of the table needs checking because the old validator, as it
    was stored, allowed nothing that the new one refuses. `schema` is its JSON text, for who looks on. Raises
    SchemaError, naming the first documents that don't fit.
    """
    wanted = {t.name: t for t in tables}
    checks: Mapping[str, DocumentCheck] = {t.name: t.check for t in tables if t.check is not None}
    missing = [name for name in wanted if name not in database.catalogue.tables]
    plan = _plan(database.catalogue, wanted)
    if missing or plan.add or plan.discard:

        def prepare(writer: Writer) -> CommitRecord:
            if missing:
                writer.create_tables(missing)
            writer.change_indexes(add=plan.add, drop=plan.discard)
            return CommitRecord(0, CommitKind.DEPLOY, [], (*tables_changed(missing), ANY_INDEX))

        await database.commit_alone(prepare)
        plan = _plan(database.catalogue, wanted)
    stored = await database.store.read(lambda reader: reader.get_meta(_SCHEMA_META))
    old_validators: dict[str, Any] = msgspec.json.decode(stored) if stored else {}
    pending = database.pending_schema = PendingSchema(checks)
    told = SchemaProgress(database, schema)
    try:
        # A transaction that had begun without these checks is over when the writer gets to this: what it wrote is read.
        await database.store.write(lambda writer: None)
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
            await _check_documents(database, table, progress, told)
        for index, state, _ in plan.keep:
            if state == "ready":
                await fill_index(database, index, progress)
        hit(BEFORE_SWITCH)

        def switch(writer: Writer) -> CommitRecord:
            if pending.violation is not None:
                name, _, error = pending.violation
                raise SchemaError(f'New document in table "{name}" does not match the schema: {error}')
            change: list[IndexInfo] = []
            for index, state, name in plan.keep:
                if state == "ready" and writer.get_backfill(index) is not None:
                    raise StoreError(f"Index {index.table}.{name} is not full; deploy again.")
                if (state, name) != (index.state, index.name):
                    change.append(dataclasses.replace(index, name=name, state=state))
            writer.change_indexes(add=plan.stage, drop=plan.drop, enable=change)
            told.end(writer)
            writer.put_meta(
                _SCHEMA_META, msgspec.json.encode({t.name: t.validator for t in tables if t.check is not None})
            )
            return CommitRecord(0, CommitKind.DEPLOY, [], tuple(names))

        def committed() -> None:
            database.checks = checks

        # On the writer's thread: nobody writes between this commit and the new checks.
        return await database.commit_alone(switch, committed)
    except Exception:
        # Not when it is being stopped: what is filled so far is of use to the next start.
        await told.failed()
        await _discard_unfinished(database)
        raise
    finally:
        database.pending_schema = None


@dataclass(slots=True)
class _Plan:
    """What becomes of which index."""

    add: list[IndexChange] = dataclasses.field(default_factory=list)
    """Before the switch: writers maintain them from then on."""
    discard: list[IndexInfo] = dataclasses.field(default_factory=list)
    """Before the switch: those that a deploy has begun, and nobody wants any more."""
    keep: list[tuple[IndexInfo, IndexState, str]] = dataclasses.field(default_factory=list)
    """With the state and the name that they have from the switch on."""
    stage: list[IndexChange] = dataclasses.field(default_factory=list)
    """At the switch: they are filled afterwards."""
    drop: list[IndexInfo] = dataclasses.field(default_factory=list)
    """At the switch: until then the code in force may read them."""


def _plan(catalogue: Catalogue, wanted: Mapping[str, WantedTable]) -> _Plan:
    plan = _Plan()
    left = {(i.table, i.name): i for i in _user_indexes(catalogue)}
    for table in wanted.values():
        for index in table.indexes:
            state: IndexState = "staged" if index.staged else "ready"
            there, new = left.get((table.name, index.name)), left.get((table.name, index.name + NEW))
            found = next((i for i in (there, new) if i is not None and index.is_held_by(i)), None)
            if found is not None:
                del left[found.table, found.name]
                plan.keep.append((found, state, index.name))
                continue
            change = IndexChange(table.name, index.name, index.fields, index.staged, index.kind, index.dimensions)
            if index.staged:
                plan.stage.append(change)
            elif there is None or there.state == "backfilling":
                plan.add.append(change)
            else:
                plan.add.append(dataclasses.replace(change, name=index.name + NEW))
    for index in left.values():
        is_begun = index.state == "backfilling" or index.name.endswith(NEW)
        (plan.discard if is_begun else plan.drop).append(index)
    return plan


def _user_indexes(catalogue: Catalogue) -> list[IndexInfo]:
    return [
        index
        for table in catalogue.tables.values()
        if not table.is_system
        for index in table.all_indexes
        if index.name not in (BY_ID, BY_CREATION_TIME)
    ]


async def _discard_unfinished(database: Database) -> None:
    """Drop what a deploy that failed has begun. Staged indexes stay: the schema in force has them."""
    left = [i for i in _user_indexes(database.catalogue) if i.state == "backfilling"]
    if left:

        def change(writer: Writer) -> CommitRecord:
            writer.change_indexes(add=(), drop=left)
            return CommitRecord(0, CommitKind.DEPLOY, [], (ANY_INDEX,))

        await database.commit_alone(change)


async def _check_documents(
    database: Database, table: WantedTable, report: Progress | None, told: SchemaProgress
) -> None:
    """Read every document of a table in short snapshots; those written meanwhile are checked by their writers."""
    info = database.catalogue.tables[table.name]
    check = table.check
    assert check is not None
    by_time = info.indexes[BY_CREATION_TIME]
    total = await database.store.read(lambda reader: reader.count(by_time, b"", None))
    await told.begin(total)
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
        await told.checked(done)
        if report is not None:
            report(f"checking table {table.name}", count, max(total, count))
    if offenders:
        raise SchemaError(
            "\n".join(offenders[:OFFENDERS])
            + "\nNothing was changed. Make the schema fit them (an optional field, a wider type), or change the documents first."
        )


def _reason(error: InvalidDocument) -> str:
    _, found, reason = str(error).partition("does not match the schema: ")
    return (reason if found else str(error)).replace("\n", " ")
