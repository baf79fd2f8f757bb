"""Files: the official flow, and what a test wants to see of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from reactor import (
    ActionCtx,
    ApplicationError,
    FileMetadata,
    Id,
    MutationCtx,
    QueryCtx,
    StoredFile,
    action,
    mutation,
    query,
)


@mutation
async def generate_upload_url(ctx: MutationCtx) -> str:
    return await ctx.storage.generate_upload_url()


@action
async def generate_upload_url_in_action(ctx: ActionCtx) -> str:
    return await ctx.storage.generate_upload_url()


@query
async def url(ctx: QueryCtx, id: str) -> str | None:
    return await ctx.storage.get_url(id)


@query
async def metadata(ctx: QueryCtx, id: str) -> FileMetadata | None:
    return await ctx.storage.get_metadata(id)


@query
async def document(ctx: QueryCtx, id: Id[StoredFile]) -> StoredFile | None:
    return await ctx.db.system.get(id)


@query
async def list_(ctx: QueryCtx) -> list[StoredFile]:
    return await ctx.db.system.query("_storage").collect()


@mutation
async def delete(ctx: MutationCtx, id: str) -> None:
    await ctx.storage.delete(id)


@mutation
async def delete_then_look(ctx: MutationCtx, id: str) -> list[Any]:
    """Before and after the deletion, in one mutation."""
    before = await ctx.storage.get_url(id)
    await ctx.storage.delete(id)
    return [before, await ctx.storage.get_url(id), await ctx.storage.get_metadata(id), await ctx.db.get(id)]


@mutation
async def delete_then_throw(ctx: MutationCtx, id: str) -> None:
    await ctx.storage.delete(id)
    raise ApplicationError("changed my mind")


@mutation
async def keep_small(ctx: MutationCtx, text: str, fail: bool = False) -> Id[StoredFile]:
    id = await ctx.storage.store(text.encode(), content_type="text/plain")
    file = await ctx.storage.get(id)
    assert file is not None
    assert await file.read() == text.encode()
    if fail:
        raise ApplicationError("not kept")
    return id


@action
async def keep(ctx: ActionCtx, pieces: list[str], sha256: str | None = None) -> Id[StoredFile]:
    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece.encode()

    return await ctx.storage.store(stream(), content_type="text/plain", sha256=sha256)


@action
async def read(ctx: ActionCtx, id: Id[StoredFile]) -> dict[str, Any] | None:
    file = await ctx.storage.get(id)
    if file is None:
        return None
    streamed = b"".join([piece async for piece in file.stream()])
    assert await file.read() == streamed
    return {"text": streamed.decode(), "size": file.size, "contentType": file.content_type, "sha256": file.sha256}


@action
async def remove(ctx: ActionCtx, id: Id[StoredFile]) -> list[Any]:
    before = await ctx.storage.get_url(id)
    await ctx.storage.delete(id)
    return [before is not None, await ctx.storage.get_url(id), await ctx.storage.get_metadata(id)]


@action
async def size(ctx: ActionCtx, id: Id[StoredFile]) -> dict[str, int]:
    """How a file comes as a stream."""
    file = await ctx.storage.get(id)
    assert file is not None
    pieces = [len(piece) async for piece in file.stream()]
    return {"size": sum(pieces), "pieces": len(pieces), "largest": max(pieces)}
