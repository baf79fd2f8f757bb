"""Large files next to the database come and go bit by bit: clients' commits wait behind all that is on its way to the disk,
and behind a file system that frees much at once.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

import anyio.to_thread

__all__ = ["Trickle", "remove_large"]

FLUSH_S: Final = 0.01
STEP_BYTES: Final = 8 * 1024 * 1024


class Trickle:
    """Call it often while a file is being written: now and then it waits until what there is has reached the disk."""

    def __init__(self, path: Path | str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._next = 0.0

    def __call__(self) -> None:
        began = time.monotonic()
        if began >= self._next:
            os.fdatasync(self._descriptor)
            now = time.monotonic()
            time.sleep(now - began)
            self._next = now + FLUSH_S

    def close(self) -> None:
        os.close(self._descriptor)


async def remove_large(path: Path | str) -> None:
    """Remove a file if it is there. To be called once nobody reads it any more. Raises OSError."""
    await anyio.to_thread.run_sync(_remove, path)


def _remove(path: Path | str) -> None:
    with contextlib.suppress(FileNotFoundError):
        size = os.stat(path).st_size
        while size > STEP_BYTES:
            size -= STEP_BYTES
            began = time.monotonic()
            os.truncate(path, size)
            time.sleep(2 * (time.monotonic() - began))
        os.unlink(path)
