"""Work as data: the documents of `_work`, and every change of their state. Nothing here knows how a work item is run.

waiting (for its time) → pending (for a slot) → running → success | failed | canceled; a failed attempt that has another goes
back to waiting. All of it happens in somebody's transaction, so how many are running is always known exactly.
"""

from __future__ import annotations

import random
from typing import Any, Final

from reactor.clock import new_seed
from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import ReactorError
from reactor.kit import records
from reactor.model import scheduled_functions
from reactor.runtime.app import App
from reactor.runtime.scheduling import encode_for_later
from reactor.schema.structs import Struct
from reactor.values.wire import encode

__all__ = [
    "ENDED",
    "POOLS",
    "WORK",
    "WorkResult",
    "add",
    "cancel",
    "check_pool",
    "check_pools_soon",
    "count",
    "due",
    "pool_of",
    "settle",
]

WORK: Final = "_work"
POOLS: Final = "_work_pools"
ENDED: Final = ("success", "failed", "canceled")

_RUN_MUTATION: Final = "_reactor/kit.js:runWorkMutation"
_RUN_ACTION: Final = "_reactor/kit.js:runWorkAction"
_DUE: Final = "_reactor/kit.js:workIsDue"
_CHECK: Final = "_reactor/kit.js:checkWorkPool"

CHECK_EVERY_MS: Final = 30_000.0
"""How often a pool with running work looks for runs that ended without a word, because their process died."""
_FORGET_AT_ONCE: Final = 2
_LONGEST_DELAY_MS: Final = 24 * 3600 * 1000.0


class WorkResult(Struct):
    """What became of a work item: what its `on_complete` is called with. `error` is there when it failed."""

    work_id: str
    state: str
    value: Any = None
    error: str | None = None
    context: Any = None


def pool_of(tx: Transaction, name: str) -> dict[str, Any] | None:
    return records.find(tx, POOLS, "by_name", name)


def count(tx: Transaction, pool: str, state: str) -> int:
    """How many items of a pool are in a state."""
    return tx.count(make_range(records.table_of(tx, WORK).indexes["by_pool_and_state"], (pool, state)))


def add(tx: WriteTransaction, pool: str, settings: dict[str, Any], fields: dict[str, Any], at: float) -> str:
    """Add an item that may begin at `at`; `settings` are the pool's, as of now."""
    known = pool_of(tx, pool)
    if known is None:
        tx.insert(POOLS, {"name": pool, "check": None, **settings})
    else:
        records.update(tx, POOLS, known, **settings)
    waits = at > tx.now_ms
    item = {
        **fields,
        "pool": pool,
        "state": "waiting" if waits else "pending",
        "time": at if waits else tx.now_ms,
        "attempts": 0,
        "job": None,
    }
    work_id = tx.insert(WORK, item)
    if waits:
        _wait(tx, work_id, at)
    else:
        _begin_pending(tx, pool)
    return work_id


def _wait(tx: WriteTransaction, work_id: str, at: float) -> None:
    job = scheduled_functions.schedule(tx, _DUE, encode({"workId": work_id}), at)
    tx.patch(records.table_of(tx, WORK), work_id, {"job": job})


def due(tx: WriteTransaction, work_id: str) -> None:
    """The time of a waiting item has come."""
    item = records.get(tx, WORK, work_id)
    if item is not None and item["state"] == "waiting":
        records.update(tx, WORK, item, state="pending", time=tx.now_ms, job=None)
        _begin_pending(tx, item["pool"])


def _begin_pending(tx: WriteTransaction, name: str) -> None:
    """Begin what has waited longest, as far as there is room."""
    pool = pool_of(tx, name)
    assert pool is not None
    room = pool["maxParallelism"] - count(tx, name, "running")
    while room > 0:
        items = records.rows(tx, WORK, "by_pool_and_state", (name, "pending"), most=min(room, 16))
        if not items:
            break
        for item in items:
            attempt = item["attempts"] + 1
            path = _RUN_ACTION if item["kind"] == "action" else _RUN_MUTATION
            arguments = encode({"workId": item["_id"], "attempt": attempt})
            job = scheduled_functions.schedule(tx, path, arguments, tx.now_ms)
            records.update(tx, WORK, item, state="running", time=tx.now_ms, attempts=attempt, job=job)
        room -= len(items)
    _arm(tx, pool)


def settle(
    tx: WriteTransaction, app: App, work_id: str, attempt: int, *, value: Any = None, error: str | None = None
) -> None:
    """An attempt has ended: with an error, or else with a value. Nothing happens when that is known already."""
    item = records.get(tx, WORK, work_id)
    if item is None or item["state"] != "running" or item["attempts"] != attempt:
        return
    if error is None:
        _end(tx, app, item, "success", value=value)
    elif item.get("canceling"):
        _end(tx, app, item, "canceled")
    elif item["retry"] is not None and attempt < item["retry"]["attempts"]:
        at = tx.now_ms + _delay(item["retry"], attempt)
        records.update(tx, WORK, item, state="waiting", time=at, error=error)
        _wait(tx, work_id, at)
    else:
        _end(tx, app, item, "failed", error=error)
    _begin_pending(tx, item["pool"])


def _delay(retry: dict[str, Any], attempt: int) -> float:
    """Between half and all of the back-off, so that what failed together is not tried again together."""
    whole = min(_LONGEST_DELAY_MS, retry["firstMs"] * retry["base"] ** (attempt - 1))
    return whole * random.Random(new_seed()).uniform(0.5, 1.0)


def _end(
    tx: WriteTransaction, app: App, item: dict[str, Any], state: str, *, value: Any = None, error: str | None = None
) -> None:
    records.update(tx, WORK, item, state=state, time=tx.now_ms, value=value, error=error, job=None)
    if item["onComplete"] is not None:
        result = WorkResult(work_id=item["_id"], state=state, value=value, error=error, context=item["context"])
        _tell(tx, app, item["onComplete"], result)
    _forget(tx, item["pool"])


def _tell(tx: WriteTransaction, app: App, path: str, result: WorkResult) -> None:
    """Schedule the completion callback: exactly as certain as the change of state, and no part of it if it fails."""
    target = app.functions.get(path)
    if target is None:  # its job will fail, and say so
        scheduled_functions.schedule(tx, path, b"{}", tx.now_ms)
        return
    raw = b"{}"  # for a callback that takes no result: its job will fail, and say so
    without = WorkResult(work_id=result.work_id, state=result.state, context=result.context)
    for given in (result, without):  # what is too large to be handed on is left out: what counts is that it ended
        try:
            raw = encode_for_later(
                target, path, target.function, (given,), {}, tx.catalogue.table_name, tx.limits.arguments_bytes
            )
            break
        except ReactorError:
            continue
    scheduled_functions.schedule(tx, target.stored_path, raw, tx.now_ms)


def _forget(tx: WriteTransaction, name: str) -> None:
    """Outcomes are kept for a while; two old ones go for each that comes."""
    pool = pool_of(tx, name)
    assert pool is not None
    until = tx.now_ms - pool["keepMs"]
    for state in ENDED:
        for item in records.rows(
            tx, WORK, "by_pool_and_state", (name, state), upper=(until, True), most=_FORGET_AT_ONCE
        ):
            tx.delete(records.table_of(tx, WORK), item["_id"])


def cancel(tx: WriteTransaction, app: App, work_id: str) -> bool:
    """What has not begun never will; an action that is running goes on, without another attempt if it fails.

    False when it had ended already (or is not known).
    """
    item = records.get(tx, WORK, work_id)
    if item is None or item["state"] in ENDED:
        return False
    job = None if item["job"] is None else scheduled_functions.read_job(tx, item["job"])
    if item["state"] == "running" and (job is None or job.state != "pending"):
        records.update(tx, WORK, item, canceling=True)
        return True
    if job is not None:
        scheduled_functions.cancel(tx, job.id, is_caller=lambda _: False)
    _end(tx, app, item, "canceled")
    if item["state"] == "running":
        _begin_pending(tx, item["pool"])
    return True


# Runs that ended without a word


def _arm(tx: WriteTransaction, pool: dict[str, Any]) -> None:
    """While anything runs, a check is scheduled."""
    if count(tx, pool["name"], "running"):
        job = None if pool["check"] is None else scheduled_functions.read_job(tx, pool["check"])
        if job is None or job.state not in ("pending", "inProgress"):
            arguments = encode({"pool": pool["name"]})
            job_id = scheduled_functions.schedule(tx, _CHECK, arguments, tx.now_ms + CHECK_EVERY_MS)
            records.update(tx, POOLS, pool, check=job_id)


def check_pools_soon(tx: WriteTransaction) -> None:
    """At a start: what the process before left running is looked after at once."""
    with scheduled_functions.off_the_books(tx):
        for pool in list(records.scan(tx, POOLS, "by_name")):
            if pool["check"] is not None:
                scheduled_functions.cancel(tx, pool["check"], is_caller=lambda _: False)
                job = scheduled_functions.schedule(tx, _CHECK, encode({"pool": pool["name"]}), tx.now_ms)
                records.update(tx, POOLS, pool, check=job)


def check_pool(tx: WriteTransaction, app: App, name: str) -> None:
    """Settle the items whose jobs have ended while they are still running, and come back while anything runs."""
    pool = pool_of(tx, name)
    if pool is None:
        return
    records.update(tx, POOLS, pool, check=None)
    for item in list(records.scan(tx, WORK, "by_pool_and_state", (name, "running"))):
        job = records.get(tx, scheduled_functions.TABLE, item["job"])
        kind = "failed" if job is None else job["state"]["kind"]
        if kind not in ("pending", "inProgress"):
            error = None if job is None else job["state"].get("error")
            settle(tx, app, item["_id"], item["attempts"], error=error or "The run ended without an outcome.")
    _arm(tx, pool_of(tx, name) or pool)
