"""One process per data directory: `flock` on a file of its own, taken before anything is opened and held for life."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

from reactor.errors import StoreError, Unavailable

__all__ = ["LOCK_FILE", "DirectoryLock"]

LOCK_FILE: Final = "lock"


def _make_durably(directory: Path) -> None:
    if directory.is_dir():
        return
    # Other users of the machine have no business with the data, and the deployment's secrets are among it.
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(directory.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class DirectoryLock:
    """The lock of one data directory. The kernel drops it when the process dies, however it dies.

    The file is never deleted: a second process could then lock a file that nobody else sees. Its text, the process id
    of the holder, is for people only.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd: int | None = None

    def acquire(self) -> None:
        """Make the directory if need be and take the lock.

        Raises `Unavailable` when another process (or another store in this one) holds it, `StoreError` when the
        directory can't be used.
        """
        if self._fd is not None:
            return
        try:
            _make_durably(self._directory)
            fd = os.open(self._directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"The data directory {self._directory} can't be used: {error}.") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            whose = f" (process {holder})" if holder.isdigit() else ""
            raise Unavailable(
                f"The data directory {self._directory} is in use by another reactor{whose}. "
                "Stop that one first, or give this one a directory of its own."
            ) from None
        except OSError as error:
            os.close(fd)
            raise StoreError(
                f"The data directory {self._directory} can't be locked: {error}. It must be on a file system with "
                "working locks; network file systems often have none."
            ) from error
        self._fd = fd
        with contextlib.suppress(OSError):  # a full disk must not keep the server from starting: it may free space
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
