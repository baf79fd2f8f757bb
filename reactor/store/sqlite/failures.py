"""What SQLite's errors mean to the layers above: one function, so that no `sqlite3` exception leaves the store."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from reactor.errors import ReactorError, StoreError, Unavailable
from reactor.store.protocol import SnapshotEnded

__all__ = ["is_input_output", "translate"]


def _primary_code(error: sqlite3.Error) -> int:
    # Errors of the module itself (a closed connection, a value it can't bind) carry no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_input_output(error: sqlite3.Error) -> bool:
    """Whether the file system failed in the middle: after a COMMIT the outcome is then unknown."""
    return _primary_code(error) == sqlite3.SQLITE_IOERR


def translate(error: sqlite3.Error, directory: Path) -> ReactorError:
    """Return the error to raise instead of `error`; `directory` is the data directory that it names to the operator."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    match _primary_code(error):
        case sqlite3.SQLITE_FULL:
            return Unavailable(f"There is no room to write in {directory}: free some disk space. Nothing was changed.")
        case sqlite3.SQLITE_INTERRUPT:
            return SnapshotEnded("The read was interrupted.")
        case sqlite3.SQLITE_IOERR:
            return StoreError(f"Reading or writing the database in {directory} failed ({name}). Check the disk.")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreError(
                f"The database in {directory} is damaged ({name}: {error}). Stop the server, keep a copy of the whole "
                "directory, check the disk, and restore a backup, or rescue what can be read with the sqlite3 shell's "
                "`.recover`."
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return StoreError(
                f"The database in {directory} can't be opened for writing ({name}). The server's user must own the "
                "directory and the files in it."
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(
                f"Another program holds the database in {directory} locked ({name}). Only one reactor may write to it; "
                "close any tool that has it open for writing."
            )
        case _:
            return StoreError(f"The database in {directory} failed ({name}): {error}")
