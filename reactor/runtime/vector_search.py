"""`ctx.vector_search` of actions: its arguments checked, its filter built, its hits as structs (server-semantics 10.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from reactor.engine.vector_entries import filter_key
from reactor.engine.vector_indexes import VectorIndexes, VectorIndexGone
from reactor.errors import DatabaseError
from reactor.limits import VECTOR_FILTERS_MAX, VECTOR_RESULTS_MAX
from reactor.runtime.tables import TableBinding, bind_table, unknown_index
from reactor.schema.structs import Struct, field
from reactor.store.catalogue import IndexInfo, TableInfo
from reactor.values.types import Int64

if TYPE_CHECKING:
    from reactor.runtime.app import App
    from reactor.schema.ids import Id

__all__ = ["VectorFilter", "VectorFilterBuilder", "VectorHit", "VectorMatch", "vector_search"]

D = TypeVar("D")

ATTEMPTS: Final = 3


class VectorHit(Struct, Generic[D]):
    """A document that was found. `score` is the cosine of its vector and the one searched for, from -1 to 1."""

    if TYPE_CHECKING:
        id: Id[D] = field(name="_id")
    else:
        # As a result it is any string: of which table the index is, no annotation of a generic class can say.
        id: str = field(name="_id")
    score: float = field(name="_score")


class VectorMatch(VectorHit[D], Generic[D]):
    """A document that was found, with the document."""

    document: D


_FILTERS: Final = "Filters should be a combination of `q.eq` and `q.or_`."


class VectorFilter:
    """What `q.eq` and `q.or_` give."""

    __slots__ = ("any_of",)

    def __init__(self, any_of: Sequence[tuple[int, bytes]]) -> None:
        self.any_of = any_of
        """(number of a filter field, key): a document with one of these is kept."""


class VectorFilterBuilder:
    """The `q` of `filter=lambda q: …`."""

    __slots__ = ("_binding", "_index")

    def __init__(self, binding: TableBinding, index: IndexInfo) -> None:
        self._binding = binding
        self._index = index

    def eq(self, field: str, value: Any, /) -> VectorFilter:
        """Documents whose `field`, one of the index's `filter_fields`, equals `value`; None or UNSET: those without it."""
        binding, index = self._binding, self._index
        filters = index.fields[1:]
        path = field if field in filters else binding.field_name(field)
        if path not in filters:
            raise DatabaseError(
                f'Vector query against {index.table}.{index.name} contains an equality filter on "{path}" but that field '
                f"isn't indexed for filtering in `filterFields`. Its filter fields: {', '.join(filters) or 'none'}.",
                code="IncorrectVectorFilterField",
            )
        if type(value) is int and binding.holds_int64(path):
            value = Int64(value)
        return VectorFilter([(filters.index(path), filter_key(binding.operand(path, value)))])

    def or_(self, *filters: VectorFilter) -> VectorFilter:
        """Documents that one of these keeps."""
        if not all(isinstance(one, VectorFilter) for one in filters):
            raise DatabaseError(_FILTERS, code="InvalidVectorFilter")
        return VectorFilter([condition for one in filters for condition in one.any_of])


async def vector_search(
    app: App,
    vectors: VectorIndexes,
    table: Any,
    name: str,
    vector: Any,
    limit: Any,
    filter: Callable[[VectorFilterBuilder], VectorFilter] | None,
    documents: bool,
) -> list[Any]:
    binding = bind_table(app, table)
    for attempt in range(ATTEMPTS):
        info, index = _find_index(vectors, binding, name)
        try:
            return await _search(vectors, binding, info, index, vector, limit, filter, documents)
        except VectorIndexGone:
            # A deploy dropped it in between: looking it up again tells that, or finds its successor.
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


async def _search(
    vectors: VectorIndexes,
    binding: TableBinding,
    info: TableInfo,
    index: IndexInfo,
    vector: Any,
    limit: Any,
    filter: Callable[[VectorFilterBuilder], VectorFilter] | None,
    documents: bool,
) -> list[Any]:
    assert index.dimensions is not None
    entries = _checked_vector(vector, index.dimensions)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise DatabaseError(f"`limit` must be a whole number from 1 to {VECTOR_RESULTS_MAX}, not {limit!r}.")
    if limit > VECTOR_RESULTS_MAX:
        raise DatabaseError(
            f"Vector queries can fetch at most {VECTOR_RESULTS_MAX} results, requested {limit}.",
            code="VectorLimitTooLargeError",
        )
    any_of = None if filter is None else _conditions(filter, binding, index)
    found = await vectors.search(index, entries, limit, any_of, documents=(info, binding.read) if documents else None)
    hits: list[Any] = []
    for hit in found:
        id: Any = hit.id
        if documents:
            hits.append(VectorMatch(id=id, score=hit.score, document=hit.document))
        else:
            hits.append(VectorHit(id=id, score=hit.score))
    return hits


def _find_index(vectors: VectorIndexes, binding: TableBinding, name: str) -> tuple[TableInfo, IndexInfo]:
    table = vectors.catalogue.tables.get(binding.name)
    index = None if table is None else table.vector.get(name)
    if table is not None and index is not None and index.state == "ready":
        return table, index
    where = f"{binding.name}.{name}"
    if index is not None and index.state == "staged":
        raise DatabaseError(
            f"Index {where} is currently staged and not available to query until it is declared without `staged=True`.",
            code="IndexStaged",
        )
    if index is not None:
        raise DatabaseError(
            f"Index {where} is currently backfilling and not available to query yet.", code="IndexBackfilling"
        )
    if table is not None and (name in table.indexes or name in table.search):
        raise DatabaseError(f"Index {where} is not a vector index.", code="WrongIndexKind")
    known = () if table is None else [n for n, i in table.vector.items() if i.state == "ready"]
    raise unknown_index(binding, name, known)


def _checked_vector(vector: Any, dimensions: int) -> list[float]:
    if hasattr(vector, "tolist"):  # numpy and array.array
        vector = vector.tolist()
    if not isinstance(vector, list | tuple) or not vector:
        raise DatabaseError(
            f"`vector` must be a non-empty Array in vectorSearch: a list of {dimensions} numbers.", code="InvalidVector"
        )
    if len(vector) != dimensions:
        raise DatabaseError(
            f"Expected a vector with dimensions {dimensions}, received {len(vector)}.", code="VectorDimensionsMismatch"
        )
    entries: list[float] = []
    for position, entry in enumerate(vector):
        if isinstance(entry, bool) or not isinstance(entry, int | float) or not math.isfinite(entry):
            raise DatabaseError(
                f"`vector` must consist of finite numbers; at position {position} it has {entry!r}.",
                code="InvalidVector",
            )
        entries.append(float(entry))
    return entries


def _conditions(
    filter: Callable[[VectorFilterBuilder], VectorFilter], binding: TableBinding, index: IndexInfo
) -> Sequence[tuple[int, bytes]]:
    if not callable(filter):
        raise DatabaseError(f"`filter` takes a function, as in `filter=lambda q: q.eq(…)`. {_FILTERS}")
    found = filter(VectorFilterBuilder(binding, index))
    if not isinstance(found, VectorFilter):
        raise DatabaseError(_FILTERS, code="InvalidVectorFilter")
    if len(found.any_of) > VECTOR_FILTERS_MAX:
        raise DatabaseError(
            f"Vector queries can have at most {VECTOR_FILTERS_MAX} equality filters, this one has {len(found.any_of)}.",
            code="TooManyVectorFilters",
        )
    return found.any_of
