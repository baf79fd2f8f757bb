"""Schemas and validators as Convex's JSON, both ways: what `npx convex` and the dashboard read, and what a deploy compares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from reactor.errors import SchemaError
from reactor.schema.indexes import IndexDefinition, SearchIndexDefinition, VectorIndexDefinition
from reactor.schema.tables import SchemaDefinition, TableDefinition
from reactor.schema.validators import (
    AnyValue,
    Array,
    Boolean,
    Bytes,
    Float64,
    IdOf,
    Int64Value,
    LiteralValue,
    Null,
    Object,
    Record,
    String,
    Union,
    Validator,
)
from reactor.values import wire

__all__ = ["schema_json", "table_json", "validator_from_json"]


def schema_json(schema: SchemaDefinition) -> dict[str, Any]:
    """The whole schema, tables by name."""
    return {
        "tables": [table_json(schema.tables[name]) for name in sorted(schema.tables)],
        "schemaValidation": schema.schema_validation,
    }


def table_json(table: TableDefinition) -> dict[str, Any]:
    """One table: its indexes by kind, staged ones apart, and its document validator."""
    return {
        "tableName": table.name,
        "indexes": _listed(_index, table.indexes, staged=False),
        "stagedDbIndexes": _listed(_index, table.indexes, staged=True),
        "searchIndexes": _listed(_search, table.search_indexes, staged=False),
        "stagedSearchIndexes": _listed(_search, table.search_indexes, staged=True),
        "vectorIndexes": _listed(_vector, table.vector_indexes, staged=False),
        "stagedVectorIndexes": _listed(_vector, table.vector_indexes, staged=True),
        "documentType": table.validator.json(),
    }


def _listed(json: Callable[[Any], dict[str, Any]], indexes: Iterable[Any], *, staged: bool) -> list[dict[str, Any]]:
    """By name, whatever the order of their declarations."""
    return [json(index) for index in sorted(indexes, key=lambda index: index.name) if index.staged is staged]


def _index(index: IndexDefinition) -> dict[str, Any]:
    # Every index ends in the creation time, and tools compare the list with that at its end.
    return {"indexDescriptor": index.name, "fields": [*index.fields, "_creationTime"]}


def _search(index: SearchIndexDefinition) -> dict[str, Any]:
    return {
        "indexDescriptor": index.name,
        "searchField": index.search_field,
        "filterFields": list(index.filter_fields),
    }


def _vector(index: VectorIndexDefinition) -> dict[str, Any]:
    return {
        "indexDescriptor": index.name,
        "vectorField": index.vector_field,
        "dimensions": index.dimensions,
        "filterFields": list(index.filter_fields),
    }


_PLAIN: Mapping[str, Validator] = {
    "any": AnyValue(),
    "null": Null(),
    "number": Float64(),
    "bigint": Int64Value(),
    "boolean": Boolean(),
    "string": String(),
    "bytes": Bytes(),
}


def validator_from_json(data: Mapping[str, Any]) -> Validator:
    """The validator that `Validator.json` described, an equal one if `exact`. Raises SchemaError for anything else."""
    try:
        return _validator(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise SchemaError(f"{data!r} is not the JSON of a validator") from error


def _validator(data: Mapping[str, Any]) -> Validator:
    kind = data["type"]
    if data.get("integral"):
        return Float64(integral=True)
    if kind in _PLAIN:
        return _PLAIN[kind]
    match kind:
        case "id":
            return IdOf(data["tableName"])
        case "literal":
            literal: Any = wire.from_json(data["value"])
            return LiteralValue(literal)
        case "array":
            return Array(_validator(data["value"]))
        case "record":
            return Record(_validator(data["keys"]), _validator(data["values"]["fieldType"]))
        case "union":
            return Union(tuple(_validator(member) for member in data["value"]))
        case "object":
            return Object(
                {name: (_validator(entry["fieldType"]), entry["optional"]) for name, entry in data["value"].items()}
            )
    raise SchemaError(f"{kind!r} is not a kind of validator")
