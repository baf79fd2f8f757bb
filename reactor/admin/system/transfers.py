"""Imports and exports, as `npx convex import|export` follow them."""

from __future__ import annotations

from typing import Any, Final

from reactor.admin.system.declare import system_query
from reactor.admin.system.reading import in_transaction
from reactor.model import transfers
from reactor.model.transfers import EXPORTS, IMPORTS
from reactor.runtime.contexts import QueryCtx
from reactor.schema import v

__all__: list[str] = []

LISTED: Final = 20


@system_query("cli/queryImport:list")
async def list_imports(ctx: QueryCtx) -> list[dict[str, Any]]:
    return in_transaction(ctx, transfers.newest, IMPORTS, LISTED)


@system_query("cli/queryImport:default", {"importId": v.string()})
async def get_import(ctx: QueryCtx, import_id: str) -> dict[str, Any] | None:
    return in_transaction(ctx, transfers.read, IMPORTS, import_id)


@system_query("cli/exports:getLatest")
async def latest_export(ctx: QueryCtx) -> dict[str, Any] | None:
    return in_transaction(ctx, transfers.latest, EXPORTS)
