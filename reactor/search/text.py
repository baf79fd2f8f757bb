"""A document's entry in a full-text index, and a query of one, as the store takes them.

Words and filters become tokens of one kind of index. A filter's token says which filter field it is of and has a digest of
the value's index key, so that filters follow the equality of everything else, absence included. It starts with a character
that is in no word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final

from reactor.limits import SEARCH_MAX_TERMS
from reactor.search.tokens import words_of
from reactor.store.text import TextEntry, TextQuery
from reactor.values.keys import encode_value

__all__ = ["filter_token", "make_entry", "make_query"]

_MARK: Final = "\ue000"


def filter_token(position: int, value: Any) -> str:
    """The token for "the filter field at this position (0 is the first) equals `value`"; UNSET for a missing field."""
    return f"{_MARK}{position}{_MARK}{blake2b(encode_value(value), digest_size=16).hexdigest()}"


def make_entry(document_id: str, creation_time: float, text: Any, filters: Sequence[Any]) -> TextEntry | None:
    """What a document becomes, given the values of its fields; None when there is nothing to find it by."""
    if type(text) is not str:
        return None
    words = words_of(text)
    if not words:
        return None
    tokens = [filter_token(position, value) for position, value in enumerate(filters)]
    return TextEntry(document_id, creation_time, " ".join(words), " ".join(tokens))


def make_query(text: str, filters: Iterable[str]) -> TextQuery | None:
    """What a search text asks for, with the tokens of its filters; None when it has no words, so that nothing matches."""
    words = words_of(text)[:SEARCH_MAX_TERMS]
    if not words:
        return None
    return TextQuery(tuple(dict.fromkeys(words[:-1])), words[-1], tuple(filters))
