"""Writing: the statements of the one write connection, its transactions, and what happens when the disk fails (rule 7)."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from reactor import faults
from reactor.errors import ReactorError, StoreError
from reactor.store.catalogue import Catalogue, IndexInfo, TableInfo
from reactor.store.protocol import Backfill, IndexChange, LogRow, OutcomeUnknown, RequestRecord
from reactor.store.sqlite import hidden, statements, tables, text
from reactor.store.sqlite.checkpoint import Checkpointer
from reactor.store.sqlite.failures import is_input_output, translate
from reactor.store.sqlite.gate import Gate
from reactor.store.sqlite.reader import SqliteReader, pack
from reactor.store.sqlite.retention import Pruner
from reactor.store.sqlite.staging import staging_uri
from reactor.store.text import TextEntry

__all__ = ["AFTER_COMMIT", "BEFORE_COMMIT", "SqliteWriter"]

T = TypeVar("T")

_log = logging.getLogger("reactor.store")

CATALOGUES_KEPT: Final = 32
BEFORE_COMMIT: Final = "store.before_commit"
AFTER_COMMIT: Final = "store.after_commit"


_DELETE_REQUESTS: Final = "DELETE FROM requests WHERE session = ? AND request < ?"


class SqliteWriter(SqliteReader):
    """`store.protocol.Writer`. `catalogue` is the committed one; `is_broken` says that the file must be opened anew.

    New bodies of documents and request records wait in memory and go into the file together, right before the commit;
    reads here see them. A savepoint comes to be in SQLite with the first statement that changes something in it. Most mutations have none: they
    only change bodies, and undoing that is a matter of memory.
    """

    __slots__ = (
        "_bodies",
        "_checkpointer",
        "_gate",
        "_is_relaxed",
        "_log",
        "_log_bytes",
        "_marks",
        "_open",
        "_pending",
        "_pruned",
        "_pruner",
        "_records",
        "_savepoints",
        "_synchronous",
        "_undo",
        "catalogue",
        "catalogues",
        "is_broken",
    )

    def __init__(
        self, raw: sqlite3.Connection, directory: Path, gate: Gate, checkpointer: Checkpointer, pruner: Pruner
    ) -> None:
        super().__init__(raw, directory)
        self._gate, self._checkpointer, self._pruner = gate, checkpointer, pruner
        self.is_broken = False
        self._synchronous: int = raw.execute("PRAGMA synchronous").fetchone()[0]
        self._is_relaxed = False
        # False also after SQLite rolled everything back by itself: then writes would go to the file one by one.
        self._open = False
        self._pruned = False
        self._give_up_hidden()
        self.catalogue = tables.load(raw)
        pruner.load(raw)
        self._forget()
        self.catalogues: tuple[tuple[int, Catalogue], ...] = ((0, self.catalogue),)
        """The last few catalogues, newest last, each with the timestamp of the commit that brought it."""
        gate.committed_ts = self._ts

    def _forget(self) -> None:
        """Set what describes the transaction to what is committed."""
        self._pending: Catalogue | None = None
        self._marks: list[tuple[int, int, int, Catalogue | None, int, int]] = []
        self._savepoints = 0
        """How many marks, the outermost first, have a savepoint in SQLite."""
        self._bodies: dict[tuple[int, str], bytes] = {}
        """By storage and id."""
        self._undo: list[tuple[tuple[int, str], bytes | None]] = []
        """What stood in `_bodies` before each change of it, since the outermost mark."""
        # Rows of the log on their way: they go into the file together, right before the commit.
        self._log: list[tuple[int, int, bytes]] = []
        self._log_bytes = 0
        self._records: dict[tuple[str, int], RequestRecord] = {}
        """Request records, by session and request: they wait with the log."""
        self._ts: int = self._raw.execute("SELECT max(ts) FROM log").fetchone()[0] or 0

    # Transactions

    @property
    def in_transaction(self) -> bool:
        return self._open and self._raw.in_transaction

    def begin(self, *, durable: bool = True) -> None:
        if self.is_broken:
            raise OutcomeUnknown("The disk failed during a commit; the database has to be opened anew.")
        if self._raw.in_transaction:
            raise StoreError("A transaction is already open.")
        self._checkpointer.between_batches(self._raw)
        try:
            if durable is self._is_relaxed:
                # The log is one file, written in order: the next commit that waits for the disk makes this one durable, too.
                self._raw.execute(f"PRAGMA synchronous = {self._synchronous if durable else min(self._synchronous, 1)}")
                self._is_relaxed = not durable
            self._raw.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._failure(error) from error
        if self._open or self._marks:  # the last one was lost, not ended
            self._forget()
        self._open = True

    def commit(self) -> None:
        self._must_be_open()
        try:
            if self._bodies:
                self._write_bodies()
            if self._records:
                self._write_records()
            if self._log:
                self._raw.executemany("INSERT INTO log (ts, kind, record) VALUES (?, ?, ?)", self._log)
            self._pruned = True
            self._pruner.prune(self._raw, rows=len(self._log), size=self._log_bytes, requests=len(self._records))
            faults.hit(BEFORE_COMMIT)
        except sqlite3.Error as error:
            self.rollback()
            raise translate(error, self._directory) from error
        except OSError as error:
            self.rollback()
            raise StoreError(f"Writing to {self._directory} failed: {error}") from error
        except StoreError:
            self.rollback()
            raise
        try:
            with self._gate.commit_lock:
                self._raw.execute("COMMIT")
                self._gate.committed_ts = self._ts
            faults.hit(AFTER_COMMIT)
        except (sqlite3.Error, OSError) as error:
            raise self._commit_failed(error) from error
        self._open = self._pruned = False
        if self._pending is not None:
            self.catalogue, self._pending = self._pending, None
            self.catalogues = (*self.catalogues[-CATALOGUES_KEPT:], (self._ts, self.catalogue))
        if self._marks:
            self._marks = []
            self._savepoints = 0
            self._undo = []
        self._bodies = {}
        self._log = []
        self._log_bytes = 0
        self._records = {}
        self._checkpointer.committed()

    def _commit_failed(self, error: sqlite3.Error | OSError) -> ReactorError:
        if isinstance(error, OSError) or is_input_output(error):
            self.is_broken = True
            self._open = False
            _log.critical("the disk failed during a commit in %s: %s", self._directory, error)
            return OutcomeUnknown(f"Writing to {self._directory} failed during a commit ({error}). Check the disk.")
        self.rollback()
        return translate(error, self._directory)

    def rollback(self) -> None:
        """Undo the transaction. Harmless when there is none, or when SQLite has already undone it."""
        try:
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")
            self._open = False
            self._forget()
            if self._pruned:
                self._pruned = False
                self._pruner.undo()
        except sqlite3.Error as error:
            self.is_broken = True
            raise translate(error, self._directory) from error

    def _write_bodies(self) -> None:
        by_storage: dict[int, list[tuple[bytes, str]]] = {}
        for place in sorted(self._bodies):  # neighbours share pages
            by_storage.setdefault(place[0], []).append((self._bodies[place], place[1]))
        for storage, rows in by_storage.items():
            if self._raw.executemany(statements.update(storage), rows).rowcount != len(rows):
                raise StoreError("There is no document for a body that was to be updated.")

    def _write_records(self) -> None:
        rows = [(*place, record.ts, pack(record.payload)) for place, record in self._records.items()]
        self._raw.executemany("INSERT INTO requests (session, request, ts, payload) VALUES (?, ?, ?, ?)", rows)
        for session, request in self._records:
            if (too_low := self._pruner.too_low(request)) is not None:
                self._raw.execute(_DELETE_REQUESTS, (session, too_low))

    def savepoint(self) -> None:
        if not self._open:
            raise _not_open()
        self._marks.append(
            (self._ts, self._log_bytes, len(self._records), self._pending, len(self._log), len(self._undo))
        )

    def release(self) -> None:
        self._must_be_open()
        self._marks.pop()
        if self._savepoints > len(self._marks):
            self._change("RELEASE s")
            self._savepoints -= 1
        if not self._marks:
            self._undo = []

    def rollback_to(self) -> None:
        self._must_be_open()
        if self._savepoints == len(self._marks):
            self._change("ROLLBACK TO s")
            self._change("RELEASE s")
            self._savepoints -= 1
        self._ts, self._log_bytes, records, self._pending, rows, undone = self._marks.pop()
        del self._log[rows:]
        while len(self._records) > records:
            self._records.popitem()
        while len(self._undo) > undone:
            place, before = self._undo.pop()
            if before is None:
                del self._bodies[place]
            else:
                self._bodies[place] = before

    # Documents and keys

    def get(self, table: TableInfo, document_id: str) -> bytes | None:
        newer = self._bodies.get((table.storage, document_id)) if self._bodies else None
        return super().get(table, document_id) if newer is None else newer

    def scan(
        self, index: IndexInfo, start: bytes, end: bytes | None, *, reverse: bool, limit: int
    ) -> list[tuple[bytes, bytes]]:
        rows = super().scan(index, start, end, reverse=reverse, limit=limit)
        if self._bodies:
            bodies, storage = self._bodies, index.storage
            for at, (key, _) in enumerate(rows):
                newer = bodies.get((storage, key.rpartition(b"\x10")[2][:-1].decode()))  # a key ends in 10, the id, 00
                if newer is not None:
                    rows[at] = key, newer
        return rows

    def insert(self, table: TableInfo, document_id: str, body: bytes) -> None:
        self._change(statements.insert(table.storage), (document_id, body))

    def update(self, table: TableInfo, document_id: str, body: bytes) -> None:
        if not self._open:
            raise _not_open()
        place = table.storage, document_id
        if self._marks:
            self._undo.append((place, self._bodies.get(place)))
        self._bodies[place] = body

    def delete(self, table: TableInfo, document_id: str) -> None:
        if self._change(statements.delete(table.storage), (document_id,)) != 1:
            raise StoreError(f"There is no document {document_id} in {table.name} to delete.")
        if self._bodies:
            place = table.storage, document_id
            newer = self._bodies.pop(place, None)
            if newer is not None and self._marks:
                self._undo.append((place, newer))

    def add_key(self, index: IndexInfo, key: bytes, document_id: str) -> None:
        if not index.is_by_id:
            self._change(statements.add_key(index.number), (key, document_id))

    def remove_key(self, index: IndexInfo, key: bytes) -> None:
        if not index.is_by_id:
            self._change(statements.remove_key(index.number), (key,))

    def put_vector(self, index: IndexInfo, document_id: str, vector: bytes, filters: bytes) -> None:
        self._change(statements.put_vector(index.number), (document_id, vector, filters))

    def remove_vector(self, index: IndexInfo, document_id: str) -> None:
        self._change(statements.remove_vector(index.number), (document_id,))

    # Text

    def put_text(self, index: IndexInfo, entry: TextEntry) -> None:
        number = text.row_number(entry.creation_time)
        old = self._entry(index, entry.document_id, number)
        if old is not None:
            if old[1:] == (entry.words, entry.filters):
                return
            self._take_out(index, old)
        free = self._one(text.free_number(index.number), (number,))
        doc = number if free is None else free[0]
        enter, index_tokens = text.enter(index.number)
        content = entry.words, entry.filters
        self._change(enter, (doc, entry.document_id, entry.creation_time, free is not None, *content))
        self._change(index_tokens, (doc, *content))

    def remove_text(self, index: IndexInfo, document_id: str, creation_time: float) -> None:
        old = self._entry(index, document_id, text.row_number(creation_time))
        if old is not None:
            self._take_out(index, old)

    def _entry(self, index: IndexInfo, document_id: str, number: int) -> tuple | None:
        return self._one(text.find(index.number), (number, document_id, document_id))

    def _take_out(self, index: IndexInfo, entry: tuple) -> None:
        delete, unindex_tokens = text.take_out(index.number)
        self._change(unindex_tokens, entry)
        self._change(delete, entry[:1])

    # Log, requests, meta

    def append_log(self, row: LogRow) -> None:
        if row.ts <= self._ts:
            raise StoreError(f"Commit timestamps must rise: {row.ts} after {self._ts}.")
        if not self._open:
            raise _not_open()
        self._log.append((row.ts, row.kind, row.record))
        self._ts = row.ts
        self._log_bytes += len(row.record)

    def get_request(self, session: str, request: int) -> RequestRecord | None:
        newer = self._records.get((session, request)) if self._records else None
        return newer or super().get_request(session, request)

    def put_request(self, session: str, request: int, record: RequestRecord) -> None:
        if not self._open:
            raise _not_open()
        if (session, request) in self._records:
            raise StoreError(f"Request {request} of session {session} has a record already.")
        self._records[session, request] = record

    def delete_requests_before(self, session: str, request: int) -> None:
        self._change(_DELETE_REQUESTS, (session, request))

    def put_meta(self, key: str, value: bytes) -> None:
        self._change("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    # Deploys

    def create_tables(self, names: Iterable[str]) -> Catalogue:
        self._pending = self._run(lambda: tables.create_tables(self._raw, self._newest, names))
        return self._pending

    def change_indexes(
        self, *, add: Sequence[IndexChange], drop: Sequence[IndexInfo], enable: Sequence[IndexInfo] = ()
    ) -> Catalogue:
        self._pending = self._run(
            lambda: tables.change_indexes(self._raw, self._newest, add=add, drop=drop, enable=enable)
        )
        return self._pending

    # Hidden tables

    def create_hidden(self, name: str, indexes: Sequence[IndexChange], *, number: int | None = None) -> TableInfo:
        return self._run(lambda: hidden.create(self._raw, self._newest, name, number, indexes))

    def mirror(self, table: TableInfo, into: TableInfo) -> None:
        self._pending = self._run(lambda: hidden.mirror(self._raw, table, into))

    def copy_step(
        self,
        source: TableInfo | IndexInfo,
        target: TableInfo | IndexInfo,
        start: bytes | str | None,
        rows: int,
    ) -> bytes | str | None:
        return self._run(lambda: hidden.copy_step(self._raw, source, target, start, rows))

    def reveal(self, tables: Sequence[TableInfo], drop: Iterable[str] = ()) -> Catalogue:
        self._pending = self._run(lambda: hidden.reveal(self._raw, self._newest, tables, drop))
        return self._pending

    def discard_hidden(self, tables: Iterable[TableInfo]) -> None:
        self._pending = self._run(lambda: hidden.discard(self._raw, tables))

    def drop_tables(self, names: Iterable[str]) -> Catalogue:
        return self.reveal((), names)

    def reap(self, rows: int) -> bool:
        return self._run(lambda: hidden.reap(self._raw, rows))

    def attach_staging(self, path: Path) -> None:
        try:
            self._raw.execute("ATTACH ? AS staging", (staging_uri(path),))
        except sqlite3.Error as error:
            raise translate(error, self._directory) from error

    def detach_staging(self) -> None:
        try:
            attached = [name for _, name, _ in self._raw.execute("PRAGMA database_list")]
            if "staging" in attached:
                self._raw.execute("DETACH staging")
        except sqlite3.Error as error:
            raise translate(error, self._directory) from error

    def load_staged(self, source: str, target: TableInfo | IndexInfo, start: int, end: int) -> None:
        self._run(lambda: hidden.load(self._raw, f"staging.{source}", target, start, end))

    @property
    def _newest(self) -> Catalogue:
        return self._pending or self.catalogue

    def _run(self, work: Callable[[], T]) -> T:
        self._must_be_open()
        try:
            self._open_savepoints()
            if self._bodies:
                # It may look at documents and change where they are. Within a savepoint they are written again at the
                # end, for it may be rolled back with what stood there before it.
                self._write_bodies()
                if not self._marks:
                    self._bodies = {}
            return work()
        except sqlite3.Error as error:
            failure = self._failure(error)
            if not self._raw.in_transaction:
                self._open = False
                self._forget()
            raise failure from error

    def _give_up_hidden(self) -> None:
        """What an import left that an earlier process did not end. Catalogue, triggers: a transaction of its own."""
        try:
            self._raw.execute("BEGIN IMMEDIATE")
            hidden.discard_all(self._raw)
            self._raw.execute("COMMIT")
        except sqlite3.Error as error:
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")
            raise translate(error, self._directory) from error

    def put_backfill(self, index: IndexInfo, backfill: Backfill | None) -> None:
        if backfill is None:
            self._change("DELETE FROM backfills WHERE index_number = ?", (index.number,))
        else:
            self._change(
                "INSERT OR REPLACE INTO backfills (index_number, cursor, entered) VALUES (?, ?, ?)",
                (index.number, backfill.cursor, backfill.entered),
            )

    def _failure(self, error: sqlite3.Error) -> ReactorError:
        # The writer is never stopped, and its catalogue is always the newest: a missing table is a bug.
        return translate(error, self._directory)

    def _must_be_open(self) -> None:
        if not self.in_transaction:
            raise _not_open()

    def _open_savepoints(self) -> None:
        # One name for all: SQLite's savepoints nest, and a name means the innermost that has it.
        while self._savepoints < len(self._marks):
            self._execute("SAVEPOINT s")
            self._savepoints += 1

    def _change(self, sql: str, parameters: tuple[object, ...] = ()) -> int:
        # One attribute, not the property: after a failure we have looked at the connection.
        if not self._open:
            raise _not_open()
        if self._savepoints < len(self._marks):
            self._open_savepoints()
        return self._execute(sql, parameters)

    def _execute(self, sql: str, parameters: tuple[object, ...] = ()) -> int:
        try:
            return self._raw.execute(sql, parameters).rowcount
        except sqlite3.Error as error:
            failure = self._failure(error)
            if not self._raw.in_transaction:
                self._open = False
                self._forget()
            raise failure from error


def _not_open() -> StoreError:
    return StoreError("No transaction is open, or an earlier failure has rolled it back.")
