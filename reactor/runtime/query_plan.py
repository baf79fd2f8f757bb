"""What a query has been told to read, and the operations that read it. They run in our turn (see `runtime.call`).

Rows are pulled one by one, so `first` and `take` read (and depend on) no more than they return.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from reactor.engine.pagination import CursorSealer, Page, fingerprint, read_page
from reactor.engine.ranges import IndexRange
from reactor.engine.read_set import Fields
from reactor.engine.scan import FIRST_CHUNK, Scan
from reactor.engine.text_search import TextScan, TextSearch
from reactor.engine.transaction import NO_FIELDS
from reactor.errors import DatabaseError
from reactor.runtime.call import Call, perform
from reactor.runtime.paging import PaginationOptions, PaginationResult
from reactor.runtime.tables import TableBinding
from reactor.schema.structs import fields_of
from reactor.store.catalogue import BY_CREATION_TIME, IndexInfo, TableInfo
from reactor.values.types import UNSET

if TYPE_CHECKING:
    from reactor.runtime.app import App

__all__ = ["Plan", "Rows", "bind_projection", "collect", "count", "first", "paginate", "unique"]

T = TypeVar("T")

_sealers: Final[dict[bytes, CursorSealer]] = {}


class Plan:
    """What a query has been told so far."""

    # What a plain query never changes stands here, and costs it nothing.
    range: IndexRange | None = None
    search: TextSearch | None = None
    """Instead of a range."""
    reverse: bool | None = None
    filters: Sequence[tuple[Callable[[Any], Any], bool]] = ()
    """Predicates in order; True for those that see the projection instead of the document."""
    project: Callable[[bytes], Any] | None = None
    fields: Fields = None
    """What it looks at of the documents: the projection's fields, unless a filter saw the documents themselves."""
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

    def scan(self) -> Scan | TextScan | None:
        if self.search is not None:
            return self.call.tx.search(self.search, fields=self.fields)
        range_ = self.whole_range()
        if range_ is None:
            return None
        return self.call.tx.scan(range_, reverse=bool(self.reverse), fields=self.fields)

    def rows(self, limit: int) -> list[tuple[bytes, bytes]]:
        """The first `limit` rows, up to `FIRST_CHUNK`, in one go: for queries without filters."""
        if self.search is not None:
            found = self.call.tx.search(self.search, fields=self.fields)
            return [row for _ in range(limit) if (row := found.next()) is not None]
        range_ = self.range
        if range_ is None and (range_ := self.whole_range()) is None:
            return []
        tx, reverse = self.call.tx, self.reverse is True
        return tx.rows(self.table, range_, limit, reverse=reverse, fields=self.fields)  # type: ignore[arg-type]

    def convert(self, key: bytes, body: bytes) -> tuple[bool, Any]:
        """(kept by the filters, item) of one row."""
        if self.call.tx.writable and self.project is None:
            # A following patch or delete of this row need not fetch it again.
            self.call.tx.remember(self.table, key, body)  # type: ignore[attr-defined]
        project = self.project
        if not self.filters:
            return True, self.binding.read(body) if project is None else project(body)
        root = self.call.root
        document = None if project is not None and all(sees for _, sees in self.filters) else self.binding.read(body)
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


def bind_projection(app: App, binding: TableBinding, projection: Any) -> TableBinding:
    """The table as seen through a projection. Raises DatabaseError for what is no Projection class."""
    known = app.tables.get((binding.name, projection))
    if known is None:
        read = app.types.projection_codec(binding.definition, projection).read
        known = TableBinding(binding.name, None, read, frozenset(f.wire for f in fields_of(projection)))
        app.tables[(binding.name, projection)] = known
    return known


def collect(plan: Plan, count: int | None) -> list[Any]:
    if count is not None and 0 < count <= FIRST_CHUNK and not plan.filters:
        read = plan.project or plan.binding.read
        return [read(body) for _, body in plan.rows(count)]
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


def first(plan: Plan) -> Any:
    if not plan.filters:
        rows = plan.rows(1)
        return (plan.project or plan.binding.read)(rows[0][1]) if rows else None
    scan = plan.scan()
    if scan is None:
        return None
    while (row := scan.next()) is not None:
        kept, item = plan.convert(row[0], row[1])
        if kept:
            return item
    return None


def unique(plan: Plan) -> Any:
    if not plan.filters:
        rows = plan.rows(2)
        if len(rows) < 2:
            return (plan.project or plan.binding.read)(rows[0][1]) if rows else None
        keys = [key for key, _ in rows]
    else:
        scan = plan.scan()
        if scan is None:
            return None
        keys = []
        item: Any = None
        while len(keys) < 2 and (row := scan.next()) is not None:
            kept, found = plan.convert(row[0], row[1])
            if kept:
                keys.append(row[0])
                item = found
        if len(keys) < 2:
            return item
    ids = ", ".join(key[key.rindex(b"\x10") + 1 : -1].decode() for key in keys)
    raise DatabaseError(
        f"unique() query returned more than one result from table {plan.binding.name}:\n [{ids}, ...]",
        code="NotUnique",
    )


def count(plan: Plan) -> int:
    if plan.filters:
        return len(collect(plan, None))
    if plan.search is not None:
        return plan.call.tx.search(plan.search, fields=NO_FIELDS).count()
    range_ = plan.whole_range()
    return 0 if range_ is None else plan.call.tx.count(range_)


def paginate(plan: Plan, options: PaginationOptions) -> PaginationResult[Any]:
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
    found = plan.search or plan.whole_range()
    source = found or IndexRange(IndexInfo(0, plan.binding.name, 0, BY_CREATION_TIME, ()), b"", None)
    query = fingerprint(source, reverse=bool(plan.reverse), operators=plan.operators)
    top = call.depth == 0 and call.fn.kind == "query"
    end_cursor = options.end_cursor if isinstance(options.end_cursor, str) else None
    if end_cursor is None and top:
        end_cursor = root.journal
    page = (
        Page([], True, sealer.seal(None, query), None, None)
        if found is None
        else read_page(
            call.tx,
            source,
            plan.convert,
            sealer=sealer,
            query=query,
            reverse=bool(plan.reverse),
            fields=plan.fields,
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


class Rows(Generic[T]):
    """`async for` over a query: one row per step."""

    __slots__ = ("_plan", "_scan", "_started")

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._scan: Scan | TextScan | None = None
        self._started = False

    def __aiter__(self) -> Rows[T]:
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
