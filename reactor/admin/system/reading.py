"""How system functions read: tables by name, documents as they are stored, pages that a tool can swallow.

Tools see wire documents (plain dicts), whatever the schema says of them; of our own tables only the public ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from reactor.engine.commit_record import ANY_TABLE
from reactor.engine.transaction import Transaction
from reactor.limits import ARRAY_MAX_ELEMENTS
from reactor.model.system_tables import PUBLIC
from reactor.runtime import query_plan
from reactor.runtime.call import perform
from reactor.runtime.contexts import QueryCtx
from reactor.runtime.paging import PaginationOptions
from reactor.runtime.query_plan import Plan
from reactor.runtime.tables import TableBinding
from reactor.schema import v
from reactor.store.catalogue import FIRST_USER_TABLE, TableInfo

__all__ = [
    "COMPONENT_ID", "ORDER", "PAGE_MAX_BYTES", "PAGE_MAX_ROWS", "PAGINATION", "empty_page", "in_transaction", "pages",
    "read_page", "table_of", "table_plan", "user_tables",
]  # fmt: skip

T = TypeVar("T")
P = ParamSpec("P")

PAGE_MAX_ROWS: Final = ARRAY_MAX_ELEMENTS
PAGE_MAX_BYTES: Final = 5 * 1024 * 1024
"""A page ends after the row that reaches this. Source: deployment-api 3.1."""

COMPONENT_ID: Final = v.optional(v.nullable(v.string()))
"""The argument by which tools name a component; there are none here, so it says nothing."""
ORDER: Final = v.union(v.literal("asc"), v.literal("desc"))
PAGINATION: Final = v.object(
    {
        "cursor": v.nullable(v.string()),
        "numItems": v.number(),
        "endCursor": v.optional(v.nullable(v.string())),
        "id": v.optional(v.number()),
        "maximumRowsRead": v.optional(v.number()),
        "maximumBytesRead": v.optional(v.number()),
    }
)
"""The argument `paginationOpts`."""


def in_transaction(
    ctx: QueryCtx, run: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call `run(transaction, …)` where the store may be used: as an operation of `ctx`, noted in its read set."""
    root = ctx._call.root
    return perform(root, lambda: run(ctx._call.tx, *args, **kwargs), ())


def user_tables(tx: Transaction) -> list[TableInfo]:
    """The user's tables, by name. The result depends on which there are."""
    tx.depend_on(ANY_TABLE)
    return sorted((t for t in tx.catalogue.tables.values() if t.number >= FIRST_USER_TABLE), key=lambda t: t.name)


def table_of(tx: Transaction, name: str) -> TableInfo | None:
    """The table of this name, if the operator may read it: the user's, and the public system tables."""
    if name.startswith("_") and name not in PUBLIC:
        return None
    return tx.table(name)


def table_plan(ctx: QueryCtx, table: TableInfo, *, order: str = "asc") -> Plan:
    """What `ctx.db.query` would make of a table, giving stored documents as they are. Set `range` and `filters` on it."""
    plan = Plan(ctx._call, TableBinding(table.name, None), table)
    plan.reverse = order == "desc"
    return plan


def read_page(ctx: QueryCtx, plan: Plan, options: Mapping[str, Any]) -> dict[str, Any]:
    """One page, as clients get it, of at most `PAGE_MAX_ROWS` rows and about `PAGE_MAX_BYTES` read.

    `options` is what fits `PAGINATION`. Raises InvalidCursor, DatabaseError.
    """
    asked = PaginationOptions(
        num_items=_at_most(options["numItems"], PAGE_MAX_ROWS),
        cursor=options["cursor"],
        end_cursor=options.get("endCursor"),
        maximum_rows_read=_at_most(options.get("maximumRowsRead"), plan.call.root.host.limits.documents_read),
        maximum_bytes_read=_at_most(options.get("maximumBytesRead"), PAGE_MAX_BYTES),
    )
    page = perform(plan.call.root, query_plan.paginate, (plan, asked))
    return {
        "page": page.page,
        "isDone": page.is_done,
        "continueCursor": page.continue_cursor,
        "splitCursor": page.split_cursor,
        "pageStatus": page.page_status,
    }


def empty_page() -> dict[str, Any]:
    """The page of a table that is not there."""
    return {"page": [], "isDone": True, "continueCursor": ""}


def pages(items: list[T], key: Callable[[T], str], options: Mapping[str, Any]) -> tuple[list[T], bool, str]:
    """A page of a list that is at hand, sorted by `key`: the items, whether they are the last, the cursor behind them.

    A cursor is the key of the last item before it, so it stays good when items come and go.
    """
    cursor = options["cursor"]
    left = items if cursor is None else [item for item in items if key(item) > cursor]
    page = left[: max(0, _at_most(options["numItems"], PAGE_MAX_ROWS))]
    return page, len(page) == len(left), key(page[-1]) if page else cursor or ""


def _at_most(asked: float | None, limit: int) -> int:
    # Any float64 may come: NaN and infinities are no numbers of rows.
    return limit if asked is None or not asked < limit else int(max(asked, -1))
