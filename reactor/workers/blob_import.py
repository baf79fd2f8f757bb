"""The files of an imported snapshot: from the archive into the blob store, each checked against what its row says."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, Final

import anyio.to_thread
import msgspec

from reactor.runtime.file_service import FileService
from reactor.store.sqlite.staging import StagingFile
from reactor.transfer.convert import Plan, StagedBlob
from reactor.transfer.parts import open_parts
from reactor.transfer.rows import ImportRefused

__all__ = ["BlobImport", "importing_blobs"]

PIECE: Final = 256 * 1024


@contextlib.asynccontextmanager
async def importing_blobs(files: FileService, plan: Plan) -> AsyncIterator[BlobImport]:
    """The files of one import. Unless `keep` is called by the end, nothing of them stays."""
    blobs = BlobImport(files, plan)
    try:
        yield blobs
    finally:
        await blobs.close()


class BlobImport:
    def __init__(self, files: FileService, plan: Plan) -> None:
        self._files, self._plan = files, plan
        self._stored: list[str] = []

    async def store(self, report: Callable[[str], None]) -> None:
        """Store them under the names that the staged rows have. Raises ImportRefused for contents that are not theirs."""
        with open_parts(self._plan.parts) as upload, await anyio.to_thread.run_sync(zipfile.ZipFile, upload) as archive:
            for staged in StagingFile.read_blobs(Path(self._plan.staging)):
                for encoded in staged:
                    blob = msgspec.json.decode(encoded, type=StagedBlob)
                    self._files.protect(blob.blob)
                    self._stored.append(blob.blob)
                    await self._files.blobs.put(blob.blob, _contents(archive, blob))
                    report(f"Importing files ({len(self._stored)})")

    def keep(self) -> None:
        """Their rows are committed."""
        self._stored.clear()

    async def close(self) -> None:
        for name in self._stored:
            await self._files.blobs.delete(name)


async def _contents(archive: zipfile.ZipFile, blob: StagedBlob) -> AsyncIterator[bytes]:
    digest, size = hashlib.sha256(), 0
    try:
        file = await anyio.to_thread.run_sync(archive.open, blob.entry)
        with file:
            while piece := await anyio.to_thread.run_sync(_read, file, digest):
                size += len(piece)
                if size > blob.size:
                    break
                yield piece
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise ImportRefused(f"{blob.entry[:200]} can't be read from the archive: {error}", code="InvalidZip") from None
    if size != blob.size or base64.b64encode(digest.digest()).decode() != blob.sha256:
        raise ImportRefused(f"{blob.entry[:200]} is not the file that _storage says it is.", code="InvalidZip")


def _read(file: IO[bytes], digest: hashlib._Hash) -> bytes:
    piece = file.read(PIECE)
    digest.update(piece)
    return piece
