"""Index definitions: every rule of server-semantics 1.3 and 1.4 with its code. Checklist 11."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reactor.errors import SchemaError
from reactor.schema import v
from reactor.schema.tables import TableDefinition, define_schema, define_table
from tests.unit.schema.samples import Message, Project, schema_of

FIELDS = {f"f{i}": v.any() for i in range(20)} | {
    "vector": v.array(v.number()),
    "text": v.string(),
    "nested": v.object({"a": v.any()}),
}


def table() -> TableDefinition:
    return define_table(FIELDS)


def fails(define: Callable[[TableDefinition], TableDefinition], *, schema_validation: bool = True) -> SchemaError:
    with pytest.raises(SchemaError) as caught:
        define_schema(t=define(table()), schema_validation=schema_validation)
    return caught.value


RULES: list[tuple[str, str, Callable[[TableDefinition], TableDefinition]]] = [
    ("EmptyIndex", "must have at least one field", lambda t: t.index("i")),
    ("IndexTooManyFields", "up to 16 fields", lambda t: t.index("i", *(f"f{i}" for i in range(16)))),
    ("FieldsNotUniqueWithinIndex", "Duplicate field f1", lambda t: t.index("i", "f1", "f1")),
    ("IndexFieldsContainId", "_id", lambda t: t.index("i", "_id")),
    ("IndexFieldsContainId", "_id", lambda t: t.index("i", "id")),
    ("IndexFieldsContainCreationTime", "automatically added", lambda t: t.index("i", "f1", "_creationTime")),
    ("IndexFieldsContainCreationTime", "automatically added", lambda t: t.index("i", "creation_time")),
    ("IndexFieldNameReserved", "'_x' is reserved", lambda t: t.index("i", "_x")),
    ("IndexNotUnique", '"i" and "j" are the same', lambda t: t.index("i", "f1").index("j", "f1")),
    ("IndexNamesNotUnique", 'two or more definitions of index "i"', lambda t: t.index("i", "f1").index("i", "f2")),
    ("IndexNamesNotUnique", 'definitions of index "i"', lambda t: t.index("i", "f1").search_index("i", "text")),
    (
        "IndexNamesNotUnique",
        'definitions of index "i"',
        lambda t: t.search_index("i", "text").vector_index("i", "vector", dimensions=2),
    ),
    ("IndexNameReserved", "by_id", lambda t: t.index("by_id", "f1")),
    ("IndexNameReserved", "by_creation_time", lambda t: t.search_index("by_creation_time", "text")),
    ("IndexNameReserved", "_i", lambda t: t.index("_i", "f1")),
    ("InvalidIndexName", "too long", lambda t: t.index("i" * 65, "f1")),
    ("InvalidIndexName", "a b", lambda t: t.vector_index("a b", "vector", dimensions=2)),
    ("SchemaDefinitionError", 'index "t.i" is invalid because it references the field g', lambda t: t.index("i", "g")),
    ("SchemaDefinitionError", "the field text.a that does not exist", lambda t: t.index("i", "text.a")),
    ("SchemaDefinitionError", "the field nested.b that does not exist", lambda t: t.index("i", "nested.b")),
    ("SchemaDefinitionError", "the field g that does not exist", lambda t: t.search_index("i", "g")),
    ("SchemaDefinitionError", "the field g that", lambda t: t.search_index("i", "text", filter_fields=["g"])),
    (
        "SearchIndexFieldNotUnique",
        "are the same",
        lambda t: t.search_index("i", "text", filter_fields=["f1", "f2"]).search_index(
            "j", "text", filter_fields=["f2", "f1"]
        ),
    ),
    (
        "IndexTooManyFilterFields",
        "Search indexes may have up to 16 filter fields.",
        lambda t: t.search_index("i", "text", filter_fields=[f"f{i}" for i in range(17)]),
    ),
    (
        "InvalidVectorDimensionError",
        "Dimensions 1 must be between 2 and 4096.",
        lambda t: t.vector_index("i", "vector", dimensions=1),
    ),
    ("InvalidVectorDimensionError", "4097", lambda t: t.vector_index("i", "vector", dimensions=4097)),
    (
        "VectorIndexFieldNotUnique",
        "are the same",
        lambda t: t.vector_index("i", "vector", dimensions=2).vector_index("j", "vector", dimensions=2),
    ),
    (
        "SchemaDefinitionError",
        "neither an array of float64 or optional array of float64",
        lambda t: t.vector_index("i", "text", dimensions=2),
    ),
    (
        "IndexTooManyFilterFields",
        "Vector indexes may have up to 16",
        lambda t: t.vector_index("i", "vector", dimensions=2, filter_fields=[f"f{i}" for i in range(17)]),
    ),
    ("SchemaDefinitionError", "filter_fields is a list", lambda t: t.search_index("i", "text", filter_fields="f1")),
    ("SchemaDefinitionError", "fields are strings", lambda t: t.index("i", ["f1", "f2"])),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("code", "text", "define"), RULES, ids=[f"{code}-{i}" for i, (code, _, _) in enumerate(RULES)])
def test_each_rule_about_indexes_has_its_code_and_text(
    code: str, text: str, define: Callable[[TableDefinition], TableDefinition]
) -> None:
    error = fails(define)
    assert error.code == code
    assert text in str(error)


def test_fifteen_fields_are_fine_and_sixty_four_indexes_too() -> None:
    wide = table().index("wide", *(f"f{i}" for i in range(15)))
    assert len(define_schema(t=wide).tables["t"].indexes[0].fields) == 15

    def many(count: int) -> TableDefinition:
        made = table()
        for i in range(count):
            made.index(f"i{i}", f"f{i // 19}", f"f{19 - i % 19}" if i % 19 else "nested.a")
        return made

    assert len(define_schema(t=many(20)).tables["t"].indexes) == 20


def test_more_than_sixty_four_indexes_of_all_kinds_are_refused() -> None:
    def many(t: TableDefinition) -> TableDefinition:
        names = [f"f{i}" for i in range(20)]
        pairs = [(a, b) for a in names for b in names if a != b]
        for i, (a, b) in enumerate(pairs[:64]):
            t.index(f"i{i}", a, b, staged=i % 2 == 0)
        return t.search_index("s", "text")

    error = fails(many)
    assert error.code == "TooManyIndexes"
    assert str(error) == 'Table "t" cannot have more than 64 indexes.'


def test_without_schema_validation_indexes_may_be_over_any_fields() -> None:
    schema = define_schema(t=table().index("i", "g").vector_index("v", "text", dimensions=2), schema_validation=False)
    assert schema.tables["t"].indexes[0].fields == ("g",)
    assert fails(lambda t: t.index("i", "_id"), schema_validation=False).code == "IndexFieldsContainId"


def test_fields_are_named_as_in_python_or_on_the_wire() -> None:
    schema = schema_of(
        notes=define_table(v.union(v.object({"aB": v.string()}), v.object({"c": v.any()}))).index("i", "a_b", "c.d.e")
    )
    assert schema.tables["notes"].indexes[0].fields == ("aB", "c.d.e")
    both = define_schema(
        projects=define_table(Project)
        .index("by_user", "user_id", "createdAt")
        .index("by_owner", "owner.display_name", staged=True),
        messages=define_table(Message).search_index("by_text", "content", filter_fields=["project_id"]),
    )
    assert [index.fields for index in both.tables["projects"].indexes] == [
        ("userId", "createdAt"),
        ("owner.displayName",),
    ]
    assert [index.staged for index in both.tables["projects"].indexes] == [False, True]
    assert both.tables["messages"].search_indexes[0].filter_fields == ("projectId",)


def test_records_and_any_can_contain_any_field() -> None:
    schema = define_schema(
        t=define_table({"r": v.record(v.string(), v.object({"a": v.any()}))}).index("i", "r.key.a.b"),
        u=define_table(v.any()).index("i", "whatever.there"),
    )
    assert schema.tables["t"].indexes[0].fields == ("r.key.a.b",)


def test_vectors_may_be_optional_nested_or_in_one_member_of_a_union() -> None:
    floats = v.array(v.number())
    schema = define_schema(
        a=define_table({"x": v.optional(floats)}).vector_index("i", "x", dimensions=4096),
        b=define_table({"n": v.object({"x": v.nullable(floats)})}).vector_index("i", "n.x", dimensions=2),
        c=define_table(v.union(v.object({"x": floats}), v.object({}))).vector_index("i", "x", dimensions=2),
    )
    assert schema.tables["b"].vector_indexes[0].vector_field == "n.x"
