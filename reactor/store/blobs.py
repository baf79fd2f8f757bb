"""Blobs: large immutable byte strings under names that we make, apart from the documents.

A blob appears under its name all at once, durable and complete, or not at all. The interface is all that anything above
knows; `blob_files` keeps them on disk, `blob_objects` in S3-compatible storage.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from typing import Final, Protocol

from reactor.errors import StoreError, Unavailable

__all__ = ["PIECE_BYTES", "BlobMissing", "BlobStore", "StorageFull", "check_blob_name", "new_blob_name"]

PIECE_BYTES: Final = 256 * 1024
"""Blobs are read and written in pieces of about this size: what one transfer holds in memory."""

_NAME = re.compile(r"[0-9a-f]{32}", re.ASCII)


class BlobMissing(StoreError):
    """There is no blob of this name (any more)."""

    code = "BlobMissing"


class StorageFull(Unavailable):
    """There is no room for the blob; nothing of it was kept."""

    code = "StorageFull"


def new_blob_name() -> str:
    """32 random hexadecimal digits."""
    return secrets.token_hex(16)


def check_blob_name(name: str) -> str:
    """Return `name`. Raises ValueError for what `new_blob_name` can't have made: it would become part of a path."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a blob")
    return name


class BlobStore(Protocol):
    """Where blobs live. All methods are called on the event loop, which they never block; names are `new_blob_name`'s."""

    async def open(self) -> None:
        """Get ready, and clear away what uploads left that died with an earlier process. Raises StoreError."""
        ...

    async def put(self, name: str, data: AsyncIterable[bytes]) -> int:
        """Store all of `data` and return its size in bytes, once it is durable.

        Whatever `data` raises ends it; then, and when it is cancelled, nothing is kept. Raises StorageFull, StoreError.
        """
        ...

    def get(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes `start <= i < end` (or to the end), in pieces. Raises BlobMissing, StoreError.

        A stream that was begun goes on to its end when the blob is deleted meanwhile. Close it when you stop early
        (`contextlib.aclosing`).
        """
        ...

    async def size(self, name: str) -> int:
        """The size in bytes. Raises BlobMissing, StoreError."""
        ...

    async def delete(self, name: str) -> None:
        """Delete it; nothing happens when it is not there. Raises StoreError."""
        ...

    def list(self) -> AsyncIterator[list[str]]:
        """The names of all complete blobs, some hundreds at a time, in no order."""
        ...
