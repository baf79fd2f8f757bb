"""The store, as the engine sees it: snapshots, one writer, a catalogue and the commit log. No SQL above this line.

`Reader` and `Writer` are used on the store's own threads only, inside a job; they are synchronous on purpose, because a
hop between threads costs more than a statement. The async methods of `Store` are called on the event loop.

What an index holds depends on its kind (`IndexInfo.kind`): keys (`add_key`, `scan`) for database indexes; another kind
brings its own methods of `Writer` to enter and take out a document, and of `Reader` to find some. Entering what is there
already and taking out what is not must do no harm: writers and the backfill of a new index meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from reactor.errors import StoreError, Unavailable
from reactor.store.catalogue import Catalogue, IndexInfo, IndexKind, TableInfo
from reactor.store.text import TextEntry, TextMatch, TextQuery

__all__ = [
    "Backfill",
    "IndexChange",
    "LogRow",
    "OutcomeUnknown",
    "Reader",
    "RequestRecord",
    "Snapshot",
    "SnapshotEnded",
    "Store",
    "VectorRow",
    "Writer",
]

T = TypeVar("T")


class SnapshotEnded(Unavailable):
    """The snapshot can't answer any more: it was interrupted, or ended because the database needed its space.

    Open a new one and run the query again.
    """


class OutcomeUnknown(StoreError):
    """The disk failed during COMMIT: the transaction may have happened or not.

    Nothing may be answered. The writer refuses to go on; the next `Store.write` opens the file anew and then finds out.
    """

    code = "OutcomeUnknown"


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """One commit: its timestamp, its kind (see `engine.commit_record`) and the encoded record."""

    ts: int
    kind: int
    record: bytes


class RequestRecord(msgspec.Struct, frozen=True, gc=False):
    """The stored outcome of a session's mutation: its commit timestamp and an opaque payload."""

    ts: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class IndexChange:
    """What a deploy wants of one index. `fields` and `dimensions` as in `IndexInfo`."""

    table: str
    name: str
    fields: tuple[str, ...]
    staged: bool = False
    kind: IndexKind = "database"
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class Backfill:
    """How far an index is filled with the documents that were there before it: those whose `by_id` key is below `cursor`.

    `entered` is how many documents that were.
    """

    cursor: bytes = b""
    entered: int = 0


@dataclass(frozen=True, slots=True)
class VectorRow:
    """A document in a vector index: its unit vector (float32, little-endian) and an opaque form of its filter fields.

    `number` is the row's own, and stays while the document is in the index; later documents have greater ones.
    """

    number: int
    id: str
    vector: bytes
    filters: bytes


class Reader(Protocol):
    """One snapshot, or the write transaction with its own uncommitted changes."""

    @property
    def ts(self) -> int:
        """The commit timestamp of the newest row in the log that this reader sees; 0 in an empty database."""
        ...

    def get(self, table: TableInfo, document_id: str) -> bytes | None: ...

    def scan(
        self, index: IndexInfo, start: bytes, end: bytes | None, *, reverse: bool, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` pairs (index key, document body) with `start <= key < end`, in key order or reversed.

        `end=None` means to the end of the index. There may be fewer rows than asked for when they are large; only an
        empty list means that the range has no more. No statement stays open.
        """
        ...

    def count(self, index: IndexInfo, start: bytes, end: bytes | None) -> int: ...

    def search_text(self, index: IndexInfo, query: TextQuery, limit: int) -> list[TextMatch]:
        """The `limit` best matches of a search index, best first; among equals the newer document, then the lower id.

        Ranked by BM25; a word that only begins with the query's last word counts half. At most
        `limits.SEARCH_PREFIX_TERMS` such words are looked for, the first in alphabetical order.
        """
        ...

    def get_request(self, session: str, request: int) -> RequestRecord | None: ...

    def log_after(self, ts: int, limit: int) -> list[LogRow]: ...

    def get_backfill(self, index: IndexInfo) -> Backfill | None:
        """How far the index is filled; None when it holds every document."""
        ...

    def vectors_after(self, index: IndexInfo, number: int, limit: int) -> list[VectorRow]:
        """Up to `limit` rows of a vector index by number, from the first beyond `number`."""
        ...

    def vectors_of(self, index: IndexInfo, ids: Sequence[str]) -> list[VectorRow]:
        """The rows of those documents that are in a vector index, in any order."""
        ...

    def count_vectors(self, index: IndexInfo) -> int: ...

    def get_meta(self, key: str) -> bytes | None:
        """A small value of the deployment's own: format, deployed schema, secrets."""
        ...

    def copy_into(self, path: Path) -> None:
        """Copy the database as this snapshot sees it into a file (which is replaced), while others work.

        It is a database of its own, secrets included, readable by the owner only (see `store.sqlite.copies`).
        """
        ...


class Writer(Reader, Protocol):
    """The write connection, on its thread. The caller (the committer) opens and ends transactions."""

    @property
    def in_transaction(self) -> bool:
        """False after a failed statement rolled the whole transaction back (a full disk does that)."""
        ...

    def begin(self, *, durable: bool = True) -> None:
        """`durable=False`: the commit does not wait for the disk, and a power loss may undo it until a later one has.

        For scratch that nobody sees yet, and for steps that can be made again.
        """
        ...

    def commit(self) -> None:
        """Commit with fsync, under the lock that keeps snapshots from opening meanwhile.

        Raises `Unavailable` when the disk is full (everything is rolled back), `OutcomeUnknown` when it failed.
        """
        ...

    def rollback(self) -> None: ...

    def savepoint(self) -> None:
        """Open a savepoint; they nest."""
        ...

    def release(self) -> None: ...

    def rollback_to(self) -> None:
        """Undo everything since the innermost savepoint and close it."""
        ...

    def insert(self, table: TableInfo, document_id: str, body: bytes) -> None: ...

    def update(self, table: TableInfo, document_id: str, body: bytes) -> None: ...

    def delete(self, table: TableInfo, document_id: str) -> None: ...

    def add_key(self, index: IndexInfo, key: bytes, document_id: str) -> None: ...

    def remove_key(self, index: IndexInfo, key: bytes) -> None: ...

    def put_vector(self, index: IndexInfo, document_id: str, vector: bytes, filters: bytes) -> None:
        """Enter a document into a vector index, or change what it has there; see `VectorRow`."""
        ...

    def remove_vector(self, index: IndexInfo, document_id: str) -> None: ...

    def put_text(self, index: IndexInfo, entry: TextEntry) -> None:
        """Enter a document into a search index, in the place of its entry there if it has one."""
        ...

    def remove_text(self, index: IndexInfo, document_id: str, creation_time: float) -> None:
        """Take a document out of a search index; it may not be there."""
        ...

    def append_log(self, row: LogRow) -> None: ...

    def put_request(self, session: str, request: int, record: RequestRecord) -> None: ...

    def delete_requests_before(self, session: str, request: int) -> None: ...

    # Deploys: called inside a transaction of their own. Each returns the catalogue as it will be after the commit; the
    # store publishes it (`Store.catalogue`) only once `commit` returned, and forgets it on rollback.
    def create_tables(self, names: Iterable[str]) -> Catalogue: ...

    def change_indexes(
        self, *, add: Sequence[IndexChange], drop: Sequence[IndexInfo], enable: Sequence[IndexInfo] = ()
    ) -> Catalogue:
        """Drop indexes, add some (state `backfilling`, or `staged`), and change some: they take the name they are given with
        here, and become `ready` unless given as `staged`. Filling them is the engine's work: an added index has an empty
        `Backfill`. Raises `StoreError` for a name that another index of the table has, whatever its kind."""
        ...

    def put_backfill(self, index: IndexInfo, backfill: Backfill | None) -> None:
        """Note how far the index is filled; None: to the end."""
        ...

    def put_meta(self, key: str, value: bytes) -> None: ...

    # Hidden tables: filled where nobody sees them, then put in the place of what has their name. They end with the process.

    def create_hidden(self, name: str, indexes: Sequence[IndexChange], *, number: int | None = None) -> TableInfo:
        """Make an empty hidden table with these indexes beside its own two, one for each name at a time.

        It is used like a table, with the number that it will have: `number`, or that of the table in whose place it is to
        be put, or a fresh one. A table of its name that is made meanwhile gets the same number.
        """
        ...

    def mirror(self, table: TableInfo, into: TableInfo) -> None:
        """From now on also write to a hidden table what is written to `table`: its documents and all of its indexes."""
        ...

    def copy_step(
        self,
        source: TableInfo | IndexInfo,
        target: TableInfo | IndexInfo,
        start: bytes | str | None,
        rows: int,
    ) -> bytes | str | None:
        """Copy documents, or the keys of an index, into a hidden table: up to `rows` of them after the id or key `start`.

        What is there already stays. Returns the last one's id or key, for the next step; None when these were all.
        Call `mirror` first.
        """
        ...

    def reveal(self, tables: Sequence[TableInfo], drop: Iterable[str] = ()) -> Catalogue:
        """Put hidden tables in the place of the tables of their names, if there are any, and drop other tables.

        One change, however much they hold. What they held before is for `reap`. Raises `StoreError` for a number that a
        table has which stays.
        """
        ...

    def discard_hidden(self, tables: Iterable[TableInfo]) -> None:
        """Give up hidden tables; those that were revealed or given up before are passed over."""
        ...

    def drop_tables(self, names: Iterable[str]) -> Catalogue:
        """Take tables out of the catalogue, with their indexes; unknown names are passed over. Their rows are for `reap`."""
        ...

    def reap(self, rows: int) -> bool:
        """Delete up to `rows` rows that belong to nothing any more; False when there are none left."""
        ...

    def attach_staging(self, path: Path) -> None:
        """Read from a staging file (see `store.sqlite.staging`), outside of transactions, until `detach_staging`."""
        ...

    def detach_staging(self) -> None:
        """Let go of the staging file. Passed over when there is none: the database may have been opened anew since."""
        ...

    def load_staged(self, source: str, target: TableInfo | IndexInfo, start: int, end: int) -> None:
        """Enter the rows `start < n <= end` of a table of the staging file into a hidden table, or an index of it."""
        ...


class Snapshot(Protocol):
    """A held snapshot on a reader connection: opened, run on, closed. Always close it."""

    @property
    def ts(self) -> int: ...

    async def run(self, job: Callable[[Reader], T], /) -> T: ...

    async def close(self) -> None: ...

    def interrupt(self, message: str = ...) -> None:
        """Abort what runs on it, from any thread: that operation and every later one raises `SnapshotEnded`.

        It may just miss a statement that is about to start, so repeat it while a long job does not come back.
        """
        ...


class Store(Protocol):
    """A database file, or whatever stands in for one. Two stores in one process share nothing."""

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue as of the last commit. A snapshot opened after reading it has all of its tables."""
        ...

    def catalogue_at(self, ts: int) -> Catalogue:
        """The catalogue that a snapshot with this commit timestamp reads by."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None:
        """Finish running jobs, checkpoint, close. Jobs that arrive later fail with `Unavailable`."""
        ...

    def wal_bytes(self) -> int:
        """What waits to be moved from the write-ahead log to its place; 0 for stores without one."""
        ...

    async def checkpoint(self) -> None:
        """Have what was committed moved from the write-ahead log to its place, and return when that was tried."""
        ...

    async def write(self, job: Callable[[Writer], T], /) -> T:
        """Run `job` on the writer's thread. It must leave no transaction open."""
        ...

    async def read(self, job: Callable[[Reader], T], /) -> T:
        """Open a snapshot, run `job` on it, end it: one hop. Now and then the job is run again, on a newer one."""
        ...

    def check_copy(self, path: Path) -> None:
        """Read a copy that `Reader.copy_into` made, all of it; blocks. Raises StoreError where it is damaged."""
        ...

    async def open_snapshots(self, count: int) -> list[Snapshot]:
        """Open up to `count` (at least one) snapshots that share one timestamp."""
        ...
