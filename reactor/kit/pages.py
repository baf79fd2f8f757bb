"""Pages by index key: any number in one function, without a journal, with cursors that outlive changes of the query.

A cursor says where in an index to go on; it is sealed, so a client can't read it, and good for every query of that index,
whatever its range, order and filters. Unlike `.paginate` of a query, a page that is read again begins where it began but
ends wherever it is full: in a live list, ask for the page's `end_cursor`, or use `.paginate`.

Source of the semantics: convex-helpers' getPage and paginator (server-semantics section 12).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from reactor.engine.pagination import CursorSealer, part_between, read_page
from reactor.engine.pagination import Page as RawPage
from reactor.engine.ranges import IndexRange
from reactor.errors import DatabaseError
from reactor.runtime.call import Operation
from reactor.runtime.paging import PaginationOptions, PaginationResult
from reactor.runtime.query_builder import OrderedQuery
from reactor.runtime.query_plan import Plan
from reactor.store.catalogue import BY_CREATION_TIME
from reactor.values.types import UNSET

__all__ = ["Page", "Paginator", "get_page", "paginator"]

T = TypeVar("T")

_USED = "This query has been handed to the paginator and can't be used again."


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """What `get_page` read. `cursors[i]` is the place behind `items[i]`; `cursor` the place behind all that was read."""

    items: list[T]
    cursors: list[str]
    cursor: str
    has_more: bool


class Paginator(Generic[T]):
    """A query that is to be read in pages."""

    __slots__ = ("_query",)

    def __init__(self, query: OrderedQuery[T]) -> None:
        self._query = query

    def paginate(self, options: PaginationOptions, /) -> Coroutine[Any, Any, PaginationResult[T]]:
        """One page, as `.paginate` of a query; as often as wanted in one function."""
        if not isinstance(options, PaginationOptions):
            raise DatabaseError("`paginate` takes PaginationOptions(num_items=…, cursor=…).")
        plan = self._query._take_plan(_USED)
        return Operation(plan.call, "paginator(…).paginate", _paginate, (plan, options))


def paginator(query: OrderedQuery[T], /) -> Paginator[T]:
    """Read a query in pages, by index key: `await paginator(ctx.db.query(Message)).paginate(options)`."""
    return Paginator(query)


def get_page(
    query: OrderedQuery[T], /, *, limit: int, after: str | None = None, until: str | None = None
) -> Coroutine[Any, Any, Page[T]]:
    """Up to `limit` documents behind the cursor `after` and, with `until`, not beyond that one.

    Each comes with a cursor of its own, so a caller that merges several pages can go on from any of them. Raises
    InvalidCursor (an ApplicationError) for a cursor of another index, DatabaseError for a limit below 1.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise DatabaseError(f"`limit` is a positive number, not {limit!r}")
    plan = query._take_plan(_USED)
    return Operation(plan.call, "get_page", _get_page, (plan, limit, after, until))


def _paginate(plan: Plan, options: PaginationOptions) -> PaginationResult[Any]:
    range_, sealer, seal = _prepare(plan)
    page = _read(
        plan,
        range_,
        sealer,
        seal,
        num_items=options.num_items,
        cursor=options.cursor,
        end_cursor=options.end_cursor if isinstance(options.end_cursor, str) else None,
        maximum_rows_read=None if options.maximum_rows_read is UNSET else options.maximum_rows_read,
        maximum_bytes_read=None if options.maximum_bytes_read is UNSET else options.maximum_bytes_read,
    )
    return PaginationResult(
        page=page.items,
        is_done=page.is_done,
        continue_cursor=page.end,
        split_cursor=page.split_cursor,
        page_status=page.page_status,
    )


def _get_page(plan: Plan, limit: int, after: str | None, until: str | None) -> Page[Any]:
    range_, sealer, seal = _prepare(plan)
    items: list[Any] = []
    cursors: list[str] = []
    end, has_more = sealer.seal(None, seal), False
    if range_ is not None:
        start = None if after is None else sealer.open(after, seal)
        stop = None if until is None else sealer.open(until, seal)
        if after is not None and start is None:  # after the end there is nothing
            return Page([], [], after, False)
        part = part_between(range_, start, stop, bool(plan.reverse))
        scan = plan.call.tx.scan(part, reverse=bool(plan.reverse), fields=plan.fields)
        while len(items) < limit:
            row = scan.next()
            if row is None:
                break
            kept, item = plan.convert(*row)
            if kept:
                items.append(item)
                cursors.append(sealer.seal(row[0], seal))
        else:
            end, has_more = cursors[-1], True
        if not has_more and stop is not None:
            end, has_more = until or end, True
    return Page(items, cursors, end, has_more)


def _prepare(plan: Plan) -> tuple[IndexRange | None, CursorSealer, bytes]:
    """The range to read, and what cursors are sealed with: the index alone, so that they are good for all its queries.

    Raises DatabaseError for a search.
    """
    if plan.search is not None:
        raise DatabaseError(
            "A search is in order of relevance, not of an index's keys: read it with its own `.paginate`, or with `.take`."
        )
    range_ = plan.whole_range()
    index = (
        (plan.binding.name, BY_CREATION_TIME, [])
        if range_ is None
        else (range_.index.table, range_.index.name, list(range_.index.fields))
    )
    seal = hashlib.sha256(json.dumps(["kit", *index]).encode()).digest()
    return range_, CursorSealer(plan.call.root.host.cursor_key), seal


def _read(plan: Plan, range_: IndexRange | None, sealer: CursorSealer, seal: bytes, **options: Any) -> RawPage:
    if range_ is None:  # there is no such table yet
        return RawPage([], True, sealer.seal(None, seal), None, None)
    return read_page(
        plan.call.tx,
        range_,
        plan.convert,
        sealer=sealer,
        query=seal,
        reverse=bool(plan.reverse),
        fields=plan.fields,
        limits=plan.call.root.host.limits,
        **options,
    )
