"""Blobs as files: written under a temporary name, synced, then renamed to the name that counts.

Layout below the directory: `incoming/<name>` while it is being written, `<first two digits>/<name>` when it is complete.
Names are made by us (`new_blob_name`) and checked: nothing that a client sent becomes part of a path.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from reactor.errors import StoreError
from reactor.faults import hit
from reactor.store.blobs import PIECE_BYTES, BlobMissing, StorageFull, check_blob_name
from reactor.store.room import free_bytes

__all__ = ["FileBlobs"]

T = TypeVar("T")

INCOMING: Final = "incoming"
LIST_NAMES: Final = 256
"""How many names `list` gives at a time."""
THREADS: Final = 8
"""How many file operations run at a time. They have slots of their own: user code may fill the usual ones."""
DISK_RESERVE_BYTES: Final = 64 * 1024 * 1024
"""Uploads stop when the disk has less room than this: the database is likely on the same one."""

BEFORE_SYNC: Final = "blob_files.before_sync"
BEFORE_RENAME: Final = "blob_files.before_rename"
AFTER_RENAME: Final = "blob_files.after_rename"
BEFORE_DELETE: Final = "blob_files.before_delete"


class FileBlobs:
    """See `blobs.BlobStore`. `directory` is ours alone, and one process's at a time."""

    def __init__(self, directory: Path, *, reserve_bytes: int = DISK_RESERVE_BYTES) -> None:
        self._directory = directory
        self._reserve = reserve_bytes
        self._threads: anyio.CapacityLimiter | None = None

    async def _run(self, job: Callable[..., T], *args: Any) -> T:
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(THREADS)
        try:
            return await anyio.to_thread.run_sync(job, *args, limiter=self._threads)
        except FileNotFoundError as error:
            raise BlobMissing(f"the file {error.filename} is gone") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("The server has no room for files left.") from error
            raise StoreError(f"file storage in {self._directory} failed: {error}") from error

    async def open(self) -> None:
        await self._run(self._prepare)

    def _prepare(self) -> None:
        incoming = self._directory / INCOMING
        incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.scandir(incoming) as entries:
            for entry in entries:
                os.unlink(entry.path)
        _sync(self._directory)
        _sync(self._directory.parent)

    # Writing

    async def put(self, name: str, data: AsyncIterable[bytes]) -> int:
        incoming = self._directory / INCOMING / check_blob_name(name)
        path = self._path(name)
        fd = await self._run(_create, incoming)
        size = 0
        try:
            async for piece in data:
                size += len(piece)
                await self._run(self._write, fd, piece)
            await self._run(_finish, fd, incoming, path)
            fd = -1
        finally:
            if fd >= 0:
                with anyio.CancelScope(shield=True):
                    await self._run(_abandon, fd, incoming)
        return size

    def _write(self, fd: int, piece: bytes) -> None:
        if free_bytes(fd) < self._reserve + len(piece):
            raise OSError(errno.ENOSPC, "the disk is nearly full")
        view = memoryview(piece)
        while view:
            view = view[os.write(fd, view) :]

    # Reading

    async def get(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        fd = await self._run(os.open, self._path(name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            at = start
            while end is None or at < end:
                count = PIECE_BYTES if end is None else min(PIECE_BYTES, end - at)
                piece = await self._run(os.pread, fd, count, at)
                if not piece:
                    return
                at += len(piece)
                yield piece
        finally:
            os.close(fd)

    async def size(self, name: str) -> int:
        return (await self._run(os.stat, self._path(name))).st_size

    # Deleting

    async def delete(self, name: str) -> None:
        await self._run(self._delete, name)

    def _delete(self, name: str) -> None:
        hit(BEFORE_DELETE)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(name))

    async def list(self) -> AsyncIterator[list[str]]:
        names = self._names()
        while batch := await self._run(_take, names):
            yield batch

    def _names(self) -> Iterator[str]:
        for directory in sorted(self._directory.iterdir()):
            if len(directory.name) == 2:
                with os.scandir(directory) as entries:
                    found = [entry.name for entry in entries]
                yield from found

    def _path(self, name: str) -> Path:
        return self._directory / check_blob_name(name)[:2] / name


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _finish(fd: int, incoming: Path, path: Path) -> None:
    """Make it durable, then give it its name, durably too. Closes `fd` only when all went well."""
    hit(BEFORE_SYNC)
    os.fsync(fd)
    hit(BEFORE_RENAME)
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _sync(path.parent.parent)
    os.rename(incoming, path)
    _sync(path.parent)
    hit(AFTER_RENAME)
    os.close(fd)


def _abandon(fd: int, incoming: Path) -> None:
    os.close(fd)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(incoming)


def _take(names: Iterator[str]) -> list[str]:
    taken: list[str] = []
    for name in names:
        taken.append(name)
        if len(taken) == LIST_NAMES:
            break
    return taken


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
