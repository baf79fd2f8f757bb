"""Putting a backup in the place of a deployment's data, while no server runs on it.

Everything is unpacked and checked beside the data first. Then the old database and files are moved aside, not deleted, and
the new ones take their place. While that is under way a mark stands in the directory `restoring`, and no server starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from reactor.clock import SystemClock
from reactor.config import Settings
from reactor.engine.database import Database
from reactor.errors import ReactorError
from reactor.faults import hit
from reactor.kept import FILES_DIRECTORY, open_blobs
from reactor.limits import DEFAULT_LIMITS
from reactor.store.backup_archive import DATABASE, FILES, BadBackup, Manifest, read_archive
from reactor.store.blobs import PIECE_BYTES, check_blob_name
from reactor.store.lock import DirectoryLock
from reactor.store.sqlite.layout import DATA_FILE
from reactor.store.sqlite.store import SqliteStore
from reactor.store.sqlite.verify import check_copy

__all__ = ["refuse_half_restored", "restore_backup"]

RESTORING: Final = "restoring"
MARK: Final = "in-progress"
BEFORE_SWAP: Final = "restore.before_swap"
MID_SWAP: Final = "restore.mid_swap"

Progress = Callable[[int], None]


def restore_backup(archive: Path, settings: Settings, *, replace: bool = False, progress: Progress) -> Manifest:
    """Restore `archive` into the data directory of `settings`; returns what the archive says of itself.

    `replace` moves a database that is there to `replaced-<time>` in the data directory. `progress` is told how many bytes were
    read just now. Raises BadBackup, and ReactorError when a server runs or there is a database already; then all is as it was.
    """
    data = settings.data
    lock = DirectoryLock(data)
    lock.acquire()
    try:
        if (data / DATA_FILE).exists() and not replace:
            raise ReactorError(
                f"{data} holds a database already. --replace puts it aside; or choose another directory with --data.",
                code="DataExists",
            )
        staging = data / RESTORING
        _clear(staging)
        try:
            manifest = read_archive(archive, lambda name, pieces: _unpack(staging, name, pieces), progress)
            check_copy(staging / DATA_FILE)
            _sync_tree(staging)
            hit(BEFORE_SWAP)
        except BaseException:
            _clear(staging)
            with contextlib.suppress(OSError):  # the mark is in it
                staging.rmdir()
            raise
        _swap(data, staging, in_bucket=settings.files is not None)
    finally:
        lock.release()
    if settings.files is not None:
        asyncio.run(_upload(settings, sorted((staging / FILES_DIRECTORY).glob("*/*"))))
    shutil.rmtree(staging)
    return manifest


def refuse_half_restored(data: Path) -> None:
    """Raise ReactorError where a restore was broken off between the old data and the new."""
    if (data / RESTORING / MARK).exists():
        raise ReactorError(
            f"a restore into {data} was interrupted. Run `reactor restore --replace` again; what was there before is in "
            f"{data}, below `replaced-…`.",
            code="HalfRestored",
        )


def _clear(staging: Path) -> None:
    """Empty the directory, but for the mark of a restore that was broken off: only one that succeeds ends that."""
    staging.mkdir(mode=0o700, exist_ok=True)
    for path in staging.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != MARK:
            path.unlink()


def _unpack(staging: Path, name: str, pieces: Iterator[bytes]) -> None:
    if name == DATABASE:
        target = staging / DATA_FILE
    elif name.startswith(FILES):
        try:
            blob = check_blob_name(name.removeprefix(FILES))
        except ValueError:
            raise BadBackup(f"{name!r} does not belong into a backup") from None
        target = staging / FILES_DIRECTORY / blob[:2] / blob
    else:
        raise BadBackup(f"{name!r} does not belong into a backup")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _swap(data: Path, staging: Path, *, in_bucket: bool) -> None:
    (staging / MARK).touch()
    _sync(staging)
    # The write-ahead log goes with its database: beside another one it would be read into that.
    old = [path for path in (data / (DATA_FILE + ending) for ending in ("", "-wal", "-shm")) if path.exists()]
    if not in_bucket and (data / FILES_DIRECTORY).exists():
        old.append(data / FILES_DIRECTORY)
    if old:
        aside = data / f"replaced-{time.strftime('%Y%m%d-%H%M%S')}"
        aside.mkdir(mode=0o700)
        for path in old:
            os.rename(path, aside / path.name)
    hit(MID_SWAP)
    if not in_bucket and (staging / FILES_DIRECTORY).exists():
        os.rename(staging / FILES_DIRECTORY, data / FILES_DIRECTORY)
    os.rename(staging / DATA_FILE, data / DATA_FILE)
    _sync(data)


async def _upload(settings: Settings, paths: Sequence[Path]) -> None:
    """Put the files where this deployment keeps them: in the bucket, below the restored database's own name."""
    database = Database(SqliteStore(settings.data, clock=SystemClock()), SystemClock(), DEFAULT_LIMITS)
    await database.open()
    try:
        blobs = await open_blobs(settings, database)
        for path in paths:
            await blobs.put(path.name, _pieces(path))
    finally:
        await database.close()


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _sync_tree(directory: Path) -> None:
    for path, _, _ in os.walk(directory):
        _sync(Path(path))


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
