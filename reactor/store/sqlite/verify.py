"""Checking a database file that nobody uses: a copy, or what a backup held. Never the file of a running server (rule 1)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from reactor.errors import StoreError
from reactor.store.sqlite.layout import APPLICATION, FORMAT
from reactor.store.sqlite.staging import staging_uri

__all__ = ["check_copy"]


def check_copy(path: Path) -> None:
    """Raise StoreError unless `path` is a whole, sound database of ours that this version can use. Reads all of it."""
    try:
        with closing(sqlite3.connect(staging_uri(path), uri=True)) as raw:
            application = raw.execute("PRAGMA application_id").fetchone()[0]
            version = raw.execute("PRAGMA user_version").fetchone()[0]
            problems = [row[0] for row in raw.execute("PRAGMA integrity_check(3)")]
    except sqlite3.Error as error:
        raise StoreError(f"the database in {path} can't be read: {error}") from None
    if application != APPLICATION:
        raise StoreError(f"{path} is not a reactor database")
    if version > FORMAT:
        raise StoreError(
            f"the database was written by a newer reactor (format {version}; this one knows up to {FORMAT}): use that version"
        )
    if problems != ["ok"]:
        raise StoreError(f"the database in {path} is damaged: {'; '.join(problems)}")
