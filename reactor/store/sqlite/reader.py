"""Reading: one class of statements for snapshots and for the write transaction. Every method fetches all of its rows."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path

from reactor.errors import ReactorError
from reactor.store.catalogue import IndexInfo, TableInfo
from reactor.store.protocol import Backfill, LogRow, RequestRecord, SnapshotEnded, VectorRow
from reactor.store.sqlite import statements, text
from reactor.store.sqlite.copies import copy_into
from reactor.store.sqlite.failures import translate
from reactor.store.text import TextMatch, TextQuery

__all__ = ["SqliteReader", "id_bounds", "pack", "unpack"]

_SCAN_STEP = 32
_SCAN_BYTES = 4 * 1024 * 1024
_PACK_FROM = 1024
_PLAIN, _ZLIB = b"\x00", b"\x01"


def pack(payload: bytes) -> bytes:
    """A request's payload as it is stored: large ones are compressed (engine rule 22)."""
    if len(payload) >= _PACK_FROM and len(packed := zlib.compress(payload, 1)) < len(payload):
        return _ZLIB + packed
    return _PLAIN + payload


def unpack(stored: bytes) -> bytes:
    return zlib.decompress(stored[1:]) if stored[:1] == _ZLIB else stored[1:]


def id_bounds(start: bytes, end: bytes | None) -> tuple[bytes, bytes] | None:
    """Turn a range of `by_id` keys into `low <= id < high` over ids as UTF-8, or None when nothing can lie in it.

    The key of an id is 10, its bytes, 00 (`values.keys`). Ids are letters and digits: no byte of one is below 02 or
    above fe, which is what makes every range of keys, whatever its bounds, a range of ids.
    """
    low = _id_bound(start)
    high = b"\xff" if end is None else _id_bound(end)
    return (low, high) if low < high else None


def _id_bound(key: bytes) -> bytes:
    # The least text not below any id whose key is >= `key`.
    if key[:1] < b"\x10":
        return b""
    if key[:1] > b"\x10":
        return b"\xff"
    text, nul, rest = key[1:].partition(b"\x00")
    # Behind the end of the text: the id itself lies below the bound, longer ids that begin with it above.
    return text + b"\x01" if nul and rest else text


class SqliteReader:
    """`store.protocol.Reader` over one connection, inside a transaction that somebody else opened."""

    __slots__ = ("_directory", "_has_refused", "_is_void", "_raw", "_stopped", "_ts")

    def __init__(self, raw: sqlite3.Connection, directory: Path) -> None:
        self._raw = raw
        self._directory = directory
        self._ts = 0
        # Why it must not be used any more. SQLite forgets an interrupt that comes between two statements; this doesn't.
        self._stopped: str | None = None
        # Ended by the store, not by its user; and whether any operation was refused. Together they void a job's result.
        self._is_void = False
        self._has_refused = False

    @property
    def ts(self) -> int:
        return self._ts

    def get(self, table: TableInfo, document_id: str) -> bytes | None:
        row = self._one(statements.get(table.storage), (document_id,))
        return None if row is None else row[0]

    def scan(
        self, index: IndexInfo, start: bytes, end: bytes | None, *, reverse: bool, limit: int
    ) -> list[tuple[bytes, bytes]]:
        if not index.is_by_id:
            sql = statements.scan_index(index.number, index.storage, end is not None, reverse)
            parameters = (start, limit) if end is None else (start, end, limit)
            # The choice of `_chunk`, made here already: short reads are the most frequent ones.
            return self._all(sql, parameters) if limit <= _SCAN_STEP else self._chunk(sql, parameters, limit)
        bounds = id_bounds(start, end)
        if bounds is None:
            return []
        rows = self._chunk(statements.scan_table(index.storage, reverse), (*bounds, limit), limit)
        return [(b"\x10%b\x00" % key.encode(), body) for key, body in rows]

    def count(self, index: IndexInfo, start: bytes, end: bytes | None) -> int:
        if not index.is_by_id:
            sql = statements.count_index(index.number, end is not None)
            row = self._one(sql, (start,) if end is None else (start, end))
        elif (bounds := id_bounds(start, end)) is not None:
            row = self._one(statements.count_table(index.storage), bounds)
        else:
            return 0
        return 0 if row is None else row[0]

    def search_text(self, index: IndexInfo, query: TextQuery, limit: int) -> list[TextMatch]:
        number = index.number
        bounds = (query.last, query.last + "\U0010ffff")
        words = dict.fromkeys((*query.words, query.last))
        longer = [word for (word,) in self._all(text.expand(number), bounds) if word not in words]
        expressions = [text.match((*words,), query.filters)]
        if longer:
            expressions.append(text.match(longer, query.filters))
        rows = self._all(text.search(number, bool(longer)), (*expressions, limit))
        return [TextMatch(*row) for row in rows]

    def get_request(self, session: str, request: int) -> RequestRecord | None:
        row = self._one("SELECT ts, payload FROM requests WHERE session = ? AND request = ?", (session, request))
        return None if row is None else RequestRecord(row[0], unpack(row[1]))

    def log_after(self, ts: int, limit: int) -> list[LogRow]:
        rows = self._all("SELECT ts, kind, record FROM log WHERE ts > ? ORDER BY ts LIMIT ?", (ts, limit))
        return [LogRow(*row) for row in rows]

    def get_backfill(self, index: IndexInfo) -> Backfill | None:
        row = self._one("SELECT cursor, entered FROM backfills WHERE index_number = ?", (index.number,))
        return None if row is None else Backfill(*row)

    def vectors_after(self, index: IndexInfo, number: int, limit: int) -> list[VectorRow]:
        return [VectorRow(*row) for row in self._all(statements.vectors_after(index.number), (number, limit))]

    def vectors_of(self, index: IndexInfo, ids: Sequence[str]) -> list[VectorRow]:
        rows = self._all(statements.vectors_of(index.number), (json.dumps(list(ids)),))
        return [VectorRow(*row) for row in rows]

    def count_vectors(self, index: IndexInfo) -> int:
        row = self._one(statements.count_vectors(index.number), ())
        return 0 if row is None else row[0]

    def get_meta(self, key: str) -> bytes | None:
        row = self._one("SELECT value FROM meta WHERE key = ?", (key,))
        return None if row is None else row[0]

    def copy_into(self, path: Path) -> None:
        def check() -> None:
            if self._stopped is not None:
                raise self._refusal()

        try:
            copy_into(self._raw, path, check)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _one(self, sql: str, parameters: tuple[object, ...]) -> tuple | None:
        # For look-ups of at most one row: fetching it also steps to the end, which closes the statement.
        if self._stopped is not None:
            raise self._refusal()
        try:
            return self._raw.execute(sql, parameters).fetchone()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _all(self, sql: str, parameters: tuple[object, ...]) -> list[tuple]:
        if self._stopped is not None:
            raise self._refusal()
        try:
            return self._raw.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _chunk(self, sql: str, parameters: tuple[object, ...], limit: int) -> list[tuple]:
        """Rows whose second column may be large: at most some megabytes of them."""
        if limit <= _SCAN_STEP:
            return self._all(sql, parameters)
        if self._stopped is not None:
            raise self._refusal()
        rows: list[tuple] = []
        size = 0
        try:
            cursor = self._raw.execute(sql, parameters)
            while size < _SCAN_BYTES:
                more = cursor.fetchmany(_SCAN_STEP)
                rows += more
                if len(more) < _SCAN_STEP:
                    return rows
                for _, body in more:
                    size += len(body)
            cursor.close()  # resets the statement: none may stay open
            return rows
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _refusal(self) -> SnapshotEnded:
        assert self._stopped is not None
        self._has_refused = True
        return SnapshotEnded(self._stopped)

    def _failure(self, error: sqlite3.Error) -> ReactorError:
        if self._stopped is None and str(error).startswith("no such table:"):
            # A table or index newer than the snapshot, or one that a deploy has dropped since the catalogue was read.
            self._stopped = "The tables and indexes have changed since this read began."
            self._is_void = True
        if self._stopped is not None:
            return self._refusal()
        return translate(error, self._directory)
