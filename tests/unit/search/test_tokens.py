"""Words of a text, rule by rule (server-semantics 10.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.search.text import filter_token, make_entry, make_query
from reactor.search.tokens import words_of
from reactor.values.types import UNSET, Int64
from tests.unit.search import naive


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("!!! ... ???", []),
        ("Hello, World", ["hello", "world"]),
        ("don't", ["don", "t"]),
        ("a_b-c", ["a", "b", "c"]),
        ("x2 42", ["x2", "42"]),
        ("résumé", ["résumé"]),  # no folding of accents
        ("running runs", ["running", "runs"]),  # no stemming
        ("the and", ["the", "and"]),  # no stop words
        ("全文検索", ["全文検索"]),  # no spaces, one word
        ("हिन्दी", ["हिन", "दी"]),  # vowel signs belong to their word, the virama is no letter
        ("ΟΔΟΣ οδοσ", ["οδοσ", "οδοσ"]),
        ("ﬁ ß ²", ["ﬁ", "ß", "²"]),
        ("a" * 31 + " " + "b" * 32 + " c", ["a" * 31, "c"]),  # 32 bytes are dropped, not cut
        ("é" * 15 + " " + "é" * 16, ["é" * 15]),
        ("tab\tnew\nline\x00nul", ["tab", "new", "line", "nul"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_words_are_those_of_the_naive_reading(text: str) -> None:
    assert words_of(text) == naive.words(text)


def test_a_query_has_sixteen_words_the_last_of_them_as_a_prefix() -> None:
    query = make_query(" ".join(f"w{n}" for n in range(17)), [])
    assert query is not None
    assert (len(query.words), query.last) == (15, "w15")
    assert make_query("...", []) is None


def test_filters_follow_the_equality_of_values() -> None:
    values = [UNSET, None, Int64(1), 1.0, -0.0, 0.0, float("nan"), True, "1", b"1", [1.0], {"a": 1.0}]
    tokens = [filter_token(0, value) for value in values]
    assert len(set(tokens)) == len(values)
    assert tokens == [filter_token(0, value) for value in values]
    assert filter_token(1, None) != filter_token(0, None)


@pytest.mark.parametrize("text", [UNSET, None, 1.0, ["word"], "", "!"])
def test_a_document_without_words_has_no_entry(text: object) -> None:
    assert make_entry("id", 1.0, text, []) is None
