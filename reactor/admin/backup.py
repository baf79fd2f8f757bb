"""`GET /api/backup`: the whole deployment as of one moment, database and files, as one archive (see `store.backup_archive`).

The copy of the database is made and checked in a scratch file first, so what is sent is whole, and a slow download holds up
nobody. Meanwhile no blob is removed, so every file that the copy names can be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from reactor.engine.database import Database
from reactor.engine.transaction import Transaction
from reactor.errors import ReactorError
from reactor.http.access import WhoAsks, require_admin
from reactor.http.request import ClientGone, Handler, HttpError, Request
from reactor.model.files import blob_names
from reactor.runtime.file_service import FileService
from reactor.store.backup_archive import DATABASE, FILES, PIECE_BYTES, ArchiveWriter
from reactor.store.blobs import BlobMissing

__all__ = ["BackupApi"]

logger = logging.getLogger("reactor.admin")

SCRATCH: Final = "backup-*.sqlite3"


class BackupApi:
    """One handler. Backups are made one at a time; `scratch` is a directory with room for a copy of the database."""

    def __init__(
        self,
        database: Database,
        files: FileService,
        who_asks: WhoAsks,
        *,
        scratch: Path,
        send_stall_s: float,
        version: str,
    ) -> None:
        self._database, self._files, self._who_asks = database, files, who_asks
        self._scratch, self._send_stall_s, self._version = scratch, send_stall_s, version
        self._running = False
        for left in scratch.glob(SCRATCH):  # of a process that was killed
            left.unlink(missing_ok=True)

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {("GET", "/api/backup"): self.backup}

    async def backup(self, request: Request) -> None:
        """GET /api/backup"""
        await require_admin(request, self._who_asks)
        if self._running:
            raise HttpError(400, "BackupInProgress", "Another backup is being made. Wait for it, then try again.")
        self._running = True
        path = self._scratch / SCRATCH.replace("*", secrets.token_hex(8))
        try:
            with self._files.hold():
                ts, blobs = await self._copy(path)
                await self._send(request, self._archive(path, ts, blobs), ts)
        finally:
            self._running = False
            path.unlink(missing_ok=True)

    async def _copy(self, path: Path) -> tuple[int, list[str]]:
        """Copy the database and check the copy; its timestamp, and the blobs of its files."""

        def job(tx: Transaction) -> tuple[int, list[str]]:
            tx.reader.copy_into(path)
            return tx.ts, blob_names(tx.reader, tx.catalogue)

        try:
            found = await self._database.read(job)
            await anyio.to_thread.run_sync(self._database.store.check_copy, path)
        except ReactorError as error:
            raise HttpError(503, error.code, f"The backup could not be made: {error}") from None
        return found

    async def _archive(self, path: Path, ts: int, blobs: list[str]) -> AsyncIterator[bytes]:
        """The archive in pieces. What takes the processor or the disk runs on a thread."""
        archive = ArchiveWriter()

        async def on_thread(work: Callable[..., bytes], *args: Any) -> bytes:
            return await anyio.to_thread.run_sync(work, *args)

        yield archive.begin(DATABASE, compress=True)
        with path.open("rb") as file:
            while piece := await on_thread(file.read, PIECE_BYTES):
                yield await on_thread(archive.write, piece)
        yield archive.end()
        for name in blobs:
            try:
                await self._files.blobs.size(name)
            except BlobMissing:
                # Lost before this backup: whoever opens the file is told so now, too.
                logger.error("the blob %s of a stored file is missing; the backup goes on without it", name)
                continue
            yield archive.begin(FILES + name)
            async with contextlib.aclosing(self._files.blobs.get(name)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    yield await on_thread(archive.write, piece)
            yield archive.end()
        yield archive.finish(ts=ts, version=self._version)

    async def _send(self, request: Request, pieces: AsyncIterator[bytes], ts: int) -> None:
        await request.begin(
            200,
            [
                (b"content-type", b"application/zip"),
                (b"content-disposition", b"attachment; filename=reactor-backup-%d.zip" % ts),
            ],
        )
        try:
            async for piece in pieces:
                if piece:
                    async with asyncio.timeout(self._send_stall_s):
                        await request.send({"type": "http.response.body", "body": piece, "more_body": True})
        except Exception as error:
            # The headers are out: breaking off is how the client learns of it.
            logger.warning("sending a backup broke off: %r", error)
            raise ClientGone from error
        await request.send({"type": "http.response.body", "body": b""})
