"""A copy of the database as of one moment, in a file of its own: made by SQLite while others work, read at leisure."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from reactor.store.catalogue import Catalogue, TableInfo
from reactor.store.flushing import flush
from reactor.store.room import check_room
from reactor.store.sqlite import statements, tables
from reactor.store.sqlite.staging import staging_uri

__all__ = ["CopyReader", "copy_into"]

PAGES_AT_ONCE: Final = 128


def copy_into(raw: sqlite3.Connection, path: Path, check: Callable[[], None]) -> None:
    """Copy what this connection's snapshot sees into a new file. What `check` raises now and then ends it.

    Raises Unavailable when the disk would be nearly full with it (see `store.room`), or has become so.

    Half a megabyte at a time reaches the disk, and more time passes before the next than it took: a client's commit waits for
    the disk behind all that is on its way there.
    """
    path.unlink(missing_ok=True)
    [(pages,)], [(page_size,)] = (raw.execute(f"PRAGMA {name}").fetchall() for name in ("page_count", "page_size"))
    check_room(path.parent, pages * page_size)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    began = time.monotonic()

    def pause(*_: int) -> None:
        nonlocal began
        check()
        check_room(descriptor)
        flush(descriptor)
        time.sleep(2.5 * (time.monotonic() - began))
        began = time.monotonic()

    try:
        target = sqlite3.connect(path, isolation_level=None)
        try:
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")
            raw.backup(target, pages=PAGES_AT_ONCE, sleep=0, progress=pause)
        finally:
            target.close()
    finally:
        os.close(descriptor)


class CopyReader:
    """Reads a copy. Nobody changes it any more."""

    def __init__(self, path: Path | str) -> None:
        self._raw = sqlite3.connect(staging_uri(Path(path)), uri=True)
        self._raw.execute("PRAGMA cache_size = -8192")
        self.catalogue: Catalogue = tables.load(self._raw)

    def close(self) -> None:
        self._raw.close()

    def count(self, table: TableInfo) -> int:
        """How many documents a table has."""
        index = next(iter(table.kept))  # smaller than the documents
        return self._raw.execute(f"SELECT count(*) FROM {statements.index_name(index.number)}").fetchone()[0]

    def documents(self, table: TableInfo) -> Iterator[bytes]:
        """The documents of a table, as they are stored, by id."""
        cursor = self._raw.execute(f"SELECT body FROM {statements.documents_name(table.storage)} ORDER BY id")
        while rows := cursor.fetchmany(256):
            for (body,) in rows:
                yield body
