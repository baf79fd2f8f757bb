"""Bringing what was written to a file to the disk, without its times where the system can leave them out."""

from __future__ import annotations

import os

__all__ = ["flush"]


def flush(descriptor: int) -> None:
    """Return once the file's contents are on the disk. Raises OSError."""
    # macOS has no fdatasync.
    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(descriptor)
