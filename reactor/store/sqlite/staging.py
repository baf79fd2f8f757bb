"""Staging files: rows on their way into the database, put in order apart from it, in whatever process.

Rows are added in any order; `sort` numbers them by their key. Loading them in that order makes whole pages in the database,
where random order would write each page many times over. A staging file is scratch: nothing of it outlives a crash.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from reactor.errors import Unavailable

__all__ = ["StagingFile", "staging_uri"]

ADD_AT_ONCE: Final = 500
PROGRESS_STEPS: Final = 2_000
"""Of SQLite's machine, which takes a millisecond or less for them."""


def staging_uri(path: Path) -> str:
    """How a staging file that is complete is opened for reading: nobody changes it, so nothing is locked."""
    return f"file:{quote(str(path))}?mode=ro&immutable=1"


@contextlib.contextmanager
def _failures_told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise Unavailable(
            f"Writing the staging file failed ({name}): see whether the disk is full. Nothing was changed."
        ) from error


class StagingFile:
    """A new staging file at `path`, for one thread. Its methods raise Unavailable when the disk is full, or fails.

    `meanwhile` is called again and again during long work; what it raises is a bug.
    """

    def __init__(self, path: Path | str, meanwhile: Callable[[], None] | None = None) -> None:
        with _failures_told(), contextlib.ExitStack() as undo:
            self._raw = sqlite3.connect(path, isolation_level=None, cached_statements=500, check_same_thread=False)
            undo.callback(self._raw.close)
            # Some builds fill what is freed with zeros: all the unsorted rows would be written once more.
            off = ("journal_mode = OFF", "synchronous = OFF", "secure_delete = OFF")
            for pragma in (*off, "locking_mode = EXCLUSIVE", "cache_size = -4096"):
                self._raw.execute(f"PRAGMA {pragma}")
            if meanwhile is not None:
                self._raw.set_progress_handler(lambda: meanwhile(), PROGRESS_STEPS)
            self._raw.execute("BEGIN")
            undo.pop_all()
        self._rows: dict[str, list[tuple[Any, Any]]] = {}
        self._inserts: dict[str, str] = {}
        self._kinds: dict[str, tuple[str, str]] = {}

    def create(self, name: str, *, keys: bool) -> None:
        """Add a table: of documents (id, body), or of index keys (key, id)."""
        columns = ("key", "id") if keys else ("id", "body")
        self._kinds[name] = columns
        self._execute(f"CREATE TABLE raw_{name} (a, b)")
        self._inserts[name] = f"INSERT INTO raw_{name} VALUES (?, ?)"
        self._rows[name] = []

    def add(self, name: str, first: str | bytes, second: str | bytes) -> None:
        """Add (id, body) or (key, id)."""
        rows = self._rows[name]
        rows.append((first, second))
        if len(rows) >= ADD_AT_ONCE:
            self._flush(name)

    def _flush(self, name: str) -> None:
        with _failures_told():
            self._raw.executemany(self._inserts[name], self._rows[name])
        self._rows[name].clear()

    def sort(self, name: str) -> int:
        """Put a table in order; returns its number of rows. Nothing can be added afterwards."""
        self._flush(name)
        first, second = self._kinds[name]
        self._execute(f"CREATE TABLE {name} (n INTEGER PRIMARY KEY, {first}, {second})")
        self._execute(f"INSERT INTO {name} ({first}, {second}) SELECT a, b FROM raw_{name} ORDER BY a")
        self._execute(f"DROP TABLE raw_{name}")
        return self._execute(f"SELECT coalesce(max(n), 0) FROM {name}").fetchone()[0]

    def add_blob(self, blob: bytes) -> None:
        """Note something about a file that comes with the documents; `read_blobs` gives it back."""
        self._execute("CREATE TABLE IF NOT EXISTS blobs (blob BLOB NOT NULL)")
        self._execute("INSERT INTO blobs (blob) VALUES (?)", (blob,))

    def duplicate(self, name: str) -> str | None:
        """An id that occurs twice in a sorted table of documents, or None."""
        row = self._execute(
            f"SELECT a.id FROM {name} AS a JOIN {name} AS b ON b.n = a.n + 1 WHERE a.id = b.id LIMIT 1"
        ).fetchone()
        return None if row is None else row[0]

    def _execute(self, sql: str, parameters: tuple[object, ...] = ()) -> sqlite3.Cursor:
        with _failures_told():
            return self._raw.execute(sql, parameters)

    def finish(self) -> None:
        """Make it complete, and close it."""
        self._execute("COMMIT")
        self.close()

    def close(self) -> None:
        """Close it as it is; once is enough. An incomplete file is of no use."""
        self._raw.close()

    @staticmethod
    def read_ids(path: Path, name: str) -> Iterator[Sequence[str]]:
        """The ids of a table of documents of a complete file, some at a time."""
        yield from _column(path, f"SELECT id FROM {name} ORDER BY n")

    @staticmethod
    def read_bodies(path: Path, name: str) -> Iterator[Sequence[bytes]]:
        """The bodies of a table of documents of a complete file, some at a time."""
        yield from _column(path, f"SELECT body FROM {name} ORDER BY n")

    @staticmethod
    def read_blobs(path: Path) -> Iterator[Sequence[bytes]]:
        """What was given to `add_blob`, some at a time."""
        yield from _column(path, "SELECT blob FROM blobs ORDER BY rowid")


def _column(path: Path, sql: str) -> Iterator[list[Any]]:
    with contextlib.closing(sqlite3.connect(staging_uri(path), uri=True, check_same_thread=False)) as raw:
        cursor = raw.execute(sql)
        while rows := cursor.fetchmany(1000):
            yield [value for (value,) in rows]
