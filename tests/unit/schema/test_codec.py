"""Bytes ↔ objects: the two ways agree, the fast one takes nothing that the tree refuses, and values keep their kinds.

Conformance checklist 1, 2, 6 and 7, as far as the schema layer goes.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import uuid
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypedDict, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from reactor.errors import InvalidValue
from reactor.schema.codec import Codec
from reactor.schema.dumping import dump
from reactor.schema.ids import Fields, Id
from reactor.schema.structs import Document, Projection, Struct, field
from reactor.schema.tables import define_schema, define_table
from reactor.values import wire
from reactor.values.types import Int64, values_equal
from tests.unit.schema.samples import (
    GONE_ID,
    MESSAGE_ID,
    PROJECT_ID,
    SCHEMA,
    USER_ID,
    Message,
    Owner,
    Project,
    codec_of,
    resolve,
    tree_only,
)

T = TypeVar("T")


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Page(Struct, Generic[T]):
    page: list[T]
    is_done: bool


class Cat(Struct):
    kind: Literal["cat"]
    lives: int


class Dog(Struct):
    kind: Literal["dog"]
    owner: Id[Project] | None = None


class On(Struct):
    on: Literal[True]
    level: float


class Off(Struct):
    on: Literal[False]
    reason: str


class One(Struct):
    version: Literal[1]
    a: str


class Two(Struct):
    version: Literal[2]
    a: str


class Square(Struct):
    side: float


class Circle(Struct):
    radius: float


class Options(TypedDict, total=False):
    user_id: str
    depth: int


class Special(Struct):
    big: Int64
    data: bytes
    ratio: float
    anything: Any
    maybe: float | None


class Everything(Struct):
    text: str
    number: float
    whole: int
    flag: bool
    color: Color
    role: Literal["USER", "ASSISTANT"]
    level: Literal[1, 2]
    project: Id[Project]
    projects: list[Id[Project]]
    scores: dict[str, float]
    by_project: dict[Id[Project], int]
    nested: Owner
    many: list[Owner]
    maybe_text: str | None
    maybe_number: float | None
    maybe_owner: Owner | None
    left_out: str | None = None
    left_out_id: Id[Project] | None = None
    unset: int | UnsetType = UNSET
    defaulted: int = 7
    listed: list[str] = []


GOOD = {
    "text": "é",
    "number": 2.5,
    "whole": 3,
    "flag": True,
    "color": "red",
    "role": "USER",
    "level": 1,
    "project": PROJECT_ID,
    "projects": [PROJECT_ID],
    "scores": {"a b": 1.5},
    "byProject": {PROJECT_ID: 1},
    "nested": {"displayName": "x"},
    "many": [{"displayName": "x", "email": "y"}],
    "maybeText": None,
    "maybeNumber": None,
    "maybeOwner": {"displayName": "z"},
    "leftOut": "here",
    "leftOutId": PROJECT_ID,
    "unset": 1,
    "defaulted": 8,
    "listed": ["a"],
}
EVERYTHING = codec_of(Everything)


def good(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not UNSET}


def test_a_struct_of_every_kind_has_a_fast_way() -> None:
    assert EVERYTHING._fast is not None
    obj = EVERYTHING.decode(wire.encode(GOOD), resolve)
    assert (obj.text, obj.color, obj.unset, obj.defaulted) == ("é", Color.RED, 1, 8)
    assert tree_only(EVERYTHING).decode(wire.encode(GOOD), resolve) == obj
    assert wire.decode(EVERYTHING.encode(obj, resolve)) == GOOD


def test_absent_fields_become_none_unset_or_their_default_and_only_the_default_is_stored() -> None:
    body = good(leftOut=UNSET, leftOutId=UNSET, unset=UNSET, defaulted=UNSET, listed=UNSET)
    for codec in (EVERYTHING, tree_only(EVERYTHING)):
        obj = codec.decode(wire.encode(body), resolve)
        assert (obj.left_out, obj.left_out_id, obj.unset, obj.defaulted, obj.listed) == (None, None, UNSET, 7, [])
        assert wire.decode(codec.encode(obj, resolve)) == {**body, "defaulted": 7, "listed": []}


BAD: dict[str, dict[str, Any]] = {
    "null where absence is meant": good(leftOut=None),
    "null for an id that may be absent": good(leftOutId=None),
    "null for UNSET": good(unset=None),
    "null for a default": good(defaulted=None),
    "missing": good(text=UNSET),
    "missing though null is let in": good(maybeText=UNSET),
    "extra": good(more=1),
    "extra inside": good(nested={"displayName": "x", "more": 1}),
    "text for a number": good(number="3"),
    "bool for a number": good(number=True),
    "number for a bool": good(flag=1),
    "fraction for int": good(whole=3.5),
    "text for int": good(whole="3"),
    "too large for int": good(whole=2.0**60),
    "Int64 for int": good(whole=Int64(3)),
    "Int64 for float": good(number=Int64(3)),
    "bytes for text": good(text=b"x"),
    "unknown choice": good(role="OTHER"),
    "unknown color": good(color="green"),
    "unknown level": good(level=3),
    "bool for a level": good(level=True),
    "id of another table": good(project=MESSAGE_ID),
    "id of a table that is gone": good(project=GONE_ID),
    "no id": good(project="x"),
    "wrong id in a list": good(projects=[PROJECT_ID, MESSAGE_ID]),
    "wrong id as a key": good(byProject={MESSAGE_ID: 1}),
    "wrong id where it may be absent": good(leftOutId=MESSAGE_ID),
    "list for a record": good(scores=[1]),
    "record for a list": good(listed={}),
}


@pytest.mark.parametrize("name", BAD)
def test_both_ways_refuse_what_does_not_fit_with_the_same_words(name: str) -> None:
    raw = wire.encode(BAD[name])
    with pytest.raises(InvalidValue) as fast:
        EVERYTHING.decode(raw, resolve)
    with pytest.raises(InvalidValue) as slow:
        tree_only(EVERYTHING).decode(raw, resolve)
    assert str(fast.value) == str(slow.value)
    assert (fast.value.path, fast.value.expected, fast.value.got) == (
        slow.value.path,
        slow.value.expected,
        slow.value.got,
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"$bytes":"AA=="}',
        b'{"a b\xc3\xa9":1}',
        b'{"$a":1}',
        b'{"\\u0024integer":"AQAAAAAAAAA="}',
        b'{"a":{"$integer":"AQAAAAAAAAA="}}',
    ],
)
@pytest.mark.parametrize("annotation", [dict[str, float], dict[str, str], dict[str, dict[str, str]]])
def test_records_take_only_good_names_and_no_special_forms(raw: bytes, annotation: Any) -> None:
    codec = codec_of(annotation)
    assert codec._fast is not None
    for one in (codec, tree_only(codec)):
        with pytest.raises(InvalidValue):
            one.decode(raw, resolve)


def test_three_point_zero_is_taken_for_int_and_gives_three() -> None:
    codec = codec_of(int)
    for raw in (b"3", b"3.0", b"3e0"):
        value = codec.decode(raw, resolve)
        assert value == 3
        assert type(value) is int
    assert codec.encode(3.0, resolve) == b"3"


@pytest.mark.parametrize(
    "raw", [b"3.5", b'"3"', b"true", b"9007199254740996", b"1e300", b'{"$integer":"AQAAAAAAAAA="}']
)
def test_other_numbers_are_no_int(raw: bytes) -> None:
    with pytest.raises(InvalidValue):
        codec_of(int).decode(raw, resolve)


def test_too_large_an_int_names_int64() -> None:
    with pytest.raises(InvalidValue, match="Int64"):
        codec_of(int).decode(b"1e300", resolve)
    with pytest.raises(InvalidValue, match="Int64"):
        codec_of(int).encode(2**60, resolve)


def test_floats_are_floats_however_they_are_written() -> None:
    codec = codec_of(float)
    assert type(codec.decode(b"3", resolve)) is float
    assert type(tree_only(codec).decode(b"3", resolve)) is float
    assert type(codec.read(b"3")) is float


def test_any_gives_whole_numbers_as_int_and_keeps_int64() -> None:
    value = codec_of(Any).decode(b'[3.0,3.5,{"$integer":"AwAAAAAAAAA="}]', resolve)
    assert value == [3, 3.5, 3]
    assert [type(item) for item in value] == [int, float, Int64]


SPECIALS = Special(big=Int64(2**62), data=b"\x00\xff", ratio=math.inf, anything={"a": [Int64(1)]}, maybe=-math.inf)


def test_special_values_have_their_wire_forms_inside_structs_too() -> None:
    codec = codec_of(Special)
    raw = codec.encode(SPECIALS, resolve)
    assert b"$integer" in raw
    assert b"$bytes" in raw
    assert b"$float" in raw
    assert codec.decode(raw, resolve) == SPECIALS
    assert type(codec.read(raw).big) is Int64


class Ratio(Struct):
    ratio: float
    maybe: float | None
    absent: float | None = None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["ratio", "maybe", "absent"])
def test_nan_and_infinity_never_become_null(number: float, name: str) -> None:
    codec = codec_of(Ratio)
    assert codec._fast is not None
    obj = msgspec.structs.replace(Ratio(ratio=1, maybe=1, absent=1), **{name: number})
    raw = codec.encode(obj, resolve)
    assert b"null" not in raw
    assert values_equal(getattr(codec.decode(raw, resolve), name), number)
    assert values_equal(getattr(codec.read(raw), name), number)


def test_none_and_nan_side_by_side_stay_apart() -> None:
    codec = codec_of(list[float | None])
    assert wire.decode(codec.encode([None, 1.0], resolve)) == [None, 1]
    assert values_equal(wire.decode(codec.encode([None, math.nan], resolve)), [None, math.nan])


@dataclass
class Data:
    display_name: str


class PlainEnum(enum.Enum):
    X = "x"


@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        datetime.date(2026, 1, 1),
        datetime.timedelta(1),
        decimal.Decimal("1"),
        uuid.UUID(int=1),
        b"bytes",
        bytearray(b"x"),
        PlainEnum.X,
        ("a",),
        {"a"},
        frozenset("a"),
        Data("x"),
        pytest.param(object(), id="an object"),
        UNSET,
        3,
        None,
    ],
    ids=repr,
)
def test_what_msgspec_would_write_as_text_or_a_list_is_refused(value: Any) -> None:
    """`msgspec.json` turns dates, UUIDs, bytes, decimals and tuples into text and arrays without asking."""

    class Holder(Struct):
        text: str
        items: list[str]
        nested: Owner

    codec = codec_of(Holder)
    fine = Holder(text="a", items=["a"], nested=Owner(display_name="x"))
    assert codec._fast is not None
    for name in ("text", "items", "nested"):
        with pytest.raises(InvalidValue):
            codec.encode(msgspec.structs.replace(fine, **{name: value}), resolve)
    with pytest.raises(InvalidValue):
        codec.encode(msgspec.structs.replace(fine, items=[value]), resolve)


def test_a_result_that_is_wider_than_its_annotation_is_an_error() -> None:
    class Wider(Owner):
        secret: str

    with pytest.raises(InvalidValue, match="extra field `secret`"):
        codec_of(Owner).encode(Wider(display_name="x", secret="s"), resolve)
    with pytest.raises(InvalidValue, match="extra field `secret`"):
        codec_of(list[Owner]).encode([Wider(display_name="x", secret="s")], resolve)


def test_structs_in_untyped_places_are_written_by_their_own_names() -> None:
    raw = codec_of(Any).encode({"owner": Owner(display_name="x"), "color": Color.RED, "gone": UNSET}, resolve)
    assert wire.decode(raw) == {"owner": {"displayName": "x"}, "color": "red"}


def test_a_dict_with_wire_names_passes_for_a_struct() -> None:
    assert wire.decode(codec_of(Owner).encode({"displayName": "x"}, resolve)) == {"displayName": "x"}
    with pytest.raises(InvalidValue):
        codec_of(Owner).encode({"display_name": "x"}, resolve)


def test_typed_dicts_keep_their_keys() -> None:
    codec = codec_of(Options)
    assert codec.decode(b'{"user_id":"x","depth":3.0}', resolve) == {"user_id": "x", "depth": 3}
    with pytest.raises(InvalidValue):
        codec.decode(b'{"userId":"x"}', resolve)


def test_string_enums_and_enum_keys_come_back_as_members() -> None:
    assert codec_of(Color).decode(b'"red"', resolve) is Color.RED
    counts = codec_of(dict[Color, int])
    assert counts.decode(b'{"red":1}', resolve) == {Color.RED: 1}
    assert [type(key) for key in counts.decode(b'{"red":1}', resolve)] == [Color]
    assert counts.encode({Color.BLUE: 2}, resolve) == b'{"blue":2}'


def test_an_endless_value_is_an_error() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidValue, match="too nested"):
        codec_of(Any).encode(endless, resolve)


@pytest.mark.parametrize(
    ("annotation", "raw", "expected"),
    [
        (Cat | Dog, b'{"kind":"cat","lives":9}', Cat(kind="cat", lives=9)),
        (Cat | Dog, b'{"kind":"dog"}', Dog(kind="dog")),
        (On | Off, b'{"on":true,"level":1}', On(on=True, level=1)),
        (On | Off, b'{"on":false,"reason":"x"}', Off(on=False, reason="x")),
        (One | Two, b'{"version":2,"a":"x"}', Two(version=2, a="x")),
        (One | Two, b'{"version":2.0,"a":"x"}', Two(version=2, a="x")),
        (Square | Circle, b'{"radius":2}', Circle(radius=2)),
        (list[Cat | Dog | None], b'[null,{"kind":"dog"}]', [None, Dog(kind="dog")]),
        (Cat | str, b'"x"', "x"),
        (dict[str, On | Off], b'{"a":{"on":false,"reason":"x"}}', {"a": Off(on=False, reason="x")}),
    ],
)
def test_unions_of_structs_are_told_apart(annotation: Any, raw: bytes, expected: Any) -> None:
    codec = codec_of(annotation)
    assert codec.decode(raw, resolve) == expected
    assert tree_only(codec).decode(raw, resolve) == expected
    assert codec.read(raw) == expected
    assert codec.decode(codec.encode(expected, resolve), resolve) == expected


def test_a_union_checks_the_ids_of_the_member_it_takes() -> None:
    codec = codec_of(Cat | Dog)
    assert codec._fast is not None
    raw = wire.encode({"kind": "dog", "owner": MESSAGE_ID})
    with pytest.raises(InvalidValue):
        codec.decode(raw, resolve)
    with pytest.raises(InvalidValue):
        codec.encode(Dog(kind="dog", owner=MESSAGE_ID), resolve)


@pytest.mark.parametrize("raw", [b'{"kind":"bird"}', b'{"kind":"cat"}', b'{"kind":true}', b"{}", b"[]", b"null"])
def test_what_is_no_member_of_a_union_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidValue, match="does not match validator"):
        codec_of(Cat | Dog).decode(raw, resolve)


# --- documents ------------------------------------------------------------------------------------------------------

STORED = {
    "_id": MESSAGE_ID,
    "_creationTime": 1.5,
    "projectId": PROJECT_ID,
    "content": "hi",
    "role": "USER",
    "tags": [],
}


def test_a_document_as_argument_or_result_carries_and_requires_its_system_fields() -> None:
    codec = codec_of(Message)
    message = codec.decode(wire.encode(STORED), resolve)
    assert (message.id, message.creation_time) == (MESSAGE_ID, 1.5)
    assert wire.decode(codec.encode(message, resolve)) == STORED
    for name in ("_id", "_creationTime"):
        lacking = {key: value for key, value in STORED.items() if key != name}
        with pytest.raises(InvalidValue, match=f"missing the required field `{name}`"):
            codec.decode(wire.encode(lacking), resolve)
    with pytest.raises(InvalidValue, match="missing the required field"):
        codec.encode(Message(project_id=PROJECT_ID, content="hi", role="USER"), resolve)


def test_a_document_with_an_id_of_another_table_is_refused() -> None:
    with pytest.raises(InvalidValue, match="Found ID"):
        codec_of(Message).decode(wire.encode({**STORED, "_id": PROJECT_ID}), resolve)


def test_fields_of_a_document_have_no_system_fields() -> None:
    codec = codec_of(Fields[Message])
    new = Message(project_id=PROJECT_ID, content="hi", role="USER")
    assert codec.decode(codec.encode(new, resolve), resolve) == new
    with pytest.raises(InvalidValue, match="extra field `_creationTime`"):
        codec.decode(wire.encode(STORED), resolve)
    with pytest.raises(InvalidValue, match="extra field `_creationTime`"):
        codec.encode(codec_of(Message).read(wire.encode(STORED)), resolve)


def test_every_read_gives_fresh_objects() -> None:
    codec, raw = SCHEMA.tables["messages"].codec, wire.encode(STORED)
    one, other = codec.read(raw), codec.read(raw)
    assert one == other
    one.tags.append("x")
    assert other.tags == []


def test_a_projection_ignores_the_other_fields() -> None:
    class Summary(Projection):
        id: Id[Message]
        content: str
        written: float = field(name="_creationTime")

    codec = SCHEMA.projection_codec(SCHEMA.tables["messages"], Summary)
    assert codec.read(wire.encode(STORED)) == Summary(id=MESSAGE_ID, content="hi", written=1.5)
    assert tree_only(codec).read(wire.encode(STORED)) == Summary(id=MESSAGE_ID, content="hi", written=1.5)


def test_a_projection_from_outside_is_as_strict_as_any_struct() -> None:
    class Summary(Projection):
        content: str

    for annotation in (Summary, list[Summary], Summary | None, dict[str, Summary], Page[Summary]):
        body: Any = {"content": "hi", "more": 1}
        if annotation is not Summary:
            body = {"a": body} if "dict" in str(annotation) else [body]
        with pytest.raises(InvalidValue):
            codec_of(annotation).decode(wire.encode(body), resolve)
    assert codec_of(list[Summary]).encode([Summary(content="hi")], resolve) == b'[{"content":"hi"}]'


def test_a_stored_document_that_no_longer_fits_is_a_clear_error() -> None:
    with pytest.raises(InvalidValue, match="missing the required field `content`"):
        SCHEMA.tables["messages"].codec.read(wire.encode({"_id": MESSAGE_ID, "_creationTime": 1}))


def test_generic_pages_of_documents_have_a_fast_way_that_checks() -> None:
    codec = codec_of(Page[Message])
    assert codec._fast is not None
    raw = wire.encode({"page": [STORED], "isDone": True})
    page = codec.decode(raw, resolve)
    assert isinstance(page.page[0], Message)
    with pytest.raises(InvalidValue):
        codec.decode(wire.encode({"page": [{**STORED, "_id": PROJECT_ID}], "isDone": True}), resolve)
    whole = codec_of(Page[int])
    with pytest.raises(InvalidValue):
        whole.decode(b'{"page":[9007199254740995],"isDone":true}', resolve)


def test_documents_of_a_union_table_are_read_into_their_classes() -> None:
    class Joined(Document):
        kind: Literal["joined"]
        who: str

    class Left(Document):
        kind: Literal["left"]
        project: Id[Project]

    schema = define_schema(projects=define_table(Project), messages=define_table(Joined | Left).index("by_who", "who"))
    codec = schema.tables["messages"].codec
    assert codec._fast is not None
    raw = wire.encode({"_id": MESSAGE_ID, "_creationTime": 1, "kind": "left", "project": PROJECT_ID})
    assert isinstance(codec.read(raw), Left)
    table = schema.tables["messages"]
    body = {"kind": "left", "project": USER_ID, "_id": MESSAGE_ID, "_creationTime": 1}
    with pytest.raises(InvalidValue):
        table.check(wire.encode(body), body, resolve)
    assert schema.table_of(Joined | Left) is table
    assert schema.table_of(Left | Joined) is table


# --- properties -----------------------------------------------------------------------------------------------------

ATTRIBUTES_OF_EVERYTHING = sorted(Everything.__struct_fields__)


def written(codec: Codec, obj: Any) -> Any:
    try:
        return wire.decode(codec.encode(obj, resolve))
    except InvalidValue as error:
        return str(error)


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=True),
        st.text(max_size=3),
        st.sampled_from(["USER", "red", PROJECT_ID, MESSAGE_ID, GONE_ID]),
        st.binary(max_size=2),
        st.integers(-3, 3).map(Int64),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "displayName", "email", PROJECT_ID, "kind"]), inner, max_size=3),
    ),
    max_leaves=5,
)

ANNOTATIONS: list[Any] = [
    str,
    float,
    int,
    bool,
    None,
    Color,
    Literal["USER", "red"],
    Literal[1, 2],
    Literal[True],
    Id[Project],
    Id[Project] | None,
    list[float],
    list[int | None],
    float | None,
    dict[str, float],
    dict[str, str | None],
    dict[Id[Project], list[str]],
    Owner,
    Owner | None,
    list[Owner],
    Cat | Dog,
    Any,
    str | float,
    int | float,
]


def outcome(codec: Codec, raw: bytes) -> Any:
    try:
        return codec.decode(raw, resolve)
    except InvalidValue as error:
        return str(error)


def same(a: Any, b: Any) -> bool:
    return repr(a) == repr(b)  # tells 1, 1.0 and True apart, and NaN equal


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(ANNOTATIONS), json_values)
def test_decoding_gives_the_same_with_and_without_the_fast_way(annotation: Any, value: Any) -> None:
    codec = codec_of(annotation)
    raw = wire.encode(value)
    assert same(outcome(codec, raw), outcome(tree_only(codec), raw))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(GOOD)), json_values)
def test_a_changed_field_gives_the_same_with_and_without_the_fast_way(name: str, value: Any) -> None:
    raw = wire.encode(good(**{name: value}))
    assert same(outcome(EVERYTHING, raw), outcome(tree_only(EVERYTHING), raw))


python_values = st.one_of(
    json_values,
    st.sampled_from(
        [(), ("a",), {1}, datetime.date(2026, 1, 1), decimal.Decimal(1), uuid.UUID(int=0), Color.RED, UNSET]
    ),
    st.sampled_from([Owner(display_name="x"), Owner(display_name=3), [Owner(display_name="x", email="y")]]),  # type: ignore[arg-type]
)


class Mixed(Struct):
    anything: Any
    free: dict[str, Any]
    items: list[Any]
    data: bytes
    big: Int64
    typed: Options
    animal: Cat | Dog
    animals: list[Cat | Dog]
    nested: Special
    many: list[Special]
    number: int | float
    absent: Any = None
    absent_bytes: bytes | None = None
    unset: bytes | UnsetType = UNSET
    defaulted: Any = 3
    level: Literal[True, "x"] = "x"


SPECIAL = {"big": Int64(1), "data": b"x", "ratio": 1.5, "anything": None, "maybe": None}
MIXED_GOOD: dict[str, Any] = {
    "anything": {"a": [1, 2.5]},
    "free": {"a b": None},
    "items": ["x", 1],
    "data": b"x",
    "big": Int64(2),
    "typed": {"user_id": "u"},
    "animal": {"kind": "dog"},
    "animals": [{"kind": "cat", "lives": 9}],
    "nested": SPECIAL,
    "many": [SPECIAL],
    "number": 2,
    "absent": 1,
    "absentBytes": b"y",
    "unset": b"z",
    "defaulted": "d",
    "level": True,
}
MIXED = codec_of(Mixed)


def test_fields_that_msgspec_can_not_express_are_taken_the_tree_way_and_the_others_fast() -> None:
    assert MIXED._fast is not None
    raw = wire.encode(MIXED_GOOD)
    obj = MIXED.decode(raw, resolve)
    assert obj == tree_only(MIXED).decode(raw, resolve) == MIXED.read(raw)
    assert (obj.anything, obj.animal, obj.data) == ({"a": [1, 2.5]}, Dog(kind="dog"), b"x")
    assert type(obj.many[0].big) is Int64
    assert wire.decode(MIXED.encode(obj, resolve)) == MIXED_GOOD
    few = {name: MIXED_GOOD[name] for name in list(MIXED_GOOD)[:11]}
    small = MIXED.decode(wire.encode(few), resolve)
    assert (small.absent, small.absent_bytes, small.unset, small.defaulted) == (None, None, UNSET, 3)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(MIXED_GOOD)), json_values)
def test_a_changed_raw_field_gives_the_same_with_and_without_the_fast_way(name: str, value: Any) -> None:
    raw = wire.encode({**MIXED_GOOD, name: value})
    assert same(outcome(MIXED, raw), outcome(tree_only(MIXED), raw))


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(sorted(Mixed.__struct_fields__)), st.deferred(lambda: python_values))
def test_encoding_raw_fields_gives_the_same_with_and_without_the_fast_way(name: str, value: Any) -> None:
    obj = msgspec.structs.replace(MIXED.decode(wire.encode(MIXED_GOOD), resolve), **{name: value})
    assert same(written(MIXED, obj), written(tree_only(MIXED), obj))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ATTRIBUTES_OF_EVERYTHING), st.deferred(lambda: python_values), st.booleans())
def test_untyped_results_are_written_the_same_with_and_without_the_fast_way(name: str, value: Any, many: bool) -> None:
    obj: Any = msgspec.structs.replace(EVERYTHING.decode(wire.encode(GOOD), resolve), **{name: value})
    obj = [obj, obj] if many else obj
    try:
        expected: Any = wire.decode(wire.encode(dump(obj)))
    except InvalidValue as error:
        expected = str(error)
    assert same(written(codec_of(Any), obj), expected)


def test_numbers_beyond_the_safe_range_are_refused_in_untyped_fields() -> None:
    with pytest.raises(InvalidValue, match="Int64"):
        MIXED.encode(msgspec.structs.replace(MIXED.decode(wire.encode(MIXED_GOOD), resolve), anything=[2**60]), resolve)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(ATTRIBUTES_OF_EVERYTHING), python_values)
def test_encoding_gives_the_same_with_and_without_the_fast_way(name: str, value: Any) -> None:
    obj = msgspec.structs.replace(EVERYTHING.decode(wire.encode(GOOD), resolve), **{name: value})

    assert same(written(EVERYTHING, obj), written(tree_only(EVERYTHING), obj))
