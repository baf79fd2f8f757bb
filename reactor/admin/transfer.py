"""Imports and exports over HTTP: `npx convex import|export`, `reactor import|export`. Bodies are streamed, both ways.

Source of paths, bodies and codes: deployment-api 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, TypeVar

import anyio
import msgspec

from reactor.errors import LimitExceeded, ReactorError, StoreError, Unavailable
from reactor.http.access import WhoAsks, require_admin
from reactor.http.request import OWN_PACE, ClientGone, Handler, HttpError, Request
from reactor.limits import Limits
from reactor.workers.exporter import Exporter, ExportRefused
from reactor.workers.import_request import ImportRequest
from reactor.workers.importer import Importer

__all__ = ["TransferApi"]

T = TypeVar("T")

BODY_MAX_BYTES: Final = 4 * 1024 * 1024
"""Of a request that is not a file: 9,999 part tokens."""
PIECE: Final = 256 * 1024


class _Finish(msgspec.Struct, rename="camel"):
    import_: ImportRequest = msgspec.field(name="import")
    upload_token: str
    part_tokens: list[str]


class _ImportId(msgspec.Struct, rename="camel"):
    import_id: str


class _Expiration(msgspec.Struct, rename="camel"):
    expiration_ts_ns: int


class TransferApi:
    """Handlers for operators; everybody else is refused with 403."""

    def __init__(
        self, importer: Importer, exporter: Exporter, who_asks: WhoAsks, *, limits: Limits, instance_name: str
    ) -> None:
        self._importer, self._exporter, self._who_asks = importer, exporter, who_asks
        self._limits, self._instance_name = limits, instance_name

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {
            ("POST", path): self._for_operators(handler)
            for path, handler in (
                ("/api/import/start_upload", self.start_upload),
                ("/api/import/upload_part", self.upload_part),
                ("/api/import/finish_upload", self.finish_upload),
                ("/api/import", self.import_at_once),
                ("/api/perform_import", self.perform_import),
                ("/api/cancel_import", self.cancel_import),
                ("/api/export/request/zip", self.request_export),
            )
        }

    def routes_below(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and the path that they are right below."""
        return {
            ("GET", "/api/export/zip/"): self._for_operators(self.download),
            ("POST", "/api/export/set_expiration/"): self._for_operators(self.set_expiration),
            ("POST", "/api/export/cancel/"): self._for_operators(self.cancel_export),
        }

    def _for_operators(self, handler: Handler) -> Handler:
        async def handle(request: Request) -> None:
            await require_admin(request, self._who_asks)
            try:
                await handler(request)
            except ExportRefused as error:
                # 404 is what clients know for this one; anything else they would ask for again and again.
                status = 404 if error.code == "ExportNotFound" and request.method == "GET" else 400
                raise HttpError(status, error.code, str(error)) from None
            except LimitExceeded as error:
                raise HttpError(413, error.code, str(error)) from None
            except StoreError:
                raise
            except Unavailable as error:
                raise HttpError(503, error.code, str(error)) from None
            except ReactorError as error:
                raise HttpError(400, error.code, str(error)) from None

        return handle

    # Imports

    async def start_upload(self, request: Request) -> None:
        """POST /api/import/start_upload"""
        await request.answer(msgspec.json.encode({"uploadToken": await self._importer.uploads.begin()}))

    async def upload_part(self, request: Request) -> None:
        """POST /api/import/upload_part?uploadToken=&partNumber=, the octets: answers the part's token, a JSON string."""
        request.scope[OWN_PACE] = True
        parameters = request.query_parameters()
        number = parameters.get("partNumber", "")
        if not (number.isascii() and number.isdigit() and len(number) < 6):
            raise HttpError(400, "InvalidPartNumber", "`partNumber` is a number from 1 on.")
        token = parameters.get("uploadToken", "")
        part = await self._importer.uploads.add_part(token, int(number), self._body(request))
        await request.answer(msgspec.json.encode(part))

    async def finish_upload(self, request: Request) -> None:
        """POST /api/import/finish_upload {"import": {"tableName", "mode", "format"}, "uploadToken", "partTokens"}"""
        asked = await _decoded(request, _Finish)
        import_id = await self._importer.begin(asked.import_, asked.upload_token, asked.part_tokens)
        await request.answer(msgspec.json.encode({"importId": import_id}))

    async def perform_import(self, request: Request) -> None:
        """POST /api/perform_import {"importId"}: yes, do it."""
        await self._importer.perform((await _decoded(request, _ImportId)).import_id)
        await request.answer(b"null")

    async def cancel_import(self, request: Request) -> None:
        """POST /api/cancel_import {"importId"}"""
        await self._importer.cancel((await _decoded(request, _ImportId)).import_id)
        await request.answer(b"null")

    async def import_at_once(self, request: Request) -> None:
        """POST /api/import?tableName=&format=&mode=, the file: answers {"numWritten"} when all is done."""
        request.scope[OWN_PACE] = True
        given = {name: value for name, value in request.query_parameters().items() if value}
        try:
            asked = msgspec.convert({"mode": "requireEmpty", "format": "jsonLines", **given}, ImportRequest)
        except msgspec.ValidationError as error:
            raise HttpError(400, "InvalidImport", f"Expected ?tableName=&format=&mode=: {error}") from None
        written = await self._importer.import_at_once(asked, self._body(request))
        await request.answer(msgspec.json.encode({"numWritten": written}))

    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        more = True
        while more:
            try:
                async with asyncio.timeout(self._limits.upload_stall_s):
                    event = await request.receive()
            except TimeoutError:
                raise HttpError(408, "UploadTimeout", "Nothing of the upload arrived for too long.") from None
            if event["type"] == "http.disconnect":
                raise ClientGone
            more = event.get("more_body", False)
            if chunk := event.get("body", b""):
                yield chunk

    # Exports

    async def request_export(self, request: Request) -> None:
        """POST /api/export/request/zip?includeStorage=true|false: it is followed with `_system/cli/exports:getLatest`."""
        storage = request.query_parameters().get("includeStorage", "false")
        export_id = await self._exporter.request(include_storage=storage.lower() == "true")
        await request.answer(msgspec.json.encode({"exportId": export_id}))

    async def download(self, request: Request) -> None:
        """GET /api/export/zip/<start_ts or id>"""
        path, document = await self._exporter.find(_last(request))
        try:
            file = await anyio.open_file(path, "rb")
        except FileNotFoundError:
            raise HttpError(404, "ExportNotFound", "This export has expired.") from None
        async with file:
            size = int(document["size"])
            # No quotes: the official command line would make them part of the file's name.
            name = f"snapshot_{self._instance_name}_{int(document['start_ts'])}.zip"
            headers = [
                (b"content-type", b"application/zip"),
                (b"content-length", b"%d" % size),
                (b"content-disposition", f"attachment; filename={name}".encode("ascii", "replace")),
                (b"access-control-expose-headers", b"content-disposition"),
            ]
            await request.begin(200, headers)
            left = size
            while left and (piece := await file.read(min(PIECE, left))):
                left -= len(piece)
                try:
                    async with asyncio.timeout(self._limits.send_stall_s):
                        await request.send({"type": "http.response.body", "body": piece, "more_body": left > 0})
                except (OSError, TimeoutError) as error:
                    raise ClientGone from error
            if left or not size:
                raise ClientGone  # the archive is shorter than it was: break off

    async def set_expiration(self, request: Request) -> None:
        """POST /api/export/set_expiration/<id> {"expirationTsNs"}"""
        asked = await _decoded(request, _Expiration)
        if not 0 <= asked.expiration_ts_ns < 2**63:
            raise HttpError(400, "BadExpiration", "`expirationTsNs` is a time in nanoseconds.")
        await self._exporter.set_expiration(_last(request), asked.expiration_ts_ns)
        await request.answer(b"null")

    async def cancel_export(self, request: Request) -> None:
        """POST /api/export/cancel/<id>"""
        await self._exporter.cancel(_last(request))
        await request.answer(b"null")


def _last(request: Request) -> str:
    return request.path.rpartition("/")[2]


async def _decoded(request: Request, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.body(BODY_MAX_BYTES), type=type_)
    except (ValueError, RecursionError) as error:
        raise HttpError(400, "BadJsonBody", f"This is not the JSON that is expected here: {error}") from None
