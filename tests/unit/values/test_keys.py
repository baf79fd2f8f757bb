"""Index keys (server-semantics 2.2, 2.3; checklist 15)."""

from __future__ import annotations

import enum
import itertools
import math
from typing import Any

import pytest

from reactor.errors import InvalidValue
from reactor.values.keys import cut_key_end, decode_key, encode_key, encode_value, prefix_end
from reactor.values.types import UNSET, Int64, values_equal

VECTORS = [
    (UNSET, "01"),
    (None, "03"),
    (Int64(0), "08"),
    (Int64(1), "0901"),
    (Int64(-1), "07ff"),
    (Int64(300), "0a012c"),
    (0.0, "0d8000000000000000"),
    (0, "0d8000000000000000"),
    (-0.0, "0d7fffffffffffffff"),
    (1.0, "0dbff0000000000000"),
    (1, "0dbff0000000000000"),
    (-1, "0d400fffffffffffff"),
    (False, "0e"),
    (True, "0f"),
    ("a", "106100"),
    ("a\0b", "106100ff6200"),
    (b"a\0b", "116100ff6200"),
    ([1.0], "120dbff000000000000000"),
    ({"a": "x"}, "15610010780000"),
    ({}, "1500"),
    ({"": None}, "1500ff0300"),
]


@pytest.mark.parametrize(("value", "key"), VECTORS)
def test_keys_are_the_documented_bytes_and_read_back(value: Any, key: str) -> None:
    assert encode_value(value).hex() == key
    assert encode_key([value]).hex() == key
    [back] = decode_key(bytes.fromhex(key))
    assert back is value or values_equal(back, value)


INT64S = sorted(
    {sign * (2**power + step) for sign in (1, -1) for power in (0, 7, 8, 15, 16, 31, 32, 62) for step in (-1, 0, 1)}
    | {2**63 - 1, -(2**63)}
)


def test_int64_keys_order_across_all_lengths() -> None:
    keys = [encode_value(Int64(number)) for number in INT64S]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert [decode_key(key) for key in keys] == [[number] for number in INT64S]


def test_a_key_of_several_values_is_their_keys_in_a_row() -> None:
    values = ["x", 1.5, -2, UNSET, None, True, {"a": [b""]}]
    assert encode_key(values) == b"".join(map(encode_value, values))
    assert decode_key(encode_key(values)) == values


def test_string_enums_have_the_keys_of_their_text() -> None:
    assert encode_key([enum.StrEnum("Color", {"RED": "red"})("red")]) == encode_key(["red"])


def test_an_infinite_key_reads_back() -> None:
    assert decode_key(encode_key([math.inf, -math.inf, 2.0**60])) == [math.inf, -math.inf, 2.0**60]
    assert str(decode_key(encode_key([math.nan]))) == "[nan]"


@pytest.mark.parametrize("values", [["\ud800"], [["\ud800"]]])
def test_lone_surrogates_have_no_key(values: list[Any]) -> None:
    with pytest.raises(InvalidValue, match="lone surrogate"):
        encode_key(values)
    with pytest.raises(InvalidValue, match="lone surrogate"):
        encode_value(values[0])


def test_what_is_no_value_has_no_key() -> None:
    with pytest.raises(InvalidValue, match="object is not a supported value"):
        encode_key([object()])


STRINGS = ["", "\0", "\0\0", "\0\xff", "a", "a\0", "a\0b", "ab", "b", "\x7f", "ÿ", "\U0010ffff"]
BYTES = [b"", b"\0", b"\0\0", b"\0\xff", b"\1", b"\x15", b"\x16", b"\x17", b"\xff", b"\xff\xff"]


@pytest.mark.parametrize("alphabet", [STRINGS, BYTES, [[], [1], [1, 2], [[]]], [{}, {"": 1}, {"a": 1}]])
def test_the_range_of_a_prefix_holds_the_keys_that_begin_with_its_values_and_no_other(alphabet: list[Any]) -> None:
    """The bytes alone would not do: the key of "a\\0b" begins with the bytes of the key of "a"."""
    rows = list(itertools.product(alphabet, repeat=2))
    for value in alphabet:
        prefix = encode_key([value])
        end = prefix_end(prefix)
        assert end is not None
        inside = [row for row in rows if prefix <= encode_key(row) < end]
        assert inside == [row for row in rows if values_equal(row[0], value)]


def test_what_lies_beyond_a_prefix_starts_where_its_range_ends() -> None:
    end = prefix_end(encode_key(["a"]))
    assert end is not None
    assert [text for text in STRINGS if encode_key([text, None]) >= end] == STRINGS[STRINGS.index("a\0") :]


def test_the_empty_prefix_goes_to_the_end() -> None:
    assert prefix_end(b"") is None


@pytest.mark.parametrize(
    ("cut", "end"), [(b"", None), (b"\xff", None), (b"a", b"b"), (b"a\xff\xff", b"b"), (b"\x10\xfe", b"\x10\xff")]
)
def test_a_cut_key_ends_after_all_bytes_that_begin_like_it(cut: bytes, end: bytes | None) -> None:
    assert cut_key_end(cut) == end


@pytest.mark.parametrize(
    "data",
    [
        b"\x00", b"\x02", b"\x13", b"\xff", b"\x0d", b"\x0d\x80", b"\x09", b"\x0c\0\0", b"\x10", b"\x10a", b"\x10\xff\0",
        b"\x10\xed\xa0\x80\0", b"\x11a\0\xff", b"\x12", b"\x12\x03", b"\x15", b"\x15a\0", b"\x15a\0\x03", b"\x03\x02",
        b"\x12" * 100_000,
    ],
)  # fmt: skip
def test_bytes_that_are_no_key_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidValue, match="Not an index key"):
        decode_key(data)
