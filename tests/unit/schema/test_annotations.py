"""Annotations mean validators, and errors say what to write instead (api.md, "Structs and documents")."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import typing
import uuid
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from reactor.errors import SchemaError
from reactor.schema import v
from reactor.schema.hints import UnresolvedName
from reactor.schema.ids import Fields, Id
from reactor.schema.structs import Document, Struct
from reactor.schema.system import ScheduledFunction, StoredFile
from reactor.schema.tables import define_schema, define_table
from reactor.schema.validators import Float64, Validator
from reactor.values.types import Int64
from tests.unit.schema.samples import SCHEMA, Message, Owner, Project

T = TypeVar("T")
UserName = NewType("UserName", str)
WHOLE = Float64(integral=True)


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Options(TypedDict):
    user_id: str
    depth: NotRequired[int]


class Loose(TypedDict, total=False):
    a: str


class Page(Struct, Generic[T]):
    page: list[T]
    is_done: bool


class Cat(Struct):
    kind: Literal["cat"]
    lives: int


class Dog(Struct):
    kind: Literal["dog"]


OWNER = v.object({"displayName": v.string(), "email": v.optional(v.string())})
SYSTEM = {"_id": v.id("messages"), "_creationTime": v.number()}
MESSAGE = v.object(
    {
        "projectId": v.id("projects"),
        "content": v.string(),
        "role": v.union(v.literal("USER"), v.literal("ASSISTANT")),
        "tags": v.optional(v.array(v.string())),
    }
)

MEANINGS: list[tuple[Any, Validator]] = [
    (str, v.string()),
    (bool, v.boolean()),
    (float, v.number()),
    (int, WHOLE),
    (bytes, v.bytes()),
    (None, v.null()),
    (type(None), v.null()),
    (Any, v.any()),
    (Int64, v.int64()),
    (int | float, v.number()),
    (list[str], v.array(v.string())),
    (typing.List[str], v.array(v.string())),  # noqa: UP006
    (dict[str, float], v.record(v.string(), v.number())),
    (dict[Id[Project], str], v.record(v.id("projects"), v.string())),
    (dict[Literal["a", "b"], bool], v.record(v.union(v.literal("a"), v.literal("b")), v.boolean())),
    (dict[Color, int], v.record(v.union(v.literal("red"), v.literal("blue")), WHOLE)),
    (Literal["a"], v.literal("a")),
    (Literal["a", 1, True], v.union(v.literal("a"), v.literal(1), v.literal(True))),
    (Literal["a", None], v.union(v.literal("a"), v.null())),
    (Color, v.union(v.literal("red"), v.literal("blue"))),
    (Literal[Color.RED], v.literal("red")),
    (str | None, v.union(v.string(), v.null())),
    (Optional[str], v.union(v.string(), v.null())),  # noqa: UP045
    (str | list[str] | None, v.union(v.string(), v.array(v.string()), v.null())),
    (Id[Project], v.id("projects")),
    (Id["Project"], v.id("projects")),
    (Id[StoredFile], v.id("_storage")),
    (Id[ScheduledFunction], v.id("_scheduled_functions")),
    (Owner, OWNER),
    (Options, v.object({"user_id": v.string(), "depth": v.optional(WHOLE)})),
    (Loose, v.object({"a": v.optional(v.string())})),
    (Fields[Message], MESSAGE),
    (Message, MESSAGE.extend(SYSTEM)),
    (Page[str], v.object({"page": v.array(v.string()), "isDone": v.boolean()})),
    (Page[Message], v.object({"page": v.array(MESSAGE.extend(SYSTEM)), "isDone": v.boolean()})),
    (Page, v.object({"page": v.array(v.any()), "isDone": v.boolean()})),
    (
        Cat | Dog,
        v.union(v.object({"kind": v.literal("cat"), "lives": WHOLE}), v.object({"kind": v.literal("dog")})),
    ),
    (UserName, v.string()),
    (Annotated[str, "a note"], v.string()),
]


@pytest.mark.parametrize(
    ("annotation", "validator"), MEANINGS, ids=lambda case: "" if isinstance(case, Validator) else str(case)
)
def test_each_annotation_means_its_validator(annotation: Any, validator: Validator) -> None:
    assert SCHEMA.codec_of(annotation).validator == validator


def test_defaults_decide_whether_null_and_absence_are_let_in() -> None:
    class Mixed(Struct):
        a: str
        b: str | None
        c: str | None = None
        d: str | UnsetType = UNSET
        e: str | UnsetType | None = UNSET
        f: int = 3
        g: str | None = "x"

    null = v.union(v.string(), v.null())
    assert SCHEMA.codec_of(Mixed).validator == v.object(
        {
            "a": v.string(),
            "b": null,
            "c": v.optional(v.string()),
            "d": v.optional(v.string()),
            "e": v.optional(null),
            "f": v.optional(WHOLE),
            "g": v.optional(null),
        }
    )


def test_generic_structs_below_generic_structs_fill_in_their_parameters() -> None:
    class Labelled(Page[T], Generic[T]):
        label: str

    class Messages(Page[Fields[Message]]):
        total: int

    assert SCHEMA.codec_of(Labelled[bool]).validator == v.object(
        {"page": v.array(v.boolean()), "isDone": v.boolean(), "label": v.string()}
    )
    assert SCHEMA.codec_of(Messages).validator == v.object(
        {"page": v.array(MESSAGE), "isDone": v.boolean(), "total": WHOLE}
    )


def test_a_class_can_refer_to_one_that_is_defined_below_it() -> None:
    class Comment(Document):
        on: Id[Post]
        by: Author

    class Author(Struct):
        name: str

    class Post(Document):
        title: str

    # Names of the function are taken when a class is defined, so `Post` is found among the tables, and Author is not.
    with pytest.raises(UnresolvedName, match="Author"):
        define_schema(posts=define_table(Post), comments=define_table(Comment)).prepare()


class Early(Document):
    later: Id[Later]
    inner: Inner
    many: list[Inner]


class Inner(Struct):
    x: int


class Later(Document):
    name: str


def test_forward_references_are_resolved_once_the_module_has_loaded() -> None:
    schema = define_schema(early=define_table(Early), later=define_table(Later))
    inner = v.object({"x": WHOLE})
    assert schema.tables["early"].validator == v.object(
        {"later": v.id("later"), "inner": inner, "many": v.array(inner)}
    )


@dataclasses.dataclass
class Data:
    a: int


class Row(msgspec.Struct):
    a: int


class Pair(NamedTuple):
    a: int
    b: int


class Numbers(enum.IntEnum):
    ONE = 1


class ModelLike:
    model_fields: typing.ClassVar[dict[str, Any]] = {}


REFUSED: list[tuple[Any, str]] = [
    (datetime.datetime, "milliseconds since the epoch"),
    (datetime.date, "isoformat"),
    (datetime.time, "isoformat"),
    (datetime.timedelta, "total_seconds"),
    (uuid.UUID, "`str`"),
    (decimal.Decimal, "`str` for exact amounts"),
    (set, r"list\[T\]"),
    (set[str], r"list\[T\]"),
    (frozenset[str], r"list\[T\]"),
    (tuple, r"list\[T\]"),
    (tuple[int, str], "Struct"),
    (Pair, "Struct"),
    (Data, r"class Data\(reactor.Struct\)"),
    (ModelLike, r"class ModelLike\(reactor.Struct\)"),
    (Row, r"class Row\(reactor.Struct\)"),
    (list, r"list\[str\]"),
    (dict, r"dict\[str, float\]"),
    (typing.List, r"list\[str\]"),  # noqa: UP006
    (typing.Dict, r"dict\[str, float\]"),  # noqa: UP006
    (Id, r"Id\[Project\]"),
    (object, "`Any`"),
    (bytearray, "`bytes`"),
    (collections.abc.Sequence[int], r"list\[T\]"),
    (collections.abc.Mapping[str, int], r"dict\[str, T\]"),
    (dict[int, str], "the keys of a dict"),
    (Numbers, "StrEnum"),
    (Literal[b"x"], "only strings, numbers and booleans"),
    (Fields[Owner], r"Fields\[…\] takes a Document class"),
    (Id[Owner], r"Id\[…\] takes a Document class"),
    (str | UnsetType, "UNSET"),
    (Document, "no fields"),
    (Annotated[str, msgspec.Meta(max_length=3)], "constraints are not checked"),
    (collections.abc.Callable[[], int], "functions can't be stored"),
    (3, "write str"),
]


@pytest.mark.parametrize(("annotation", "instead"), REFUSED, ids=lambda case: str(case))
def test_what_has_no_meaning_is_refused_with_what_to_write_instead(annotation: Any, instead: str) -> None:
    with pytest.raises(SchemaError, match=instead):
        SCHEMA.codec_of(annotation)
    with pytest.raises(SchemaError, match=instead):
        SCHEMA.codec_of(list[annotation] if annotation is not Id else Id)


def test_the_error_says_where_the_annotation_stands() -> None:
    class Holder(Struct):
        when: datetime.datetime

    with pytest.raises(SchemaError, match=r"Holder\.when: datetime can't be used here; write `float`"):
        SCHEMA.codec_of(Holder)


def test_an_id_of_a_class_that_is_no_table_says_how_to_make_it_one() -> None:
    class Stranger(Document):
        x: str

    with pytest.raises(SchemaError, match=r"add it to define_schema\(…\) with define_table\(Stranger\)"):
        SCHEMA.codec_of(Id[Stranger])
    with pytest.raises(SchemaError, match=r"no table of this schema has the class Stranger"):
        SCHEMA.codec_of(Stranger)
    assert SCHEMA.codec_of(Fields[Stranger]).validator == v.object({"x": v.string()})


def test_a_struct_that_contains_itself_is_refused() -> None:
    with pytest.raises(SchemaError, match="contains itself"):
        SCHEMA.codec_of(Node)


class Node(Struct):
    children: list[Node]


def test_a_subclass_of_a_tables_class_has_the_ids_of_that_table() -> None:
    class Wider(Message):
        author: str

    assert SCHEMA.codec_of(Wider).validator == MESSAGE.extend({**SYSTEM, "author": v.string()})
    assert SCHEMA.codec_of(Id[Wider]).validator == v.id("messages")


def test_one_class_can_mean_different_tables_in_two_schemas() -> None:
    other = define_schema(notes=define_table(Project), messages=define_table(Message))
    assert other.codec_of(Id[Project]).validator == v.id("notes")
    assert SCHEMA.codec_of(Id[Project]).validator == v.id("projects")
