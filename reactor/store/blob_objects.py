"""Blobs as objects in S3-compatible storage, through the `obstore` library (the extra `reactor[s3]`).

Larger blobs go up as multipart uploads, which S3 makes visible all at once; what a crash leaves of one is for a lifecycle
rule of the bucket to remove. Credentials, region and endpoint come from the usual `AWS_…` variables.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from reactor.errors import StoreError
from reactor.store.blobs import PIECE_BYTES, BlobMissing, check_blob_name

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import S3Store

__all__ = ["ObjectBlobs"]

LIST_NAMES: Final = 256
SINGLE_BYTES: Final = 1024 * 1024
"""Blobs up to this size are held in memory and go up in one request instead of three."""
PART_BYTES: Final = 8 * 1024 * 1024
"""S3 takes 10,000 parts: this allows blobs of 78 GiB."""
PARTS_AT_ONCE: Final = 3


class ObjectBlobs:
    """See `blobs.BlobStore`. `url` is like `s3://bucket/some/prefix`; all below it is ours alone.

    `options` go to `obstore.store.S3Store` and win over the environment. Raises StoreError when obstore is not installed
    or the URL is none.
    """

    def __init__(self, url: str, **options: Any) -> None:
        try:
            import obstore
            from obstore.exceptions import BaseError
            from obstore.store import S3Store
        except ImportError as error:
            raise StoreError(f"Files in {url} need the library obstore: pip install 'reactor[s3]'") from error
        self._obstore = obstore
        self._failures = BaseError
        self._url = url
        retries = {"max_retries": 5, "retry_timeout": timedelta(seconds=30)}
        settings: dict[str, Any] = {"retry_config": retries, **options}
        with self._translated():
            self._store: S3Store = S3Store.from_url(url, **settings)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise BlobMissing(f"the object is gone: {_first_line(error)}") from error
        except (self._failures, OSError) as error:
            raise StoreError(f"file storage in {self._url} failed: {_first_line(error)}") from error

    async def open(self) -> None:
        """Raises StoreError when the bucket can't be reached."""
        async for _ in self.list():
            break

    # Writing

    async def put(self, name: str, data: AsyncIterable[bytes]) -> int:
        upload = _Upload(data)
        head, is_all = await upload.head(SINGLE_BYTES)
        with self._translated():
            if is_all:
                await self._obstore.put_async(self._store, _key(name), head, use_multipart=False)
                return upload.size
            work = asyncio.ensure_future(
                self._obstore.put_async(
                    self._store,
                    _key(name),
                    upload.pieces(head),
                    use_multipart=True,
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )
            )
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                # A cancelled upload would keep its parts in the bucket; one whose data fails is aborted.
                upload.stop()
                with contextlib.suppress(Exception):
                    await work
                raise
            except Exception:
                if upload.failure is not None:
                    raise upload.failure from None
                raise
        return upload.size

    # Reading

    async def get(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if end is not None and end <= start:
            return
        options: GetOptions = {}
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        with self._translated():
            found = await self._obstore.get_async(self._store, _key(name), options=options)
            async for piece in found.stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)

    async def size(self, name: str) -> int:
        with self._translated():
            return (await self._obstore.head_async(self._store, _key(name)))["size"]

    # Deleting

    async def delete(self, name: str) -> None:
        with self._translated(), contextlib.suppress(FileNotFoundError):
            await self._obstore.delete_async(self._store, _key(name))

    async def list(self) -> AsyncIterator[list[str]]:
        with self._translated():
            async for found in self._obstore.list(self._store, chunk_size=LIST_NAMES):
                yield [item["path"].rpartition("/")[2] for item in found]


class _Upload:
    """The data on its way up: counted, its failure kept as it was, and to be stopped from outside."""

    def __init__(self, data: AsyncIterable[bytes]) -> None:
        self._data = aiter(data)
        self._waiting: asyncio.Future[bytes] | None = None
        self._stopped = False
        self.size = 0
        self.failure: BaseException | None = None

    async def head(self, most: int) -> tuple[bytes, bool]:
        """The first bytes, somewhat more than `most` if there are as many; and whether they are all."""
        head = bytearray()
        async for piece in self._data:
            head += piece
            self.size += len(piece)
            if len(head) > most:
                return bytes(head), False
        return bytes(head), True

    async def pieces(self, head: bytes) -> AsyncIterator[bytes]:
        yield head
        try:
            while True:
                if self._stopped:
                    raise StoreError("the upload was stopped")
                self._waiting = asyncio.ensure_future(_next(self._data))
                piece = await self._waiting
                if not piece:
                    return
                self.size += len(piece)
                yield piece
        except BaseException as error:
            self.failure = error
            # obstore must see an ordinary exception to abort the upload.
            raise StoreError("the data of the upload failed") from error

    def stop(self) -> None:
        self._stopped = True
        if self._waiting is not None:
            self._waiting.cancel()


async def _next(data: AsyncIterator[bytes]) -> bytes:
    """The next piece that is not empty; empty at the end."""
    async for piece in data:
        if piece:
            return piece
    return b""


def _key(name: str) -> str:
    return f"{check_blob_name(name)[:2]}/{name}"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
