"""Room that large files leave on the disk: the database is likely on the same one, and commits nothing without."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from reactor.errors import Unavailable

__all__ = ["RESERVE_BYTES", "check_room", "free_bytes"]

MIB: Final = 1024 * 1024
RESERVE_BYTES: Final = 256 * MIB
"""What imports, exports and backups leave free."""


def free_bytes(path: Path | str | int) -> int:
    """What may still be written to the disk that a file, or directory, or open file is on. Raises OSError."""
    return shutil.disk_usage(path).free


def check_room(path: Path | str | int, size: int = 0) -> None:
    """Raises Unavailable unless the disk still has the reserve free with `size` bytes more on it, OSError.

    Ask before the work, if it is known how much that writes, and after each megabyte or so.
    """
    free = free_bytes(path)
    if free - size < RESERVE_BYTES:
        more = f"; {-(-size // MIB):,} MiB more are needed" if size else ""
        raise Unavailable(
            f"The disk has only {free // MIB:,} MiB free, of which {RESERVE_BYTES // MIB} MiB are kept for the database{more}. "
            "Free some space, then try again.",
            code="DiskNearlyFull",
        )
