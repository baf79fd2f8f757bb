"""The schema as JSON (server-semantics 1.2) and what changes between two schemas (1.6). Checklist 9."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from reactor.schema import v
from reactor.schema.changes import index_changes, is_subset
from reactor.schema.indexes import IndexDefinition, SearchIndexDefinition, VectorIndexDefinition
from reactor.schema.spec import schema_json
from reactor.schema.tables import define_schema, define_table
from reactor.schema.validators import Float64, Validator
from tests.unit.schema.samples import Message, Project
from tests.unit.schema.test_codec import json_values
from tests.unit.schema.test_validators import validators


def test_the_schema_has_convex_json() -> None:
    schema = define_schema(
        projects=define_table(Project).index("by_user", "user_id").index("later", "name", staged=True),
        messages=define_table(Message).search_index("by_text", "content", filter_fields=["project_id"]),
        articles=define_table({"embedding": v.array(v.number())}).vector_index("by_meaning", "embedding", dimensions=3),
        schema_validation=False,
    )
    data = schema_json(schema)
    assert data["schemaValidation"] is False
    assert [table["tableName"] for table in data["tables"]] == ["articles", "messages", "projects"]
    articles, messages, projects = data["tables"]
    assert projects["indexes"] == [{"indexDescriptor": "by_user", "fields": ["userId", "_creationTime"]}]
    assert projects["stagedDbIndexes"] == [{"indexDescriptor": "later", "fields": ["name", "_creationTime"]}]
    assert messages["searchIndexes"] == [
        {"indexDescriptor": "by_text", "searchField": "content", "filterFields": ["projectId"]}
    ]
    assert articles["vectorIndexes"] == [
        {"indexDescriptor": "by_meaning", "vectorField": "embedding", "dimensions": 3, "filterFields": []}
    ]
    assert messages["stagedSearchIndexes"] == articles["stagedVectorIndexes"] == []
    assert articles["documentType"] == v.object({"embedding": v.array(v.number())}).json()


STRING, NUMBER = v.string(), v.number()
WIDER: list[tuple[Validator, Validator]] = [
    (STRING, STRING),
    (STRING, v.any()),
    (STRING, v.union(NUMBER, STRING)),
    (v.literal("a"), STRING),
    (v.literal("a"), v.union(v.literal("a"), v.literal("b"))),
    (v.union(v.literal("a"), v.literal("b")), STRING),
    (v.literal(1), NUMBER),
    (v.literal(True), v.boolean()),
    (v.boolean(), v.union(v.literal(True), v.literal(False))),
    (v.id("t"), STRING),
    (Float64(integral=True), NUMBER),
    (v.object({"a": STRING}), v.object({"a": v.optional(STRING)})),
    (v.object({"a": STRING}), v.object({"a": STRING, "b": v.optional(NUMBER)})),
    (v.object({"a": STRING}), v.record(STRING, STRING)),
    (v.array(v.literal("a")), v.array(STRING)),
    (v.record(v.id("t"), NUMBER), v.record(STRING, NUMBER)),
    (v.union(), STRING),
]
NARROWER: list[tuple[Validator, Validator]] = [
    (v.any(), STRING),
    (STRING, NUMBER),
    (STRING, v.literal("a")),
    (STRING, v.id("t")),
    (v.id("t"), v.id("u")),
    (NUMBER, Float64(integral=True)),
    (NUMBER, v.int64()),
    (v.literal(1), v.int64()),
    (v.literal(1.5), Float64(integral=True)),
    (v.union(STRING, v.null()), STRING),
    (v.object({"a": v.optional(STRING)}), v.object({"a": STRING})),
    (v.object({"a": STRING}), v.object({})),
    (v.object({}), v.object({"a": STRING})),
    (v.object({"a": STRING}), v.object({"a": NUMBER})),
    (v.object({"a": STRING}), v.record(v.literal("b"), STRING)),
    (v.array(STRING), v.array(v.literal("a"))),
]


@pytest.mark.parametrize(("old", "new"), WIDER)
def test_a_wider_validator_spares_the_scan(old: Validator, new: Validator) -> None:
    assert is_subset(old, new)


@pytest.mark.parametrize(("old", "new"), NARROWER)
def test_a_narrower_or_other_validator_needs_it(old: Validator, new: Validator) -> None:
    assert not is_subset(old, new)


@settings(max_examples=500, deadline=None)
@given(validators(), validators(), json_values)
def test_a_subset_never_lies(old: Validator, new: Validator, value: object) -> None:
    if is_subset(old, new) and old.accepts(value):  # type: ignore[arg-type]
        assert new.accepts(value)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(validators())
def test_every_validator_is_a_subset_of_itself_and_of_any(validator: Validator) -> None:
    assert is_subset(validator, validator)
    assert is_subset(validator, v.any())


def test_indexes_are_compared_by_name_and_content() -> None:
    kept = IndexDefinition("kept", ("a",))
    old = [
        kept,
        IndexDefinition("gone", ("b",)),
        IndexDefinition("changed", ("c",)),
        IndexDefinition("staged", ("d",), staged=True),
        IndexDefinition("live", ("e",)),
        SearchIndexDefinition("kind", "text"),
    ]
    new = [
        kept,
        IndexDefinition("new", ("z",)),
        IndexDefinition("changed", ("c", "d")),
        IndexDefinition("staged", ("d",)),
        IndexDefinition("live", ("e",), staged=True),
        VectorIndexDefinition("kind", "text", 2),
    ]
    changes = index_changes(old, new)
    assert {index.name for index in changes.added} == {"new", "changed", "kind"}
    assert {index.name for index in changes.removed} == {"gone", "changed", "kind"}
    assert [index.name for index in changes.enabled] == ["staged"]
    assert [index.name for index in changes.disabled] == ["live"]
