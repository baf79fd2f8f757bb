"""Documents as an operator looks at them: the newest, by id, and in pages that can be filtered."""

from __future__ import annotations

from typing import Any

from reactor.admin.system.filters import parse_filters
from reactor.admin.system.frontend import frontend_query
from reactor.admin.system.reading import (
    PAGINATION,
    empty_page,
    in_transaction,
    read_page,
    table_of,
    table_plan,
    user_tables,
)
from reactor.admin.system.tables import table_size
from reactor.engine.ranges import IndexRange
from reactor.engine.transaction import Transaction
from reactor.errors import DatabaseError
from reactor.model.system_tables import PUBLIC
from reactor.runtime.contexts import QueryCtx
from reactor.schema import v
from reactor.store.catalogue import BY_CREATION_TIME
from reactor.values.wire import decode

__all__: list[str] = []

Document = dict[str, Any]


@frontend_query("getTableMapping:default")
def table_mapping(tx: Transaction) -> dict[str, str]:
    """Table number, as text → name, of all tables that an id can be followed into."""
    tables = [*user_tables(tx), *(tx.catalogue.tables[name] for name in PUBLIC)]
    return {str(table.number): table.name for table in tables}


@frontend_query("tableSize:default", {"tableName": v.string()})
def count_documents(tx: Transaction, table_name: str) -> int:
    return table_size(tx, table_name)


@frontend_query("listTableScan:default", {"table": v.string(), "limit": v.number()})
def list_newest(tx: Transaction, table: str, limit: float) -> list[Document]:
    """The newest documents, newest first; none for a table that there is not."""
    if not limit >= 0 or limit % 1:
        raise DatabaseError(f"`limit` must be a whole number of documents from 0 up, not {limit!r}.")
    found = table_of(tx, table)
    if found is None or not limit:
        return []
    scan = tx.scan(IndexRange(found.indexes[BY_CREATION_TIME], b"", None), reverse=True)
    documents: list[Any] = []
    while len(documents) < limit and (row := scan.next()) is not None:
        documents.append(decode(row[1]))
    return documents


@frontend_query("listById:default", {"ids": v.array(v.object({"id": v.string(), "tableName": v.string()}))})
def list_by_id(tx: Transaction, ids: list[dict[str, str]]) -> list[Document | None]:
    """The documents with these ids, in their order; None for what is not there, or not in that table."""
    return [_by_id(tx, one["id"], one["tableName"]) for one in ids]


def _by_id(tx: Transaction, document_id: str, table_name: str) -> Any:
    table = table_of(tx, table_name)
    if table is None or tx.table_of_id(document_id) is not table:
        return None
    body = tx.get(table, document_id)
    return None if body is None else decode(body)


@frontend_query(
    "paginatedTableDocuments:default",
    {"table": v.string(), "filters": v.nullable(v.string()), "paginationOpts": PAGINATION},
)
async def table_page(ctx: QueryCtx, table: str, filters: str | None, pagination_opts: Document) -> Document:
    """A page of documents, newest first unless the filters say otherwise. What is wrong with them stands in the page."""
    asked = parse_filters(filters)
    found = in_transaction(ctx, table_of, table)
    if found is None:
        return empty_page()
    errors = asked.problems(found)
    if errors:
        return {**empty_page(), "page": errors}
    if (document_id := asked.only_id) is not None:
        document = in_transaction(ctx, _by_id, document_id, table)
        return {**empty_page(), "page": [] if document is None else [document]}
    plan = table_plan(ctx, found, order=asked.order)
    plan.range = asked.range_of(found)
    if asked.are_selective:
        plan.filters = ((asked.keeps, False),)
        plan.operators = (asked.text,)
    return read_page(ctx, plan, pagination_opts)
