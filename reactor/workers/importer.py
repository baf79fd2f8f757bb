"""Imports, from the uploaded file to the one commit that puts its documents in their place (or, failing that, to nothing).

An import is staged first: every row is read and checked, and what is wrong is told before anything is asked. Once it is
confirmed, its rows go into hidden tables, and a commit reveals them all. What it was staged for may have changed by then (a
deploy, a table that is not empty any more): then it is staged again. Source of the states: deployment-api 5.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec

from reactor.engine.database import Database
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction, check_table_name
from reactor.errors import DatabaseError, ReactorError, Unavailable
from reactor.faults import hit
from reactor.model import transfers
from reactor.model.scheduled_functions import off_the_books
from reactor.model.transfers import IMPORTS
from reactor.runtime.file_service import FileService
from reactor.store.catalogue import BY_CREATION_TIME, BY_ID, FIRST_USER_TABLE, Catalogue, TableInfo
from reactor.store.sqlite.staging import StagingFile
from reactor.transfer.child import run_apart
from reactor.transfer.convert import FILES, Format, Mode, Plan, PlannedIndex, PlannedTable, Staged, StagedTable
from reactor.transfer.rows import ImportRefused
from reactor.transfer.scratch import remove_large
from reactor.values.types import Int64
from reactor.values.wire import decode
from reactor.workers.blob_import import BlobImport, importing_blobs
from reactor.workers.loading import Loader, duplicate, index_changes
from reactor.workers.uploads import Upload, Uploads

__all__ = ["AFTER_SWAP", "BEFORE_SWAP", "ImportRequest", "Importer"]

logger = logging.getLogger("reactor.transfer")

BEFORE_SWAP: Final = "import.before_swap"
AFTER_SWAP: Final = "import.after_swap"

APPENDED_AT_ONCE: Final = 1_000
"""So many documents are added to a table in one ordinary transaction, which takes some 50 ms; more, by a copy of the table."""
APPENDED_BYTES: Final = 2 * 1024 * 1024
ATTEMPTS: Final = 5
REPORT_S: Final = 0.25
STORAGE: Final = "_storage"
_SCHEMA_META: Final = "schema"

_FORMATS: Final = {"csv": "csv", "jsonLines": "jsonl", "jsonArray": "json_array", "zip": "zip"}
_MODES: Final = {"requireEmpty": "RequireEmpty", "append": "Append", "replace": "Replace", "replaceAll": "ReplaceAll"}


class ImportRequest(msgspec.Struct, rename="camel", frozen=True):
    """What is asked of an upload. `table_name` goes with every format but zip."""

    mode: Mode
    format: Format
    table_name: str | None = None
    component_path: str | None = None

    def check(self) -> None:
        """Raises ImportRefused."""
        if self.component_path:
            raise ImportRefused(
                "There are no components here: import without --component.", code="ComponentsNotSupported"
            )
        if (self.table_name is None) != (self.format == "zip"):
            raise ImportRefused(
                "A table name goes with csv, jsonLines and jsonArray, not with zip.", code="InvalidImport"
            )
        if self.table_name is not None:
            try:
                check_table_name(self.table_name)
            except DatabaseError as error:
                raise ImportRefused(str(error), code="InvalidTableName") from None


class _Import:
    def __init__(self, id_: str, request: ImportRequest, upload: Upload, parts: list[Path]) -> None:
        self.id, self.request, self.upload, self.parts = id_, request, upload, parts
        self.confirmed = asyncio.Event()
        self.task: asyncio.Task[int] | None = None
        self.checkpoints: list[str] = []
        self.reported = 0.0
        self.message = ""
        self.reporting: asyncio.Task[None] | None = None


class Importer:
    """One per deployment. `start` fails what an earlier process has left half done."""

    def __init__(self, database: Database, files: FileService, directory: Path) -> None:
        self._database, self._files = database, files
        self.uploads = Uploads(directory / "uploads", database.clock, database.limits)
        self._imports: dict[str, _Import] = {}
        self._staging = asyncio.Semaphore(1)
        self._turn = asyncio.Lock()
        self._closing = False

    async def start(self) -> None:
        await self.uploads.start()
        await self._database.write(transfers.end_interrupted)

    async def close(self) -> None:
        """End what is going on; it is marked as failed."""
        self._closing = True
        tasks = [running.task for running in self._imports.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What clients ask

    async def begin(self, request: ImportRequest, upload_token: str, part_tokens: list[str]) -> str:
        """An upload is complete: stage it. Returns the import's id. Raises ImportRefused."""
        request.check()
        upload, parts = self.uploads.take(upload_token, part_tokens)
        try:
            import_id = await self._database.write(lambda tx: transfers.add(tx, IMPORTS, _document(request)))
        except BaseException:
            await self.uploads.forget(upload)
            raise
        running = self._imports[import_id] = _Import(import_id, request, upload, parts)
        running.task = asyncio.create_task(self._run(running), name=f"import {import_id}")
        running.task.add_done_callback(lambda _: self._imports.pop(import_id, None))
        return import_id

    async def perform(self, import_id: str) -> None:
        """The client confirms. Raises ImportRefused for an import that does not wait for that."""
        running = self._imports.get(import_id)
        state = {"state": "in_progress", "progress_message": "Importing", "checkpoint_messages": []}

        def confirm(tx: WriteTransaction) -> bool:
            document = transfers.read(tx, IMPORTS, import_id)
            if document is None or document["state"]["state"] != "waiting_for_confirmation":
                return False
            return transfers.set_state(tx, import_id, state)

        if running is None or not await self._database.write(confirm):
            raise ImportRefused("This import does not wait for a confirmation (any more).", code="ImportNotWaiting")
        running.confirmed.set()

    async def cancel(self, import_id: str) -> None:
        """End an import that is going on; nothing of it stays. One that is over stays as it is. Raises ImportRefused."""
        running = self._imports.get(import_id)
        if running is not None and running.task is not None:
            running.task.cancel()
            await asyncio.gather(running.task, return_exceptions=True)
            await self._fail(running, "The import was canceled. Nothing was changed.")  # also when it had not begun
            await self.uploads.forget(running.upload)
            return
        if await self._database.read(lambda tx: transfers.read(tx, IMPORTS, import_id)) is None:
            raise ImportRefused("There is no import with this id.", code="ImportNotFound")

    async def import_at_once(self, request: ImportRequest, body: AsyncIterator[bytes]) -> int:
        """Import what `body` gives, confirmed from the start. Returns how many documents were written. Raises ImportRefused."""
        request.check()
        token = await self.uploads.begin()
        try:
            part = await self.uploads.add_part(token, 1, body)
            import_id = await self.begin(request, token, [part])
        except BaseException:
            with contextlib.suppress(ImportRefused):
                await self.uploads.forget(self.uploads.take(token, [])[0])
            raise
        running = self._imports[import_id]
        running.confirmed.set()
        assert running.task is not None
        return await asyncio.shield(running.task)

    # The work

    async def _run(self, running: _Import) -> int:
        try:
            return await self._attempts(running)
        except asyncio.CancelledError:
            why = "The server was stopped." if self._closing else "The import was canceled."
            await self._fail(running, f"{why} Nothing was changed.")
            raise ImportRefused("The import was canceled.", code="ImportCanceled") from None
        except ReactorError as error:
            await self._fail(running, str(error))
            raise
        except Exception as error:
            logger.exception("import %s failed", running.id)
            await self._fail(running, f"The server failed: {type(error).__name__}. Its log says more.")
            raise
        finally:
            await self.uploads.forget(running.upload)

    async def _fail(self, running: _Import, text: str) -> None:
        if running.reporting is not None:
            running.reporting.cancel()
        state = {"state": "failed", "error_message": f"Hit an error while importing:\n{text}"}
        try:
            await self._database.write(
                lambda tx: transfers.set_state(tx, running.id, state, unless=("completed", "failed"))
            )
        except ReactorError as error:  # the database is closing; the next start says it
            logger.warning("import %s ended, which can't be noted: %s", running.id, error)

    async def _attempts(self, running: _Import) -> int:
        for _ in range(ATTEMPTS):
            plan = await self._plan(running)
            async with self._staging:
                size = sum(size for _, _, size in running.upload.parts.values())
                staged: Staged = await run_apart(plan, lambda text: self._report(running, text), size=size)
            try:
                await self._confirmed(running, plan, staged)
                async with self._turn:
                    written = await self._import(running, plan, staged)
                if written is not None:
                    return written
            finally:
                await remove_large(plan.staging)
        raise Unavailable("The schema was changed again and again while the import was going on. Try again later.")

    async def _plan(self, running: _Import) -> Plan:
        request = running.request
        now_ms = self._database.clock.now_ns() / 1e6

        def look(tx: Transaction) -> Plan:
            schema = tx.reader.get_meta(_SCHEMA_META)
            validators: dict[str, Any] = msgspec.json.decode(schema) if schema else {}
            catalogue = tx.catalogue
            return Plan(
                parts=tuple(str(path) for path in running.parts),
                format=request.format,
                mode=request.mode,
                table=request.table_name,
                staging=str(running.upload.directory / "staging"),
                tables=_planned(tx, request.mode, validators),
                next_number=max([FIRST_USER_TABLE - 1, *catalogue.by_number]) + 1,
                now_ms=now_ms,
                max_bytes=self._database.limits.import_bytes,
            )

        plan = await self._database.read(look)
        if request.mode == "requireEmpty" and request.table_name is not None:
            _refuse_existing(plan, request.table_name)
        return plan

    async def _confirmed(self, running: _Import, plan: Plan, staged: Staged) -> None:
        if plan.mode == "requireEmpty":
            for table in staged.tables:
                _refuse_existing(plan, table.name)
        if running.confirmed.is_set():
            return

        # Counting documents takes a while: not in the writer's time.
        text, deletes, checkpoints = await self._database.read(lambda tx: _summary(tx, plan, staged))

        def ask(tx: WriteTransaction) -> None:
            state = {
                "state": "waiting_for_confirmation",
                "message_to_confirm": text,
                "require_manual_confirmation": deletes,
            }
            transfers.set_state(tx, running.id, state, checkpoints=checkpoints)

        await self._database.write(ask)
        try:
            async with asyncio.timeout(self._database.limits.import_idle_s):
                await running.confirmed.wait()
        except TimeoutError:
            raise ImportRefused("Nobody confirmed this import. Nothing was changed; start it again.") from None

    async def _import(self, running: _Import, plan: Plan, staged: Staged) -> int | None:
        """Put what is staged into the database; None when it has to be staged again. Returns the documents written."""
        rows = sum(table.rows for table in staged.tables if table.name != FILES)
        running.checkpoints = list(staged.notes)
        blobs: BlobImport | None = None
        async with contextlib.AsyncExitStack() as stack:
            if staged.files:
                stack.enter_context(self._files.protecting())
                blobs = await stack.enter_async_context(importing_blobs(self._files, plan))
                await blobs.store(lambda text: self._report(running, text))
            if self._is_small_append(plan, staged):
                hit(BEFORE_SWAP)
                return rows if await self._append(running, plan, staged, rows) else None
            loader = Loader(
                self._database,
                Path(plan.staging),
                lambda table, done: self._report(
                    running, f'Importing "{table.name}" ({done} of {table.rows} documents)'
                ),
            )
            stack.push_async_callback(loader.discard)
            if not await self._load(running, loader, plan, staged):
                return None
            revealed = await self._reveal(running, loader, plan, staged, rows)
            if revealed and blobs is not None:
                blobs.keep()
            return rows if revealed else None

    async def _load(self, running: _Import, loader: Loader, plan: Plan, staged: Staged) -> bool:
        catalogue = self._database.catalogue
        if not _same_indexes(catalogue, plan, staged):
            return False
        wanted: list[tuple[str, int | None]] = [(table.name, table.number) for table in staged.tables]
        await loader.create(wanted + _emptied(catalogue, plan, staged), catalogue.tables)
        for table, hidden in zip(staged.tables, loader.tables, strict=False):
            await loader.load(table, hidden)
            live = catalogue.tables.get(table.name)
            if plan.mode == "append" and live is not None and live.number == table.number:
                self._report(running, f'Copying "{table.name}"')
                if table.has_ids:
                    await loader.check_new(table, live)
                await loader.copy(live, hidden)
            await loader.fill_others(hidden)
            if table.name != FILES:
                count = (
                    f"{table.rows} {'file' if table.name == STORAGE else 'document'}{'' if table.rows == 1 else 's'}"
                )
                running.checkpoints.append(f'Imported {count} to table "{table.name}"')
            self._report(running, "Importing", at_once=True)
        return True

    async def _reveal(self, running: _Import, loader: Loader, plan: Plan, staged: Staged, rows: int) -> bool:
        hidden = loader.tables
        drop: list[str] = []
        if plan.mode == "replaceAll":
            names = {table.name for table in hidden}
            drop = [t.name for t in self._database.catalogue.tables.values() if not t.is_system and t.name not in names]

        def before(tx: WriteTransaction) -> None:
            if not self._still_fits(tx, plan, staged, hidden):
                raise _Again

        def after(tx: WriteTransaction) -> None:
            transfers.set_state(tx, running.id, _completed(tx, rows), checkpoints=_checkpoints(staged))

        async with self._database.schema_lock:
            hit(BEFORE_SWAP)
            try:
                await self._database.replace_tables(hidden, drop, before=before, after=after)
            except _Again:
                return False
            loader.revealed()
        hit(AFTER_SWAP)
        return True

    def _still_fits(self, tx: WriteTransaction, plan: Plan, staged: Staged, hidden: list[TableInfo]) -> bool:
        """Whether what the import was staged for is how it is now. On the writer's thread, within the commit."""
        schema = tx.reader.get_meta(_SCHEMA_META)
        validators: dict[str, Any] = msgspec.json.decode(schema) if schema else {}
        now = _planned(tx, plan.mode, validators)
        names = {table.name for table in staged.tables}
        of_interest = names if plan.mode != "replaceAll" else now.keys() | plan.tables.keys()
        if any(now.get(name) != plan.tables.get(name) for name in of_interest if name in names or name in now):
            return False
        return all(
            index_changes(tx.catalogue.tables.get(table.name)) == [*index_changes(table)]
            for table in hidden
            if table.name in tx.catalogue.tables
        )

    def _is_small_append(self, plan: Plan, staged: Staged) -> bool:
        """Whether it is little enough to be added to tables that have documents, in an ordinary transaction."""
        catalogue = self._database.catalogue
        return (
            plan.mode == "append"
            and not staged.files
            and sum(table.rows for table in staged.tables) <= APPENDED_AT_ONCE
            and sum(table.size for table in staged.tables) <= APPENDED_BYTES
            and all(
                (live := catalogue.tables.get(table.name)) is not None and live.number == table.number
                for table in staged.tables
            )
        )

    async def _append(self, running: _Import, plan: Plan, staged: Staged, rows: int) -> bool:
        documents: list[tuple[str, dict[str, Any]]] = []
        for table in staged.tables:
            for bodies in StagingFile.read_bodies(Path(plan.staging), table.source):
                documents += [(table.name, _tree(body)) for body in bodies]

        def append(tx: WriteTransaction) -> None:
            if not self._still_fits(tx, plan, staged, []):
                raise _Again
            with off_the_books(tx):
                for name, document in documents:
                    table = tx.catalogue.tables[name]
                    if tx.get(table, document["_id"]) is not None:
                        raise duplicate(document["_id"], name)
                    tx.insert_existing(table, document)
            transfers.set_state(tx, running.id, _completed(tx, rows), checkpoints=_checkpoints(staged))

        try:
            await self._database.write(append, usual_s=1.0)
        except _Again:
            return False
        return True

    # Progress

    def _report(self, running: _Import, message: str, *, at_once: bool = False) -> None:
        """Let followers know, a few times a second."""
        running.message = message
        now = time.monotonic()
        if running.reporting is not None or (now - running.reported < REPORT_S and not at_once):
            return
        running.reported = now
        running.reporting = asyncio.create_task(self._tell(running))

    async def _tell(self, running: _Import) -> None:
        state = {
            "state": "in_progress",
            "progress_message": running.message,
            "checkpoint_messages": list(running.checkpoints),
        }
        try:
            await self._database.write(
                lambda tx: transfers.set_state(
                    tx, running.id, state, unless=("completed", "failed", "waiting_for_confirmation", "uploaded")
                ),
                background=True,
            )
        except ReactorError as error:
            logger.warning("the progress of import %s can't be noted: %s", running.id, error)
        finally:
            running.reporting = None


class _Again(Exception):
    """What the import was staged for has changed."""


def _document(request: ImportRequest) -> dict[str, Any]:
    format_: dict[str, Any] = {"format": _FORMATS[request.format]}
    if request.table_name is not None:
        format_["table"] = request.table_name
    return {
        "state": {"state": "uploaded"},
        "format": format_,
        "mode": _MODES[request.mode],
        "component_path": None,
        "requestor": {"type": "snapshotImport"},
        "member_id": None,
        "checkpoints": [],
    }


def _planned(tx: Transaction, mode: Mode, validators: dict[str, Any]) -> dict[str, PlannedTable]:
    planned: dict[str, PlannedTable] = {}
    for table in tx.catalogue.tables.values():
        # Only these two modes ask; with the others a table that fills or empties must not make a difference.
        is_empty = mode not in ("append", "requireEmpty") or not _count(tx, table)
        indexes = tuple(PlannedIndex(i.name, i.fields) for i in table.kept if i.name != BY_CREATION_TIME)
        planned[table.name] = PlannedTable(table.number, is_empty, indexes, validators.get(table.name))
    return planned


def _count(tx: Transaction, table: TableInfo) -> bool:
    return bool(tx.reader.scan(table.indexes[BY_ID], b"", None, reverse=False, limit=1))


def _refuse_existing(plan: Plan, name: str) -> None:
    known = plan.tables.get(name)
    if known is not None and not known.is_empty:
        raise ImportRefused(
            f"Table {name} already exists. Please choose a new table name or use replace/append modes.",
            code="TableExists",
        )


def _same_indexes(catalogue: Catalogue, plan: Plan, staged: Staged) -> bool:
    for table in staged.tables:
        live, planned = catalogue.tables.get(table.name), plan.tables.get(table.name)
        indexes = () if live is None else tuple(PlannedIndex(i.name, i.fields) for i in live.kept if i.fields)
        if indexes != (() if planned is None else planned.indexes):
            return False
    return True


def _emptied(catalogue: Catalogue, plan: Plan, staged: Staged) -> list[tuple[str, int | None]]:
    """With replaceAll: the tables that stay, empty, because the schema has them; under another number if theirs is taken."""
    if plan.mode != "replaceAll":
        return []
    taken = {table.number for table in staged.tables}
    names = {table.name for table in staged.tables}
    following = max([plan.next_number, *(number + 1 for number in taken)])
    emptied: list[tuple[str, int | None]] = []
    for table in catalogue.tables.values():
        if table.is_system or table.name in names or plan.tables[table.name].validator is None:
            continue
        number: int | None = table.number
        if number in taken:
            number, following = following, following + 1
        emptied.append((table.name, number))
    return emptied


def _completed(tx: WriteTransaction, rows: int) -> dict[str, Any]:
    return {"state": "completed", "timestamp": Int64(int(tx.now_ms * 1e6)), "num_rows_written": Int64(rows)}


def _checkpoints(staged: Staged) -> list[dict[str, Any]]:
    return [
        _checkpoint(table, written=table.rows, existing=0, deleted=0) for table in staged.tables if table.name != FILES
    ]


def _checkpoint(table: StagedTable, *, written: int, existing: int, deleted: int) -> dict[str, Any]:
    return {
        "component_path": None,
        "display_table_name": table.name,
        "tablet_id": None,
        "total_num_rows_to_write": Int64(table.rows),
        "num_rows_written": Int64(written),
        "existing_rows_in_table": Int64(existing),
        "existing_rows_to_delete": Int64(deleted),
        "is_missing_id_field": not table.has_ids,
    }


def _summary(tx: Transaction, plan: Plan, staged: Staged) -> tuple[str, bool, list[dict[str, Any]]]:
    """What the user is asked to confirm; whether documents will be deleted; the figures."""
    by_name = {table.name: table for table in staged.tables if table.name != FILES}
    shown = set(by_name)
    if plan.mode == "replaceAll":
        shown |= {table.name for table in tx.catalogue.tables.values() if not table.is_system}
    lines: list[tuple[str, str, str]] = []
    checkpoints: list[dict[str, Any]] = []
    deletes = False
    for name in sorted(shown):
        live = tx.catalogue.tables.get(name)
        existing = 0 if live is None else tx.reader.count(live.indexes[BY_CREATION_TIME], b"", None)
        deleted = existing if plan.mode in ("replace", "replaceAll") else 0
        table = by_name.get(name)
        rows = 0 if table is None else table.rows
        if table is not None:
            checkpoints.append(_checkpoint(table, written=0, existing=existing, deleted=deleted))
        elif not deleted:
            continue
        deletes = deletes or deleted > 0
        unit = " files" if name == STORAGE else ""
        lines.append((name, f"{rows}{unit}", f"{deleted} of {existing}{unit}"))
    columns = [("table", "create", "delete"), *lines]
    widths = [max(len(line[at]) for line in columns) for at in range(3)]
    table_text = "\n".join(
        " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in columns
    )
    text = f"Import change summary:\n{table_text}\n"
    text += "".join(f"{note}\n" for note in staged.notes)
    text += "Once the import has started, it will run in the background.\nInterrupting this command will not cancel it."
    return text, deletes, checkpoints


def _tree(body: bytes) -> dict[str, Any]:
    tree: Any = decode(body)
    return tree
