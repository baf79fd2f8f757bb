"""Files that are uploaded for imports, in parts, below the data directory. They end with the process, or when forgotten."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final

import anyio.to_thread

from reactor.clock import Clock
from reactor.errors import LimitExceeded, StoreError, Unavailable
from reactor.limits import Limits
from reactor.store.room import check_room
from reactor.transfer.rows import ImportRefused

__all__ = ["Upload", "Uploads"]

MAX_PARTS: Final = 9_999
"""Source: deployment-api 5.1."""
PIECE: Final = 256 * 1024


class Upload:
    """One file: a directory of its own, and the parts that are complete, by number."""

    def __init__(self, directory: Path, now_ns: int) -> None:
        self.directory = directory
        self.parts: dict[int, tuple[str, Path, int]] = {}
        """Number → (token, file, size)."""
        self.touched_ns = now_ns

    @property
    def size(self) -> int:
        return sum(size for _, _, size in self.parts.values())

    def in_order(self, tokens: list[str]) -> list[Path]:
        """The files of the parts with these tokens. Raises ImportRefused when one is not there, or named twice."""
        if len(set(tokens)) < len(tokens):
            raise ImportRefused(
                "A part of this upload is named twice: each part token belongs into the list once, in the order of the file.",
                code="InvalidPartToken",
            )
        by_token = {token: path for token, path, _ in self.parts.values()}
        try:
            return [by_token[token] for token in tokens]
        except KeyError:
            raise ImportRefused(
                "A part of this upload is not here: send the parts again.", code="InvalidPartToken"
            ) from None


class Uploads:
    """All of them. `directory` is ours alone; what it has from earlier processes is deleted."""

    def __init__(self, directory: Path, clock: Clock, limits: Limits) -> None:
        self._directory, self._clock, self._limits = directory, clock, limits
        self._open: dict[str, Upload] = {}

    async def start(self) -> None:
        await anyio.to_thread.run_sync(self._clear)

    def _clear(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(mode=0o700, parents=True)

    async def begin(self) -> str:
        """Begin an upload; returns its token. Raises Unavailable when there are too many."""
        now = self._clock.now_ns()
        for token, upload in list(self._open.items()):
            if now - upload.touched_ns > self._limits.import_idle_s * 1e9:
                await self.forget(self._open.pop(token))
        if len(self._open) >= self._limits.concurrent_uploads:
            raise Unavailable(
                f"There are {len(self._open)} unfinished uploads already (concurrent_uploads). Finish one first.",
                code="TooManyUploads",
            )
        token = secrets.token_urlsafe(24)
        directory = self._directory / secrets.token_hex(16)
        directory.mkdir(mode=0o700)
        self._open[token] = Upload(directory, now)
        return token

    def find(self, token: str) -> Upload:
        upload = self._open.get(token)
        if upload is None:
            raise ImportRefused(
                "There is no upload with this token (any more): start the import again.", code="InvalidUploadToken"
            )
        upload.touched_ns = self._clock.now_ns()
        return upload

    def take(self, token: str, part_tokens: list[str]) -> tuple[Upload, list[Path]]:
        """The upload is complete, and from now on the caller's to forget."""
        upload = self.find(token)
        paths = upload.in_order(part_tokens)
        del self._open[token]
        return upload, paths

    async def add_part(self, token: str, number: int, body: AsyncIterator[bytes]) -> str:
        """Store a part, in the place of one of the same number. Returns its token.

        Raises ImportRefused, LimitExceeded, Unavailable (no room).
        """
        if not 1 <= number <= MAX_PARTS:
            raise ImportRefused(f"partNumber is a number from 1 to {MAX_PARTS}.", code="InvalidPartNumber")
        upload = self.find(token)
        path = upload.directory / secrets.token_hex(8)
        size = 0
        most = min(self._limits.import_part_bytes, self._limits.import_bytes - upload.size)
        try:
            file = await anyio.to_thread.run_sync(lambda: path.open("xb"))
            try:
                buffer = bytearray()
                async for piece in body:
                    size += len(piece)
                    if size > most:
                        raise LimitExceeded(
                            f"This part is too large: at most {most} bytes (import_part_bytes, import_bytes).",
                            code="ImportTooLarge",
                        )
                    buffer += piece
                    if len(buffer) >= PIECE:
                        await anyio.to_thread.run_sync(self._write, file, bytes(buffer))
                        buffer.clear()
                await anyio.to_thread.run_sync(self._write, file, bytes(buffer))
            finally:
                file.close()
        except OSError as error:
            path.unlink(missing_ok=True)
            raise Unavailable(f"The upload can't be stored: {error}") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if not upload.directory.exists():  # forgotten meanwhile
            raise StoreError("The upload is gone.")
        part_token = f"{number}-{secrets.token_urlsafe(12)}"
        old = upload.parts.get(number)
        upload.parts[number] = part_token, path, size
        if old is not None:
            old[1].unlink(missing_ok=True)
        return part_token

    @staticmethod
    def _write(file: BinaryIO, data: bytes) -> None:
        check_room(file.fileno(), len(data))
        file.write(data)

    async def forget(self, upload: Upload) -> None:
        """Delete its files."""
        await asyncio.shield(
            asyncio.ensure_future(anyio.to_thread.run_sync(lambda: shutil.rmtree(upload.directory, ignore_errors=True)))
        )
