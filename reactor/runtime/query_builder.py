"""`ctx.db.query(...)`: a lazy, single-use description of what to read; its last call reads it (`runtime.query_plan`).

Every chained call uses its builder up and returns the next.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, overload

from reactor.engine.ranges import IndexRange
from reactor.errors import DatabaseError
from reactor.runtime import query_plan as operations
from reactor.runtime.call import Operation
from reactor.runtime.paging import PaginationOptions, PaginationResult
from reactor.runtime.query_plan import Plan, Rows, bind_projection
from reactor.runtime.range_builder import IndexBounds, IndexEqualities, build_range
from reactor.runtime.search_builder import SearchFilters, SearchStart, build_search
from reactor.runtime.tables import TableBinding, unknown_index
from reactor.schema.structs import Projection
from reactor.store.catalogue import IndexInfo, IndexKind, TableInfo

__all__ = ["IndexedQuery", "OrderedQuery", "SearchQuery", "TableQuery"]

T = TypeVar("T")
S = TypeVar("S", bound=Projection)

MAX_OPERATORS: Final = 256
_CHAINED: Final = "A query can only be chained once and can't be chained after iteration begins."
_CLOSED: Final = "This query has been chained with another operator and can't be reused."
_CONSUMED: Final = "This query is closed and can't emit any more values."


class OrderedQuery(Generic[T]):
    """A query whose index and order are decided."""

    __slots__ = ("_plan",)

    def __init__(self, plan: Plan) -> None:
        self._plan: Plan | str = plan
        """The plan, until it is handed on; then why it is not there."""

    def _take_plan(self, why: str) -> Plan:
        plan = self._plan
        if plan.__class__ is not Plan:
            raise DatabaseError(str(plan))
        self._plan = why
        return plan  # type: ignore[return-value]

    def _chain(self) -> Plan:
        plan = self._plan
        if plan.__class__ is not Plan:
            raise DatabaseError(_CHAINED)
        self._plan = _CLOSED
        return plan  # type: ignore[return-value]

    def filter(self, predicate: Callable[[T], object], /) -> OrderedQuery[T]:
        """Keep the documents for which `predicate(document)` is true.

        Every document in the range is read and counts as read; narrow the range with an index where you can.
        """
        plan = self._chain()
        if not callable(predicate):
            raise DatabaseError("`filter` takes a function of the document, as in `.filter(lambda task: task.done)`.")
        if len(plan.operators) >= MAX_OPERATORS:
            raise DatabaseError(f"Can't construct query with more than {MAX_OPERATORS} operators")
        plan.filters = [*plan.filters, (predicate, plan.project is not None)]
        plan.operators = (*plan.operators, "filter")
        return OrderedQuery(plan)

    def select(self, projection: type[S], /) -> OrderedQuery[S]:
        """Give only some fields: those of a `Projection` class.

        The query then depends on these alone: it does not run again when others change, unless a `.filter` before this
        step saw the whole documents.
        """
        plan = self._chain()
        if plan.project is not None:
            raise DatabaseError("Queries may only specify select at most once")
        seen = bind_projection(plan.call.root.app, plan.binding, projection)
        plan.project = seen.read
        if not plan.filters:
            plan.fields = seen.fields
        plan.operators = (*plan.operators, "select")
        return OrderedQuery(plan)

    # Consumers

    def _consume(self, name: str, run: Callable[..., Any], *args: Any) -> Any:
        plan = self._take_plan(_CONSUMED)
        return Operation(plan.call, name, run, (plan, *args))

    def collect(self) -> Coroutine[Any, Any, list[T]]:
        """All documents, as a list. Use `take` or `paginate` where there may be many."""
        return self._consume("ctx.db.query(…).collect", operations.collect, None)

    def take(self, count: int, /) -> Coroutine[Any, Any, list[T]]:
        """The first `count` documents."""
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise DatabaseError("Arg 1 `n` to `take` must be a non-negative integer")
        return self._consume("ctx.db.query(…).take", operations.collect, count)

    def first(self) -> Coroutine[Any, Any, T | None]:
        """The first document, or None."""
        return self._consume("ctx.db.query(…).first", operations.first)

    def unique(self) -> Coroutine[Any, Any, T | None]:
        """The only document, or None. Raises DatabaseError when there are two."""
        return self._consume("ctx.db.query(…).unique", operations.unique)

    def count(self) -> Coroutine[Any, Any, int]:
        """How many documents there are. Without filters it counts index entries and reads no document."""
        return self._consume("ctx.db.query(…).count", operations.count)

    def paginate(self, options: PaginationOptions, /) -> Coroutine[Any, Any, PaginationResult[T]]:
        """One page. At most one `paginate` per function call."""
        if not isinstance(options, PaginationOptions):
            raise DatabaseError(
                "`paginate` takes PaginationOptions(num_items=…, cursor=…): declare a parameter "
                "`pagination_opts: PaginationOptions` and pass it on."
            )
        return self._consume("ctx.db.query(…).paginate", operations.paginate, options)

    def __aiter__(self) -> AsyncIterator[T]:
        """Read row by row. Rows may be changed and deleted on the way."""
        return Rows(self._take_plan("Iteration can only begin on a query once."))

    def __await__(self) -> Generator[Any, Any, Any]:
        raise DatabaseError(
            "A query is not awaited itself: end it with .collect(), .take(n), .first(), .unique(), .count() or "
            ".paginate(…), or go through it with `async for`."
        )

    def __iter__(self) -> Any:
        raise DatabaseError("Go through a query with `async for`, or `await` its .collect() first.")

    def __repr__(self) -> str:
        return f"<query of {self._plan.binding.name}>" if isinstance(self._plan, Plan) else "<query>"


class IndexedQuery(OrderedQuery[T]):
    """A query whose index is decided and whose order is not."""

    __slots__ = ()

    def order(self, order: Literal["asc", "desc"], /) -> OrderedQuery[T]:
        """`"asc"` (as without) or `"desc"`, by the whole index key."""
        plan = self._chain()
        if order not in ("asc", "desc"):
            raise DatabaseError(f'`order` is "asc" or "desc", not {order!r}')
        if plan.reverse is not None:
            raise DatabaseError("Queries may only specify order at most once")
        plan.reverse = order == "desc"
        return OrderedQuery(plan)


class SearchQuery(OrderedQuery[T]):
    """A search: its order is by relevance."""

    __slots__ = ()

    if not TYPE_CHECKING:  # for type checkers it is not there

        def order(self, order: Any, /) -> Any:
            raise DatabaseError(
                "Search queries must always be in relevance order. Can not set order manually.", code="SearchQueryOrder"
            )


class TableQuery(IndexedQuery[T]):
    """A query of a table: all of it in order of creation, unless it gets an index."""

    __slots__ = ()

    @overload
    def with_index(self, name: str, /, **equal: Any) -> IndexedQuery[T]: ...
    @overload
    def with_index(self, name: str, describe: Callable[[IndexEqualities], IndexBounds], /) -> IndexedQuery[T]: ...
    def with_index(self, name: str, describe: Any = None, /, **equal: Any) -> IndexedQuery[T]:
        """Read an index in its order: `with_index("by_project", project_id=x)` for equality on its first fields,
        `with_index("by_time", lambda q: q.eq("project_id", x).gte("created_at", t))` for ranges, the name alone for all.
        """
        plan = self._chain()
        table = plan.table
        if table is None:
            return IndexedQuery(plan)  # nothing to read, whatever the range
        index = table.indexes.get(name)
        if index is None or index.state != "ready":
            raise _not_ready(plan.binding, table, name, index, "database")
        index_plan = plan.binding.plan(index)
        if describe is not None:
            if equal:
                raise DatabaseError("`with_index` takes equalities as keywords or a lambda for the range, not both.")
            plan.range = build_range(index_plan, index, describe)
        elif equal:
            plan.range = index_plan.equal_range(index, equal)
        else:
            plan.range = IndexRange(index, b"", None)
        return IndexedQuery(plan)

    def with_search_index(self, name: str, describe: Callable[[SearchStart], SearchFilters], /) -> SearchQuery[T]:
        """Search a text index, most relevant first:
        `with_search_index("search_body", lambda q: q.search("body", text).eq("project_id", project))`.

        A document matches if it has any word of the text, or one that begins with the last word, and equals all filters.
        Texts are words in lower case; a text without words finds nothing. At most 1,024 matches can be read.
        """
        plan = self._chain()
        table = plan.table
        if table is None:
            return SearchQuery(plan)
        index = table.search.get(name)
        if index is None or index.state != "ready":
            raise _not_ready(plan.binding, table, name, index, "search")
        plan.search = build_search(plan.binding, table, index, describe)
        return SearchQuery(plan)

    def full_table_scan(self) -> IndexedQuery[T]:
        """All of the table in order of creation; what a query without an index does anyway."""
        return IndexedQuery(self._chain())


def _not_ready(
    binding: TableBinding, table: TableInfo, name: str, index: IndexInfo | None, kind: IndexKind
) -> DatabaseError:
    """Why a query that asks for an index of this kind can't have it."""
    if kind != "database" and name in table.indexes:
        return DatabaseError(
            f"Index {binding.name}.{name} is a database index: read it with `with_index`.", code="WrongIndexKind"
        )
    if kind != "search" and name in table.search:
        return DatabaseError(
            f"Index {binding.name}.{name} is a search index: read it with `with_search_index`.", code="WrongIndexKind"
        )
    if name in table.vector:
        return DatabaseError(
            f"Index {binding.name}.{name} is a vector index: read it with `ctx.vector_search`, in an action.",
            code="WrongIndexKind",
        )
    if index is None:
        # An index of the schema that the database does not have yet is being deployed.
        known = table.indexes if kind == "database" else table.search
        return unknown_index(binding, name, [n for n, i in known.items() if i.state == "ready"])
    if index.state == "staged":
        return DatabaseError(
            f"Index {binding.name}.{name} is currently staged and not available to query until it is declared "
            "without `staged=True`.",
            code="IndexStaged",
        )
    return DatabaseError(
        f"Index {binding.name}.{name} is currently backfilling and not available to query yet.", code="IndexBackfilling"
    )
