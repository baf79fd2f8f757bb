"""Index definitions: what `.index`, `.search_index` and `.vector_index` declare, and the rules that they must keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from reactor.errors import SchemaError
from reactor.limits import INDEX_MAX_FIELDS, SEARCH_MAX_FILTER_FIELDS, TABLE_MAX_INDEXES, VECTOR_DIMENSIONS
from reactor.schema.naming import identifier_problem
from reactor.schema.validators import Array, Float64, Object, Union, Validator

__all__ = [
    "AnyIndexDefinition",
    "IndexDefinition",
    "SearchIndexDefinition",
    "VectorIndexDefinition",
    "check_index_fields",
    "check_index_name",
    "check_indexes",
]

_RESERVED: Final = frozenset({"by_id", "by_creation_time"})

Resolve = Callable[[str], str]
"""A field as the user wrote it → its dotted wire path."""


@dataclass(frozen=True, slots=True)
class IndexDefinition:
    """A database index. `fields` are dotted wire paths; creation time and id, which follow them, are not listed."""

    name: str
    fields: tuple[str, ...]
    staged: bool = False

    def resolved(self, resolve: Resolve) -> IndexDefinition:
        return IndexDefinition(self.name, tuple(map(resolve, self.fields)), self.staged)


@dataclass(frozen=True, slots=True)
class SearchIndexDefinition:
    """A full-text index of one string field."""

    name: str
    search_field: str
    filter_fields: tuple[str, ...] = ()
    staged: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.search_field, *self.filter_fields)

    def resolved(self, resolve: Resolve) -> SearchIndexDefinition:
        return SearchIndexDefinition(
            self.name, resolve(self.search_field), tuple(map(resolve, self.filter_fields)), self.staged
        )


@dataclass(frozen=True, slots=True)
class VectorIndexDefinition:
    """A nearest-neighbour index of one field of floats."""

    name: str
    vector_field: str
    dimensions: int
    filter_fields: tuple[str, ...] = ()
    staged: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.vector_field, *self.filter_fields)

    def resolved(self, resolve: Resolve) -> VectorIndexDefinition:
        return VectorIndexDefinition(
            self.name, resolve(self.vector_field), self.dimensions, tuple(map(resolve, self.filter_fields)), self.staged
        )


AnyIndexDefinition = IndexDefinition | SearchIndexDefinition | VectorIndexDefinition


def check_index_name(name: str) -> None:
    """Raise SchemaError unless users may call an index `name`."""
    problem = identifier_problem(name)
    if problem is not None:
        raise SchemaError(f"The index name {name!r} is invalid: {problem}", code="InvalidIndexName")
    if name in _RESERVED or name.startswith("_"):
        raise SchemaError(
            f'The index name {name!r} is reserved: by_id and by_creation_time are built in, and no name starts with "_".',
            code="IndexNameReserved",
        )


def check_index_fields(fields: Sequence[str], table: str, index: str) -> None:
    """Raise SchemaError unless these wire paths can make a database index."""
    if not fields:
        raise SchemaError(f'In table "{table}" index "{index}" must have at least one field.', code="EmptyIndex")
    if len(fields) > INDEX_MAX_FIELDS:
        raise SchemaError(
            f'In table "{table}" index "{index}": Indexes may have up to {INDEX_MAX_FIELDS + 1} fields. '
            "(The creation time, which ends every index, is one of them.)",
            code="IndexTooManyFields",
        )
    seen: set[str] = set()
    for name in fields:
        if name in seen:
            raise SchemaError(
                f'In table "{table}" index "{index}": Duplicate field {name}. Index fields must be unique within an index.',
                code="FieldsNotUniqueWithinIndex",
            )
        seen.add(name)
        _check_not_system(name, table, index)


def _check_not_system(name: str, table: str, index: str) -> None:
    where = f'In table "{table}" index "{index}"'
    if name == "_id":
        raise SchemaError(
            f"{where}: `_id` can't be a field of an index: every index ends in it. Use `by_id`.",
            code="IndexFieldsContainId",
        )
    if name == "_creationTime":
        raise SchemaError(
            f"{where}: `_creationTime` is automatically added to the end of every index. It can't be listed; "
            "use `by_creation_time` for it alone.",
            code="IndexFieldsContainCreationTime",
        )
    if name.startswith("_"):
        raise SchemaError(f"{where}: the field name {name!r} is reserved.", code="IndexFieldNameReserved")
    for part in name.split("."):
        if not part:
            raise SchemaError(f"{where}: {name!r} is not a field path.", code="InvalidFieldPath")


def check_filter_fields(fields: Sequence[str], kind: str) -> None:
    if len(fields) > SEARCH_MAX_FILTER_FIELDS:
        raise SchemaError(
            f"{kind} indexes may have up to {SEARCH_MAX_FILTER_FIELDS} filter fields.", code="IndexTooManyFilterFields"
        )
    if len(set(fields)) != len(fields):
        raise SchemaError(f"{kind} indexes list each filter field once.", code="FieldsNotUniqueWithinIndex")


def check_dimensions(dimensions: int) -> None:
    least, most = VECTOR_DIMENSIONS
    if not isinstance(dimensions, int) or not least <= dimensions <= most:
        raise SchemaError(
            f"Dimensions {dimensions} must be between {least} and {most}.", code="InvalidVectorDimensionError"
        )


def check_indexes(
    table: str, indexes: Sequence[AnyIndexDefinition], validator: Validator, *, schema_validation: bool
) -> None:
    """Raise SchemaError unless the indexes of one table, with their wire paths, go together and with its validator."""
    if len(indexes) > TABLE_MAX_INDEXES:
        raise SchemaError(f'Table "{table}" cannot have more than {TABLE_MAX_INDEXES} indexes.', code="TooManyIndexes")
    names: set[str] = set()
    contents: dict[object, str] = {}
    for index in indexes:
        if index.name in names:
            raise SchemaError(
                f'Table "{table}" has two or more definitions of index "{index.name}".', code="IndexNamesNotUnique"
            )
        names.add(index.name)
        content, code = _content(index)
        other = contents.setdefault(content, index.name)
        if other != index.name:
            raise SchemaError(f'In table "{table}" the indexes "{other}" and "{index.name}" are the same.', code=code)
        if isinstance(index, IndexDefinition):
            check_index_fields(index.fields, table, index.name)
        else:
            for name in index.fields:
                if name == "_id":
                    _check_not_system(name, table, index.name)
        if schema_validation:
            _check_fields_exist(table, index, validator)


def _content(index: AnyIndexDefinition) -> tuple[object, str]:
    if isinstance(index, IndexDefinition):
        return ("db", index.fields), "IndexNotUnique"
    if isinstance(index, SearchIndexDefinition):
        return ("search", index.search_field, frozenset(index.filter_fields)), "SearchIndexFieldNotUnique"
    return ("vector", index.vector_field, index.dimensions), "VectorIndexFieldNotUnique"


def _check_fields_exist(table: str, index: AnyIndexDefinition, validator: Validator) -> None:
    for name in index.fields:
        if name == "_creationTime" and not isinstance(index, IndexDefinition):
            continue
        if not validator.can_contain(tuple(name.split("."))):
            raise SchemaError(
                f'In table "{table}" the index "{table}.{index.name}" is invalid because it references the field {name} '
                "that does not exist."
            )
    if isinstance(index, VectorIndexDefinition) and not _holds_floats(validator, index.vector_field.split(".")):
        raise SchemaError(
            f'In table "{table}" the vector index "{index.name}" is over the field {index.vector_field} '
            "that is neither an array of float64 or optional array of float64."
        )


def _holds_floats(validator: Validator, path: Sequence[str]) -> bool:
    if isinstance(validator, Union):
        return any(_holds_floats(member, path) for member in validator.members)
    if validator.kind == "any":
        return True
    if path:
        if not isinstance(validator, Object) or path[0] not in validator.fields:
            return False
        return _holds_floats(validator.fields[path[0]][0], path[1:])
    return isinstance(validator, Array) and isinstance(validator.element, Float64)
