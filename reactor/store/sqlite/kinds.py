"""The tables behind an index, by kind: what is made when one is added, and dropped with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Final

from reactor.store.catalogue import IndexKind
from reactor.store.sqlite import statements, text

__all__ = ["create", "drop"]

_CREATE: Final[Mapping[IndexKind, Callable[[int], tuple[str, ...]]]] = {
    "database": lambda number: (statements.create_index(number),),
    "vector": lambda number: (statements.create_vectors(number),),
    "search": text.create,
}
"""Index number -> statements."""

_DROP: Final[Mapping[IndexKind, Callable[[int], tuple[str, ...]]]] = {
    "database": lambda number: (statements.drop_index(number),),
    "vector": lambda number: (statements.drop_vectors(number),),
    "search": text.drop,
}


def create(raw: sqlite3.Connection, kind: IndexKind, number: int) -> None:
    """Make the empty tables of an index."""
    for statement in _CREATE[kind](number):
        raw.execute(statement)


def drop(raw: sqlite3.Connection, kind: IndexKind, number: int) -> None:
    for statement in _DROP[kind](number):
        raw.execute(statement)
