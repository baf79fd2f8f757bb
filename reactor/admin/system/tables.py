"""What `npx convex data` and the push path ask of tables."""

from __future__ import annotations

from typing import Any

from reactor.admin.system.declare import system_query
from reactor.admin.system.reading import (
    ORDER,
    PAGINATION,
    empty_page,
    in_transaction,
    pages,
    read_page,
    table_of,
    table_plan,
    user_tables,
)
from reactor.engine.ranges import IndexRange
from reactor.engine.transaction import Transaction
from reactor.runtime.contexts import QueryCtx
from reactor.schema import v
from reactor.store.catalogue import BY_CREATION_TIME

__all__ = ["table_size"]


@system_query("cli/tables:default", {"paginationOpts": PAGINATION})
async def list_tables(ctx: QueryCtx, pagination_opts: dict[str, Any]) -> dict[str, Any]:
    names = [table.name for table in in_transaction(ctx, user_tables)]
    page, is_done, cursor = pages(names, str, pagination_opts)
    return {"page": [{"name": name} for name in page], "isDone": is_done, "continueCursor": cursor}


@system_query("cli/tableData:default", {"table": v.string(), "order": ORDER, "paginationOpts": PAGINATION})
async def table_data(ctx: QueryCtx, table: str, order: str, pagination_opts: dict[str, Any]) -> dict[str, Any]:
    found = in_transaction(ctx, table_of, table)
    return empty_page() if found is None else read_page(ctx, table_plan(ctx, found, order=order), pagination_opts)


@system_query("cli/tableSize:default", {"tableName": v.string()})
async def count_table(ctx: QueryCtx, table_name: str) -> int:
    return in_transaction(ctx, table_size, table_name)


@system_query("cli/queryTable:default", {"tableName": v.string()})
async def watch_table(ctx: QueryCtx, table_name: str) -> float:
    """A number that is another one after each change of the table."""
    in_transaction(ctx, table_size, table_name)
    return ctx.random.random()


def table_size(tx: Transaction, name: str) -> int:
    """How many documents a table has; 0 for one that is not there. The result depends on the whole table."""
    table = table_of(tx, name)
    return 0 if table is None else tx.count(IndexRange(table.indexes[BY_CREATION_TIME], b"", None))
