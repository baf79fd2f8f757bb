"""Upload, list and remove files. A file is uploaded first and then saved: until then nobody sees it."""

from __future__ import annotations

from reactor import (
    ApplicationError,
    Id,
    MutationCtx,
    QueryCtx,
    StoredFile,
    internal_query,
    mutation,
    query,
)
from schema import Artifact


class ArtifactWithUrl(Artifact):
    url: str | None


@mutation
async def generate_upload_url(ctx: MutationCtx) -> str:
    """Where the client POSTs the file to; the answer's `storageId` is for `save_file`."""
    return await ctx.storage.generate_upload_url()


@mutation
async def save_file(
    ctx: MutationCtx, storage_id: Id[StoredFile], filename: str, session_id: str | None = None
) -> Id[Artifact]:
    """Keep an uploaded file. What it is and how large, the storage knows best."""
    stored = await ctx.db.get(storage_id)
    if stored is None:
        raise ApplicationError("No such file")
    saved = await find(ctx, storage_id)
    if saved is not None:
        return saved.id
    return await ctx.db.insert(
        Artifact(
            storage_id=storage_id,
            session_id=session_id,
            filename=filename,
            content_type=stored.content_type or "application/octet-stream",
            size=stored.size,
            sha256=stored.sha256,
            created_at=ctx.now(),
        )
    )


@query
async def list_(ctx: QueryCtx, session_id: str | None = None) -> list[ArtifactWithUrl]:
    """The newest hundred, of a session or of all."""
    artifacts = ctx.db.query(Artifact)
    if session_id is not None:
        artifacts = artifacts.with_index("by_sessionId", session_id=session_id)
    return [
        artifact.extend(ArtifactWithUrl, url=await ctx.storage.get_url(artifact.storage_id))
        for artifact in await artifacts.order("desc").take(100)
    ]


@query
async def get_file_url(ctx: QueryCtx, storage_id: Id[StoredFile]) -> str | None:
    return await ctx.storage.get_url(storage_id)


@mutation
async def remove(ctx: MutationCtx, artifact_id: Id[Artifact]) -> None:
    """The row and the file, in one transaction."""
    artifact = await ctx.db.get(artifact_id)
    if artifact is None:
        return
    await ctx.storage.delete(artifact.storage_id)
    await ctx.db.delete(artifact_id)


@internal_query
async def find(ctx: QueryCtx, storage_id: str) -> Artifact | None:
    """The artifact of a stored file; any text may be asked for."""
    return await ctx.db.query(Artifact).with_index("by_storageId", storage_id=storage_id).unique()
