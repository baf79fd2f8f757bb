"""Text to vectors: by the model wordllama where it is installed, else by a stand-in that is the same everywhere."""

from __future__ import annotations

import asyncio
import hashlib
import math
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HAS_MODEL = find_spec("wordllama") is not None
DIMENSIONS = 64 if HAS_MODEL else 8

# What the stand-in knows: the direction of a few words. All others point wherever their digest says, and weigh less.
_MEANING = {
    "soup": 0, "broth": 0, "stew": 0,
    "noodle": 1, "noodles": 1, "pasta": 1, "ramen": 1,
    "sweet": 2, "dessert": 2, "cake": 2, "chocolate": 2, "ice": 2,
    "spicy": 3, "hot": 3, "chili": 3, "curry": 3,
    "bread": 4, "dough": 4, "pizza": 4,
    "fish": 5, "seafood": 5, "shrimp": 5,
    "cheese": 6, "cream": 6, "milk": 6,
    "salad": 7, "vegetables": 7, "fresh": 7,
}  # fmt: skip


async def embed(texts: list[str]) -> list[list[float]]:
    """A vector of `DIMENSIONS` numbers for each text. Only for actions: it takes its time."""
    if HAS_MODEL:
        return await asyncio.to_thread(lambda: [[float(x) for x in row] for row in _model().embed(texts)])
    return [_stand_in(text) for text in texts]


@cache
def _model() -> Any:
    wordllama: Any = import_module("wordllama")
    # Its weights and tokenizer come with the package; nothing is fetched.
    place = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=place, disable_download=True, trunc_dim=DIMENSIONS)


def _stand_in(text: str) -> list[float]:
    vector = [0.0] * DIMENSIONS
    for word in text.lower().replace(",", " ").split():
        if word in _MEANING:
            vector[_MEANING[word]] += 1.0
        else:
            digest = hashlib.sha256(word.encode()).digest()
            for position in range(DIMENSIONS):
                vector[position] += (digest[position] - 127.5) / 2550
    length = math.hypot(*vector) or 1.0
    return [entry / length for entry in vector]
