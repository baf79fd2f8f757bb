"""Hidden tables: filled out of everybody's sight, then put in the place of tables by a change of the catalogue alone.

A hidden table has a table's documents and indexes, under numbers of its own (`TableInfo.storage`, index numbers), so
nothing that reads or writes the table meets it. Revealing it is a few rows of the catalogue, whatever its size. What it
replaced is emptied in small steps and dropped (`reap`). Hidden tables don't outlive the process that made them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from reactor.errors import StoreError
from reactor.store.catalogue import BY_ID, Catalogue, IndexInfo, TableInfo
from reactor.store.protocol import IndexChange
from reactor.store.sqlite import statements, tables

__all__ = ["DDL", "copy_step", "create", "discard", "discard_all", "drop_tables", "load", "mirror", "reap", "reveal"]

DDL: Final = (
    # Its indexes stand in `indexes` under the negative of its storage.
    "CREATE TABLE hidden (storage INTEGER PRIMARY KEY, number INTEGER NOT NULL, name TEXT NOT NULL UNIQUE, "
    "is_mirror INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE dropped (name TEXT PRIMARY KEY NOT NULL) WITHOUT ROWID",
)


def create(
    raw: sqlite3.Connection, catalogue: Catalogue, name: str, number: int | None, indexes: Sequence[IndexChange]
) -> TableInfo:
    """Make an empty hidden table that will be `name`, with ids of table `number` (None: as now, or a fresh number)."""
    if number is None:
        there = catalogue.tables.get(name)
        number = tables.free_number(raw, catalogue) if there is None else there.number
    storage = tables.next_storage(raw)
    raw.execute("INSERT INTO hidden (storage, number, name) VALUES (?, ?, ?)", (storage, number, name))
    raw.execute(statements.create_documents(storage))
    tables.add_own_indexes(raw, -storage)
    for change in indexes:
        tables.add_index(raw, -storage, change, "staged" if change.staged else "ready")
    return tables.table_of_rows(raw, number, name, storage, -storage)


def reveal(
    raw: sqlite3.Connection, catalogue: Catalogue, hidden: Sequence[TableInfo], drop: Iterable[str]
) -> Catalogue:
    """Put hidden tables in the place of what has their names, and drop other tables: in effect from the commit on."""
    partial: list[tuple[str, str]] = []  # a copy of an index that is not full is not full either
    for name in dict.fromkeys([*(table.name for table in hidden), *drop]):
        if (old := catalogue.tables.get(name)) is not None:
            partial += [(name, index) for index in tables.partly_filled(raw, old.number)]
            _let_go(raw, old)
    for table in hidden:
        if raw.execute("DELETE FROM hidden WHERE storage = ?", (table.storage,)).rowcount != 1:
            raise StoreError(f"The hidden table for {table.name} is gone.")
        _unmirror(raw, table.storage)
        taken = raw.execute("SELECT name FROM tables WHERE number = ?", (table.number,)).fetchone()
        if taken is not None:
            raise StoreError(f"Table {table.name} can't have number {table.number}: {taken[0]} has it.")
        raw.execute(
            "INSERT INTO tables (number, name, storage) VALUES (?, ?, ?)", (table.number, table.name, table.storage)
        )
        raw.execute("UPDATE indexes SET table_number = ? WHERE table_number = ?", (table.number, -table.storage))
        for index in [index for name, index in partial if name == table.name]:
            tables.fill_anew(raw, table.number, index)
    tables.raise_version(raw)
    return tables.load(raw)


def drop_tables(raw: sqlite3.Connection, catalogue: Catalogue, names: Iterable[str]) -> Catalogue:
    """Take tables out of the catalogue. Unknown names are passed over."""
    return reveal(raw, catalogue, (), names)


def discard(raw: sqlite3.Connection, hidden: Iterable[TableInfo]) -> Catalogue:
    """Give up hidden tables; those that are gone already are passed over."""
    for table in hidden:
        _discard(raw, table.storage)
    tables.raise_version(raw)
    return tables.load(raw)


def discard_all(raw: sqlite3.Connection) -> None:
    """Give up what an earlier process has left."""
    for (storage,) in raw.execute("SELECT storage FROM hidden").fetchall():
        _discard(raw, storage)


def _discard(raw: sqlite3.Connection, storage: int) -> None:
    if raw.execute("DELETE FROM hidden WHERE storage = ?", (storage,)).rowcount:
        _unmirror(raw, storage)
        _let_go_rows(raw, storage, -storage)


def _let_go(raw: sqlite3.Connection, table: TableInfo) -> None:
    raw.execute("DELETE FROM tables WHERE number = ?", (table.number,))
    tables.retire_number(raw, table.number)
    _let_go_rows(raw, table.storage, table.number)


def _let_go_rows(raw: sqlite3.Connection, storage: int, owner: int) -> None:
    names = [statements.documents_name(storage), *tables.forget_indexes(raw, owner)]
    raw.executemany("INSERT INTO dropped (name) VALUES (?)", [(name,) for name in names])


# Filling


def load(raw: sqlite3.Connection, source: str, target: TableInfo | IndexInfo, start: int, end: int) -> None:
    """Enter the rows `start < n <= end` of a table of the attached staging file: (n, id, body) or (n, key, id)."""
    name, columns = _place(target)
    raw.execute(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {source} WHERE n > ? AND n <= ?", (start, end))


def mirror(raw: sqlite3.Connection, table: TableInfo, hidden: TableInfo) -> Catalogue:
    """From now on, what is written to the table is written to the hidden one, too."""
    raw.execute("UPDATE hidden SET is_mirror = 1 WHERE storage = ?", (hidden.storage,))
    live = statements.documents_name(table.storage)
    copy = statements.documents_name(hidden.storage)
    name = f"mirror_{hidden.storage}"
    write = f"INSERT OR REPLACE INTO {copy} (id, body) VALUES (new.id, new.body)"
    raw.execute(f"CREATE TRIGGER {name}_i AFTER INSERT ON {live} BEGIN {write}; END")
    raw.execute(f"CREATE TRIGGER {name}_u AFTER UPDATE ON {live} BEGIN {write}; END")
    raw.execute(f"CREATE TRIGGER {name}_d AFTER DELETE ON {live} BEGIN DELETE FROM {copy} WHERE id = old.id; END")
    for index in table.kept:
        live, copy = statements.index_name(index.number), statements.index_name(hidden.indexes[index.name].number)
        name = f"mirror_{hidden.storage}_{index.number}"
        write = f"INSERT OR IGNORE INTO {copy} (key, id) VALUES (new.key, new.id)"
        raw.execute(f"CREATE TRIGGER {name}_i AFTER INSERT ON {live} BEGIN {write}; END")
        raw.execute(f"CREATE TRIGGER {name}_d AFTER DELETE ON {live} BEGIN DELETE FROM {copy} WHERE key = old.key; END")
    tables.raise_version(raw)
    return tables.load(raw)


def _unmirror(raw: sqlite3.Connection, storage: int) -> None:
    found = raw.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB ?", (f"mirror_{storage}_*",)
    ).fetchall()
    for (name,) in found:
        raw.execute(f"DROP TRIGGER {name}")


def copy_step(
    raw: sqlite3.Connection,
    source: TableInfo | IndexInfo,
    target: TableInfo | IndexInfo,
    start: bytes | str | None,
    rows: int,
) -> bytes | str | None:
    """Copy up to `rows` rows that follow the key `start`, and return the last one's key; None when these were all.

    What is there already stays: with a mirror it is newer, or the same.
    """
    name, columns = _place(source)
    key = columns.partition(",")[0]
    where = "" if start is None else f"WHERE {key} > ?1"
    last = raw.execute(
        f"SELECT max(k), count(*) FROM (SELECT {key} AS k FROM {name} {where} ORDER BY {key} LIMIT {rows})",
        () if start is None else (start,),
    ).fetchone()
    if not last[1]:
        return None
    bounds = (last[0],) if start is None else (start, last[0])
    where = f"{key} <= ?1" if start is None else f"{key} > ?1 AND {key} <= ?2"
    raw.execute(
        f"INSERT OR IGNORE INTO {_place(target)[0]} ({columns}) SELECT {columns} FROM {name} WHERE {where}", bounds
    )
    # Fewer than asked for is the end: what is written behind it comes through the mirror.
    return last[0] if last[1] == rows else None


def _place(info: TableInfo | IndexInfo) -> tuple[str, str]:
    if isinstance(info, TableInfo):
        return statements.documents_name(info.storage), "id, body"
    if info.name == BY_ID:
        raise StoreError(f"Index {info.table}.{info.name} has no rows of its own.")
    return statements.index_name(info.number), "key, id"


# Emptying


def reap(raw: sqlite3.Connection, rows: int) -> bool:
    """Delete up to `rows` rows of what is not needed any more; False when nothing is left of it."""
    found = raw.execute("SELECT name FROM dropped LIMIT 1").fetchone()
    if found is None:
        return False
    [name] = found
    [key] = raw.execute("SELECT name FROM pragma_table_info(?) WHERE pk = 1", (name,)).fetchone() or ("rowid",)
    bound = raw.execute(f"SELECT {key} FROM {name} ORDER BY {key} LIMIT 1 OFFSET ?", (rows,)).fetchone()
    if bound is None:
        raw.execute(f"DROP TABLE {name}")
        raw.execute("DELETE FROM dropped WHERE name = ?", (name,))
    else:
        raw.execute(f"DELETE FROM {name} WHERE {key} < ?", bound)
    return True
