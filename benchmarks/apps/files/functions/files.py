"""Upload and download URLs."""

from __future__ import annotations

from reactor import Id, MutationCtx, QueryCtx, StoredFile, mutation, query


@mutation
async def generate_upload_url(ctx: MutationCtx) -> str:
    return await ctx.storage.generate_upload_url()


@query
async def url(ctx: QueryCtx, id: Id[StoredFile]) -> str | None:
    return await ctx.storage.get_url(id)
