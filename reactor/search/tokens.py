"""Words of a text: runs of alphanumeric characters, lower-cased; no stemming, no stop words, no folding of accents.

Source of the rules: server-semantics 10.1.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from reactor.limits import SEARCH_WORD_BYTES

__all__ = ["words_of"]

_ASCII: Final = re.compile(r"[0-9A-Za-z]+")


@cache
def _unicode() -> Any:
    # Loaded for the first text that needs it. The standard library's \w knows no Alphabetic property: it would cut words
    # of Indian scripts at their vowel signs.
    import regex

    return regex.compile(r"[\p{Alphabetic}\p{N}]+")


def words_of(text: str) -> list[str]:
    """The words of a text in order; those of 32 UTF-8 bytes and more are left out, not cut."""
    if text.isascii():
        return [word.lower() for word in _ASCII.findall(text) if len(word) < SEARCH_WORD_BYTES]
    found: list[str] = _unicode().findall(text)
    return [
        # Letter by letter: what a capital sigma becomes must not depend on where in the word it stands.
        word.lower() if "Σ" not in word else "".join(map(str.lower, word))
        for word in found
        if len(word.encode("utf-8", "surrogatepass")) < SEARCH_WORD_BYTES
    ]
