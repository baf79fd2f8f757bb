"""`ctx.db.query(...)`: a lazy, single-use description of what to read, and the operations that read it.

Every chained call uses its builder up and returns the next. Rows are pulled one by one, so `first` and `take` read (and
depend on) no more than they return.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, overload

from reactor.engine.pagination import CursorSealer, Page, fingerprint, read_page
from reactor.engine.ranges import IndexRange
from reactor.engine.transaction import Scan
from reactor.errors import DatabaseError
from reactor.runtime.call import Call, Operation, perform
from reactor.runtime.paging import PaginationOptions, PaginationResult
from reactor.runtime.range_builder import IndexBounds, IndexEqualities, build_range
from reactor.runtime.tables import TableBinding, unknown_index
from reactor.schema.structs import Projection
from reactor.store.catalogue import BY_CREATION_TIME, IndexInfo, TableInfo
from reactor.values.types import UNSET

if TYPE_CHECKING:
    from reactor.runtime.app import App

__all__ = ["IndexedQuery", "OrderedQuery", "TableQuery"]

T = TypeVar("T")
S = TypeVar("S", bound=Projection)

MAX_OPERATORS: Final = 256
_CHAINED: Final = "A query can only be chained once and can't be chained after iteration begins."
_CLOSED: Final = "This query has been chained with another operator and can't be reused."
_CONSUMED: Final = "This query is closed and can't emit any more values."

_sealers: dict[bytes, CursorSealer] = {}


class Plan:
    """What a query has been told so far."""

    # What a plain query never changes stands here, and costs it nothing.
    range: IndexRange | None = None
    reverse: bool | None = None
    filters: Sequence[tuple[Callable[[Any], Any], bool]] = ()
    """Predicates in order; True for those that see the projection instead of the document."""
    project: Callable[[bytes], Any] | None = None
    operators: tuple[str, ...] = ()

    def __init__(self, call: Call, binding: TableBinding, table: TableInfo | None) -> None:
        self.call = call
        self.binding = binding
        self.table = table

    def whole_range(self) -> IndexRange | None:
        """The range to read; None when there is no such table yet, so nothing to read."""
        if self.range is not None:
            return self.range
        if self.table is None:
            return None
        return IndexRange(self.table.indexes[BY_CREATION_TIME], b"", None)

    def scan(self) -> Scan | None:
        range_ = self.whole_range()
        if range_ is None:
            return None
        return self.call.tx.scan(range_, reverse=bool(self.reverse))

    def convert(self, key: bytes, body: bytes) -> tuple[bool, Any]:
        """(kept by the filters, item) of one row."""
        if self.call.tx.writable and self.project is None:
            # A following patch or delete of this row need not fetch it again.
            self.call.tx.remember(key[key.rindex(b"\x10") + 1 : -1].decode(), body)  # type: ignore[attr-defined]
        project = self.project
        if not self.filters:
            return True, self.binding.read(body) if project is None else project(body)
        root = self.call.root
        document = self.binding.read(body)
        item = document if project is None else project(body)
        for predicate, sees_item in self.filters:
            root.to_user()
            try:
                kept = predicate(item if sees_item else document)
            finally:
                root.to_ours()
            if not kept:
                return False, item
            if inspect.isawaitable(kept):
                if inspect.iscoroutine(kept):
                    kept.close()
                raise DatabaseError("The predicate of `filter` must be a plain function: it can't be async.")
        return True, item


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
        """Give only some fields: those of a `Projection` class."""
        plan = self._chain()
        if plan.project is not None:
            raise DatabaseError("Queries may only specify select at most once")
        plan.project = projection_reader(plan.call.root.app, plan.binding, projection)
        plan.operators = (*plan.operators, "select")
        return OrderedQuery(plan)

    # Consumers

    def _consume(self, name: str, run: Callable[..., Any], *args: Any) -> Any:
        plan = self._take_plan(_CONSUMED)
        return Operation(plan.call, name, run, (plan, *args))

    def collect(self) -> Coroutine[Any, Any, list[T]]:
        """All documents, as a list. Use `take` or `paginate` where there may be many."""
        return self._consume("ctx.db.query(…).collect", _collect, None)

    def take(self, count: int, /) -> Coroutine[Any, Any, list[T]]:
        """The first `count` documents."""
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise DatabaseError("Arg 1 `n` to `take` must be a non-negative integer")
        return self._consume("ctx.db.query(…).take", _collect, count)

    def first(self) -> Coroutine[Any, Any, T | None]:
        """The first document, or None."""
        return self._consume("ctx.db.query(…).first", _first)

    def unique(self) -> Coroutine[Any, Any, T | None]:
        """The only document, or None. Raises DatabaseError when there are two."""
        return self._consume("ctx.db.query(…).unique", _unique)

    def count(self) -> Coroutine[Any, Any, int]:
        """How many documents there are. Without filters it counts index entries and reads no document."""
        return self._consume("ctx.db.query(…).count", _count)

    def paginate(self, options: PaginationOptions, /) -> Coroutine[Any, Any, PaginationResult[T]]:
        """One page. At most one `paginate` per function call."""
        if not isinstance(options, PaginationOptions):
            raise DatabaseError(
                "`paginate` takes PaginationOptions(num_items=…, cursor=…): declare a parameter "
                "`pagination_opts: PaginationOptions` and pass it on."
            )
        return self._consume("ctx.db.query(…).paginate", _paginate, options)

    def __aiter__(self) -> AsyncIterator[T]:
        """Read row by row. Rows may be changed and deleted on the way."""
        return _Rows(self._take_plan("Iteration can only begin on a query once."))

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
            raise _not_ready(plan.binding, table, name, index)
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

    def with_search_index(self, name: str, describe: Callable[[Any], Any], /) -> OrderedQuery[T]:
        """Search a text index, by relevance."""
        raise DatabaseError("`with_search_index` comes with full-text search, which this version does not have yet.")

    def full_table_scan(self) -> IndexedQuery[T]:
        """All of the table in order of creation; what a query without an index does anyway."""
        return IndexedQuery(self._chain())


def _not_ready(binding: TableBinding, table: TableInfo, name: str, index: IndexInfo | None) -> DatabaseError:
    if index is None:
        # An index of the schema that the database does not have yet is being deployed.
        return unknown_index(binding, name, [n for n, i in table.indexes.items() if i.state == "ready"])
    if index.state == "staged":
        return DatabaseError(
            f"Index {binding.name}.{name} is currently staged and not available to query until it is declared "
            "without `staged=True`.",
            code="IndexStaged",
        )
    return DatabaseError(
        f"Index {binding.name}.{name} is currently backfilling and not available to query yet.", code="IndexBackfilling"
    )


def projection_reader(app: App, binding: TableBinding, projection: Any) -> Callable[[bytes], Any]:
    """A stored body → the projection. Raises DatabaseError for what is no Projection class."""
    known = app.tables.get((binding.name, projection))
    if known is not None:
        return known.read
    made = TableBinding(binding.name, None, app.types.projection_codec(binding.definition, projection).read)
    app.tables[(binding.name, projection)] = made
    return made.read


# Operations, in our turn


def _collect(plan: Plan, count: int | None) -> list[Any]:
    scan = plan.scan()
    items: list[Any] = []
    if scan is None or count == 0:
        return items
    following = scan.next
    if count is not None and not plan.filters:
        scan.limit_chunk(count)
    if plan.filters or plan.project is not None or plan.call.tx.writable:
        convert = plan.convert
        while (count is None or len(items) < count) and (row := following()) is not None:
            kept, item = convert(row[0], row[1])
            if kept:
                items.append(item)
        return items
    read = plan.binding.read
    if count is None:
        while (row := following()) is not None:
            items.append(read(row[1]))
    else:
        while len(items) < count and (row := following()) is not None:
            items.append(read(row[1]))
    return items


def _first(plan: Plan) -> Any:
    scan = plan.scan()
    if scan is None:
        return None
    if not plan.filters:
        scan.limit_chunk(1)
    while (row := scan.next()) is not None:
        kept, item = plan.convert(row[0], row[1])
        if kept:
            return item
    return None


def _unique(plan: Plan) -> Any:
    scan = plan.scan()
    if scan is None:
        return None
    if not plan.filters:
        scan.limit_chunk(2)
    found: list[tuple[bytes, Any]] = []
    while len(found) < 2 and (row := scan.next()) is not None:
        kept, item = plan.convert(row[0], row[1])
        if kept:
            found.append((row[0], item))
    if len(found) < 2:
        return found[0][1] if found else None
    ids = ", ".join(key[key.rindex(b"\x10") + 1 : -1].decode() for key, _ in found)
    raise DatabaseError(
        f"unique() query returned more than one result from table {plan.binding.name}:\n [{ids}, ...]",
        code="NotUnique",
    )


def _count(plan: Plan) -> int:
    if plan.filters:
        return len(_collect(plan, None))
    range_ = plan.whole_range()
    return 0 if range_ is None else plan.call.tx.count(range_)


def _paginate(plan: Plan, options: PaginationOptions) -> PaginationResult[Any]:
    call = plan.call
    root = call.root
    if call.paginated:
        raise DatabaseError(
            "This query or mutation function ran multiple paginated queries. Only a single paginated query is supported "
            "in each function.",
            code="MultiplePaginatedDatabaseQueries",
        )
    call.paginated = True
    sealer = _sealers.get(root.host.cursor_key)
    if sealer is None:
        sealer = _sealers[root.host.cursor_key] = CursorSealer(root.host.cursor_key)
    # Without a table there is nothing to read, but the cursor has to stay good once there is one.
    found = plan.whole_range()
    range_ = found or IndexRange(IndexInfo(0, plan.binding.name, 0, BY_CREATION_TIME, ()), b"", None)
    query = fingerprint(range_, reverse=bool(plan.reverse), operators=plan.operators)
    top = call.depth == 0 and call.fn.kind == "query"
    end_cursor = options.end_cursor if isinstance(options.end_cursor, str) else None
    if end_cursor is None and top:
        end_cursor = root.journal
    page = (
        Page([], True, sealer.seal(None, query), None, None)
        if found is None
        else read_page(
            call.tx,
            range_,
            plan.convert,
            sealer=sealer,
            query=query,
            reverse=bool(plan.reverse),
            num_items=options.num_items,
            cursor=options.cursor,
            end_cursor=end_cursor,
            maximum_rows_read=None if options.maximum_rows_read is UNSET else options.maximum_rows_read,
            maximum_bytes_read=None if options.maximum_bytes_read is UNSET else options.maximum_bytes_read,
            limits=root.host.limits,
        )
    )
    if top:
        root.journal_out = page.end
    return PaginationResult(
        page=page.items,
        is_done=page.is_done,
        continue_cursor=page.end,
        split_cursor=page.split_cursor,
        page_status=page.page_status,
    )


class _Rows(Generic[T]):
    """`async for` over a query: one row per step."""

    __slots__ = ("_plan", "_scan", "_started")

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._scan: Scan | None = None
        self._started = False

    def __aiter__(self) -> _Rows[T]:
        return self

    def __anext__(self) -> Any:
        return self

    def __await__(self) -> Generator[Any, Any, T]:
        call = self._plan.call
        if call.thread != get_ident():
            raise call.dead("ctx.db.query(…)")
        found, item = perform(call.root, self._step, ())
        if not found:
            raise StopAsyncIteration
        return item
        yield

    def _step(self) -> tuple[bool, Any]:
        plan = self._plan
        if not self._started:
            self._started = True
            self._scan = plan.scan()
        scan = self._scan
        if scan is None:
            return False, None
        while (row := scan.next()) is not None:
            kept, item = plan.convert(row[0], row[1])
            if kept:
                return True, item
        return False, None
