"""The documents of `_cron_jobs`, one for each declared cron, and of `_cron_job_runs`, the last runs of each.

A cron is idle, with the time of its next run, or running. Ending a run and moving on to the next is one change, so a
mutation, what it wrote and its cron's next time are one commit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.model.cron_schedule import CronSchedule
from reactor.model.scheduled_functions import DIED, off_the_books
from reactor.values.types import UNSET
from reactor.values.wire import decode, encode

__all__ = [
    "CronJob",
    "CronRunRecord",
    "DeclaredCron",
    "all_crons",
    "begin",
    "complete",
    "fail_interrupted",
    "last_runs",
    "sync",
]

logger = logging.getLogger("reactor.scheduler")

TABLE: Final = "_cron_jobs"
RUNS: Final = "_cron_job_runs"
RUNS_KEPT: Final = 5
LOG_BYTES_KEPT: Final = 64 * 1024
CLOSE_MS: Final = 30_000.0
"""A changed schedule leaves the next run alone where the old runs were closer together. Source: server-semantics 6.5."""


@dataclass(frozen=True, slots=True)
class DeclaredCron:
    """What the code says: `function` is like `reports.js:daily`, `args` the encoded argument object."""

    name: str
    function: str
    args: bytes
    schedule: CronSchedule


@dataclass(frozen=True, slots=True)
class CronJob:
    """A stored cron. Times in milliseconds. `running` is the time for which the present run was due, or None."""

    id: str
    name: str
    function: str
    args: bytes
    schedule: CronSchedule
    next_time: float
    previous_time: float | None
    running: float | None
    creation_time: float


@dataclass(frozen=True, slots=True)
class CronRunRecord:
    """One run in the history of the cron `name`. `error` is None when it succeeded."""

    scheduled_time: float
    completed_time: float
    error: str | None
    log_lines: tuple[str, ...]
    id: str
    creation_time: float
    name: str
    is_truncated: bool
    """Whether there were more log lines than were kept."""


def _cron(body: bytes) -> CronJob:
    document: Any = decode(body)
    return CronJob(
        document["_id"],
        document["name"],
        document["function"],
        encode(document["args"][0]),
        CronSchedule.from_value(document["schedule"]),
        document["nextTime"],
        document.get("previousTime"),
        document.get("running"),
        document["_creationTime"],
    )


def all_crons(tx: Transaction) -> list[CronJob]:
    index = tx.catalogue.tables[TABLE].indexes["by_name"]
    return [_cron(body) for _, body in _rows(tx, make_range(index))]


def _rows(tx: Transaction, range_: Any) -> list[tuple[bytes, bytes]]:
    rows: list[tuple[bytes, bytes]] = []
    with off_the_books(tx):
        scan = tx.scan(range_)
        while (row := scan.next()) is not None:
            rows.append(row)
    return rows


def _read(tx: Transaction, cron_id: str) -> CronJob | None:
    with off_the_books(tx):
        body = tx.get(tx.catalogue.tables[TABLE], cron_id)
    return None if body is None else _cron(body)


def _patch(tx: WriteTransaction, cron_id: str, changes: dict[str, Any]) -> None:
    with off_the_books(tx):
        tx.patch(tx.catalogue.tables[TABLE], cron_id, changes)


def sync(tx: WriteTransaction, declared: Sequence[DeclaredCron], *, splay: bool) -> None:
    """Make the stored crons those of the code: new ones begin, removed ones end, changed ones change.

    A next run stays where it is unless the schedule was changed.
    """
    now = tx.now_ms
    stored = {cron.name: cron for cron in all_crons(tx)}
    for cron in declared:
        old = stored.pop(cron.name, None)
        what = {"function": cron.function, "args": [decode(cron.args)], "schedule": cron.schedule.to_value()}
        if old is None:
            next_time = cron.schedule.first(cron.name, now, splay=splay)
            with off_the_books(tx):
                tx.insert(TABLE, {"name": cron.name, **what, "nextTime": next_time})
            continue
        if old.schedule != cron.schedule and old.running is None and old.schedule.gap(old.name, now) >= CLOSE_MS:
            what["nextTime"] = cron.schedule.again(cron.name, old.previous_time, now, splay=splay)
        _patch(tx, old.id, what)
    for cron in stored.values():
        with off_the_books(tx):
            tx.delete(tx.catalogue.tables[TABLE], cron.id)
        _keep_runs(tx, cron.name, 0)


def begin(tx: WriteTransaction, cron_id: str, due: float) -> CronJob | None:
    """Mark the run that is due at `due` as begun; None when it is not to be run (any more)."""
    cron = _read(tx, cron_id)
    if cron is None or cron.running is not None or cron.next_time != due:
        return None
    _patch(tx, cron_id, {"running": due})
    return _read(tx, cron_id)


def complete(
    tx: WriteTransaction, cron_id: str, due: float, *, error: str | None, log_lines: Iterable[str] = (), splay: bool
) -> CronJob | None:
    """End the run that was due at `due`: it goes into the history, and the next one is found. None for a removed cron."""
    cron = _read(tx, cron_id)
    if cron is None or due not in (cron.running, cron.next_time):
        return cron
    now = tx.now_ms
    next_time, skipped = cron.schedule.following(cron.name, due, now, splay=splay)
    if skipped:
        logger.warning(
            "Skipping %d run(s) of job %s because multiple scheduled runs are in the past", skipped, cron.name
        )
    _patch(tx, cron_id, {"running": UNSET, "previousTime": due, "nextTime": next_time})
    record = {"name": cron.name, "scheduledTime": due, "completedTime": now, **_kept_lines(log_lines)}
    with off_the_books(tx):
        tx.insert(RUNS, record if error is None else {**record, "error": error})
    _keep_runs(tx, cron.name, RUNS_KEPT)
    return _read(tx, cron_id)


def _kept_lines(log_lines: Iterable[str]) -> dict[str, Any]:
    kept: list[str] = []
    size = 0
    for line in log_lines:
        size += len(line)
        if size > LOG_BYTES_KEPT:
            return {"logLines": kept, "truncated": True}
        kept.append(line)
    return {"logLines": kept}


def fail_interrupted(tx: WriteTransaction, *, splay: bool) -> None:
    """End the runs of actions that were going on when the process died."""
    for cron in all_crons(tx):
        if cron.running is not None:
            complete(tx, cron.id, cron.running, error=DIED, splay=splay)


def _keep_runs(tx: WriteTransaction, name: str, most: int) -> None:
    table = tx.catalogue.tables[RUNS]
    rows = _rows(tx, make_range(table.indexes["by_name_and_time"], (name,)))
    for _, body in rows[: max(0, len(rows) - most)]:
        document: Any = decode(body)
        with off_the_books(tx):
            tx.delete(table, document["_id"])


def last_runs(tx: Transaction, name: str | None = None) -> list[CronRunRecord]:
    """The history of a cron, oldest first; of all of them, cron by cron, without a name."""
    index = tx.catalogue.tables[RUNS].indexes["by_name_and_time"]
    return [_run(body) for _, body in _rows(tx, make_range(index, () if name is None else (name,)))]


def _run(body: bytes) -> CronRunRecord:
    run: Any = decode(body)
    return CronRunRecord(
        run["scheduledTime"],
        run["completedTime"],
        run.get("error"),
        tuple(run["logLines"]),
        run["_id"],
        run["_creationTime"],
        run["name"],
        run.get("truncated", False),
    )
