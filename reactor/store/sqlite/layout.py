"""The file's format: its tables, its version, and how each kind of connection is set up (engine rule 2)."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, Literal

from reactor.errors import StoreError
from reactor.store.catalogue import SYSTEM_TABLES
from reactor.store.sqlite import hidden, tables

__all__ = ["APPLICATION", "DATA_FILE", "FORMAT", "Synchronous", "set_up_checkpointer", "set_up_reader", "set_up_writer"]

Synchronous = Literal["FULL", "NORMAL", "OFF"]

DATA_FILE: Final = "data.sqlite3"
FORMAT: Final = 2
"""Rises when an older reactor could not work with the file any more; kept in the file's `user_version`."""
APPLICATION: Final = int.from_bytes(b"rctr", "big")

# A row for each index that does not hold all documents yet.
_BACKFILLS: Final = (
    "CREATE TABLE backfills (index_number INTEGER PRIMARY KEY, cursor BLOB NOT NULL, entered INTEGER NOT NULL)"
)

_DDL: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID",
    # Index numbers are never used twice: commit records and read sets name indexes by number.
    "CREATE TABLE tables (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, storage INTEGER NOT NULL)",
    *hidden.DDL,
    "CREATE TABLE indexes (number INTEGER PRIMARY KEY AUTOINCREMENT, table_number INTEGER NOT NULL, "
    "name TEXT NOT NULL, fields TEXT NOT NULL, state TEXT NOT NULL, "
    "kind TEXT NOT NULL DEFAULT 'database', dimensions INTEGER, UNIQUE (table_number, name))",
    _BACKFILLS,
    "CREATE TABLE log (ts INTEGER PRIMARY KEY, kind INTEGER NOT NULL, record BLOB NOT NULL)",
    "CREATE TABLE requests (session TEXT NOT NULL, request INTEGER NOT NULL, ts INTEGER NOT NULL, "
    "payload BLOB NOT NULL, PRIMARY KEY (session, request)) WITHOUT ROWID",
)

_MIGRATIONS: Final = {
    # Indexes get kinds, and how far they are filled is kept. Whatever was being filled starts over.
    1: (
        "ALTER TABLE indexes ADD COLUMN kind TEXT NOT NULL DEFAULT 'database'",
        "ALTER TABLE indexes ADD COLUMN dimensions INTEGER",
        _BACKFILLS,
        "INSERT INTO backfills SELECT number, x'', 0 FROM indexes WHERE state = 'backfilling'",
        # A table's documents may stand elsewhere than under its number.
        "ALTER TABLE tables ADD COLUMN storage INTEGER NOT NULL DEFAULT 0",
        "UPDATE tables SET storage = number",
        *hidden.DDL,
    ),
}
"""By format: the statements that bring a file of it to the next."""


def _pragma(raw: sqlite3.Connection, name: str) -> int | str:
    return raw.execute(f"PRAGMA {name}").fetchone()[0]


def _common(raw: sqlite3.Connection) -> None:
    # Checkpoints are the checkpointer's work, never a side effect of somebody's commit.
    raw.execute("PRAGMA wal_autocheckpoint = 0")
    raw.execute("PRAGMA temp_store = MEMORY")
    raw.execute("PRAGMA trusted_schema = OFF")


def set_up_writer(raw: sqlite3.Connection, directory: Path, synchronous: Synchronous) -> None:
    """Check the file's format (making the layout in a new file, migrating an older one) and set up the write connection.

    Raises `StoreError` for a file of a newer format or one that is not ours; such a file is left as it was.
    """
    application, version = _pragma(raw, "application_id"), int(_pragma(raw, "user_version"))
    is_new = raw.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0 and version == 0
    if not is_new:
        if application != APPLICATION:
            raise StoreError(f"{directory / DATA_FILE} is not a reactor database: choose another data directory.")
        if version > FORMAT:
            raise StoreError(
                f"The database in {directory} was written by a newer reactor (format {version}; this one knows up to "
                f"{FORMAT}). Run that version again, or use another data directory."
            )
    _common(raw)
    if _pragma(raw, "journal_mode = WAL") != "wal":
        raise StoreError(f"The file system of {directory} does not support SQLite's write-ahead log; use a local disk.")
    raw.execute(f"PRAGMA synchronous = {synchronous}")
    # With one writer nobody is ever in its way: BUSY is an alarm, not something to wait for.
    raw.execute("PRAGMA busy_timeout = 0")
    raw.execute("PRAGMA cache_size = -32768")  # KiB
    # Some builds overwrite what is freed: each deleted page then goes through the WAL once more.
    raw.execute("PRAGMA secure_delete = FAST")
    if is_new:
        raw.execute("BEGIN IMMEDIATE")
        for statement in _DDL:
            raw.execute(statement)
        for name, number in SYSTEM_TABLES.items():
            tables.add_table(raw, number, name)
        raw.execute(f"PRAGMA application_id = {APPLICATION}")
        raw.execute(f"PRAGMA user_version = {FORMAT}")
        raw.execute("COMMIT")
    elif version < FORMAT:
        raw.execute("BEGIN IMMEDIATE")
        for format_ in range(version, FORMAT):
            for statement in _MIGRATIONS[format_]:
                raw.execute(statement)
        raw.execute(f"PRAGMA user_version = {FORMAT}")
        raw.execute("COMMIT")


def set_up_reader(raw: sqlite3.Connection) -> None:
    """Set up a connection that can't write."""
    _common(raw)
    raw.execute("PRAGMA query_only = ON")
    raw.execute("PRAGMA cache_size = -16384")


def set_up_checkpointer(raw: sqlite3.Connection, synchronous: Synchronous) -> None:
    """Set up the connection that only ever checkpoints; `synchronous` decides whether it waits for the disk."""
    _common(raw)
    raw.execute(f"PRAGMA synchronous = {synchronous}")
