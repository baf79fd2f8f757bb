"""The documents of `_scheduled_functions`: how they come to be, and every change of their state.

All of it happens inside somebody's transaction, so a job exists if and only if the mutation that scheduled it committed,
and a mutation's success is one commit with what it wrote. None of it counts against the limits of the function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from reactor.engine.ranges import IndexRange, make_range
from reactor.engine.transaction import Transaction
from reactor.engine.usage import Usage
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import DatabaseError, InvalidValue
from reactor.limits import Limits
from reactor.store.catalogue import BY_CREATION_TIME, TableInfo
from reactor.values.ids import decode_id
from reactor.values.keys import decode_key
from reactor.values.wire import decode, encode

__all__ = [
    "DIED",
    "RETENTION_MS",
    "TABLE",
    "Job",
    "State",
    "cancel",
    "cancel_some",
    "delete_completed",
    "delete_some",
    "due_jobs",
    "fail_interrupted",
    "finish",
    "jobs_table",
    "off_the_books",
    "read_job",
    "schedule",
    "start",
    "unfinished_jobs",
]

TABLE: Final = "_scheduled_functions"
RETENTION_MS: Final = 7 * 24 * 3600 * 1000.0
"""How long a job stays readable once it has ended. Source: server-semantics 6.2."""
DIED: Final = "Transient error while executing action"
"""What an action failed with whose process died. Source: server-semantics 6.3."""

State = Literal["pending", "inProgress", "success", "failed", "canceled"]

_UNLIMITED: Final = Limits(
    **dict.fromkeys(("documents_read", "bytes_read", "database_queries", "documents_written", "bytes_written"), 2**62)
)


@dataclass(frozen=True, slots=True)
class Job:
    """A scheduled function: `name` is like `messages.js:send`, `args` the encoded argument object, times in ms."""

    id: str
    name: str
    args: bytes
    state: State
    scheduled_time: float


@contextmanager
def off_the_books(tx: Transaction) -> Iterator[None]:
    """What is done inside does not count against the function's limits."""
    usage = tx.usage
    tx.usage = Usage(_UNLIMITED)
    try:
        yield
    finally:
        tx.usage = usage


def jobs_table(tx: Transaction) -> TableInfo:
    return tx.catalogue.tables[TABLE]


def schedule(tx: WriteTransaction, name: str, args: bytes, scheduled_time: float, *, by: str | None = None) -> str:
    """Add a job and return its id. What a canceled job `by` schedules is canceled from the start.

    Raises LimitExceeded (functions scheduled and the size of their arguments, per transaction).
    """
    tx.usage.schedule(len(args))
    fields: dict[str, Any] = {
        "name": name,
        "args": [decode(args)],
        "scheduledTime": scheduled_time,
        "state": {"kind": "pending"},
    }
    with off_the_books(tx):
        if by is not None and (parent := read_job(tx, by)) is not None and parent.state == "canceled":
            fields |= {"state": {"kind": "canceled"}, "completedTime": tx.now_ms}
        return tx.insert(TABLE, fields)


def read_job(tx: Transaction, job_id: str) -> Job | None:
    """The job as this transaction sees it, or None."""
    table = jobs_table(tx)
    with off_the_books(tx):
        body = tx.get(table, job_id)
    return None if body is None else _job(body)


def _job(body: bytes) -> Job:
    document: Any = decode(body)
    return Job(
        document["_id"],
        document["name"],
        encode(document["args"][0]),
        document["state"]["kind"],
        document["scheduledTime"],
    )


def start(tx: WriteTransaction, job_id: str) -> Job | None:
    """Mark a pending job as in progress and return it; None, and nothing happens, when it is not pending any more."""
    job = read_job(tx, job_id)
    if job is None or job.state != "pending":
        return None
    _change(tx, job_id, {"kind": "inProgress"})
    return job


def finish(tx: WriteTransaction, job_id: str, error: str | None = None) -> bool:
    """Mark a job that is pending or in progress as succeeded, or failed with `error`; False for one in another state.

    (A job that was canceled meanwhile stays canceled.)
    """
    job = read_job(tx, job_id)
    if job is None or job.state not in ("pending", "inProgress"):
        return False
    _change(tx, job_id, {"kind": "success"} if error is None else {"kind": "failed", "error": error})
    return True


def cancel(tx: WriteTransaction, job_id: Any, *, is_caller: Callable[[Job], bool]) -> bool:
    """Cancel a job: one that is pending never runs, one in progress goes on and is marked canceled; others stay.

    `is_caller(job)` tells the job that is running this very transaction: it can't be canceled, and False is returned.
    Raises DatabaseError for what is no id of a scheduled function.
    """
    table = jobs_table(tx)
    if not isinstance(job_id, str):
        raise DatabaseError(
            f"Invalid argument `id` for `scheduler.cancel`, expected string but got '{type(job_id).__name__}': {job_id!r}",
            code="InvalidId",
        )
    try:
        number, _ = decode_id(job_id)
    except InvalidValue as error:
        raise DatabaseError(f"Invalid argument `id` for `scheduler.cancel`: {error}", code="InvalidId") from None
    if number != table.number:
        raise DatabaseError(
            "Invalid scheduled function ID. The ID must be an ID on the '_scheduled_functions' table.", code="InvalidId"
        )
    job = read_job(tx, job_id)
    if job is None or job.state not in ("pending", "inProgress"):
        return True
    if job.state == "inProgress" and is_caller(job):
        return False
    _change(tx, job_id, {"kind": "canceled"})
    return True


def _change(tx: WriteTransaction, job_id: str, state: dict[str, Any]) -> None:
    changes: dict[str, Any] = {"state": state}
    if state["kind"] not in ("pending", "inProgress"):
        changes["completedTime"] = tx.now_ms
    with off_the_books(tx):
        tx.patch(jobs_table(tx), job_id, changes)


# Many at once


def due_jobs(tx: Transaction, most: int) -> list[tuple[bytes, str, float]]:
    """The first pending jobs by due time, then age: (order, id, scheduled time); `order` compares like they do."""
    index = jobs_table(tx).indexes["by_state_and_time"]
    pending = make_range(index, ("pending",))
    rows: list[tuple[bytes, str, float]] = []
    start = pending.start
    while len(rows) < most:
        chunk = tx.reader.scan(index, start, pending.end, reverse=False, limit=most - len(rows))
        for key, _ in chunk:
            _, time, _, job_id = decode_key(key)
            rows.append((key[len(pending.prefix) :], job_id, float(time)))
            start = key + b"\x00"
        if not chunk:
            break
    return rows


def unfinished_jobs(table: TableInfo) -> IndexRange:
    """The range of jobs that have not ended: those in progress, then the pending ones, each by due time."""
    # No other state's name lies between these two.
    return make_range(table.indexes["by_state_and_time"], (), lower=("inProgress", True), upper=("pending", True))


def cancel_some(tx: WriteTransaction, start: bytes, until: float, most: int, name: str | None = None) -> bytes | None:
    """Look at the next `most` unfinished jobs from the index key `start` on; cancel those made until then, of this name.

    Returns the key to go on at, None at the end.
    """
    table = jobs_table(tx)
    range_ = unfinished_jobs(table)
    rows = tx.reader.scan(range_.index, max(start, range_.start), range_.end, reverse=False, limit=most)
    for _, body in rows:
        document: Any = decode(body)
        if document["_creationTime"] <= until and name in (None, document["name"]):
            _change(tx, document["_id"], {"kind": "canceled"})
    return rows[-1][0] + b"\x00" if rows else None


def delete_some(tx: WriteTransaction, until: float, most: int) -> int:
    """Delete the oldest `most` jobs made until then, whatever their state. Returns how many that were."""
    table = jobs_table(tx)
    made = make_range(table.indexes[BY_CREATION_TIME], (), upper=(until, True))
    rows = tx.reader.scan(made.index, made.start, made.end, reverse=False, limit=most)
    for _, body in rows:
        document: Any = decode(body)
        with off_the_books(tx):
            tx.delete(table, document["_id"])
    return len(rows)


def fail_interrupted(tx: WriteTransaction, most: int) -> int:
    """Fail actions that were in progress when the process died, `most` of them. Returns how many."""
    index = jobs_table(tx).indexes["by_state_and_time"]
    running = make_range(index, ("inProgress",))
    rows = tx.reader.scan(index, running.start, running.end, reverse=False, limit=most)
    for _, body in rows:
        _change(tx, _job(body).id, {"kind": "failed", "error": DIED})
    return len(rows)


def delete_completed(tx: WriteTransaction, until: float, most: int) -> float | None:
    """Delete jobs that ended at or before `until`, `most` of them. Returns when the oldest one left ended, if any."""
    table = jobs_table(tx)
    index = table.indexes["by_completed_time"]
    ended = make_range(index, (), lower=(float("-inf"), True))
    rows = tx.reader.scan(index, ended.start, ended.end, reverse=False, limit=most + 1)
    for number, (_, body) in enumerate(rows):
        document: Any = decode(body)
        if number == most or document["completedTime"] > until:
            return document["completedTime"]
        with off_the_books(tx):
            tx.delete(table, document["_id"])
    return None
