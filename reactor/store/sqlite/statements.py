"""The SQL of tables (by their storage) and indexes (by number). Each text is made once, so that SQLite's statement cache finds it again."""

from __future__ import annotations

from functools import cache

__all__ = [
    "add_key",
    "count_index",
    "count_table",
    "count_vectors",
    "create_documents",
    "create_index",
    "create_vectors",
    "delete",
    "documents_name",
    "drop_index",
    "drop_vectors",
    "get",
    "index_name",
    "insert",
    "put_vector",
    "remove_key",
    "remove_vector",
    "scan_index",
    "scan_table",
    "update",
    "vectors_after",
    "vectors_of",
]


def documents_name(table: int) -> str:
    return f"d_{table}"


def index_name(index: int) -> str:
    return f"i_{index}"


def create_documents(table: int) -> str:
    return f"CREATE TABLE d_{table} (id TEXT PRIMARY KEY NOT NULL, body BLOB NOT NULL) WITHOUT ROWID"


def create_index(index: int) -> str:
    return f"CREATE TABLE i_{index} (key BLOB PRIMARY KEY NOT NULL, id TEXT NOT NULL) WITHOUT ROWID"


def drop_index(index: int) -> str:
    return f"DROP TABLE i_{index}"


@cache
def get(table: int) -> str:
    return f"SELECT body FROM d_{table} WHERE id = ?"


@cache
def insert(table: int) -> str:
    return f"INSERT INTO d_{table} (id, body) VALUES (?, ?)"


@cache
def update(table: int) -> str:
    return f"UPDATE d_{table} SET body = ? WHERE id = ?"


@cache
def delete(table: int) -> str:
    return f"DELETE FROM d_{table} WHERE id = ?"


@cache
def add_key(index: int) -> str:
    # A key ends in its document's id, so a key that is there already is the same entry: backfill and writers may meet.
    return f"INSERT OR IGNORE INTO i_{index} (key, id) VALUES (?, ?)"


@cache
def remove_key(index: int) -> str:
    return f"DELETE FROM i_{index} WHERE key = ?"


def _key_range(bounded: bool) -> str:
    return "key >= ? AND key < ?" if bounded else "key >= ?"


@cache
def scan_index(index: int, table: int, bounded: bool, reverse: bool) -> str:
    """Parameters: start, end if `bounded`, limit."""
    # CROSS JOIN fixes the order: walk the index, look up each document.
    return (
        f"SELECT i.key, d.body FROM i_{index} AS i CROSS JOIN d_{table} AS d ON d.id = i.id "
        f"WHERE i.{_key_range(bounded).replace('AND ', 'AND i.')} ORDER BY i.key {'DESC' if reverse else 'ASC'} LIMIT ?"
    )


@cache
def count_index(index: int, bounded: bool) -> str:
    return f"SELECT count(*) FROM i_{index} WHERE {_key_range(bounded)}"


# Bounds of ids are bytes that need not be UTF-8; cast to text they compare byte by byte with the ids.
_ID_RANGE = "id >= CAST(? AS TEXT) AND id < CAST(? AS TEXT)"


@cache
def scan_table(table: int, reverse: bool) -> str:
    return f"SELECT id, body FROM d_{table} WHERE {_ID_RANGE} ORDER BY id {'DESC' if reverse else 'ASC'} LIMIT ?"


@cache
def count_table(table: int) -> str:
    return f"SELECT count(*) FROM d_{table} WHERE {_ID_RANGE}"


def create_vectors(index: int) -> str:
    # Rows in the order they came, so that reading all of them goes through the file; AUTOINCREMENT: never a number twice.
    return (
        f"CREATE TABLE v_{index} (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, "
        "vector BLOB NOT NULL, filters BLOB NOT NULL)"
    )


def drop_vectors(index: int) -> str:
    return f"DROP TABLE v_{index}"


@cache
def put_vector(index: int) -> str:
    return (
        f"INSERT INTO v_{index} (id, vector, filters) VALUES (?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET vector = excluded.vector, filters = excluded.filters"
    )


@cache
def remove_vector(index: int) -> str:
    return f"DELETE FROM v_{index} WHERE id = ?"


@cache
def vectors_after(index: int) -> str:
    return f"SELECT number, id, vector, filters FROM v_{index} WHERE number > ? ORDER BY number LIMIT ?"


@cache
def vectors_of(index: int) -> str:
    """Parameter: ids as a JSON array."""
    return f"SELECT number, id, vector, filters FROM v_{index} WHERE id IN (SELECT value FROM json_each(?))"


@cache
def count_vectors(index: int) -> str:
    return f"SELECT count(*) FROM v_{index}"
