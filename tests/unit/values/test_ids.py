"""Document ids (server-semantics 0.4, client-protocol 4; checklists: server-semantics 4, client-protocol 49)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import InvalidValue
from reactor.values.ids import decode_id, encode_id, new_id, table_number_of

COUNTING = bytes(range(16))
VECTORS = [
    (1, bytes(16), "0400000000000000000000000000248"),
    (10001, COUNTING, "j57000820c20a1g7104gm2rc1m70ynr8"),
    (127, bytes(16), "fw00000000000000000000000007yvr"),
    (128, bytes(16), "g00g000000000000000000000000108h"),
    (20000, COUNTING, "m2e02001081g81860w40j2gb1g6gw3xnj4"),
]
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

tables = st.one_of(
    st.integers(1, 2**32 - 1), st.sampled_from([1, 127, 128, 16383, 16384, 2**21 - 1, 2**21, 2**28 - 1, 2**28])
)
internals = st.binary(min_size=16, max_size=16)


@pytest.mark.parametrize(("table", "internal", "text"), VECTORS)
def test_ids_are_spelled_like_the_published_examples(table: int, internal: bytes, text: str) -> None:
    assert encode_id(table, internal) == text
    assert decode_id(text) == (table, internal)
    assert table_number_of(text) == table


def test_the_example_with_all_bits_set_is_read_and_written() -> None:
    text = encode_id(10001, b"\xff" * 16)
    assert text.startswith("j57fzzzzzzzzzzzzzzzzzzzzzzzz")
    assert text.endswith("kyr")


@given(tables, internals)
def test_an_id_decodes_to_what_was_encoded(table: int, internal: bytes) -> None:
    text = encode_id(table, internal)
    assert decode_id(text) == (table, internal)
    assert 31 <= len(text) <= 37


@pytest.mark.parametrize(
    ("table", "length"), [(127, 31), (128, 32), (16383, 32), (16384, 34), (2**21 - 1, 34), (2**21, 36), (2**28, 37)]
)
def test_the_length_follows_from_the_table_number(table: int, length: int) -> None:
    assert len(encode_id(table, COUNTING)) == length


@given(tables, internals, st.data())
def test_any_changed_character_is_refused(table: int, internal: bytes, data: st.DataObject) -> None:
    """client-protocol 49"""
    text = encode_id(table, internal)
    position = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([char for char in ALPHABET if char != text[position]]))
    changed = text[:position] + other + text[position + 1 :]
    with pytest.raises(InvalidValue, match=r"^Unable to decode ID: "):
        decode_id(changed)
    assert table_number_of(changed) is None


@pytest.mark.parametrize(("table", "internal", "text"), VECTORS)
def test_every_single_character_change_of_the_examples_is_refused(table: int, internal: bytes, text: str) -> None:
    for position, char in enumerate(text):
        for other in ALPHABET.replace(char, "") + "ilou A-_":
            assert table_number_of(text[:position] + other + text[position + 1 :]) is None


@given(st.text(alphabet=ALPHABET, min_size=31, max_size=37))
def test_an_id_has_one_spelling(text: str) -> None:
    try:
        table, internal = decode_id(text)
    except InvalidValue:
        return
    assert encode_id(table, internal) == text


@given(st.text(max_size=40))
def test_no_text_makes_decoding_fail_otherwise(text: str) -> None:
    if table_number_of(text) is None:
        with pytest.raises(InvalidValue, match=r"^Unable to decode ID: "):
            decode_id(text)
    else:
        assert encode_id(*decode_id(text)) == text


VALID = VECTORS[1][2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Invalid ID length 0"),
        ("abc", "Invalid ID length 3"),
        (VALID + "0", "Invalid ID length 33"),
        ("0" * 10_000, "Invalid ID length 10000"),
        (VALID.upper(), "ID wasn't valid base32"),
        (VALID[:-1] + "u", "ID wasn't valid base32"),
        (VALID[:-1] + "\u0661", "ID wasn't valid base32"),  # a digit to Python
        (VALID[:-1] + "\ud800", "ID wasn't valid base32"),
        (VALID[:10] + "_" + VALID[11:], "ID wasn't valid base32"),  # int() would take these four
        (" " + VALID[1:], "ID wasn't valid base32"),
        ("+" + VALID[1:], "ID wasn't valid base32"),
        ("-" + VALID[1:], "ID wasn't valid base32"),
        (VALID[:-1] + "0", "Invalid ID version 8 (expected 0)"),
        ("0" * 31, "Invalid table number"),
        ("z" * 37, "ID wasn't valid base32"),  # spare bits set
        ("z" * 36 + "w", "Invalid table number"),  # a vint that never ends
    ],
)
def test_the_error_says_what_is_wrong_with_an_id(text: str, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        decode_id(text)
    assert str(caught.value).startswith("Unable to decode ID: ")
    if not message.startswith("Invalid ID version"):
        assert str(caught.value) == f"Unable to decode ID: {message}"
    else:
        assert "Invalid ID version" in str(caught.value)


def test_new_ids_differ_and_carry_the_day() -> None:
    day = 20_000
    ids = {new_id(10001, day * 86_400 * 10**9 + 5) for _ in range(1000)}
    assert len(ids) == 1000
    for text in ids:
        table, internal = decode_id(text)
        assert table == 10001
        assert len(text) == 32
        assert int.from_bytes(internal[14:], "big") == day


@pytest.mark.parametrize(
    ("table", "internal"), [(0, COUNTING), (-1, COUNTING), (2**32, COUNTING), (1, b""), (1, bytes(17))]
)
def test_encoding_refuses_what_is_no_table_or_no_internal_id(table: int, internal: bytes) -> None:
    with pytest.raises(ValueError, match="not"):
        encode_id(table, internal)
