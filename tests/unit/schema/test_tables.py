"""Tables and the schema: names, documents in and out, and how the schema ties classes to tables."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from msgspec import UNSET, UnsetType

from reactor.errors import DatabaseError, InvalidDocument, InvalidValue, SchemaError
from reactor.schema import v
from reactor.schema.ids import Id
from reactor.schema.structs import Document, Projection, Struct, field
from reactor.schema.system import ScheduledFunction, StoredFile
from reactor.schema.tables import SchemaDefinition, TableDefinition, define_schema, define_table
from reactor.values import wire
from tests.unit.schema.samples import MESSAGE_ID, PROJECT_ID, SCHEMA, Message, Owner, Project, resolve

PROJECTS, MESSAGES = SCHEMA.tables["projects"], SCHEMA.tables["messages"]
NEW = Message(project_id=PROJECT_ID, content="hi", role="USER")


def stored(body: dict[str, Any]) -> dict[str, Any]:
    return {"_id": MESSAGE_ID, "_creationTime": 1.5, **body}


def check(table: TableDefinition, body: dict[str, Any]) -> None:
    doc = stored(body)
    table.check(wire.encode(doc), doc, resolve)


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wire_name"),
    [
        ("project_id", "projectId"),
        ("projectId", "projectId"),
        ("content", "content"),
        ("id", "_id"),
        ("_id", "_id"),
        ("creation_time", "_creationTime"),
        ("_creationTime", "_creationTime"),
    ],
)
def test_fields_are_found_by_python_name_and_wire_name(name: str, wire_name: str) -> None:
    assert MESSAGES.field_name(name) == wire_name


def test_an_unknown_field_is_an_error_that_lists_the_fields() -> None:
    with pytest.raises(DatabaseError) as caught:
        MESSAGES.field_name("projct_id")
    assert str(caught.value) == (
        "The table \"messages\" has no field 'projct_id'. Did you mean 'project_id'? "
        "Its fields: projectId, content, role, tags, _id, _creationTime."
    )


def test_the_python_name_wins_over_a_wire_name_that_looks_alike() -> None:
    class Swapped(Document):
        a: str = field(name="b")
        b: str = field(name="c")

    table = define_schema(swapped=define_table(Swapped).index("by_a", "a").index("by_b", "b")).tables["swapped"]
    assert [table.field_name(name) for name in "abc"] == ["b", "c", "c"]
    assert [index.fields for index in table.indexes] == [("b",), ("c",)]


def test_a_field_of_your_own_that_is_called_id_hides_the_documents() -> None:
    class Account(Document):
        account_id: float = field(name="id")

    table = define_schema(accounts=define_table(Account)).tables["accounts"]
    assert table.field_name("id") == "id"
    assert table.field_name("account_id") == "id"


def test_nested_paths_are_converted_part_by_part() -> None:
    assert PROJECTS.field_name("owner.display_name") == "owner.displayName"
    assert PROJECTS.field_name("owner.displayName") == "owner.displayName"


def test_dict_tables_take_wire_names_and_snake_case() -> None:
    table = define_schema(logs=define_table({"userId": v.string(), "snake_case": v.number()})).tables["logs"]
    assert table.field_name("user_id") == "userId"
    assert table.field_name("snake_case") == "snake_case"
    with pytest.raises(DatabaseError):
        table.field_name("other")
    assert define_schema(any_=define_table(v.any())).tables["any"].field_name("whatever_x") == "whatever_x"


def test_where_none_means_absence_is_known() -> None:
    assert PROJECTS.is_optional_none("modelPreference")
    assert not PROJECTS.is_optional_none("owner")
    assert not PROJECTS.is_optional_none("framework")
    assert not PROJECTS.is_optional_none("nowhere")
    assert PROJECTS.is_optional_none("owner.email")
    assert not PROJECTS.is_optional_none("owner.displayName")
    assert not PROJECTS.is_optional_none("owner.nowhere.at.all")


# --- documents in ---------------------------------------------------------------------------------------------------


def test_a_new_document_has_wire_names_and_stored_defaults() -> None:
    project = Project(name="x", user_id="u", owner=Owner(display_name="d"), created_at=1.0)
    assert PROJECTS.new_document(project) == {
        "name": "x",
        "userId": "u",
        "framework": "NEXTJS",
        "owner": {"displayName": "d"},
        "createdAt": 1.0,
    }


def test_a_mapping_is_completed_by_the_defaults_of_the_class() -> None:
    for name in ("projectId", "project_id"):
        given = {name: PROJECT_ID, "content": "hi", "role": "USER"}
        assert MESSAGES.new_document(given) == {"projectId": PROJECT_ID, "content": "hi", "role": "USER", "tags": []}
    with pytest.raises(InvalidDocument, match="given twice"):
        MESSAGES.new_document({"projectId": PROJECT_ID, "project_id": PROJECT_ID})


def test_absence_in_mappings_follows_the_class_and_is_unset_in_dict_tables() -> None:
    given = {"name": "x", "userId": "u", "modelPreference": None, "owner": None, "createdAt": UNSET}
    assert PROJECTS.new_document(given) == {"name": "x", "userId": "u", "owner": None, "framework": "NEXTJS"}
    table = define_schema(logs=define_table({"a": v.any()})).tables["logs"]
    assert table.new_document({"a": None, "b": UNSET}) == {"a": None}


def test_what_is_no_object_can_not_be_inserted() -> None:
    for wrong in (3, None, [], "x"):
        with pytest.raises(InvalidDocument, match="Value must be an Object"):
            MESSAGES.new_document(wrong)


def test_a_document_of_another_class_is_refused_by_name() -> None:
    with pytest.raises(InvalidDocument, match='The table "projects" holds Project, not Message'):
        PROJECTS.new_document(NEW)


def test_system_fields_can_not_be_inserted_and_must_be_the_own_ones_in_a_replace() -> None:
    read = MESSAGES.codec.read(wire.encode(stored(MESSAGES.new_document(NEW))))
    with pytest.raises(InvalidDocument, match="`_id` is given by the database"):
        MESSAGES.new_document(read)
    same = MESSAGES.new_document(read, id=MESSAGE_ID, creation_time=1.5)
    assert "_id" not in same
    assert same["content"] == "hi"
    with pytest.raises(InvalidDocument, match="can't change"):
        MESSAGES.new_document(read, id=PROJECT_ID, creation_time=1.5)
    with pytest.raises(InvalidDocument, match="can't change"):
        MESSAGES.new_document({"_creationTime": 2.0}, id=MESSAGE_ID, creation_time=1.5)


def test_other_fields_with_an_underscore_in_front_are_refused() -> None:
    with pytest.raises(InvalidDocument, match="Field '_x' starts with an underscore"):
        define_schema(any_=define_table(v.any())).tables["any"].new_document({"_x": 1})


def test_changes_are_named_like_fields_and_unset_removes() -> None:
    assert PROJECTS.changes({"user_id": "v", "modelPreference": "m"}) == {"userId": "v", "modelPreference": "m"}
    assert PROJECTS.changes({"model_preference": None, "owner": None, "framework": UNSET}) == {
        "modelPreference": UNSET,
        "owner": None,
        "framework": UNSET,
    }
    assert PROJECTS.changes({"owner": Owner(display_name="d")}) == {"owner": {"displayName": "d"}}
    with pytest.raises(DatabaseError, match="given twice"):
        PROJECTS.changes({"user_id": "v", "userId": "w"})
    with pytest.raises(DatabaseError, match="has no field 'nam'"):
        PROJECTS.changes({"nam": "v"})
    with pytest.raises(DatabaseError, match="patch changes whole top-level fields"):
        PROJECTS.changes({"owner.display_name": "v"})
    with pytest.raises(InvalidDocument, match="Value must be an Object"):
        PROJECTS.changes([])


def test_a_partial_struct_changes_only_what_it_sets() -> None:
    class ProjectChanges(Struct):
        name: str | UnsetType = UNSET
        user_id: str | UnsetType = UNSET
        model_preference: str | UnsetType | None = UNSET

    assert PROJECTS.changes(ProjectChanges(name="y")) == {"name": "y"}
    assert PROJECTS.changes(ProjectChanges(model_preference=None)) == {"modelPreference": UNSET}
    assert PROJECTS.changes(ProjectChanges()) == {}


# --- checking -------------------------------------------------------------------------------------------------------


def test_a_document_that_fits_passes() -> None:
    check(MESSAGES, MESSAGES.new_document(NEW))


@pytest.mark.parametrize(
    ("change", "text", "path"),
    [
        ({"content": 3}, "Value does not match validator.", ".content"),
        ({"role": "OTHER"}, "Value does not match validator.", ".role"),
        ({"projectId": MESSAGE_ID}, "Found ID", ".projectId"),
        ({"more": 1}, "Object contains extra field `more`", ""),
        ({"tags": None}, "Value does not match validator.", ".tags"),
    ],
)
def test_a_document_that_does_not_fit_is_refused_with_the_tables_name(change: Any, text: str, path: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        check(MESSAGES, {**MESSAGES.new_document(NEW), **change})
    assert str(caught.value).startswith(
        f'Failed to insert or update a document in table "messages" because it does not match the schema: {text}'
    )
    assert (caught.value.code, caught.value.path) == ("SchemaEnforcementError", path)


def test_nothing_is_checked_without_schema_validation() -> None:
    schema = define_schema(schema_validation=False, messages=define_table(Message), projects=define_table(Project))
    check(schema.tables["messages"], {"anything": 1})
    assert schema.tables["messages"].mismatch({"anything": 1}, resolve) is not None


def test_dict_tables_are_checked_and_read_as_fresh_dicts() -> None:
    table = define_schema(logs=define_table({"a": v.array(v.number())})).tables["logs"]
    check(table, {"a": [1]})
    with pytest.raises(InvalidDocument):
        check(table, {"a": ["x"]})
    raw = wire.encode(stored({"a": [1.0]}))
    one, other = table.codec.read(raw), table.codec.read(raw)
    assert one == {"_id": MESSAGE_ID, "_creationTime": 1.5, "a": [1]}
    one["a"].append(2)
    assert other["a"] == [1]


def test_a_validator_may_list_the_system_fields_itself() -> None:
    table = define_schema(
        logs=define_table({"_id": v.id("logs"), "_creationTime": v.number(), "a": v.string()})
    ).tables["logs"]
    assert table.validator == v.object({"a": v.string()})
    check(table, {"a": "x"})


# --- the schema -----------------------------------------------------------------------------------------------------


def test_tables_are_called_by_their_keywords_in_camel_case_or_by_name() -> None:
    schema = define_schema(
        activity_logs=define_table({}), list_=define_table({}), other=define_table({}, name="other_table")
    )
    assert list(schema.tables) == ["activityLogs", "list", "other_table"]


def test_tables_that_collide_are_an_error() -> None:
    with pytest.raises(SchemaError, match="are both 'userList'"):
        define_schema(user_list=define_table({}), userList=define_table({}))


@pytest.mark.parametrize("name", ["_users", "1a", "a b", "__", "x" * 65])
def test_table_names_are_identifiers_of_the_users_own(name: str) -> None:
    with pytest.raises(SchemaError):
        define_schema(x=define_table({}, name=name))


@pytest.mark.parametrize(
    ("of", "text"),
    [
        (Owner, r"write `class Owner\(Document\)"),
        (Document, "takes Document classes"),
        (str, "takes Document classes"),
        (3, "takes Document classes"),
        (Message | None, "takes Document classes"),
        (Message | Owner, "takes Document classes"),
        ({"a": str}, "must be validators"),
    ],
)
def test_define_table_takes_documents_or_validators(of: Any, text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        define_table(of)


@pytest.mark.parametrize("validator", [v.string(), v.array(v.any()), v.union(v.object({}), v.string()), v.union()])
def test_the_top_of_a_table_is_an_object_a_union_of_objects_or_any(validator: Any) -> None:
    with pytest.raises(SchemaError, match=r"must be an object, a union of objects, or `v.any"):
        define_schema(x=define_table(validator))


def test_fields_of_explicit_validators_do_not_start_with_an_underscore() -> None:
    with pytest.raises(SchemaError, match="starts with an underscore"):
        define_schema(x=define_table({"_x": v.any()}))


def test_a_class_that_is_not_a_table_definition_says_what_to_write() -> None:
    with pytest.raises(SchemaError, match=r"write projects=define_table\(Project\)"):
        define_schema(projects=Project)  # type: ignore[arg-type]


def test_one_class_or_definition_in_two_tables_is_an_error() -> None:
    with pytest.raises(SchemaError, match='is the class of two tables, "a" and "b"'):
        define_schema(a=define_table(Project), b=define_table(Project))
    table = define_table({})
    with pytest.raises(SchemaError, match="used twice"):
        define_schema(a=table, b=table)


def test_classes_are_found_in_the_schema_that_has_them_and_nowhere_else() -> None:
    assert SCHEMA.table_of(Message) is MESSAGES
    assert SCHEMA.table_name_of(Message) == "messages"
    assert define_schema().table_of(Message) is None
    assert SCHEMA.table_name_of(StoredFile) == "_storage"
    assert SCHEMA.table_name_of(ScheduledFunction) == "_scheduled_functions"
    assert SCHEMA.table_name_of(Document) is None
    assert SCHEMA.table_name_of("messages") is None


def test_a_common_base_of_one_tables_classes_stands_for_that_table() -> None:
    class Event(Document):
        at: float

    class Joined(Event):
        kind: Literal["joined"]

    class Left(Event):
        kind: Literal["left"]

    class Mark(Document):
        event: Id[Event]

    schema = define_schema(events=define_table(Joined | Left), marks=define_table(Mark))
    assert schema.table_name_of(Event) == "events"
    assert schema.tables["marks"].validator == v.object({"event": v.id("events")})
    assert schema.codec_of(Id[Joined | Left]).validator == v.id("events")


def test_a_table_without_a_schema_says_what_it_lacks() -> None:
    with pytest.raises(SchemaError, match=r"pass it to define_schema"):
        _ = define_table(Message).codec


def test_preparing_is_done_once_and_tried_again_after_a_failure() -> None:
    assert SCHEMA.prepared
    SCHEMA.prepare()

    class Waiting(Document):
        inner: Missing  # noqa: F821  # pyright: ignore

    schema = define_schema(waiting=define_table(Waiting).index("by_x", "inner"))
    assert not schema.prepared
    with pytest.raises(SchemaError, match=r"Waiting\.inner: name 'Missing' is not defined"):
        schema.prepare()
    globals()["Missing"] = int
    try:
        schema.prepare()
    finally:
        del globals()["Missing"]
    assert schema.prepared


def test_the_schema_gives_validators_of_ids_and_documents() -> None:
    assert SCHEMA.id("projects") == v.id("projects")
    with pytest.raises(
        SchemaError, match=r'Table "x" is not in this schema. Tables in this schema: projects, messages'
    ):
        SCHEMA.id("x")
    schema = define_schema(
        a=define_table(v.union(v.object({"k": v.literal(1)}), v.object({"k": v.literal(2)}))), b=define_table(v.any())
    )
    system = {"_id": v.id("a"), "_creationTime": v.number()}
    assert schema.doc("a") == v.union(v.object({"k": v.literal(1), **system}), v.object({"k": v.literal(2), **system}))
    assert schema.doc("b") == v.any()


def test_an_empty_schema_serves_apps_without_one() -> None:
    schema = define_schema()
    assert isinstance(schema, SchemaDefinition)
    assert schema.prepared
    assert schema.codec_of(list[str]).encode(["x"], resolve) == b'["x"]'


def test_projections_name_fields_of_their_table() -> None:
    class Wrong(Projection):
        nam: str

    with pytest.raises(DatabaseError, match=r'Wrong\.nam: the table "projects" has no field "nam"'):
        SCHEMA.projection_codec(PROJECTS, Wrong)
    with pytest.raises(DatabaseError, match="takes a Projection class"):
        SCHEMA.projection_codec(PROJECTS, Owner)  # type: ignore[arg-type]


def test_system_documents_are_read_through_their_classes() -> None:
    file = SCHEMA.codec_of(StoredFile).read(
        wire.encode({"_id": "f", "_creationTime": 1, "sha256": "x", "size": 3.0, "contentType": None})
    )
    assert (file.id, file.size, file.content_type) == ("f", 3, None)
    job = SCHEMA.codec_of(ScheduledFunction).read(
        wire.encode(
            {
                "_id": "j",
                "_creationTime": 1,
                "name": "a.js:b",
                "args": [{"a": 1}],
                "scheduledTime": 5,
                "state": {"kind": "failed", "error": "x"},
                "completedTime": 6,
            }
        )
    )
    assert (job.state.kind, job.state.error, job.args, job.completed_time) == ("failed", "x", [{"a": 1}], 6.0)


def test_reads_without_schema_validation_say_what_does_not_fit() -> None:
    with pytest.raises(InvalidValue, match="missing the required field"):
        MESSAGES.codec.read(b"{}")
