"""What store threads do with a vector index in memory: bring it to a snapshot's timestamp, and find in both what is nearest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from reactor.engine.vector_entries import filter_keys
from reactor.store.catalogue import IndexInfo, TableInfo
from reactor.store.protocol import Reader, VectorRow

if TYPE_CHECKING:
    from reactor.search.vectors import VectorSet

__all__ = ["CHUNK", "DocumentReader", "FoundVector", "apply", "entry", "find"]

DocumentReader = tuple[TableInfo, Callable[[bytes], Any]]
"""A table, and what makes a document of a stored body; it runs on a store thread."""

CHUNK: Final = 512
"""Rows read from the store at once."""


@dataclass(frozen=True, slots=True)
class FoundVector:
    """One hit: the document's id, its cosine with the vector searched for, and the document, if that was asked for."""

    id: str
    score: float
    document: Any = None


def entry(row: VectorRow) -> tuple[str, bytes, Sequence[bytes]]:
    return row.id, row.vector, filter_keys(row.filters)


def apply(vectors: VectorSet, ids: Iterable[str], rows: Sequence[VectorRow]) -> None:
    vectors.remove(set(ids).difference(row.id for row in rows))
    vectors.put([entry(row) for row in rows])


def find(
    reader: Reader,
    info: IndexInfo,
    vectors: VectorSet,
    changed: Sequence[str],
    vector: Sequence[float],
    limit: int,
    any_of: Sequence[tuple[int, bytes]] | None,
    documents: DocumentReader | None,
) -> list[FoundVector]:
    """On a store thread: bring the index to the snapshot, then search both."""
    from reactor.search.vectors import ranked, unit_vector

    for start in range(0, len(changed), CHUNK):
        ids = changed[start : start + CHUNK]
        apply(vectors, ids, reader.vectors_of(info, ids))
    unit = unit_vector(vector)
    candidates = vectors.candidates(unit, limit, any_of)
    rows = ((row.id, row.vector) for row in reader.vectors_of(info, candidates))
    hits = ranked(unit, rows, limit)
    if documents is None:
        return [FoundVector(id, score) for id, score in hits]
    table, read = documents
    found: list[FoundVector] = []
    for id, score in hits:
        body = reader.get(table, id)
        assert body is not None, "a document and what an index has of it are written together"
        found.append(FoundVector(id, score, read(body)))
    return found
