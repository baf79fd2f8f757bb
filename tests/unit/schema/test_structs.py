"""Structs, documents and projections, as api.md has them: names, defaults, reserved names, `extend`."""

from __future__ import annotations

import sys
from typing import Any, ClassVar, Literal

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from reactor.errors import DatabaseError, SchemaError
from reactor.schema.ids import Id
from reactor.schema.structs import Document, Projection, Struct, field, fields_of
from tests.unit.schema.samples import MESSAGE_ID, PROJECT_ID, Message, Project, schema_of


def wires(cls: type[Struct]) -> dict[str, str]:
    return {f.name: f.wire for f in fields_of(cls)}


def define(source: str) -> type[Struct]:
    names: dict[str, Any] = {
        "Document": Document,
        "Struct": Struct,
        "Projection": Projection,
        "field": field,
        "Any": Any,
    }
    exec(source, names)
    return names["X"]


def test_fields_are_camel_case_on_the_wire_unless_named() -> None:
    class Payment(Struct):
        user_id: str
        from_: str
        amount: float = field(name="amount_usd")

    assert wires(Payment) == {"user_id": "userId", "from_": "from", "amount": "amount_usd"}


def test_rename_none_keeps_names_here_and_in_classes_below() -> None:
    class Row(Struct, rename=None):
        user_id: str

    class Wider(Row):
        created_at: float

    assert wires(Wider) == {"user_id": "user_id", "created_at": "created_at"}


def test_two_fields_with_one_wire_name_are_an_error_that_names_both() -> None:
    with pytest.raises(SchemaError, match="'user_id' and 'userId' are both 'userId'"):
        define("class X(Struct):\n  user_id: str\n  userId: str")
    with pytest.raises(SchemaError, match="are both 'to'"):
        define("class X(Struct):\n  from_: str = field(name='to')\n  to: str")


def test_structs_are_frozen_keyword_only_and_refuse_unknown_keywords() -> None:
    class Point(Struct):
        x: float

    point = Point(x=1)
    with pytest.raises(AttributeError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Point(x=1, y=2)  # type: ignore[call-arg]
    assert msgspec.structs.replace(point, x=3) == Point(x=3)


def test_a_struct_is_not_checked_when_it_is_built() -> None:
    class Point(Struct):
        x: float

    assert Point(x="not yet").x == "not yet"  # type: ignore[arg-type]


def test_mutable_defaults_are_made_anew() -> None:
    class Bag(Struct):
        items: list[str] = []
        options: dict[str, int] = {"a": 1}
        made: list[int] = field(default_factory=lambda: [1])

    one, other = Bag(), Bag()
    one.items.append("x")
    one.options["b"] = 2
    one.made.append(2)
    assert (other.items, other.options, other.made) == ([], {"a": 1}, [1])


def test_documents_have_no_id_until_they_are_read() -> None:
    message = Message(project_id=PROJECT_ID, content="hi", role="USER")
    with pytest.raises(DatabaseError, match="this Message was not read from the database: it has no id yet"):
        _ = message.id
    with pytest.raises(DatabaseError, match="has no creation time yet"):
        _ = message.creation_time


@pytest.mark.parametrize("name", ["id", "creation_time"])
@pytest.mark.parametrize("body", ["  {name}: float", "  {name} = 3", "  def {name}(self): ..."])
def test_the_names_of_system_fields_are_reserved_in_documents(name: str, body: str) -> None:
    wire = {"id": "id", "creation_time": "creationTime"}[name]
    with pytest.raises(SchemaError) as caught:
        define(f"class X(Document):\n{body.format(name=name)}")
    assert f'account_{name}: float = field(name="{wire}")' in str(caught.value)


def test_the_way_out_that_the_error_names_works() -> None:
    class Account(Document):
        account_id: float = field(name="id")

    assert wires(Account)["account_id"] == "id"


def test_structs_may_have_a_field_called_id() -> None:
    assert wires(define("class X(Struct):\n  id: str")) == {"id": "id"}


@pytest.mark.parametrize("base", ["Struct", "Document"])
def test_leading_underscores_are_reserved(base: str) -> None:
    with pytest.raises(SchemaError, match="leading underscore"):
        define(f"class X({base}):\n  _secret: str")


def test_a_document_field_can_not_be_called_like_a_system_field_on_the_wire() -> None:
    with pytest.raises(SchemaError, match="starts with an underscore"):
        define("class X(Document):\n  x: str = field(name='_x')")


def test_wire_names_are_identifiers() -> None:
    with pytest.raises(SchemaError, match="Invalid identifier: 'a b'"):
        define("class X(Struct):\n  x: str = field(name='a b')")


@pytest.mark.parametrize(
    "option",
    ["tag=True", "array_like=True", "frozen=False", "kw_only=False", "forbid_unknown_fields=False", "rename='pascal'"],
)
def test_class_options_that_do_not_go_with_reactor_are_refused(option: str) -> None:
    with pytest.raises(SchemaError):
        define(f"class X(Struct, {option}):\n  x: str")


def test_defaults_that_are_functions_are_refused() -> None:
    with pytest.raises(SchemaError, match="default can't be a function"):
        define("class X(Struct):\n  x: str = (lambda: 'a')")


def test_class_variables_are_no_fields() -> None:
    class Kind(Struct):
        label: ClassVar[str] = "x"
        name: str

    assert wires(Kind) == {"name": "name"}


def test_what_is_absent_is_known_for_each_field() -> None:
    class Mixed(Struct):
        a: str
        b: str | None
        c: str | None = None
        d: str | UnsetType = UNSET
        e: int = 3

    assert {f.name: f.absent for f in fields_of(Mixed)} == {
        "a": "required",
        "b": "required",
        "c": "none",
        "d": "unset",
        "e": "default",
    }


def test_repr_shows_the_system_fields_only_once_there() -> None:
    message = Message(project_id="p", content="hi", role="USER")
    assert repr(message) == "Message(project_id='p', content='hi', role='USER', tags=[])"
    read = Message(_id=MESSAGE_ID, _creation_time=1.0, project_id="p", content="hi", role="USER")  # type: ignore[call-arg]
    assert repr(read).startswith(f"Message(id='{MESSAGE_ID}', creation_time=1.0, ")


def test_extend_builds_a_wider_document_with_the_same_system_fields() -> None:
    class MessageWithAuthor(Message):
        author: str

    read = Message(_id=MESSAGE_ID, _creation_time=1.0, project_id="p", content="hi", role="USER")  # type: ignore[call-arg]
    wider = read.extend(MessageWithAuthor, author="ann")
    assert (wider.id, wider.creation_time, wider.content, wider.author) == (MESSAGE_ID, 1.0, "hi", "ann")
    assert type(wider) is MessageWithAuthor


def test_extend_into_a_plain_struct_takes_the_fields_by_name() -> None:
    class Card(Struct):
        message: Id[Message] = field(name="_id")
        content: str
        likes: int

    read = Message(_id=MESSAGE_ID, _creation_time=1.0, project_id="p", content="hi", role="USER")  # type: ignore[call-arg]
    assert read.extend(Card, likes=3) == Card(message=MESSAGE_ID, content="hi", likes=3)


def test_extend_names_what_is_missing() -> None:
    class Wider(Message):
        author: str

    with pytest.raises(SchemaError, match=r"Message\.extend\(Wider\): Missing required argument 'author'"):
        Message(project_id="p", content="hi", role="USER").extend(Wider)


def test_projections_know_the_documents_own_fields_by_their_names() -> None:
    class Summary(Projection):
        id: Id[Project]
        creation_time: float
        user_id: str

    assert wires(Summary) == {"id": "_id", "creation_time": "_creationTime", "user_id": "userId"}


def test_ids_are_plain_text_at_run_time() -> None:
    assert Id[Project]("x") == "x"
    assert type(Id("x")) is str


def test_a_subclass_may_narrow_a_field_without_changing_its_parent() -> None:
    class Animal(Struct):
        kind: str

    class Cat(Animal):
        kind: Literal["cat"]  # type: ignore[mutable-override]

    schema = schema_of()
    assert schema.codec_of(Cat).decode(b'{"kind":"cat"}', None) == Cat(kind="cat")
    assert schema.codec_of(Animal).decode(b'{"kind":"dog"}', None) == Animal(kind="dog")


def test_the_system_fields_keep_their_names_whatever_the_class_says() -> None:
    class Verbatim(Document, rename=None):
        snake_case: str

    assert wires(Verbatim) == {"_id": "_id", "_creation_time": "_creationTime", "snake_case": "snake_case"}


def test_classes_of_a_module_that_was_executed_by_hand_find_their_names() -> None:
    names: dict[str, Any] = {"Document": Document, "Struct": Struct, "__name__": "not_in_sys_modules"}
    exec("class A(Struct):\n  b: 'B'\nclass B(Struct):\n  x: int", names)
    assert schema_of().codec_of(names["A"]).decode(b'{"b":{"x":1}}', None) == names["A"](b=names["B"](x=1))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters in brackets came with Python 3.12")
def test_structs_may_have_type_parameters_in_brackets() -> None:
    names: dict[str, Any] = {"Struct": Struct, "__name__": __name__}
    exec("class Page[T](Struct):\n  page: list[T]\ntype Pages[T] = list[Page[T]]", names)
    codec = schema_of().codec_of(names["Page"][int])
    assert codec.decode(b'{"page":[1.0]}', None).page == [1]
    assert schema_of().codec_of(names["Pages"][str]).decode(b'[{"page":["x"]}]', None)[0].page == ["x"]
