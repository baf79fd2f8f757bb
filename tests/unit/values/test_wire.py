"""Wire JSON (server-semantics 0.1-0.3, client-protocol 3; checklists: server-semantics 1-3, client-protocol 47, 48, 50)."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import json
import math
import struct
import uuid
from typing import Any

import msgspec
import pytest

from reactor.errors import InvalidValue
from reactor.limits import MIB
from reactor.values import wire
from reactor.values.types import UNSET, Int64, values_equal

SPECIAL: list[Any] = [
    (Int64(1), '{"$integer":"AQAAAAAAAAA="}'),
    (Int64(-1), '{"$integer":"//////////8="}'),
    (Int64(-5), '{"$integer":"+/////////8="}'),
    (Int64(-(2**63)), '{"$integer":"AAAAAAAAAIA="}'),
    (Int64(2**63 - 1), '{"$integer":"/////////38="}'),
    (Int64(2**53 + 1), '{"$integer":"AQAAAAAAIAA="}'),
    (math.nan, '{"$float":"AAAAAAAA+H8="}'),
    (math.inf, '{"$float":"AAAAAAAA8H8="}'),
    (-math.inf, '{"$float":"AAAAAAAA8P8="}'),
    (-0.0, '{"$float":"AAAAAAAAAIA="}'),
    (b"\1\2\3", '{"$bytes":"AQID"}'),
    (b"", '{"$bytes":""}'),
    (b"\0", '{"$bytes":"AA=="}'),
    pytest.param(b"\xff" * 100_000, None, id="large"),
]
ORDINARY: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "true"),
    (0, "0"),
    (3, "3"),
    (-3, "-3"),
    (1.5, "1.5"),
    (2**53, "9007199254740992"),
    (1e300, "1e300"),
    ("", '""'),
    ("é\U00010000\0", '"é\U00010000\\u0000"'),
    ([], "[]"),
    ({}, "{}"),
    ({"": 1}, '{"":1}'),
    ({"b": 1, "a": [{"d": 1, "c": "x"}]}, '{"a":[{"c":"x","d":1}],"b":1}'),
]


@pytest.mark.parametrize(("value", "text"), SPECIAL + ORDINARY)
def test_values_have_the_documented_json_and_come_back(value: Any, text: str | None) -> None:
    """client-protocol 47, server-semantics 1"""
    data = wire.encode(value)
    if text is not None:
        assert data == text.encode()
    for place, back in ((value, wire.decode(data)), (value, wire.decode(data.decode()))):
        assert values_equal(back, place)
        assert type(back) is type(place)
    inside = {"list": [value, [value]], "object": {"x": value}}
    assert values_equal(wire.decode(wire.encode(inside)), inside)
    assert values_equal(wire.from_json(json.loads(wire.encode(inside))), inside)


def test_a_whole_number_is_an_int_however_it_is_written() -> None:
    for text in ("3", "3.0", "30e-1", "0.3e1"):
        value = wire.decode(text)
        assert value == 3
        assert type(value) is int
    assert type(wire.decode("9007199254740992.0")) is int
    assert wire.encode([3.0, 2.0**53, 2.0**53 + 2]) == b"[3,9007199254740992,9007199254740994.0]"


def test_json_numbers_are_float64_beyond_two_to_the_53_too() -> None:
    value = wire.decode("[9007199254740994, 12345678901234567890123, -9223372036854775809]")
    assert value == [9007199254740994.0, 12345678901234567890123.0, -9223372036854775808.0]
    assert {type(item) for item in value} == {float}  # type: ignore[union-attr]


def test_a_negative_zero_written_as_a_number_stays_one() -> None:
    value = wire.decode("[-0.0]")
    assert values_equal(value, [-0.0])


def test_a_negative_nan_keeps_its_bits() -> None:
    nan = struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]
    back = wire.decode(wire.encode(nan))
    assert isinstance(back, float)
    assert struct.pack(">d", back).hex() == "fff8000000000001"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"nul",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"[NaN]",
        b"01",
        b"1.",
        b"+1",
        b"0x10",
        b"'a'",
        b"[1,]",
        b'{"a":1,}',
        b"{a:1}",
        b'{1:"a"}',
        b"1 2",
        b"\xef\xbb\xbf1",
        b'"\x01"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'{"\xff":1}',
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800\\u0041"',
        b'{"\\ud800":1}',
        b'"\\x41"',
        b'"abc',
        b"1e400",
        b"-1e400",
        b"1" * 400,
        b"1" * 5_000,
        b"-" + b"9" * 310,
        b"[" * 100_000,
        b"[" * 500_000 + b"]" * 500_000,
        b'{"a":' * 100_000,
        b'[{"a":' * 50_000,
        b"\0",
        "\ud800",
        '"\ud800"',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_hostile_bytes_are_an_invalid_value_and_nothing_else(data: bytes | str) -> None:
    with pytest.raises(InvalidValue):
        wire.decode(data)


def test_of_a_repeated_name_the_last_counts() -> None:
    assert wire.decode('{"a":1,"b":2,"a":3}') == {"a": 3, "b": 2}
    assert wire.decode('{"$integer":"nonsense","$integer":"AQAAAAAAAAA="}') == Int64(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"$integer":1}', "$integer must hold padded base64"),
        ('{"$integer":null}', "$integer must hold padded base64"),
        ('{"$integer":"AQAAAAAAAAA"}', "$integer must hold padded base64"),
        ('{"$integer":"AQ=="}', "$integer must hold 8 bytes, not 1"),
        ('{"$integer":""}', "$integer must hold 8 bytes, not 0"),
        ('{"$integer":"AQAAAAAAAAB="}', "$integer must hold padded base64"),
        ('{"$integer":"AQAAAAAAAAA=\\n"}', "$integer must hold padded base64"),
        ('{"$bytes":"A-_A"}', "$bytes must hold padded base64"),
        ('{"$bytes":"AR=="}', "$bytes must hold padded base64"),
        ('{"$bytes":"é==="}', "$bytes must hold padded base64"),
        ('{"$bytes":"===="}', "$bytes must hold padded base64"),
        ('{"$bytes":[1]}', "$bytes must hold padded base64"),
        ('{"$float":"AAAAAAAA8D8="}', "Float64 1.0 should be encoded as a number"),
        ('{"$float":"AAAAAAAAAAA="}', "Float64 0.0 should be encoded as a number"),
        ('{"$float":"AAAA"}', "$float must hold 8 bytes, not 3"),
        ('{"$set":[]}', "Sets are no longer supported as values."),
        ('{"$map":[]}', "Maps are no longer supported as values."),
        ('{"$undefined":null}', "undefined is not a value: leave the field out."),
        ('{"$commitTs":null}', "Commit timestamps are not supported as values."),
        ('{"$x":1}', "Field name $x starts with '$', which is reserved."),
        ('{"$integer":"AQAAAAAAAAA=","a":1}', "Field name $integer starts with '$', which is reserved."),
        ('{"a":1,"$":1}', "Field name $ starts with '$', which is reserved."),
        (
            '{"é":1}',
            "Field name é has invalid character 'é': Field names can only contain non-control ASCII characters",
        ),
        (
            '{"a\\nb":1}',
            "Field name a\\nb has invalid character '\\n': Field names can only contain non-control ASCII characters",
        ),
        (
            '{"\x7f":1}',
            "Field name \\x7f has invalid character '\\x7f': Field names can only contain non-control ASCII characters",
        ),
        ('{"' + "a" * 1025 + '":1}', "Field name is too long (1025 > maximum 1024)"),
    ],
)
def test_what_json_may_not_say_is_refused_with_its_path(text: str, message: str) -> None:
    """client-protocol 48"""
    with pytest.raises(InvalidValue) as caught:
        wire.decode(text)
    assert str(caught.value) == message
    with pytest.raises(InvalidValue) as caught:
        wire.decode('{"a":[1,{"b":' + text + "}]}")
    assert str(caught.value) == f"{message} (at .a[1].b)"
    assert caught.value.path == ".a[1].b"
    with pytest.raises(InvalidValue) as caught:
        wire.from_json({"a": [1, {"b": json.loads(text)}]})
    assert caught.value.path == ".a[1].b"


@pytest.mark.parametrize(
    "name",
    ["é", "$x", "$", "a\nb", "\x7f", "a" * 1025, "\ud800", 1, 10**5000, None, b"a"],
    ids=lambda name: ascii(name)[:9] if name != 10**5000 else "huge",
)
def test_bad_field_names_are_refused_on_the_way_out_too(name: Any) -> None:
    """client-protocol 48"""
    with pytest.raises(InvalidValue, match="Field name") as caught:
        wire.encode({"a": [{name: 1, "other": 2}]})
    assert caught.value.path == ".a[0]"
    str(caught.value).encode()


def test_a_field_name_of_1024_characters_is_fine() -> None:
    value = {"a" * 1024: 1, " ~": {"": 2}}
    assert wire.decode(wire.encode(value)) == value


def nested(levels: int) -> Any:
    value: Any = []
    for level in range(levels - 1):
        value = [value] if level % 2 else {"a": value}
    return value


def test_64_levels_are_allowed_and_65_are_not() -> None:
    """client-protocol 50, server-semantics 3"""
    data = json.dumps(nested(64))
    assert wire.decode(wire.encode(wire.decode(data))) == nested(64)
    assert wire.from_json(nested(64)) == nested(64)
    for attempt in (
        lambda: wire.decode(json.dumps(nested(65))),
        lambda: wire.encode(nested(65)),
        lambda: wire.from_json(nested(65)),
    ):
        with pytest.raises(InvalidValue) as caught:
            attempt()
        assert str(caught.value).startswith("Value is too nested (nested 65 levels deep > maximum nesting 64)")
        assert caught.value.code == "TooNestedError"


def test_a_special_form_in_the_deepest_array_is_no_further_level() -> None:
    value: Any = Int64(1)
    for _ in range(64):
        value = [value]
    assert wire.decode(wire.encode(value)) == value


def test_a_value_that_holds_itself_is_too_nested() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidValue, match="too nested"):
        wire.encode(loop)
    with pytest.raises(InvalidValue, match="too nested"):
        wire.from_json(loop)


def test_arrays_may_have_8192_elements() -> None:
    """client-protocol 50"""
    assert len(wire.encode([0] * 8192)) == 16385
    for attempt in (lambda: wire.decode(json.dumps({"a": [0] * 8193})), lambda: wire.encode({"a": [0] * 8193})):
        with pytest.raises(InvalidValue) as caught:
            attempt()
        assert str(caught.value) == "Array length is too long (8193 > maximum length 8192) (at .a)"
        assert caught.value.code == "ArrayTooLong"


def test_objects_may_have_1024_fields() -> None:
    fields = {f"f{number}": None for number in range(1024)}
    assert wire.decode(wire.encode(fields)) == fields
    assert wire.encode({**fields, "g": UNSET}) == wire.encode(fields)
    fields["g"] = None
    for attempt in (lambda: wire.decode(json.dumps(fields)), lambda: wire.encode(fields)):
        with pytest.raises(InvalidValue) as caught:
            attempt()
        assert str(caught.value) == "Object has too many fields (1025 > maximum number 1024)"
        assert caught.value.code == "TooManyFieldsError"


def test_values_may_have_32_mebibytes() -> None:
    wire.decode(wire.encode("x" * (32 * MIB - 2)))
    text = "x" * (32 * MIB - 1)
    for attempt in (lambda: wire.decode(b'"' + text.encode() + b'"'), lambda: wire.encode(text)):
        with pytest.raises(InvalidValue) as caught:
            attempt()
        assert str(caught.value) == "Value is too large (33554433 B > maximum size 32 MiB)"
        assert caught.value.code == "ValueTooLargeError"


def test_numbers_count_for_more_than_their_characters() -> None:
    """[[1,1,…],…] of 8 MB of text is a value of more than 32 MiB."""
    with pytest.raises(InvalidValue, match="too large"):
        wire.decode(json.dumps([[1] * 8000] * 500, separators=(",", ":")))


@pytest.mark.parametrize("odd", [1, 1.0, -0.0, 2.0**60, math.nan, math.inf, Int64(1), "x", None, 1e308])
@pytest.mark.parametrize("place", [0, 20, 39])
def test_an_odd_element_of_a_long_vector_is_not_overlooked(odd: Any, place: int) -> None:
    vector: list[Any] = [number + 0.5 for number in range(38)] + [1.5e308, 0.25]
    vector[place] = odd
    back = wire.decode(wire.encode(vector))
    assert values_equal(back, vector)
    assert isinstance(back, list)
    assert type(back[place]) is (int if odd == 1 and type(odd) is float else type(odd))


def test_a_long_vector_with_a_number_too_many_is_refused() -> None:
    vector = [number + 0.5 for number in range(40)]
    with pytest.raises(InvalidValue) as caught:
        wire.encode({"v": [*vector, object()]})
    assert caught.value.path == ".v[40]"


class Color(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


def test_subclasses_of_builtin_kinds_are_written_as_what_they_hold() -> None:
    value = collections.defaultdict(list, {"a": Color.RED, "b": Number.ONE, Color.RED: 1.0})
    assert wire.encode(value) == b'{"a":"red","b":1,"red":1}'
    assert wire.encode(collections.OrderedDict(a="x")) == b'{"a":"x"}'


def test_unset_fields_are_left_out_and_unset_elements_refused() -> None:
    assert wire.encode({"a": UNSET, "b": {"c": UNSET}}) == b'{"b":{}}'
    with pytest.raises(InvalidValue, match="UNSET can't be an element of an array"):
        wire.encode([UNSET])
    with pytest.raises(InvalidValue, match="UNSET only stands for"):
        wire.encode(UNSET)


class Point(msgspec.Struct):
    x: int


class Plain:
    pass


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), "timestamp() * 1000"),
        (datetime.date(2020, 1, 1), "isoformat()"),
        (datetime.time(1), "isoformat()"),
        (datetime.timedelta(1), "total_seconds()"),
        (decimal.Decimal("1.5"), "str(value)"),
        (uuid.UUID(int=1), "str(value)"),
        ((1, 2), "list(value)"),
        ({1}, "sorted(value)"),
        (frozenset({1}), "sorted(value)"),
        (bytearray(b"x"), "bytes(value)"),
        (memoryview(b"x"), "bytes(value)"),
        (1j, "two parts"),
        (Point(x=1), "reactor.Struct"),
        (Point, "a class"),
        (len, "functions"),
        ((item for item in ()), "collect it"),
        (enum.Enum("E", "A")["A"], "`.value`"),
        (Plain(), "supported are None, bool"),
        (2**53 + 1, "Int64(...)"),
        (-(2**53) - 1, "Int64(...)"),
        (2**64, "store it as a string"),
        pytest.param(10**5000, "store it as a string", id="huge"),
    ],
)
def test_what_is_no_value_is_refused_with_advice_and_path(value: Any, advice: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        wire.encode({"a": [0, value]})
    assert advice in str(caught.value)
    assert caught.value.path == ".a[1]"


async def test_a_forgotten_await_is_named() -> None:
    async def query() -> int:
        return 1

    pending = query()
    with pytest.raises(InvalidValue, match="an `await` seems to be missing"):
        wire.encode([pending])
    await pending


@pytest.mark.parametrize("value", ["\ud800", {"b": "x\udfff"}, [["\ud800"]]])
def test_lone_surrogates_are_found_on_the_way_out(value: Any) -> None:
    with pytest.raises(InvalidValue, match="lone surrogate") as caught:
        wire.encode({"a": value})
    assert caught.value.path.startswith(".a")
    with pytest.raises(InvalidValue, match="lone surrogate"):
        wire.from_json({"a": value})


@pytest.mark.parametrize("value", [math.nan, math.inf, (1,), b"x", {1: 2}, UNSET])
def test_from_json_takes_json_only(value: Any) -> None:
    with pytest.raises(InvalidValue):
        wire.from_json([value])


def test_from_json_leaves_its_argument_alone() -> None:
    source = {"a": [3.0, {"$integer": "AQAAAAAAAAA="}]}
    assert wire.from_json(source) == {"a": [3, Int64(1)]}
    assert source == {"a": [3.0, {"$integer": "AQAAAAAAAAA="}]}
    assert type(source["a"][0]) is float


def test_encoding_leaves_its_argument_alone() -> None:
    source = {"b": [1.0, Int64(1), {"c": b"x"}], "a": UNSET}
    shown = repr(source)
    wire.encode(source)
    assert repr(source) == shown


def test_other_objects_can_be_converted_on_the_way_out() -> None:
    def convert(value: Any) -> Any:
        return {"x": value.x, "exact": Int64(value.x)} if isinstance(value, Point) else NotImplemented

    data = wire.encode({"points": [Point(x=1)]}, convert=convert)
    assert data == b'{"points":[{"exact":{"$integer":"AQAAAAAAAAA="},"x":1}]}'
    with pytest.raises(InvalidValue, match="tuple is not a supported value"):
        wire.encode([(1,)], convert=convert)
