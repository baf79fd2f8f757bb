"""Stored files, as dashboards list, upload and delete them."""

from __future__ import annotations

from typing import Any, Final

from reactor.admin.system.frontend import frontend_mutation, frontend_query
from reactor.admin.system.reading import ORDER, PAGINATION, in_transaction, read_page, table_plan
from reactor.engine.ranges import IndexRange, make_range
from reactor.engine.transaction import Transaction
from reactor.errors import ApplicationError, DocumentNotFound
from reactor.runtime.contexts import MutationCtx, QueryCtx
from reactor.schema import v
from reactor.store.catalogue import BY_CREATION_TIME, TableInfo
from reactor.values.wire import decode

__all__: list[str] = []

File = dict[str, Any]

FILES_MAX: Final = 500
"""Of one page: each costs two look-ups more, for its URL."""

_FILTERS: Final = v.object(
    {
        "minCreationTime": v.optional(v.number()),
        "maxCreationTime": v.optional(v.number()),
        "order": v.optional(ORDER),
    }
)


@frontend_query("fileStorageV2:numFiles")
def count_files(tx: Transaction) -> int:
    return tx.count(IndexRange(_storage(tx).indexes[BY_CREATION_TIME], b"", None))


@frontend_query("fileStorageV2:fileMetadata", {"paginationOpts": PAGINATION, "filters": v.optional(_FILTERS)})
async def list_files(ctx: QueryCtx, pagination_opts: dict[str, Any], filters: dict[str, Any] | None = None) -> File:
    """A page of files with their URLs, newest first unless `order` says otherwise."""
    asked = filters or {}
    table = in_transaction(ctx, _storage)
    plan = table_plan(ctx, table, order=asked.get("order", "desc"))
    earliest, latest = asked.get("minCreationTime"), asked.get("maxCreationTime")
    plan.range = make_range(
        table.indexes[BY_CREATION_TIME],
        lower=None if earliest is None else (earliest, True),
        upper=None if latest is None else (latest, True),
    )
    options = {**pagination_opts, "numItems": min(pagination_opts["numItems"], FILES_MAX)}
    page = read_page(ctx, plan, options)
    return {**page, "page": [await _with_url(ctx, file) for file in page["page"]]}


@frontend_query("fileStorageV2:getFile", {"storageId": v.string()})
async def get_file(ctx: QueryCtx, storage_id: str) -> File | None:
    file = in_transaction(ctx, _file, storage_id)
    return None if file is None else await _with_url(ctx, file)


@frontend_mutation("fileStorageV2:deleteFile", {"storageId": v.id("_storage")})
async def delete_file(ctx: MutationCtx, storage_id: str) -> None:
    await _delete(ctx, [storage_id])


@frontend_mutation("fileStorageV2:deleteFiles", {"storageIds": v.array(v.id("_storage"))})
async def delete_files(ctx: MutationCtx, storage_ids: list[str]) -> None:
    """All of them, or none."""
    await _delete(ctx, storage_ids)


@frontend_mutation("fileStorageV2:generateUploadUrl")
async def generate_upload_url(ctx: MutationCtx) -> str:
    return await ctx.storage.generate_upload_url()


def _storage(tx: Transaction) -> TableInfo:
    return tx.catalogue.tables["_storage"]


def _file(tx: Transaction, storage_id: str) -> File | None:
    table = _storage(tx)
    body = tx.get(table, storage_id) if tx.table_of_id(storage_id) is table else None
    return None if body is None else decode(body)  # type: ignore[return-value]  # a stored document is an object


async def _with_url(ctx: QueryCtx, file: File) -> File:
    told = {name: value for name, value in file.items() if value is not None}  # a content type that nobody gave
    return {**told, "url": await ctx.storage.get_url(file["_id"])}


async def _delete(ctx: MutationCtx, storage_ids: list[str]) -> None:
    try:
        for storage_id in storage_ids:
            await ctx.storage.delete(storage_id)
    except DocumentNotFound as error:
        raise ApplicationError(str(error)) from None
