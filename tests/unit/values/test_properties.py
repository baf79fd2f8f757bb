"""What holds for all values: encoding and reading back, and the order of keys (server-semantics 1, 15)."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reactor.errors import InvalidValue
from reactor.values import wire
from reactor.values.formats import clean_json, encoded_json, export_json
from reactor.values.keys import cut_key_end, decode_key, encode_key, encode_value, prefix_end
from reactor.values.size import nesting_of, size_of
from reactor.values.types import UNSET, Int64, compare, values_equal

names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=6).filter(
    lambda name: not name.startswith("$")
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
small = st.sampled_from(
    [None, False, True, 0, -0.0, 1, -1, "", "a", "a\0", "\0", b"", b"\0", b"\xff", Int64(0), Int64(1)]
)
scalars = st.one_of(
    small,
    st.integers(-(2**53), 2**53),
    st.floats(),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    texts,
    st.binary(max_size=6),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
key_values = st.one_of(values, st.just(UNSET))


@given(values)
def test_decoding_gives_back_what_was_encoded(value: Any) -> None:
    data = wire.encode(value)
    back = wire.decode(data)
    assert values_equal(back, value)
    assert compare(back, value) == 0
    assert wire.encode(back) == data
    assert values_equal(wire.from_json(json.loads(data)), value)


@given(values, values)
def test_equal_values_have_equal_json_and_others_do_not(a: Any, b: Any) -> None:
    assert (wire.encode(a) == wire.encode(b)) == values_equal(a, b)


@given(values)
def test_all_formats_are_json_and_the_encoded_one_is_the_same_value(value: Any) -> None:
    raw = wire.encode(value)
    assert values_equal(wire.decode(encoded_json(raw)), value)
    json.loads(clean_json(raw))
    json.loads(export_json(raw))


@given(values)
def test_size_and_nesting_do_not_change_on_the_wire(value: Any) -> None:
    back = wire.decode(wire.encode(value))
    assert size_of(back) == size_of(value)
    assert nesting_of(back) == nesting_of(value)


@given(key_values, key_values)
@settings(max_examples=300)
def test_keys_order_like_the_values(a: Any, b: Any) -> None:
    left, right = encode_value(a), encode_value(b)
    assert (left > right) - (left < right) == compare(a, b)
    assert (left == right) == values_equal(a, b)


@given(st.lists(key_values, max_size=3), st.lists(key_values, max_size=3))
def test_keys_of_rows_order_like_the_rows(a: list[Any], b: list[Any]) -> None:
    left, right = encode_key(a), encode_key(b)
    expected = next((order for order in map(compare, a, b) if order), (len(a) > len(b)) - (len(a) < len(b)))
    assert (left > right) - (left < right) == expected


@given(st.lists(key_values, max_size=4))
def test_keys_read_back(row: list[Any]) -> None:
    back = decode_key(encode_key(row))
    assert len(back) == len(row)
    assert all(map(values_equal, back, row))


@given(st.lists(key_values, min_size=1, max_size=2), st.lists(key_values, max_size=3))
def test_the_range_of_a_prefix_holds_exactly_what_begins_with_its_values(prefix: list[Any], row: list[Any]) -> None:
    start = encode_key(prefix)
    end = prefix_end(start)
    assert end is not None
    inside = len(row) >= len(prefix) and all(map(values_equal, prefix, row))
    assert (start <= encode_key(row) < end) == inside
    assert start <= encode_key(prefix + row) < end


@given(st.binary(max_size=5), st.binary(max_size=8))
def test_the_range_of_a_cut_key_holds_exactly_what_begins_with_its_bytes(cut: bytes, key: bytes) -> None:
    end = cut_key_end(cut)
    assert (cut <= key and (end is None or key < end)) == key.startswith(cut)
    assert end is None or cut + key < end


@given(st.binary(max_size=20))
def test_reading_a_key_refuses_or_gives_what_encodes_to_it_in_order(data: bytes) -> None:
    try:
        row = decode_key(data)
    except InvalidValue:
        return
    assert decode_key(encode_key(row)) is not None


json_like = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "é", "$integer", "$float", "$bytes", "$x", ""]) | st.text(), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(json_like)
def test_any_json_is_a_value_or_refused_and_both_readers_agree(tree: Any) -> None:
    text = json.dumps(tree)
    try:
        value = wire.decode(text)
    except InvalidValue:
        value = InvalidValue
    try:
        other = wire.from_json(tree)
    except InvalidValue:
        other = InvalidValue
    if value is InvalidValue or other is InvalidValue:
        assert value is other
    else:
        assert values_equal(value, other)
        assert values_equal(wire.decode(wire.encode(value)), value)


@given(st.binary(max_size=30))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        value = wire.decode(data)
    except InvalidValue:
        return
    assert values_equal(wire.decode(wire.encode(value)), value)
