"""The stored catalogue: which tables and indexes there are, and the only DDL after the file was made (engine rule 8)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

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

__all__ = [
    "add_index", "add_own_indexes", "add_table", "change_indexes", "create_tables", "fill_anew", "forget_indexes",
    "free_number", "load", "next_storage", "partly_filled", "raise_version", "retire_number", "table_of_rows",
]  # fmt: skip

_VERSION = "catalogue_version"
_RETIRED = "last_table_number"
_STORAGE = "next_storage"
FIRST_STORAGE: Final = 2**32
"""Above every table number, which is the storage of tables that were never replaced."""


def load(raw: sqlite3.Connection) -> Catalogue:
    """Read the whole catalogue."""
    rows = raw.execute("SELECT number, name, storage FROM tables ORDER BY number").fetchall()
    indexes: dict[int, list[_IndexRow]] = {}
    for owner, *row in raw.execute(f"SELECT table_number, {_INDEX_COLUMNS} FROM indexes ORDER BY number"):
        indexes.setdefault(owner, []).append(row)
    # What a hidden table's other indexes are to hold, the writers of the table that it mirrors keep, too.
    mirrors = {
        name: _table(0, name, storage, indexes.get(-storage, [])).others
        for storage, name in raw.execute("SELECT storage, name FROM hidden WHERE is_mirror")
    }
    tables = [
        _table(number, name, storage, indexes.get(number, []), mirrors.get(name, ())) for number, name, storage in rows
    ]
    version = raw.execute("SELECT value FROM meta WHERE key = ?", (_VERSION,)).fetchone()
    return Catalogue(int(version[0]) if version else 0, {t.name: t for t in tables}, {t.number: t for t in tables})


_INDEX_COLUMNS = "number, name, fields, state, kind, dimensions"
_IndexRow = list[Any]


def _table(
    number: int, name: str, storage: int, rows: Sequence[_IndexRow], mirrored: tuple[IndexInfo, ...] = ()
) -> TableInfo:
    by_kind: dict[IndexKind, dict[str, IndexInfo]] = {"database": {}, "search": {}, "vector": {}}
    for index, index_name, fields, state, kind, dimensions in rows:
        by_kind[kind][index_name] = IndexInfo(
            index, name, number, index_name, tuple(json.loads(fields)), state, kind, dimensions, storage
        )
    kept = tuple(i for i in by_kind["database"].values() if not i.is_by_id)
    return TableInfo(number, name, by_kind["database"], kept, by_kind["search"], by_kind["vector"], mirrored, storage)


def table_of_rows(raw: sqlite3.Connection, number: int, name: str, storage: int, owner: int) -> TableInfo:
    """The table of this number, name and storage, with the indexes that stand in the catalogue under `owner`."""
    rows = raw.execute(f"SELECT {_INDEX_COLUMNS} FROM indexes WHERE table_number = ? ORDER BY number", (owner,))
    return _table(number, name, storage, [list(row) for row in rows])


def raise_version(raw: sqlite3.Connection) -> None:
    """The catalogue is about to be another."""
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


def add_own_indexes(raw: sqlite3.Connection, owner: int) -> None:
    """Make the two indexes that every table has."""
    _add_index(raw, owner, BY_ID, (), "ready")  # a number only: its keys are the document table's
    raw.execute(statements.create_index(_add_index(raw, owner, BY_CREATION_TIME, (), "ready")))


def add_index(raw: sqlite3.Connection, owner: int, change: IndexChange, state: IndexState) -> int:
    """Make an empty index; returns its number."""
    number = _add_index(raw, owner, change.name, change.fields, state, change.kind, change.dimensions)
    kinds.create(raw, change.kind, number)
    return number


def partly_filled(raw: sqlite3.Connection, owner: int) -> list[str]:
    """The names of a table's indexes that do not hold all documents yet."""
    rows = raw.execute(
        "SELECT name FROM indexes JOIN backfills ON index_number = number WHERE table_number = ?", (owner,)
    )
    return [name for (name,) in rows]


def fill_anew(raw: sqlite3.Connection, owner: int, name: str) -> None:
    """This index, if the table has it, is to be filled from the first document on, and not to be read before it is full."""
    raw.execute(
        "UPDATE indexes SET state = 'backfilling' WHERE table_number = ? AND name = ? AND state = 'ready'",
        (owner, name),
    )
    raw.execute(
        "INSERT INTO backfills (index_number, cursor, entered) "
        "SELECT number, x'', 0 FROM indexes WHERE table_number = ? AND name = ?",
        (owner, name),
    )


def forget_indexes(raw: sqlite3.Connection, owner: int) -> list[str]:
    """Take a table's indexes out of the catalogue; returns the names of what holds their keys, for whoever drops that."""
    rows = raw.execute("SELECT number, name, kind FROM indexes WHERE table_number = ?", (owner,)).fetchall()
    raw.execute(
        "DELETE FROM backfills WHERE index_number IN (SELECT number FROM indexes WHERE table_number = ?)", (owner,)
    )
    raw.execute("DELETE FROM indexes WHERE table_number = ?", (owner,))
    for number, _, kind in rows:
        if kind != "database":
            kinds.drop(raw, kind, number)
    return [statements.index_name(number) for number, name, kind in rows if kind == "database" and name != BY_ID]


def add_table(raw: sqlite3.Connection, number: int, name: str) -> None:
    """Make one empty table with its two indexes. The catalogue's version is the caller's business."""
    taken = raw.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (statements.documents_name(number),)).fetchone()
    storage = next_storage(raw) if taken else number  # what was there before may still be about to be deleted
    raw.execute("INSERT INTO tables (number, name, storage) VALUES (?, ?, ?)", (number, name, storage))
    raw.execute(statements.create_documents(storage))
    add_own_indexes(raw, number)


def free_number(raw: sqlite3.Connection, catalogue: Catalogue) -> int:
    """A number for a user's table that none has or had, shown or hidden: ids of a dropped table are nobody else's."""
    hidden = [number for (number,) in raw.execute("SELECT number FROM hidden")]
    return max(FIRST_USER_TABLE - 1, _counter(raw, _RETIRED, 0), *catalogue.by_number, *hidden) + 1


def retire_number(raw: sqlite3.Connection, number: int) -> None:
    """A table with this number goes."""
    _put_counter(raw, _RETIRED, max(number, _counter(raw, _RETIRED, 0)))


def next_storage(raw: sqlite3.Connection) -> int:
    """Where to put documents that can't be where their table's number says; never given twice."""
    storage = _counter(raw, _STORAGE, FIRST_STORAGE)
    _put_counter(raw, _STORAGE, storage + 1)
    return storage


def _counter(raw: sqlite3.Connection, key: str, default: int) -> int:
    row = raw.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return int(row[0]) if row else default


def _put_counter(raw: sqlite3.Connection, key: str, value: int) -> None:
    raw.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, str(value).encode()))


def create_tables(raw: sqlite3.Connection, catalogue: Catalogue, names: Iterable[str]) -> Catalogue:
    """Make those tables that do not exist yet; names with a leading underscore get a system table's number."""
    # A hidden table keeps the number that its documents' ids say, and its name has it.
    hidden: dict[str, int] = dict(raw.execute("SELECT name, number FROM hidden").fetchall())
    user = free_number(raw, catalogue) - 1
    system = max(number for number, table in catalogue.by_number.items() if table.is_system)
    missing = [name for name in dict.fromkeys(names) if name not in catalogue.tables]
    if not missing:
        return catalogue
    for name in missing:
        if name in hidden and hidden[name] not in catalogue.by_number:
            add_table(raw, hidden[name], name)
        elif name.startswith("_"):
            system += 1
            add_table(raw, system, name)
        else:
            user += 1
            add_table(raw, user, name)
    raise_version(raw)
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
        number = add_index(raw, table.number, change, "staged" if change.staged else "backfilling")
        raw.execute("INSERT INTO backfills (index_number, cursor, entered) VALUES (?, x'', 0)", (number,))
    for index in enable:
        state: IndexState = "staged" if index.state == "staged" else "ready"
        if state == "ready":
            raw.execute("DELETE FROM backfills WHERE index_number = ?", (index.number,))
        raw.execute("UPDATE indexes SET state = ?, name = ? WHERE number = ?", (state, index.name, index.number))
    if add or drop or enable:
        raise_version(raw)
    return load(raw)
