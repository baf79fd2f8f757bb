"""Exports: a copy of the database as of one moment, made while clients work, then written into an archive by a process apart.

The copy takes a second or so a gigabyte and is all that a snapshot is held for; writing the archive holds up nothing.
Archives are kept below the data directory until they expire. Source of the states: deployment-api 5.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from reactor.engine.database import Database
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import ReactorError
from reactor.faults import hit
from reactor.model import transfers
from reactor.model.transfers import EXPORTS
from reactor.runtime.file_service import FileService
from reactor.store.protocol import Reader
from reactor.transfer.child import run_apart
from reactor.transfer.scratch import remove_large
from reactor.transfer.snapshot import Exported, ExportedFile, ExportPlan, open_entry, write_piece
from reactor.values.types import Int64
from reactor.workers.alarm import Alarm

__all__ = ["AFTER_COPY", "BEFORE_DONE", "ExportRefused", "Exporter"]

logger = logging.getLogger("reactor.transfer")

AFTER_COPY: Final = "export.after_copy"
BEFORE_DONE: Final = "export.before_done"
REPORT_S: Final = 0.25


class ExportRefused(ReactorError):
    """This can't be done with an export as it is. The code is Convex's name for it."""

    code = "ExportFailed"


class Exporter:
    """One per deployment; one export at a time. `start` fails what an earlier process has left half done."""

    def __init__(self, database: Database, files: FileService, directory: Path) -> None:
        self._database, self._files = database, files
        self._scratch, self._archives = directory / "copies", directory / "exports"
        self._running: tuple[str, asyncio.Task[None]] | None = None
        self._requesting = asyncio.Lock()
        self._placing = asyncio.Lock()
        """Held while an archive comes to its place, or others go: until its export is noted, it belongs to none."""
        self._reported = 0.0
        self._reporting: asyncio.Task[None] | None = None
        self._expiring: asyncio.Task[None] | None = None
        self._alarm = Alarm(database.clock, self._expire_soon, "exports expire")

    async def start(self) -> None:
        """Before this, imports' `start` has failed interrupted exports, too."""
        await anyio.to_thread.run_sync(self._clear)
        await self._expire()

    def _clear(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        for directory in (self._scratch, self._archives):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for partial in self._archives.glob("*.part"):
            partial.unlink()

    async def close(self) -> None:
        self._alarm.set(None)
        for task in (self._running[1] if self._running else None, self._expiring):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    # What clients ask

    async def request(self, *, include_storage: bool) -> str:
        """Begin an export; returns its id. Raises ExportRefused while another one is going on."""
        async with self._requesting:
            if self._running is not None:
                raise ExportRefused("There is already an export requested or in progress.", code="ExportInProgress")
            fields: dict[str, Any] = {
                "state": "requested",
                "format": {"format": "zip", "include_storage": include_storage},
                "component": None,
                "requestor": "snapshotExport",
            }
            export_id = await self._database.write(lambda tx: transfers.add(tx, EXPORTS, fields))
            task = asyncio.create_task(self._run(export_id, include_storage), name=f"export {export_id}")
            self._running = export_id, task
            return export_id

    async def find(self, name: str) -> tuple[Path, dict[str, Any]]:
        """The archive of an export, by its `start_ts` in decimal or its id. Raises ExportRefused."""
        document = await self._database.read(lambda tx: self._find(tx, name))
        if document is None:
            raise ExportRefused("There is no such export (any more).", code="ExportNotFound")
        if document["state"] != "completed":
            raise ExportRefused(f"This export is {document['state']}.", code="ExportNotComplete")
        return self._archive(document), document

    @staticmethod
    def _find(tx: Transaction, name: str) -> dict[str, Any] | None:
        if name.isascii() and name.isdigit() and len(name) < 20 and int(name) < 2**63:
            return transfers.export_at(tx, int(name))
        return transfers.read(tx, EXPORTS, name)

    async def set_expiration(self, export_id: str, expiration_ns: int) -> None:
        """Keep an export until then. Raises ExportRefused."""

        def change(tx: WriteTransaction) -> bool:
            document = transfers.read(tx, EXPORTS, export_id)
            if document is None or document["state"] != "completed":
                return False
            transfers.update(tx, EXPORTS, export_id, expiration_ts=Int64(expiration_ns))
            return True

        if not await self._database.write(change):
            raise ExportRefused("There is no complete export with this id.", code="ExportNotFound")
        await self._expire()

    async def cancel(self, export_id: str) -> None:
        """End an export that is going on. Raises ExportRefused for one that is not, be it completed meanwhile."""
        if self._running is None or self._running[0] != export_id:
            raise ExportRefused("This export is not going on.", code="ExportNotInProgress")
        task = self._running[1]
        if not task.cancelling():  # a second time would break off what the first one has to be followed by
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self._running is not None and self._running[1] is task:  # it had not begun
            self._running = None
        await self._end(export_id, "canceled", "The export was canceled.")
        await self._expire()  # its archive, or when that does
        document = await self._database.read(lambda tx: transfers.read(tx, EXPORTS, export_id))
        if document is not None and document["state"] == "completed":
            raise ExportRefused("It is too late to cancel this export: it is completed.", code="ExportCompleted")

    # The work

    def _archive(self, document: dict[str, Any]) -> Path:
        return self._archives / document["zip_object_key"]

    async def _run(self, export_id: str, include_storage: bool) -> None:
        copy, part = self._scratch / export_id, self._archives / f"{export_id}.part"
        try:
            await self._export(export_id, include_storage, copy, part)
        except asyncio.CancelledError:
            await self._end(export_id, "canceled", "The export was canceled.")
        except ReactorError as error:
            logger.warning("export %s failed: %s", export_id, error)
            await self._end(export_id, "failed", str(error))
        except Exception as error:
            logger.exception("export %s failed", export_id)
            await self._end(export_id, "failed", f"The server failed: {type(error).__name__}. Its log says more.")
        finally:
            self._running = None
            for path in (copy, part):
                await remove_large(path)

    async def _end(self, export_id: str, state: str, why: str) -> None:
        def change(tx: WriteTransaction) -> None:
            document = transfers.read(tx, EXPORTS, export_id)
            if document is not None and not transfers.is_over(EXPORTS, document):
                transfers.update(tx, EXPORTS, export_id, state=state, error_message=why)

        with contextlib.suppress(ReactorError):  # the database is closing: the next start says it
            await self._database.write(change)

    async def _export(self, export_id: str, include_storage: bool, copy: Path, part: Path) -> None:
        await self._tell(export_id, "Copying the database")
        with self._files.hold() if include_storage else contextlib.nullcontext():

            def make(reader: Reader) -> int:
                reader.copy_into(copy)
                return reader.ts

            start_ts = await self._database.store.read(make)
            hit(AFTER_COPY)
            plan = ExportPlan(str(copy), str(part), include_storage)
            size = (await anyio.Path(copy).stat()).st_size
            # Always apart: the archive is as much as the database.
            exported: Exported = await run_apart(plan, lambda text: self._report(export_id, text), size=size)
            await remove_large(copy)
            if exported.files:
                await self._add_files(export_id, part, exported.files)
        key = f"{start_ts}.zip"
        size = (await anyio.Path(part).stat()).st_size

        def done(tx: WriteTransaction) -> None:
            now_ns = int(tx.now_ms * 1e6)
            transfers.update(
                tx,
                EXPORTS,
                export_id,
                state="completed",
                start_ts=Int64(start_ts),
                complete_ts=Int64(now_ns),
                expiration_ts=Int64(now_ns + int(self._database.limits.export_kept_s * 1e9)),
                zip_object_key=key,
                size=Int64(size),
            )

        async with self._placing:
            await anyio.Path(part).rename(self._archives / key)
            hit(BEFORE_DONE)
            await self._database.write(done)
        await self._expire()

    async def _add_files(self, export_id: str, part: Path, files: list[ExportedFile]) -> None:
        archive = await anyio.to_thread.run_sync(lambda: zipfile.ZipFile(part, "a"))
        try:
            for done, file in enumerate(files, 1):
                with open_entry(archive, file.entry, size=file.size) as entry:
                    async for piece in self._files.blobs.get(file.blob):
                        await anyio.to_thread.run_sync(write_piece, entry, piece, part)
                self._report(export_id, f"Exporting {done} of {len(files)} files")
        finally:
            await anyio.to_thread.run_sync(archive.close)

    def _report(self, export_id: str, message: str) -> None:
        now = time.monotonic()
        if self._reporting is None and now - self._reported >= REPORT_S:
            self._reported = now
            self._reporting = asyncio.create_task(self._tell(export_id, message))

    async def _tell(self, export_id: str, message: str) -> None:
        def change(tx: WriteTransaction) -> None:
            document = transfers.read(tx, EXPORTS, export_id)
            if document is not None and not transfers.is_over(EXPORTS, document):
                transfers.update(tx, EXPORTS, export_id, state="in_progress", progress_message=message)

        try:
            await self._database.write(change, background=True)
        finally:
            self._reporting = None

    # Expiring

    def _expire_soon(self) -> None:
        self._expiring = asyncio.create_task(self._expire(), name="expire exports")

    async def _expire(self) -> None:
        """Delete archives that have expired, those beyond the number that is kept, and those that belong to no export."""
        now = self._database.clock.now_ns()

        def forget(tx: WriteTransaction) -> list[dict[str, Any]]:
            found = transfers.newest(tx, EXPORTS, transfers.KEPT + 20)
            complete = [document for document in found if document["state"] == "completed"]
            kept = [d for d in complete[: self._database.limits.exports_kept] if d["expiration_ts"] > now]
            for document in complete:
                if document not in kept:
                    tx.delete(tx.catalogue.tables[EXPORTS], document["_id"])
            return kept

        async with self._placing:
            # In this order: no export is told to be complete whose archive is gone. And by the writer, behind an export that
            # is being noted although it was canceled.
            kept = await self._database.write(forget)
            await anyio.to_thread.run_sync(self._delete_others, {document["zip_object_key"] for document in kept})
        self._alarm.set(min((int(document["expiration_ts"]) for document in kept), default=None))

    def _delete_others(self, names: set[str]) -> None:
        for path in self._archives.glob("*.zip"):
            if path.name not in names:
                path.unlink(missing_ok=True)
