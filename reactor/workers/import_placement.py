"""How staged documents come into their place in one commit: a few by an ordinary transaction, many through hidden tables."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Final

from reactor.engine.database import Database
from reactor.engine.write_transaction import WriteTransaction
from reactor.faults import hit
from reactor.model import transfers
from reactor.model.scheduled_functions import off_the_books
from reactor.runtime.file_service import FileService
from reactor.store.protocol import OutcomeUnknown
from reactor.store.sqlite.staging import StagingFile
from reactor.transfer.archive import STORAGE
from reactor.transfer.convert import FILES, Plan, Staged
from reactor.values.types import Int64
from reactor.values.wire import decode
from reactor.workers.blob_import import BlobImport, importing_blobs
from reactor.workers.import_plan import check_fits, check_indexes, tables_to_make
from reactor.workers.import_progress import ImportProgress
from reactor.workers.import_summary import final_checkpoints
from reactor.workers.loading import Loader, duplicate

__all__ = ["AFTER_SWAP", "BEFORE_SWAP", "Placement"]

BEFORE_SWAP: Final = "import.before_swap"
AFTER_SWAP: Final = "import.after_swap"

APPENDED_AT_ONCE: Final = 1_000
"""So many documents are added to a table in one ordinary transaction, which takes some 50 ms; more, by a copy of the table."""
APPENDED_BYTES: Final = 2 * 1024 * 1024


class Placement:
    """Of what one import has staged. At most one of them is at work."""

    def __init__(
        self,
        database: Database,
        files: FileService,
        import_id: str,
        plan: Plan,
        staged: Staged,
        progress: ImportProgress,
    ) -> None:
        self._database, self._files, self._id = database, files, import_id
        self._plan, self._staged, self._progress = plan, staged, progress
        self._rows = sum(table.rows for table in staged.tables if table.name != FILES)

    async def place(self) -> int:
        """Put what is staged into the database. Returns the documents written. Raises TablesChanged, ImportRefused."""
        self._progress.checkpoints = list(self._staged.notes)
        blobs: BlobImport | None = None
        async with contextlib.AsyncExitStack() as stack:
            if self._staged.files:
                stack.enter_context(self._files.protecting())
                blobs = await stack.enter_async_context(importing_blobs(self._files, self._plan))
                await blobs.store(self._progress.report)
            if self._is_small_append():
                hit(BEFORE_SWAP)
                await self._append()
                return self._rows
            loader = Loader(
                self._database,
                Path(self._plan.staging),
                lambda table, done: self._progress.report(
                    f'Importing "{table.name}" ({done} of {table.rows} documents)'
                ),
            )
            stack.push_async_callback(loader.discard)
            await self._load(loader)
            await self._reveal(loader, blobs)
            return self._rows

    # By a transaction

    def _is_small_append(self) -> bool:
        """Whether it is little enough to be added to tables that have documents, in an ordinary transaction."""
        tables, live_tables = self._staged.tables, self._database.catalogue.tables
        return (
            self._plan.mode == "append"
            and not self._staged.files
            and sum(table.rows for table in tables) <= APPENDED_AT_ONCE
            and sum(table.size for table in tables) <= APPENDED_BYTES
            and all(
                (live := live_tables.get(table.name)) is not None and live.number == table.number for table in tables
            )
        )

    async def _append(self) -> None:
        documents: list[tuple[str, dict[str, Any]]] = []
        for table in self._staged.tables:
            for bodies in StagingFile.read_bodies(Path(self._plan.staging), table.source):
                documents += [(table.name, _tree(body)) for body in bodies]

        def append(tx: WriteTransaction) -> None:
            check_fits(tx, self._plan, self._staged)
            with off_the_books(tx):
                for name, document in documents:
                    table = tx.catalogue.tables[name]
                    if tx.get(table, document["_id"]) is not None:
                        raise duplicate(document["_id"], name)
                    tx.insert_existing(table, document)
            self._complete(tx)

        await self._database.write(append, usual_s=1.0)

    # Through hidden tables

    async def _load(self, loader: Loader) -> None:
        catalogue = self._database.catalogue
        check_indexes(catalogue, self._plan, self._staged)
        await loader.create(tables_to_make(catalogue, self._plan, self._staged), catalogue.tables)
        for table, hidden in zip(self._staged.tables, loader.tables, strict=False):
            await loader.load(table, hidden)
            live = catalogue.tables.get(table.name)
            if self._plan.mode == "append" and live is not None and live.number == table.number:
                self._progress.report(f'Copying "{table.name}"')
                if table.has_ids:
                    await loader.check_new(table, live)
                await loader.copy(live, hidden)
            await loader.fill_others(hidden)
            if table.name != FILES:
                count = (
                    f"{table.rows} {'file' if table.name == STORAGE else 'document'}{'' if table.rows == 1 else 's'}"
                )
                self._progress.checkpoints.append(f'Imported {count} to table "{table.name}"')
            self._progress.report("Importing", at_once=True)

    async def _reveal(self, loader: Loader, blobs: BlobImport | None) -> None:
        hidden = loader.tables
        drop: list[str] = []
        if self._plan.mode == "replaceAll":
            names = {table.name for table in hidden}
            drop = [t.name for t in self._database.catalogue.tables.values() if not t.is_system and t.name not in names]

        def before(tx: WriteTransaction) -> None:
            check_fits(tx, self._plan, self._staged, hidden)
            loader.check_copied()

        async with self._database.schema_lock:
            hit(BEFORE_SWAP)
            commit = asyncio.ensure_future(
                self._database.replace_tables(hidden, drop, before=before, after=self._complete)
            )
            try:
                await _to_its_end(commit)
            finally:
                # Also when the import was canceled meanwhile: rows that are in their place keep their files.
                if _may_be_committed(commit):
                    loader.revealed()
                    if blobs is not None:
                        blobs.keep()
        hit(AFTER_SWAP)

    def _complete(self, tx: WriteTransaction) -> None:
        state = {
            "state": "completed",
            "timestamp": Int64(int(tx.now_ms * 1e6)),
            "num_rows_written": Int64(self._rows),
        }
        transfers.set_state(tx, self._id, state, checkpoints=final_checkpoints(self._staged))


async def _to_its_end(work: asyncio.Future[Any]) -> None:
    """Wait for it, however often that is canceled, and raise what it raised; CancelledError only afterwards."""
    canceled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            canceled = error
    if canceled is not None:
        raise canceled
    work.result()


def _may_be_committed(commit: asyncio.Future[Any]) -> bool:
    # If nobody knows, files stay as well: what belongs to no row is found by the collector.
    return commit.cancelled() or commit.exception() is None or isinstance(commit.exception(), OutcomeUnknown)


def _tree(body: bytes) -> dict[str, Any]:
    tree: Any = decode(body)
    return tree
