"""The second half of an import: staged rows go into hidden tables in steps of a few milliseconds, then into their place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from reactor.engine.database import Database
from reactor.engine.index_kinds import fill, next_documents
from reactor.engine.pace import Pace
from reactor.errors import ReactorError
from reactor.faults import hit
from reactor.store.catalogue import BY_CREATION_TIME, BY_ID, IndexInfo, TableInfo
from reactor.store.protocol import IndexChange, Reader, SnapshotEnded, Writer
from reactor.store.room import check_room
from reactor.store.sqlite.staging import StagingFile
from reactor.transfer.convert import StagedTable
from reactor.transfer.rows import ImportRefused

__all__ = ["MID_LOAD", "Loader", "TablesChanged", "index_changes"]

T = TypeVar("T")

MID_LOAD: Final = "import.mid_load"
STEP_S: Final = 0.0015
FIRST_ROWS: Final = 200
MAX_ROWS: Final = 20_000
FILL_ROWS: Final = 64

Progress = Callable[[StagedTable, int], None]


class TablesChanged(Exception):
    """What an import was staged for is not so any more, and it has to be staged again. Says, in a sentence, what changed."""


def index_changes(table: TableInfo | None) -> list[IndexChange]:
    """The indexes that a hidden table needs to take the place of this one."""
    if table is None:
        return []
    return [
        IndexChange(i.table, i.name, i.fields, staged=i.state == "staged", kind=i.kind, dimensions=i.dimensions)
        for i in (*table.indexes.values(), *table.search.values(), *table.vector.values())
        if i.name not in (BY_ID, BY_CREATION_TIME)
    ]


class Loader:
    """Hidden tables of one import. `discard` ends whatever was not revealed; call it in any case."""

    def __init__(self, database: Database, staging: Path, progress: Progress) -> None:
        self._database, self._staging, self._progress = database, staging, progress
        self._rows = FIRST_ROWS
        self._pace = Pace(database)
        self._attached = False
        self._copied: list[TableInfo] = []
        self.tables: list[TableInfo] = []

    async def create(self, wanted: Sequence[tuple[str, int | None]], existing: Mapping[str, TableInfo]) -> None:
        """Make a hidden table for each (name, number)."""

        def make(writer: Writer) -> None:
            writer.begin()
            made = [
                writer.create_hidden(name, index_changes(existing.get(name)), number=number) for name, number in wanted
            ]
            writer.commit()
            self.tables = made  # noted here, as all that `discard` undoes: whoever waits for it may be canceled

        await self._database.store.write(make)

    async def discard(self) -> None:
        """Detach the staging file; give up the hidden tables that are not in their place."""

        def give_up(writer: Writer) -> None:
            tables, self.tables = self.tables, []
            was_attached, self._attached = self._attached, False
            if was_attached:
                writer.detach_staging()
            if tables:
                writer.begin()
                writer.discard_hidden(tables)
                writer.commit()

        await self._database.store.write(give_up)

    def revealed(self) -> None:
        """The tables are in their place."""
        self.tables = []

    async def load(self, table: StagedTable, hidden: TableInfo) -> None:
        """Enter the staged documents and their keys."""
        if not self._attached:
            await self._database.store.write(self._attach)
        places: list[tuple[str, TableInfo | IndexInfo]] = [(table.source, hidden)]
        places += [(source, hidden.indexes[name]) for name, source in table.keys.items()]
        for source, target in places:
            at = 0
            while at < table.rows:
                end = min(table.rows, at + self._rows)
                await self._step(lambda w, a=at, e=end, s=source, t=target: w.load_staged(s, t, a, e))
                at = end
                if target is hidden:
                    self._progress(table, at)

    def _attach(self, writer: Writer) -> None:
        writer.attach_staging(self._staging)
        self._attached = True

    async def copy(self, table: TableInfo, hidden: TableInfo) -> None:
        """Enter the documents that the table has, too, and from now on what is written to it. Raises TablesChanged."""
        self._copied.append(table)

        def begin(writer: Writer) -> None:
            self._must_be_there(table)
            writer.begin()
            writer.mirror(table, hidden)
            writer.commit()

        await self._database.store.write(begin)
        pairs: list[tuple[TableInfo | IndexInfo, TableInfo | IndexInfo]] = [(table, hidden)]
        pairs += [(index, hidden.indexes[index.name]) for index in table.kept]
        for source, target in pairs:
            at: bytes | str | None = None
            while True:
                rows = self._rows

                def step(
                    writer: Writer, source: Any = source, target: Any = target, at: Any = at, rows: int = rows
                ) -> bytes | str | None:
                    self._must_be_there(table)
                    return writer.copy_step(source, target, at, rows)

                at = await self._step(step)
                if at is None:
                    break

    def check_copied(self) -> None:
        """Raise TablesChanged unless all that was copied is still there. On the writer's thread.

        An index that has come back since is another one, of which the copy is not told.
        """
        for table in self._copied:
            self._must_be_there(table)

    def _must_be_there(self, table: TableInfo) -> None:
        """On the writer's thread: the catalogue is that of the last commit."""
        now = self._database.store.catalogue.tables.get(table.name)
        if now is None or now.storage != table.storage or not {*_numbers(table)} <= {*_numbers(now)}:
            raise TablesChanged(f'The table "{table.name}" or an index of it was dropped after copying it had begun.')

    async def fill_others(self, hidden: TableInfo) -> None:
        """Enter the documents into the search and vector indexes."""
        if not hidden.others:
            return
        start = b""
        by_id = hidden.indexes[BY_ID]

        def step(writer: Writer, start: bytes) -> bytes | None:
            until = time.monotonic() + STEP_S
            while time.monotonic() < until:
                documents, start = next_documents(writer, by_id, start, FILL_ROWS)
                if not documents:
                    return None
                for index in hidden.others:
                    fill(writer, index, documents)
            return start

        while (following := await self._step(lambda w, s=start: step(w, s), adapt=False)) is not None:
            start = following

    async def check_new(self, table: StagedTable, live: TableInfo) -> None:
        """Raise ImportRefused if a document with one of the staged ids is there; TablesChanged."""
        for ids in StagingFile.read_ids(self._staging, table.source):

            def look(reader: Reader, ids: Sequence[str] = ids) -> str | None:
                return next((i for i in ids if reader.get(live, i) is not None), None)

            try:
                found = await self._database.store.read(look)
            except SnapshotEnded as error:  # its rows are gone, or the read was too long for the store
                raise TablesChanged(f'Looking for ids in the table "{table.name}" was broken off: {error}') from None
            if found is not None:
                raise duplicate(found, table.name)

    async def _step(self, work: Callable[[Writer], T], *, adapt: bool = True) -> T:
        check_room(self._staging.parent)
        result = await self._pace.step(work)
        hit(MID_LOAD)
        if adapt:
            wanted = self._rows * STEP_S / max(self._pace.step_s, STEP_S / 4)
            self._rows = int(min(max(wanted, self._rows / 4, 50), self._rows * 2, MAX_ROWS))
        return result


def _numbers(table: TableInfo) -> list[int]:
    return [index.number for index in table.kept]


def duplicate(document_id: str, table: str) -> ReactorError:
    return ImportRefused(f'The id {document_id} is in "{table}" already.', code="DuplicateId")
