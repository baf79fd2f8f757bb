"""The stored catalogue: which tables and indexes there are, and the only DDL after the file was made (engine rule 8)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from reactor.errors import StoreError
from reactor.store.catalogue import (
    BY_CREATION_TIME,
    BY_ID,
    FIRST_USER_TABLE,
    Catalogue,
    IndexInfo,
    IndexKind,
    IndexState,
    TableInfo,
)
from reactor.store.protocol import IndexChange
from reactor.store.sqlite import kinds, statements

__all__ = ["add_table", "change_indexes", "create_tables", "load"]

_VERSION = "catalogue_version"


def load(raw: sqlite3.Connection) -> Catalogue:
    """Read the whole catalogue."""
    names: dict[int, str] = dict(raw.execute("SELECT number, name FROM tables ORDER BY number").fetchall())
    indexes: dict[int, dict[str, IndexInfo]] = {number: {} for number in names}
    rows = raw.execute(
        "SELECT number, table_number, name, fields, state, kind, dimensions FROM indexes ORDER BY number"
    ).fetchall()
    for number, table, name, fields, state, kind, dimensions in rows:
        info = IndexInfo(number, names[table], table, name, tuple(json.loads(fields)), state, kind, dimensions)
        indexes[table][name] = info
    tables = [_table(number, name, indexes[number]) for number, name in names.items()]
    version = raw.execute("SELECT value FROM meta WHERE key = ?", (_VERSION,)).fetchone()
    return Catalogue(int(version[0]) if version else 0, {t.name: t for t in tables}, {t.number: t for t in tables})


def _table(number: int, name: str, indexes: Mapping[str, IndexInfo]) -> TableInfo:
    by_kind: dict[IndexKind, dict[str, IndexInfo]] = {"database": {}, "search": {}, "vector": {}}
    for index in indexes.values():
        by_kind[index.kind][index.name] = index
    kept = tuple(i for i in by_kind["database"].values() if not i.is_by_id)
    return TableInfo(number, name, by_kind["database"], kept, by_kind["search"], by_kind["vector"])


def _raise_version(raw: sqlite3.Connection) -> None:
    row = raw.execute("SELECT value FROM meta WHERE key = ?", (_VERSION,)).fetchone()
    version = int(row[0]) + 1 if row else 1
    raw.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_VERSION, str(version).encode()))


def _add_index(
    raw: sqlite3.Connection,
    table: int,
    name: str,
    fields: Sequence[str],
    state: IndexState,
    kind: IndexKind = "database",
    dimensions: int | None = None,
) -> int:
    cursor = raw.execute(
        "INSERT INTO indexes (table_number, name, fields, state, kind, dimensions) VALUES (?, ?, ?, ?, ?, ?)",
        (table, name, json.dumps(list(fields)), state, kind, dimensions),
    )
    number = cursor.lastrowid
    assert number is not None
    return number


def add_table(raw: sqlite3.Connection, number: int, name: str) -> None:
    """Make one empty table with its two indexes. The catalogue's version is the caller's business."""
    raw.execute("INSERT INTO tables (number, name) VALUES (?, ?)", (number, name))
    raw.execute(statements.create_documents(number))
    _add_index(raw, number, BY_ID, (), "ready")  # a number only: its keys are the document table's
    raw.execute(statements.create_index(_add_index(raw, number, BY_CREATION_TIME, (), "ready")))


def create_tables(raw: sqlite3.Connection, catalogue: Catalogue, names: Iterable[str]) -> Catalogue:
    """Make those tables that do not exist yet; names with a leading underscore get a system table's number."""
    user = max(FIRST_USER_TABLE - 1, *catalogue.by_number)
    system = max(number for number, table in catalogue.by_number.items() if table.is_system)
    missing = [name for name in dict.fromkeys(names) if name not in catalogue.tables]
    if not missing:
        return catalogue
    for name in missing:
        if name.startswith("_"):
            system += 1
            add_table(raw, system, name)
        else:
            user += 1
            add_table(raw, user, name)
    _raise_version(raw)
    return load(raw)


def change_indexes(
    raw: sqlite3.Connection,
    catalogue: Catalogue,
    *,
    add: Sequence[IndexChange],
    drop: Sequence[IndexInfo],
    enable: Sequence[IndexInfo],
) -> Catalogue:
    """Apply a deploy's wishes, drops first, so that an index can be replaced under its name."""
    for index in drop:
        if index.name in (BY_ID, BY_CREATION_TIME):
            raise StoreError(f"Index {index.table}.{index.name} belongs to its table and can't be dropped.")
        if raw.execute("DELETE FROM indexes WHERE number = ?", (index.number,)).rowcount:
            raw.execute("DELETE FROM backfills WHERE index_number = ?", (index.number,))
            kinds.drop(raw, index.kind, index.number)
    for change in add:
        table = catalogue.tables.get(change.table)
        if table is None:
            raise StoreError(f"Index {change.table}.{change.name} is for a table that does not exist.")
        if raw.execute(
            "SELECT 1 FROM indexes WHERE table_number = ? AND name = ?", (table.number, change.name)
        ).fetchone():
            raise StoreError(f"The table {change.table} has an index {change.name} already; drop that one first.")
        number = _add_index(
            raw,
            table.number,
            change.name,
            change.fields,
            "staged" if change.staged else "backfilling",
            change.kind,
            change.dimensions,
        )
        kinds.create(raw, change.kind, number)
        raw.execute("INSERT INTO backfills (index_number, cursor, entered) VALUES (?, x'', 0)", (number,))
    for index in enable:
        state: IndexState = "staged" if index.state == "staged" else "ready"
        if state == "ready":
            raw.execute("DELETE FROM backfills WHERE index_number = ?", (index.number,))
        raw.execute("UPDATE indexes SET state = ?, name = ? WHERE number = ?", (state, index.name, index.number))
    if add or drop or enable:
        _raise_version(raw)
    return load(raw)
