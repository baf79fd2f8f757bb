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

from reactor.store.flushing import flush

try:
    import resource
except ImportError:  # not on Windows
    resource = None

__all__ = ["Trickle", "remove_large"]

FLUSH_BYTES: Final = 512 * 1024
FLUSH_S: Final = 0.05
STEP_BYTES: Final = 8 * 1024 * 1024


class Trickle:
    """Call it often while a file is being written: after each half megabyte it waits until that has reached the disk, and then for longer than that took.

    What other threads of the process write counts, too: it then waits more often than it had to. Without a way to see how
    much is written, it counts time.
    """

    def __init__(self, path: Path | str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._flushed, self._written = time.monotonic(), written_bytes()

    def __call__(self) -> None:
        written, now = written_bytes(), time.monotonic()
        if written - self._written < FLUSH_BYTES and now - self._flushed < FLUSH_S:
            return
        flush(self._descriptor)
        time.sleep(1.5 * (time.monotonic() - now))
        self._flushed, self._written = time.monotonic(), written

    def close(self) -> None:
        os.close(self._descriptor)


def written_bytes() -> int:
    """What this process has given the file system to write so far, as far as Linux counts it."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_oublock * 512


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
