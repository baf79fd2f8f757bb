"""Kinds of values, their equality and their order (server-semantics 0.1, 2.1; checklist 2, 15)."""

from __future__ import annotations

import copy
import enum
import itertools
import math
import pickle
import struct

import pytest

from reactor.errors import InvalidValue
from reactor.values.types import UNSET, Int64, compare, plain, values_equal

NEGATIVE_NAN = struct.unpack(">d", bytes.fromhex("fff8000000000000"))[0]

# Every kind, each before the next (server-semantics 2.1).
ASCENDING = [
    UNSET,
    None,
    Int64(-(2**63)),
    Int64(-1),
    Int64(0),
    Int64(1),
    Int64(2**63 - 1),
    NEGATIVE_NAN,
    -math.inf,
    -1e300,
    -1.5,
    -1,
    -5e-324,
    -0.0,
    0,
    5e-324,
    1,
    1.5,
    2**53,
    1e300,
    math.inf,
    math.nan,
    False,
    True,
    "",
    "\0",
    "a",
    "a\0",
    "a\0b",
    "ab",
    "z",
    "é",
    "\uffff",
    "\U00010000",
    b"",
    b"\0",
    b"\0\xff",
    b"\1",
    b"\xff",
    b"\xff\0",
    [],
    [None],
    [None, None],
    [1, "a"],
    [1, "b"],
    [[]],
    {},
    {"": 1},
    {"": 1, "a": 0},
    {"a": 1},
    {"a": 1, "c": 0},
    {"a": 2, "b": 0},
    {"ab": None},
    {"b": 1},
]


def test_every_value_is_before_the_next_one_of_the_documented_order() -> None:
    for (i, a), (j, b) in itertools.product(enumerate(ASCENDING), repeat=2):
        assert compare(a, b) == (i > j) - (i < j), (a, b)
        assert values_equal(a, b) == (i == j), (a, b)


def test_a_whole_float_equals_the_int_that_stands_for_the_same_number() -> None:
    assert values_equal({"a": [3]}, {"a": [3.0]})
    assert compare(3, 3.0) == 0
    assert values_equal(0, 0.0)


@pytest.mark.parametrize(
    ("a", "b"), [(True, 1), (Int64(1), 1), (0.0, -0.0), (0, -0.0), ([1], [True]), ({"a": 1}, {"a": Int64(1)}), ("1", 1)]
)
def test_python_equality_that_the_database_does_not_share(a: object, b: object) -> None:
    assert not values_equal(a, b)
    assert compare(a, b) != 0


def test_nan_equals_itself_but_not_a_nan_with_other_bits() -> None:
    assert values_equal([math.nan], [math.nan])
    assert not values_equal(math.nan, NEGATIVE_NAN)


def test_objects_are_equal_whatever_the_order_of_their_fields() -> None:
    assert values_equal({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1})
    assert not values_equal({"a": 1}, {"a": 1, "b": 2})
    assert not values_equal({"a": 1}, {"b": 1})


def test_int64_is_an_int_that_shows_what_it_is() -> None:
    assert repr(Int64(3)) == "Int64(3)"
    assert str(Int64(3)) == f"{Int64(3)}" == "3"
    assert Int64(3) == 3
    assert type(Int64(3) + 1) is int
    assert type(pickle.loads(pickle.dumps(Int64(5)))) is Int64
    assert copy.deepcopy([Int64(5)]) == [Int64(5)]


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30, pytest.param(10**5000, id="huge")])
def test_int64_refuses_what_64_bits_do_not_hold(number: int) -> None:
    with pytest.raises(InvalidValue, match="does not fit into 64 bits"):
        Int64(number)


class Color(enum.StrEnum):
    RED = "red"


def test_subclasses_of_builtin_kinds_stand_for_the_value_inside() -> None:
    assert plain(Color.RED) == "red"
    assert type(plain(Color.RED)) is str
    assert values_equal(Color.RED, "red")
    assert plain(object()) is NotImplemented


def test_what_is_no_value_has_no_order() -> None:
    with pytest.raises(InvalidValue, match="tuple"):
        compare((1,), [1])
    with pytest.raises(InvalidValue, match="object"):
        values_equal(object(), 1)
