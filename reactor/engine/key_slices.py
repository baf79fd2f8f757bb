"""The keys of a slice of documents on their way into a new database index: read beside the writer, then entered in order.

Documents come in the order of their ids, which is none among the keys: entered like that, each key changes a page of its own,
and all those pages go to the disk twice while clients' commits wait behind them. Put in order first, neighbours share pages.
What was read is old by the time it is entered; the commit log tells which documents have been written since.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from reactor.engine.commit_record import decode_record
from reactor.engine.database import Database
from reactor.engine.index_keys import key_parts
from reactor.engine.pace import Pace
from reactor.store.catalogue import BY_ID, IndexInfo, TableInfo
from reactor.store.protocol import Backfill, Reader, SnapshotEnded, Writer
from reactor.values.wire import decode

__all__ = ["KeySlice", "read_slice"]

logger = logging.getLogger("reactor.engine")

SLICE_ROWS: Final = 65_536
"""The more there are, the more neighbours; in memory they take a few hundred bytes each."""
SLICE_BYTES: Final = 8 * 1024 * 1024
"""Of keys."""
READ_S: Final = 0.003
READ_ROWS: Final = 64
LOG_ROWS: Final = 100
ENTER_BYTES: Final = 256 * 1024
"""Of keys, and of documents that have to be read once more, in what is entered between two looks at the clock."""


class KeySlice:
    """The documents of one table from the cursor `start` up to `end`, which is None when there are no more."""

    def __init__(self, table: TableInfo, index: IndexInfo, start: bytes, before: int) -> None:
        self.start, self.before = start, before
        """Where it begins, and how many documents come before that."""
        self.end: bytes | None = start
        self.rows = 0
        self.entered = 0
        self.is_of_use = True
        """Whether there is more of it to be entered."""
        self._table, self._index = table, index
        self._size = 0
        self._runs: list[list[tuple[bytes, str]]] = []
        """Keys with their ids, each run in order: to sort all at once would keep every thread from running."""
        self._in_order: Iterator[tuple[bytes, str]] = iter(())
        self._seen_ts = 0
        """The log has been looked through up to here."""
        self._written: set[str] = set()
        """Documents that were written after they may have been read."""

    @property
    def is_entered(self) -> bool:
        return self.entered == self.rows

    def noted(self) -> Backfill | None:
        """What the database is to know of how far the index is filled; None when it is full."""
        if not self.is_entered:
            return Backfill(self.start, self.before + self.entered)
        self.is_of_use = False
        return None if self.end is None else Backfill(self.end, self.before + self.rows)

    # On a reader's thread

    def read(self, reader: Reader) -> bool:
        """Read on for some milliseconds; False once the slice is whole, or of no use any more. May be tried again."""
        self._seen_ts = self._seen_ts or reader.ts
        self._look_through_log(reader)  # here, where nobody waits for it: what is left for the writer's steps is little
        if not self.is_of_use or reader.get_backfill(self._index) is None:
            return False
        run: list[tuple[bytes, str]] = []
        rows, size, end = self.rows, self._size, self.end
        until = time.monotonic() + READ_S
        while is_more := end is not None and rows < SLICE_ROWS and size < SLICE_BYTES:
            found = reader.scan(
                self._table.indexes[BY_ID], end or b"", None, reverse=False, limit=min(READ_ROWS, SLICE_ROWS - rows)
            )
            end = found[-1][0] + b"\x00" if found else None
            rows += len(found)
            for _, body in found:
                entry = self._entry(body)
                size += len(entry[0])
                run.append(entry)
            if time.monotonic() > until:
                break
        run.sort()
        self._runs.append(run)
        self._in_order = heapq.merge(*self._runs)
        self.rows, self._size, self.end = rows, size, end
        return is_more

    def _entry(self, body: bytes) -> tuple[bytes, str]:
        document: Any = decode(body)
        return b"".join(key_parts(self._index, document)), document["_id"]

    def _look_through_log(self, reader: Reader) -> None:
        """Note what was written since. The slice is of no use when the log does not reach back far enough."""
        while self.is_of_use and reader.ts != self._seen_ts:
            rows = reader.log_after(self._seen_ts - 1, LOG_ROWS)  # with the last one seen: nothing behind it is missing
            self.is_of_use = len(rows) > 1 and rows[0].ts == self._seen_ts
            if self.is_of_use:
                for row in rows[1:]:
                    writes = decode_record(row.record).writes
                    self._written.update(w.id for w in writes if w.table == self._table.number)
                self._seen_ts = rows[-1].ts

    # On the writer's thread, inside a transaction

    def begin_step(self, writer: Writer, state: Backfill) -> bool:
        """Look at what was written since. False when the slice is of no use (any more), and another has to be read.

        `state` is what the database knows: something else when a failing disk has taken back what had been entered.
        """
        if state.cursor != self.start or (self.entered and state.entered != self.before + self.entered):
            self.is_of_use = False
        self._look_through_log(writer)
        return self.is_of_use

    def enter(self, writer: Writer, most: int) -> None:
        """Enter the next `most` keys, or fewer large ones; those of documents that were written since as they are now."""
        size = 0
        for key, document_id in islice(self._in_order, most):
            self.entered += 1
            if document_id in self._written:
                body = writer.get(self._table, document_id)
                if body is None:
                    continue
                key, _ = self._entry(body)
                size += len(body)
            writer.add_key(self._index, key, document_id)
            size += len(key)
            if size > ENTER_BYTES:
                break


async def read_slice(
    database: Database, table: TableInfo, index: IndexInfo, start: bytes, pace: Pace, last: KeySlice | None
) -> KeySlice:
    """Read the slice that begins at the cursor `start`; clients go first as often as there are any. `last` was the last one."""
    if last is not None and last.end == start:
        before = last.before + last.rows
    else:
        before = await database.store.read(lambda reader: reader.count(table.indexes[BY_ID], b"", start))
    found = KeySlice(table, index, start, before)
    is_more = True
    while is_more:
        began = time.monotonic()
        try:
            is_more = await database.store.read(found.read)
        except SnapshotEnded:  # the write-ahead log needed its space: what this read has is not counted yet
            logger.info("reading documents for an index was broken off; trying again")
        await pace.rest(0.0, time.monotonic() - began)
    return found
