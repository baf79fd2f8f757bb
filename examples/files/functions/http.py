"""The same files over routes of our own: what they carry passes through here, piece by piece, and can be looked at."""

from __future__ import annotations

from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from functions import files
from reactor import ActionCtx, Environment, HttpRouter, Id, StoredFile, Struct, cors


class Env(Environment):
    CLIENT_ORIGIN: str = "*"


class Uploaded(Struct):
    storage_id: Id[StoredFile]


http = HttpRouter(cors=cors(Env().CLIENT_ORIGIN, expose=["Content-Disposition"]))


@http.route("/upload", methods=["POST"])
async def upload(ctx: ActionCtx, request: Request) -> Uploaded:
    """The body is the file. It is written as it arrives, never held in memory."""
    storage_id = await ctx.storage.store(request.stream(), content_type=request.headers.get("content-type"))
    await ctx.run_mutation(
        files.save_file,
        storage_id=storage_id,
        filename=request.query_params.get("filename", "upload"),
        session_id=request.query_params.get("sessionId"),
    )
    return Uploaded(storage_id=storage_id)


@http.route("/download", methods=["GET"])
async def download(ctx: ActionCtx, request: Request) -> Response:
    """An attachment, so that what one visitor uploaded never runs as a page before another."""
    artifact = await ctx.run_query(files.find, storage_id=request.query_params.get("storageId", ""))
    file = await ctx.storage.get(artifact.storage_id) if artifact else None
    if artifact is None or file is None:
        raise HTTPException(404, "No such file")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(artifact.filename, safe='')}",
        "Content-Length": str(file.size),
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(file.stream(), media_type=artifact.content_type, headers=headers)
