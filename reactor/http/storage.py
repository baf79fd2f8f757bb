"""Files over HTTP: uploads to the URLs that `generate_upload_url` gives, downloads from those that `get_url` gives.

Bodies are streamed, both ways; at most a few pieces of one are in memory.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import msgspec

from reactor.errors import InvalidValue, LimitExceeded
from reactor.http.request import OWN_PACE, ClientGone, Handler, HttpError, Request
from reactor.limits import Limits
from reactor.model.files import StoredEntry
from reactor.runtime.file_service import FILE_PATH, UPLOAD_PATH, FileService
from reactor.store.blobs import BlobMissing, StorageFull

__all__ = ["StorageApi", "parse_range"]

logger = logging.getLogger("reactor.http")

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_RANGE = re.compile(rb"bytes=[ \t]*(\d*)-(\d*)[ \t]*", re.IGNORECASE)
_DIGEST = re.compile(r"sha-256=([A-Za-z0-9+/]{43}=)", re.ASCII | re.IGNORECASE)
_INERT = re.compile(
    r"(?:image/(?!svg)|audio/|video/|font/|text/plain\b|text/csv\b|application/(?:pdf|json|octet-stream|zip)\b)",
    re.IGNORECASE,
)
"""Contents that can't run scripts on our origin when somebody opens them in a browser."""
_CACHE: Final = (b"cache-control", b"private, max-age=2592000")
_NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
_EXPOSED: Final = (
    b"access-control-expose-headers",
    b"accept-ranges, content-length, content-range, content-type, digest, etag",
)
CONTENT_TYPE_MAX_CHARS: Final = 1000


@dataclass(frozen=True, slots=True)
class _Unsatisfiable:
    reason: str


class StorageApi:
    """The handlers of `/api/storage/…`. Each answers its request or raises HttpError."""

    def __init__(self, files: FileService, *, limits: Limits) -> None:
        self._files = files
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.concurrent_transfers)

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {("POST", UPLOAD_PATH): self.upload}

    def routes_below(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and the path that they are right below."""
        return {("GET", FILE_PATH): self.download, ("HEAD", FILE_PATH): self.download}

    # Uploads

    async def upload(self, request: Request) -> None:
        """POST /api/storage/upload?token="""
        request.scope[OWN_PACE] = True
        try:
            self._files.check_token(request.query_parameters().get("token", ""))
        except InvalidValue as error:
            raise HttpError(401, error.code, str(error)) from None
        digest = _digest_of(request)
        content_type = _content_type_of(request)
        declared = _header(request, b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > self._limits.file_bytes:
            raise HttpError(413, "FileTooLarge", f"The file is too large (limit: {self._limits.file_bytes} bytes).")
        try:
            async with asyncio.timeout(self._limits.upload_time_s), self._slots:
                storage_id = await self._files.store(self._body(request), content_type=content_type, sha256=digest)
        except InvalidValue as error:
            raise HttpError(400, error.code, str(error)) from None
        except LimitExceeded as error:
            raise HttpError(413, error.code, str(error)) from None
        except StorageFull as error:
            raise HttpError(507, error.code, str(error)) from None
        except TimeoutError:
            raise HttpError(408, "UploadTimeout", "The upload took too long.") from None
        await request.answer(msgspec.json.encode({"storageId": storage_id}))

    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        more = True
        while more:
            async with asyncio.timeout(self._limits.upload_stall_s):
                event = await request.receive()
            if event["type"] == "http.disconnect":
                raise ClientGone
            more = event.get("more_body", False)
            if chunk := event.get("body", b""):
                yield chunk

    # Downloads

    async def download(self, request: Request) -> None:
        """GET or HEAD /api/storage/{uuid}"""
        entry = await self._entry(request)
        etag = b'"' + entry.sha256.hex().encode() + b'"'
        headers = [_CACHE, _NOSNIFF, _EXPOSED, (b"etag", etag), (b"accept-ranges", b"bytes")]
        # Caches must not give what a plain <img> fetched to a script of another origin, which needs more headers.
        if request.origin is None:
            headers.append((b"vary", b"origin"))
        if entry.content_type is not None:
            headers.append((b"content-type", entry.content_type.encode("latin-1", "replace")))
        if entry.content_type is None or not _INERT.match(entry.content_type):
            headers.append((b"content-security-policy", b"sandbox"))
        if _matches(_header(request, b"if-none-match"), etag):
            await request.answer_head(304, headers)
            return
        status, start, end = 200, 0, entry.size
        if request.method == "GET" and (asked := self._asked_range(request, entry, etag)) is not None:
            if isinstance(asked, _Unsatisfiable):
                await request.answer(
                    msgspec.json.encode({"code": "RangeNotSatisfiable", "message": asked.reason}),
                    status=416,
                    headers=[(b"content-range", b"bytes */%d" % entry.size)],
                )
                return
            status, (start, end) = 206, asked
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, entry.size)))
        else:
            headers.append((b"digest", b"sha-256=" + entry.sha256_base64.encode()))
        headers.append((b"content-length", b"%d" % (end - start)))
        if request.method == "HEAD":
            await request.answer_head(status, headers)
            return
        await self._send(request, status, headers, entry, start, end)

    async def _entry(self, request: Request) -> StoredEntry:
        key = request.path.removeprefix("/api/storage/")
        if not _UUID.fullmatch(key):
            raise HttpError(
                400,
                "InvalidStoragePath",
                f"Invalid storage path: {key[:100]!r}. `ctx.storage.get_url` makes valid ones.",
            )
        entry = await self._files.find(key.lower())
        if entry is None:
            raise _not_found(key)
        return entry

    def _asked_range(
        self, request: Request, entry: StoredEntry, etag: bytes
    ) -> tuple[int, int] | _Unsatisfiable | None:
        header = _header(request, b"range")
        if header is None or not entry.size:
            return None
        condition = _header(request, b"if-range")
        if condition is not None and condition.strip() != etag:
            return None
        return parse_range(header, entry.size)

    async def _send(
        self,
        request: Request,
        status: int,
        headers: list[tuple[bytes, bytes]],
        entry: StoredEntry,
        start: int,
        end: int,
    ) -> None:
        async with self._slots, contextlib.AsyncExitStack() as stack:
            pieces = self._files.read(entry, start, end)
            stack.push_async_callback(pieces.aclose)  # type: ignore[attr-defined]  # blob streams are generators
            # The first piece before the headers: until then there can be another answer.
            try:
                piece = await anext(pieces, b"")
            except BlobMissing:
                raise _not_found(entry.key) from None
            gone = asyncio.create_task(_wait_gone(request))
            stack.callback(gone.cancel)
            await request.begin(status, headers)
            left = end - start
            while piece and not gone.done():
                left -= len(piece)
                try:
                    async with asyncio.timeout(self._limits.send_stall_s):
                        await request.send({"type": "http.response.body", "body": piece, "more_body": left > 0})
                    piece = await anext(pieces, b"") if left > 0 else b""
                except Exception as error:
                    # The headers are out: all that can be done is to break off, which is what ClientGone makes of it.
                    logger.warning("sending file %s broke off: %r", entry.id, error)
                    raise ClientGone from error
            if end == start:
                await request.send({"type": "http.response.body", "body": b""})


async def _wait_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def parse_range(header: bytes, size: int) -> tuple[int, int] | _Unsatisfiable | None:
    """The bytes `start <= i < end` that a Range header asks for; None when it is none that we know, and to be ignored."""
    if not header.lower().startswith(b"bytes="):
        return None
    if b"," in header:
        return _Unsatisfiable("Only one range can be asked for at a time.")
    found = _RANGE.fullmatch(header)
    if found is None or found.group(0).rstrip()[-1:] == b"=":
        return None
    first, last = found.groups()
    if len(first) > 20 or len(last) > 20:
        return _Unsatisfiable(f"The file has {size} bytes.")
    if first:
        start = int(first)
        end = min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    elif last:
        start, end = max(size - int(last), 0), size
    else:
        return None
    if start >= end:
        return _Unsatisfiable(f"The file has {size} bytes.")
    return start, end


def _header(request: Request, name: bytes) -> bytes | None:
    for key, value in request.scope["headers"]:
        if key == name:
            return value
    return None


def _matches(header: bytes | None, etag: bytes) -> bool:
    if header is None:
        return False
    asked = [item.strip().removeprefix(b"W/") for item in header.split(b",")]
    return etag in asked or b"*" in asked


def _digest_of(request: Request) -> bytes | None:
    header = _header(request, b"digest")
    if header is None:
        return None
    for item in header.decode("latin-1").split(","):
        if found := _DIGEST.fullmatch(item.strip()):
            with contextlib.suppress(binascii.Error):
                return base64.b64decode(found.group(1), validate=True)
    raise HttpError(400, "BadHeader", "Invalid `Digest` header: expected `sha-256=<base64 of 32 bytes>`.")


def _content_type_of(request: Request) -> str | None:
    raw = request.content_type
    if not raw:
        return None
    text = raw.decode("latin-1")
    if not (text.isascii() and text.isprintable() and len(text) <= CONTENT_TYPE_MAX_CHARS):
        raise HttpError(400, "BadHeader", "Invalid `Content-Type` header.")
    return text


def _not_found(key: str) -> HttpError:
    return HttpError(404, "FileNotFound", f"File {key} not found")
