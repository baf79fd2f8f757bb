"""The history of a deployment, as dashboards show it: see `reactor.model.deployment_events`."""

from __future__ import annotations

from typing import Any

from reactor.admin.system.frontend import frontend_query
from reactor.admin.system.reading import PAGINATION, in_transaction, read_page, table_plan
from reactor.engine.ranges import IndexRange, make_range
from reactor.engine.transaction import Transaction
from reactor.model.deployment_events import PUSH, TABLE
from reactor.runtime.contexts import QueryCtx
from reactor.schema import v
from reactor.store.catalogue import BY_CREATION_TIME, TableInfo
from reactor.values.wire import decode

__all__: list[str] = []

Value = dict[str, Any]

_FILTERS = v.object(
    {
        "minDate": v.optional(v.number()),
        "maxDate": v.optional(v.nullable(v.number())),
        "authorMemberIds": v.optional(v.array(v.any())),
        "actions": v.optional(v.array(v.string())),
    }
)


@frontend_query("paginatedDeploymentEvents:default", {"paginationOpts": PAGINATION, "filters": _FILTERS})
async def list_events(ctx: QueryCtx, pagination_opts: Value, filters: Value) -> Value:
    """A page of events, newest first, between two dates in milliseconds, of some actions. Who did it is not known."""
    table = in_transaction(ctx, _events)
    plan = table_plan(ctx, table, order="desc")
    earliest, latest = filters.get("minDate"), filters.get("maxDate")
    plan.range = make_range(
        table.indexes[BY_CREATION_TIME],
        lower=None if earliest is None else (earliest, True),
        upper=None if latest is None else (latest, True),
    )
    actions, authors = filters.get("actions"), filters.get("authorMemberIds")
    if actions is not None or authors is not None:
        wanted = frozenset(actions or ())
        plan.filters = ((lambda event: authors is None and (actions is None or event["action"] in wanted), False),)
        plan.operators = tuple(sorted(wanted))
    return read_page(ctx, plan, pagination_opts)


@frontend_query("deploymentEvents:lastPushEvent")
def last_push(tx: Transaction) -> Value | None:
    """The last time that other code was put into force."""
    scan = tx.scan(IndexRange(_events(tx).indexes[BY_CREATION_TIME], b"", None), reverse=True)
    while (row := scan.next()) is not None:
        event: Any = decode(row[1])
        if event["action"] == PUSH:
            return event
    return None


def _events(tx: Transaction) -> TableInfo:
    return tx.catalogue.tables[TABLE]
