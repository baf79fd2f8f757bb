"""Stored files as a service: upload URLs, streams in and out, and the order of steps that leaves nothing half there.

A file's blob is durable before its rows are committed, and its rows are gone before its blob is: a row always has its
blob. What a crash leaves between the two is a blob without a row, which the collector finds (`workers.file_collector`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import secrets
import struct
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from typing import Any, Final

import anyio
import anyio.to_thread

from reactor.clock import Clock
from reactor.engine.database import Database
from reactor.errors import FunctionError, InvalidValue, LimitExceeded
from reactor.faults import hit
from reactor.limits import Limits
from reactor.model.files import StoredEntry, file_by_key, insert_file
from reactor.store.blobs import PIECE_BYTES, BlobStore, new_blob_name

__all__ = ["FILE_PATH", "UPLOAD_PATH", "FileService"]

UPLOAD_URL_LIFE_MS: Final = 3_600_000
UPLOAD_PATH: Final = "/api/storage/upload"
FILE_PATH: Final = "/api/storage/"
BEFORE_RECORD: Final = "files.before_record"
AFTER_RECORD: Final = "files.after_record"

_TOKEN = struct.Struct(">Q8s16s")
"""When it expires (ms), chance, signature."""


class FileService:
    """One per deployment. `origin` gives the address that clients reach us at; `secret` is 32 bytes that outlive restarts."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        clock: Clock,
        limits: Limits,
        *,
        secret: bytes,
        origin: Callable[[], str],
    ) -> None:
        self.database = database
        self.blobs = blobs
        self._clock = clock
        self._limits = limits
        self._secret = secret
        self._origin = origin
        self._loop = asyncio.get_running_loop()
        self._hashing = anyio.CapacityLimiter(4)
        self._in_flight: set[str] = set()
        self._protected: set[str] = set()
        self._tentative: dict[str, int] = {}
        """What mutations stored, and when, oldest first; whether they commit is not told to us."""
        self._tentative_ns = int((60 + 2 * limits.store_time_s) * 1e9)
        self._holds = 0
        self.released = asyncio.Event()
        """Set while nobody holds the blobs (`hold`)."""
        self.released.set()

    # URLs

    def upload_url(self, now_ms: float) -> str:
        """A URL that takes uploads for an hour from `now_ms` on, any number of them."""
        head = _TOKEN.pack(int(now_ms) + UPLOAD_URL_LIFE_MS, secrets.token_bytes(8), b"")[:16]
        token = base64.urlsafe_b64encode(head + self._signature(head)).rstrip(b"=").decode("ascii")
        return f"{self._address()}{UPLOAD_PATH}?token={token}"

    def check_token(self, token: str) -> None:
        """Raises InvalidValue, with the code `StorageTokenInvalid` or `StorageTokenExpired`."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            expires_ms, _, signature = _TOKEN.unpack(raw)
        except (ValueError, struct.error):
            raise _bad_token() from None
        if not hmac.compare_digest(signature, self._signature(raw[:16])):
            raise _bad_token()
        if self._clock.now_ns() >= expires_ms * 1_000_000:
            raise InvalidValue("Store File Authorization expired", code="StorageTokenExpired")

    def _signature(self, head: bytes) -> bytes:
        return hmac.digest(self._secret, b"upload" + head, "sha256")[:16]

    def url_of(self, entry: StoredEntry) -> str:
        """Where the file can be had by everybody who knows the URL, for as long as the file is there."""
        return f"{self._address()}{FILE_PATH}{entry.key}"

    def _address(self) -> str:
        return self._origin().rstrip("/")

    # Files in

    async def store(
        self, data: AsyncIterable[bytes], *, content_type: str | None = None, sha256: bytes | None = None
    ) -> str:
        """Store a file and return its id, once it is committed.

        Raises InvalidValue (code `Sha256Mismatch`) when the contents are not those that `sha256` says; LimitExceeded,
        StorageFull, Unavailable, StoreError; and what `data` raises. Then there is no file.
        """
        name = new_blob_name()
        recording: asyncio.Task[str] | None = None
        self._in_flight.add(name)
        try:
            digest = hashlib.sha256()
            size = await self.blobs.put(name, self._checked(data, digest, sha256))
            hit(BEFORE_RECORD)
            recording = asyncio.create_task(self._record(name, digest.digest(), size, content_type))
            # Whoever waits may be cancelled; what is queued for the writer is not, and must stay known as in flight.
            return await asyncio.shield(recording)
        finally:
            if recording is None:
                self._in_flight.discard(name)

    async def _record(self, name: str, sha256: bytes, size: int, content_type: str | None) -> str:
        try:
            storage_id = await self.database.write(
                lambda tx: insert_file(tx, name, sha256=sha256, size=size, content_type=content_type), lane="#files"
            )
            hit(AFTER_RECORD)
            return storage_id
        finally:
            self._in_flight.discard(name)

    async def _checked(self, data: AsyncIterable[bytes], digest: Any, expected: bytes | None) -> AsyncIterator[bytes]:
        """The data in pieces of even size, hashed on the way. Ends in an error unless it is what was expected."""
        size = 0
        async for piece in _pieces(data):
            size += len(piece)
            if size > self._limits.file_bytes:
                raise LimitExceeded(
                    f"The file is too large (limit: {self._limits.file_bytes} bytes).", code="FileTooLarge"
                )
            await anyio.to_thread.run_sync(digest.update, piece, limiter=self._hashing)
            yield piece
        if expected is not None and digest.digest() != expected:
            raise InvalidValue(
                f"Sha256 mismatch. Expected: {_base64(expected)} Actual: {_base64(digest.digest())}",
                expected=_base64(expected),
                got=_base64(digest.digest()),
                code="Sha256Mismatch",
            )

    def store_blob_from_thread(self, data: bytes) -> str:
        """For a mutation, on the writer's thread: the name of a durable blob. The mutation records it, or nobody does."""
        now = self._clock.now_ns()
        for old, since in list(self._tentative.items()):
            if now - since < self._tentative_ns:
                break
            self._tentative.pop(old, None)
        name = new_blob_name()
        self._tentative[name] = now
        self.from_thread(self.blobs.put(name, _once(data)))
        return name

    def from_thread(self, work: Any) -> Any:
        """Await `work` on the event loop, from a store thread that waits meanwhile."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(self._limits.store_time_s)

    # Files out

    async def find(self, key: str) -> StoredEntry | None:
        """The file whose URL ends in this UUID."""
        return await self.database.read(lambda tx: file_by_key(tx, key))

    def read(self, entry: StoredEntry, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Its bytes `start <= i < end`. Raises BlobMissing when it was deleted more than a moment ago, StoreError."""
        return self.blobs.get(entry.blob, start, end)

    async def read_all(self, entry: StoredEntry) -> bytes:
        return b"".join([piece async for piece in self.read(entry)])

    # For the collector, and for who must keep it away

    def is_in_flight(self, name: str) -> bool:
        """Whether a blob may still get its row."""
        if name in self._in_flight or name in self._protected:
            return True
        since = self._tentative.get(name)
        return since is not None and self._clock.now_ns() - since < self._tentative_ns

    @contextlib.contextmanager
    def protecting(self) -> Iterator[None]:
        """What is given to `protect` meanwhile counts as in flight until the end: an import's files, before their rows."""
        try:
            yield
        finally:
            self._protected.clear()

    def protect(self, name: str) -> None:
        """See `protecting`."""
        self._protected.add(name)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Meanwhile no blob goes, even when its file is deleted: for who reads an older state of the database."""
        self._holds += 1
        self.released.clear()
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                self.released.set()


def _bad_token() -> InvalidValue:
    return InvalidValue("Couldn't decode the StoreFileAuthorization token", code="StorageTokenInvalid")


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


async def _once(data: bytes) -> AsyncIterator[bytes]:
    view = memoryview(data)
    for start in range(0, len(view), PIECE_BYTES):
        yield bytes(view[start : start + PIECE_BYTES])


async def _pieces(data: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of `PIECE_BYTES`, the last one shorter."""
    buffer = bytearray()
    async for chunk in data:
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise FunctionError(f"A file is made of bytes; its stream gave {type(chunk).__name__}.", code="InvalidFile")
        with memoryview(chunk) as view:
            at = 0
            while at < len(view):
                taken = min(len(view) - at, PIECE_BYTES - len(buffer))
                buffer += view[at : at + taken]
                at += taken
                if len(buffer) == PIECE_BYTES:
                    yield bytes(buffer)
                    buffer.clear()
    if buffer:
        yield bytes(buffer)
