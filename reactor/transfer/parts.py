"""An upload that arrived in parts, read as one file."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

__all__ = ["open_parts"]

_BUFFER: Final = 256 * 1024


def open_parts(paths: Sequence[str]) -> io.BufferedReader:
    """The files at `paths`, one after another, as one seekable file. Close it."""
    return io.BufferedReader(_Parts(paths), _BUFFER)


class _Parts(io.RawIOBase):
    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._starts = [0, *accumulate(os.stat(path).st_size for path in paths)]
        self._at = 0
        self._open: tuple[int, io.FileIO] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise OSError("a position before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._starts[-1]:
            return 0
        part = bisect_right(self._starts, self._at) - 1
        if self._open is None or self._open[0] != part:
            if self._open is not None:
                self._open[1].close()
            self._open = part, io.FileIO(self._paths[part])
        file = self._open[1]
        file.seek(self._at - self._starts[part])
        count = file.readinto(buffer)
        self._at += count
        return count

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None
        super().close()
