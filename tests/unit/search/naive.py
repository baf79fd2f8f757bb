"""A search written from the rules, over all documents: what the index is compared with."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reactor.values.types import UNSET, values_equal


def words(text: str) -> list[str]:
    """server-semantics 10.1: split on what is not alphanumeric, drop 32 bytes and more, lower-case."""
    found: list[str] = []
    word = ""
    for letter in text + " ":
        # Letters, numbers, and the marks that are part of letters; enough for the texts of these tests.
        if unicodedata.category(letter)[0] in "LN" or unicodedata.category(letter) == "Mc":
            word += letter
        else:
            if word and len(word.encode()) < 32:
                found.append("".join(map(str.lower, word)))
            word = ""
    return found


def at(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for name in path.split("."):
        value = value.get(name, UNSET) if isinstance(value, Mapping) else UNSET
    return value


def search(
    documents: Iterable[Mapping[str, Any]], fields: Sequence[str], text: str, filters: Sequence[tuple[str, Any]]
) -> list[str]:
    """The ids of the matches, best first. `fields`: the search field and the filter fields."""
    field, *filter_fields = fields
    indexed = {
        d["_id"]: (d, words(value)) for d in documents if isinstance(value := at(d, field), str) and words(value)
    }
    asked = words(text)[:16]
    if not asked:
        return []
    last = asked[-1]
    terms = sorted({word for _, found in indexed.values() for word in found})
    weights = dict.fromkeys([t for t in terms if t.startswith(last)][:16], 0.5) | dict.fromkeys(asked, 1.0)
    count = {term: sum(term in found for _, found in indexed.values()) for term in weights}
    total = len(indexed)
    lengths = {id: len(found) + len(filter_fields) for id, (_, found) in indexed.items()}
    average = sum(lengths.values()) / total if total else 0.0

    def score(id: str, found: list[str]) -> float:
        result = 0.0
        for term, weight in weights.items():
            frequency = found.count(term)
            if frequency:
                rarity = max(math.log((total - count[term] + 0.5) / (count[term] + 0.5)), 1e-6)
                norm = 1.2 * (0.25 + 0.75 * lengths[id] / average)
                result += weight * rarity * frequency * 2.2 / (frequency + norm)
        return result

    matches = [
        (score(id, found), d["_creationTime"], id)
        for id, (d, found) in indexed.items()
        if any(term in found for term in weights) and all(values_equal(at(d, f), v) for f, v in filters)
    ]
    # Sums of the same numbers in another order differ in their last digits.
    return [id for _, _, id in sorted(matches, key=lambda m: (-float(f"{m[0]:.9e}"), -m[1], m[2]))]
