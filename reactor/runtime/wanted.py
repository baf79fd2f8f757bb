"""What a deploy wants of the database: the tables and indexes of a schema, each table with its check of documents."""

from __future__ import annotations

from typing import Any

from reactor.engine.deploy import WantedIndex, WantedTable
from reactor.errors import ReactorError
from reactor.schema.changes import is_subset
from reactor.schema.indexes import AnyIndexDefinition, SearchIndexDefinition, VectorIndexDefinition
from reactor.schema.spec import validator_from_json
from reactor.schema.table import TableDefinition
from reactor.schema.tables import SchemaDefinition
from reactor.schema.validators import Resolver

__all__ = ["fits", "wanted_index", "wanted_tables"]


def wanted_tables(schema: SchemaDefinition, resolve: Resolver) -> list[WantedTable]:
    """All of them. `resolve` gives a table's name by its number, as of when a document is checked."""
    return [_wanted(table, schema.schema_validation, resolve) for table in schema.tables.values()]


def _wanted(table: TableDefinition, validated: bool, resolve: Resolver) -> WantedTable:
    takes = table.codec.takes

    def check(body: bytes, document: dict[str, Any]) -> None:
        if not takes(body, resolve):
            table.check(body, document, resolve)

    indexes = tuple(map(wanted_index, table.all_indexes))
    return WantedTable(table.name, indexes, check if validated else None, table.validator.json(exact=True))


def wanted_index(index: AnyIndexDefinition) -> WantedIndex:
    """What a deploy makes of an index of the schema."""
    if isinstance(index, SearchIndexDefinition):
        return WantedIndex(index.name, index.fields, index.staged, "search")
    if isinstance(index, VectorIndexDefinition):
        return WantedIndex(index.name, index.fields, index.staged, "vector", index.dimensions)
    return WantedIndex(index.name, index.fields, index.staged)


def fits(stored: Any, table: WantedTable) -> bool:
    """Whether every document that the stored validator let in fits the new one."""
    try:
        return is_subset(validator_from_json(stored), validator_from_json(table.validator))
    except ReactorError:
        return False  # written by another version: look at the documents
