"""The indexes that the schema declares for a table, and how far each is filled."""

from __future__ import annotations

from typing import Any

from reactor.admin.system.frontend import frontend_query
from reactor.admin.system.reading import table_of
from reactor.engine.backfill import NEW, IndexStatus, index_states
from reactor.engine.transaction import Transaction
from reactor.schema import v
from reactor.store.catalogue import IndexInfo

__all__: list[str] = []

Value = dict[str, Any]


@frontend_query(
    "indexes:default",
    {"tableName": v.optional(v.nullable(v.string())), "tableNamespace": v.optional(v.nullable(v.string()))},
)
def list_indexes(
    tx: Transaction, table_name: str | None = None, table_namespace: str | None = None
) -> list[Value] | None:
    """The declared indexes of a table by name; null for a table that there is not."""
    if not table_name or table_namespace or table_of(tx, table_name) is None:
        return None
    return [_index(status) for status in index_states(tx) if status.index.table == table_name]


def _index(status: IndexStatus) -> Value:
    index = status.index
    staged = index.state == "staged"
    backfill: Value = {"state": "backfilled" if staged else "done"}
    if status.entered is not None:
        stats = {"numDocsIndexed": status.entered, "totalDocs": status.total}
        backfill = {"state": "backfilling", "stats": stats}
    return {"name": index.name.removesuffix(NEW), "staged": staged, "fields": _fields(index), "backfill": backfill}


def _fields(index: IndexInfo) -> Any:
    first, *filters = index.fields
    if index.kind == "search":
        return {"searchField": first, "filterFields": filters}
    if index.kind == "vector":
        return {"vectorField": first, "filterFields": filters, "dimensions": index.dimensions}
    return [*index.fields, "_creationTime"]
