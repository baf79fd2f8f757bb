"""Scheduled functions that have not ended, as dashboards page through them. Cancelling is an endpoint: `reactor.admin.jobs`."""

from __future__ import annotations

from typing import Any

from reactor.admin.system.frontend import frontend_query
from reactor.admin.system.reading import PAGINATION, in_transaction, read_page, table_plan
from reactor.engine.ranges import IndexRange
from reactor.engine.transaction import Transaction
from reactor.model.scheduled_functions import jobs_table, unfinished_jobs
from reactor.runtime.contexts import QueryCtx
from reactor.schema import v
from reactor.values.types import Int64
from reactor.values.wire import decode, encode

__all__: list[str] = []

Value = dict[str, Any]


@frontend_query(
    "paginatedScheduledJobs:default", {"paginationOpts": PAGINATION, "udfPath": v.optional(v.nullable(v.string()))}
)
async def list_jobs(ctx: QueryCtx, pagination_opts: Value, udf_path: str | None = None) -> Value:
    """Those in progress, then those that wait, by when they are due; all, or those of one function (`messages.js:send`)."""
    table = in_transaction(ctx, jobs_table)
    plan = table_plan(ctx, table)
    plan.range = unfinished_jobs(table)
    if udf_path is not None:
        plan.filters = ((lambda job: job["name"] == udf_path, False),)
        plan.operators = (udf_path,)
    page = read_page(ctx, plan, pagination_opts)
    return {**page, "page": [_job(job) for job in page["page"]]}


@frontend_query("scheduler:getArgs", {"argsId": v.string()})
def arguments_of_job(tx: Transaction, args_id: str) -> Value | None:
    """The arguments of a job, as the JSON of an array in bytes; null when it is gone."""
    table = jobs_table(tx)
    body = tx.get(table, args_id) if tx.table_of_id(args_id) is table else None
    if body is None:
        return None
    job: Any = decode(body)
    return {"_id": job["_id"], "_creationTime": job["_creationTime"], "args": encode(job["args"])}


@frontend_query("scheduler:nextScheduledJobTimestamp")
def next_due(tx: Transaction) -> Int64 | None:
    """When the next job is due, in nanoseconds; null when none is left."""
    range_ = unfinished_jobs(jobs_table(tx))
    row = tx.scan(IndexRange(range_.index, range_.start, range_.end)).next()
    job: Any = None if row is None else decode(row[1])
    return None if job is None else _due(job)


def _job(job: Value) -> Value:
    return {
        "_id": job["_id"],
        "_creationTime": job["_creationTime"],
        "udfPath": job["name"],
        "udfArgs": encode(job["args"]),
        "argsId": job["_id"],
        "nextTs": _due(job),
        "state": {"type": job["state"]["kind"]},
    }


def _due(job: Value) -> Int64:
    return Int64(round(job["scheduledTime"] * 1e6))
