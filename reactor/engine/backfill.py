"""Filling an index with the documents that were there before it, while clients go on reading and writing.

Writers maintain an index from the commit that adds it; the backfill enters the older documents in steps of a few
milliseconds, each a commit that also notes how far it came. So it can end and go on at any step, in another process too.
A step ends early when a client's mutation waits, and the next one then lets clients have most of the writer's time; what
was entered while they write is brought to its place bit by bit (`Pace`).
Keys of a database index are read and put in order apart from that (`key_slices`); if it ends within a slice, that is entered again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from reactor.engine.commit_record import ANY_INDEX, ANY_TABLE, CommitKind, CommitRecord
from reactor.engine.database import Database
from reactor.engine.index_kinds import fill, next_documents
from reactor.engine.key_slices import KeySlice, read_slice
from reactor.engine.pace import Pace
from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.faults import hit
from reactor.store.catalogue import BY_CREATION_TIME, BY_ID, IndexInfo, IndexState
from reactor.store.protocol import Backfill, Writer

__all__ = ["AFTER_STEP", "NEW", "IndexStatus", "Progress", "fill_index", "index_states", "title"]

logger = logging.getLogger("reactor.engine")

AFTER_STEP: Final = "deploy.mid_backfill"
"""A step is committed."""

STEP_S: Final = 0.002
CHUNK_ROWS: Final = 32
"""Documents entered between two looks at the clock and at who is waiting."""
YIELD_FACTOR: Final = 3.0
"""After a step that kept clients waiting, so many times what it took, its commit included, is theirs."""
TELL_S: Final = 1.0
"""How often queries that show the progress are told of it."""
LOG_S: Final = 5.0

NEW: Final = "~new"
"""Ends the name of an index that is being filled to replace another of the same name."""

Progress = Callable[[str, int, int], None]
"""Called with what is going on, how many documents that has covered, and about how many there are."""


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """One index and how far it is filled: `entered` of about `total` documents; both None when it holds all of them."""

    index: IndexInfo
    entered: int | None = None
    total: int | None = None

    @property
    def state(self) -> IndexState:
        return self.index.state

    @property
    def is_full(self) -> bool:
        return self.entered is None


def title(index: IndexInfo) -> str:
    """`table.index`, as the schema calls it."""
    return f"{index.table}.{index.name.removesuffix(NEW)}"


def index_states(tx: Transaction) -> list[IndexStatus]:
    """All indexes that schemas have declared, by table and name. A query that calls this follows their progress."""
    found: list[IndexStatus] = []
    for table in tx.catalogue.tables.values():
        if table.is_system:
            continue
        for index in table.all_indexes:
            if index.name in (BY_ID, BY_CREATION_TIME):
                continue
            backfill = None if index.state == "ready" else tx.reader.get_backfill(index)
            if backfill is None:
                found.append(IndexStatus(index))
            else:
                tx.depend_on(f"backfill:{index.number}")
                by_time = make_range(table.indexes[BY_CREATION_TIME])
                total = tx.reader.count(by_time.index, by_time.start, by_time.end)
                found.append(IndexStatus(index, backfill.entered, max(total, backfill.entered)))
    for name in ("code", ANY_TABLE, ANY_INDEX):  # what indexes come and go with
        tx.depend_on(name)
    return sorted(found, key=lambda status: (status.index.table, status.index.name))


async def fill_index(database: Database, index: IndexInfo, report: Progress | None = None) -> None:
    """Fill an index to the end, from where it was left; returns at once when it is full or gone.

    One at a time: each of two would have to begin a slice again whenever the other one has entered something of it.
    """
    async with database.filling[index.number]:
        await _fill_index(database, index, report)


async def _fill_index(database: Database, index: IndexInfo, report: Progress | None) -> None:
    state = await database.store.read(lambda reader: reader.get_backfill(index))
    table = database.catalogue.tables.get(index.table)
    if state is None or table is None:
        return
    by_time = table.indexes[BY_CREATION_TIME]
    total = await database.store.read(lambda reader: reader.count(by_time, b"", None))
    what = f"index {title(index)}"
    pace = Pace(database)
    began = told = logged = time.monotonic()
    first = state.entered
    if first:
        logger.info("%s: going on at %s of about %s documents", what, f"{first:,}", f"{total:,}")
    keys: KeySlice | None = None
    while True:
        if index.kind == "database" and (keys is None or not keys.is_of_use):
            table = database.catalogue.tables.get(index.table)
            if table is None:
                return
            keys = await read_slice(database, table, index, state.cursor, pace, keys)
        step = _Step(database, index, keys)
        stepped = time.monotonic()
        if stepped - told < TELL_S:
            await database.store.write(step.run)
        else:
            told = stepped
            await _tell(database, step)
        hit(AFTER_STEP)
        if step.state is None:
            break
        state = step.state
        total = max(total, state.entered)
        if report is not None:
            report(what, state.entered, total)
        now = time.monotonic()
        if now - logged >= LOG_S:
            logged = now
            rate = (state.entered - first) / (now - began)
            left = f"{(total - state.entered) / rate:,.0f} s" if rate else "unknown"
            logger.info(
                "%s: %s of about %s documents, %s/s, %s left",
                what,
                f"{state.entered:,}",
                f"{total:,}",
                f"{rate:,.0f}",
                left,
            )
        in_the_way = step.was_in_the_way or database.waiting_jobs > 0
        rest_s = (time.monotonic() - stepped) * YIELD_FACTOR if in_the_way else 0.0
        await pace.rest(step.took_s, rest_s, was_in_the_way=in_the_way)
    if step.was_last:
        await _tell(database, step)
        seconds = time.monotonic() - began
        if seconds > LOG_S:
            logger.info("%s: filled with %s documents in %.1f s", what, f"{step.entered:,}", seconds)


async def _tell(database: Database, step: _Step) -> None:
    """Run a step as a commit of its own that queries which show the progress depend on."""

    def change(writer: Writer) -> CommitRecord:
        step.work(writer)
        return CommitRecord(0, CommitKind.DEPLOY, [], (f"backfill:{step.index.number}",))

    await database.commit_alone(change)


class _Step:
    """One step: documents entered for a few milliseconds, in one transaction with the note of how far it came."""

    def __init__(self, database: Database, index: IndexInfo, keys: KeySlice | None) -> None:
        self.index = index
        self.state: Backfill | None = None
        """How far it is after the step; None when there is nothing left to do."""
        self.was_last = False
        """Whether this step made it full."""
        self.entered = 0
        self.was_in_the_way = False
        self.took_s = 0.0
        """Of the writer's time."""
        self._database, self._keys = database, keys

    def run(self, writer: Writer) -> None:
        writer.begin(durable=False)  # lost steps are made again, from the cursor that is lost with them
        self.work(writer)
        writer.commit()

    def work(self, writer: Writer) -> None:
        """On the writer's thread, inside a transaction."""
        began = time.monotonic()
        state = writer.get_backfill(self.index)
        if state is None:
            return  # full, or dropped with its index
        if self._keys is None:
            self.state = self._documents(writer, state, began)
        elif self._keys.begin_step(writer, state):
            self.state = self._ordered(writer, self._keys, began)
        else:
            self.state = state  # another slice has to be read
            return
        self.was_last = self.state is None
        writer.put_backfill(self.index, self.state)
        self.took_s = time.monotonic() - began

    def _is_over(self, began: float) -> bool:
        self.was_in_the_way = self.was_in_the_way or self._database.waiting_jobs > 0
        return self.was_in_the_way or time.monotonic() - began > STEP_S

    def _ordered(self, writer: Writer, keys: KeySlice, began: float) -> Backfill | None:
        while True:
            keys.enter(writer, CHUNK_ROWS)
            if keys.is_entered or self._is_over(began):
                break
        self.entered = keys.before + keys.entered
        return keys.noted()

    def _documents(self, writer: Writer, state: Backfill, began: float) -> Backfill | None:
        by_id = self._database.store.catalogue.tables[self.index.table].indexes[BY_ID]
        start, self.entered = state.cursor, state.entered
        while True:
            documents, start = next_documents(writer, by_id, start, CHUNK_ROWS)
            fill(writer, self.index, documents)
            self.entered += len(documents)
            if not documents:
                return None
            if self._is_over(began):
                return Backfill(start, self.entered)
