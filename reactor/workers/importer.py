"""Imports, from the uploaded file to the one commit that puts its documents in their place (or, failing that, to nothing).

An import is staged first: every row is read and checked, and what is wrong is told before anything is asked. Once it is
confirmed, its rows go into hidden tables, and a commit reveals them all. What it was staged for may have changed by then (a
deploy, a table that is not empty any more): then it is staged again. Source of the states: deployment-api 5.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from reactor.engine.database import Database
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import ReactorError, Unavailable
from reactor.model import transfers
from reactor.model.transfers import IMPORTS
from reactor.runtime.file_service import FileService
from reactor.store.protocol import OutcomeUnknown
from reactor.transfer.child import run_apart
from reactor.transfer.convert import Plan, Staged
from reactor.transfer.rows import ImportRefused
from reactor.transfer.scratch import remove_large
from reactor.workers.import_placement import Placement
from reactor.workers.import_plan import make_plan, refuse_existing
from reactor.workers.import_progress import ImportProgress
from reactor.workers.import_request import ImportRequest
from reactor.workers.import_summary import summary
from reactor.workers.loading import TablesChanged
from reactor.workers.uploads import Upload, Uploads

__all__ = ["Importer"]

logger = logging.getLogger("reactor.transfer")

ATTEMPTS: Final = 5


class _Import:
    def __init__(
        self, id_: str, request: ImportRequest, upload: Upload, parts: list[Path], progress: ImportProgress
    ) -> None:
        self.id, self.request, self.upload, self.parts, self.progress = id_, request, upload, parts, progress
        self.confirmed = asyncio.Event()
        self.task: asyncio.Task[int] | None = None


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
            import_id = await self._database.write(lambda tx: transfers.add(tx, IMPORTS, request.document()))
        except BaseException:
            await self.uploads.forget(upload)
            raise
        progress = ImportProgress(self._database, import_id)
        running = self._imports[import_id] = _Import(import_id, request, upload, parts, progress)
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
        """End an import; nothing of it stays. One that has failed stays as it is.

        Raises ImportRefused, also for one that is completed, be it meanwhile.
        """
        running = self._imports.get(import_id)
        if running is not None and running.task is not None:
            if not running.task.cancelling():  # a second time would break off what the first one has to be followed by
                running.task.cancel()
            await asyncio.gather(running.task, return_exceptions=True)
            await running.progress.fail("The import was canceled. Nothing was changed.")  # also when it had not begun
            await self.uploads.forget(running.upload)
        document = await self._database.read(lambda tx: transfers.read(tx, IMPORTS, import_id))
        if document is None:
            raise ImportRefused("There is no import with this id.", code="ImportNotFound")
        written = transfers.written_by(document)
        if written is not None:
            text = f"It is too late to cancel this import: it is completed, and has written {written} documents."
            raise ImportRefused(text, code="ImportCompleted")

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
        failure: Exception
        try:
            return await self._attempts(running)
        except asyncio.CancelledError:
            failure = ImportRefused("The import was canceled.", code="ImportCanceled")
            why = f"{'The server was stopped.' if self._closing else failure} Nothing was changed."
        except ReactorError as error:
            failure, why = error, str(error)
        except Exception as error:
            logger.exception("import %s failed", running.id)
            failure, why = error, f"The server failed: {type(error).__name__}. Its log says more."
        finally:
            await self.uploads.forget(running.upload)
        written = await running.progress.fail(why)
        if written is None or isinstance(failure, OutcomeUnknown):
            raise failure
        return written  # it was too late to fail: all is in its place

    async def _attempts(self, running: _Import) -> int:
        changes: list[str] = []
        while len(changes) < ATTEMPTS:
            plan = await self._plan(running)
            async with self._staging:
                size = sum(size for _, _, size in running.upload.parts.values())
                staged: Staged = await run_apart(plan, running.progress.report, size=size)
            try:
                await self._confirmed(running, plan, staged)
                placement = Placement(self._database, self._files, running.id, plan, staged, running.progress)
                async with self._turn:
                    return await placement.place()
            except TablesChanged as change:
                changes.append(str(change))
            finally:
                await remove_large(plan.staging)
        raise Unavailable(
            f"What the import was prepared for changed {ATTEMPTS} times while it was going on: "
            f"{' '.join(dict.fromkeys(changes))} Nothing was imported; try again later."
        )

    async def _plan(self, running: _Import) -> Plan:
        request = running.request
        staging = running.upload.directory / "staging"
        now_ms = self._database.clock.now_ns() / 1e6
        plan = await self._database.read(lambda tx: make_plan(tx, request, running.parts, staging, now_ms))
        if request.mode == "requireEmpty" and request.table_name is not None:
            refuse_existing(plan, request.table_name)
        return plan

    async def _confirmed(self, running: _Import, plan: Plan, staged: Staged) -> None:
        if plan.mode == "requireEmpty":
            for table in staged.tables:
                refuse_existing(plan, table.name)
        if running.confirmed.is_set():
            return

        # Counting documents takes a while: not in the writer's time.
        text, deletes, checkpoints = await self._database.read(lambda tx: summary(tx, plan, staged))

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
