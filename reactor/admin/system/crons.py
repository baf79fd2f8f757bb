"""Crons and their last runs, as dashboards and test suites look at them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from reactor.admin.system.frontend import frontend_query
from reactor.engine.transaction import Transaction
from reactor.model.cron_jobs import CronJob, CronRunRecord, all_crons, last_runs
from reactor.model.cron_schedule import WEEKDAYS
from reactor.values.types import Int64

__all__ = ["cron_spec"]

Value = dict[str, Any]


@frontend_query("listCronJobs:default")
def list_cron_jobs(tx: Transaction) -> list[Value]:
    """All crons by name, each with its last and its next run."""
    return [
        {
            "_id": cron.id,
            "_creationTime": cron.creation_time,
            "name": cron.name,
            "cronSpec": cron_spec(cron),
            "lastRun": _last_run(tx, cron),
            "nextRun": {
                "_id": cron.id,
                "_creationTime": cron.creation_time,
                "cronJobId": cron.id,
                "nextTs": _nanoseconds(cron.next_time if cron.running is None else cron.running),
                "prevTs": None if cron.previous_time is None else _nanoseconds(cron.previous_time),
                "state": {"type": "pending" if cron.running is None else "inProgress"},
            },
        }
        for cron in all_crons(tx)
    ]


@frontend_query("listCronJobRuns:default")
def list_cron_job_runs(tx: Transaction) -> list[Value]:
    """The runs that are kept (the last five of each), oldest first."""
    crons = {cron.name: cron for cron in all_crons(tx)}
    runs = sorted(last_runs(tx), key=lambda run: run.creation_time)
    return [_run(crons[run.name], run) for run in runs if run.name in crons]


def cron_spec(cron: CronJob) -> Value:
    """What is run and when: `udfArgs` holds the JSON of the arguments, in an array, as bytes; numbers are Int64."""
    return {"udfPath": cron.function, "udfArgs": b"[%b]" % cron.args, "cronSchedule": _schedule(cron)}


def _schedule(cron: CronJob) -> Value:
    schedule = cron.schedule
    if schedule.kind == "interval":
        return {"type": "interval", "seconds": Int64(schedule.seconds)}
    if schedule.kind == "cron":
        return {"type": "cron", "cronExpr": schedule.expression}
    minute = schedule.minute
    if minute is None:  # it has one of its own, the same for all runs
        minute = datetime.fromtimestamp(cron.next_time / 1000, UTC).minute
    told: Value = {"type": schedule.kind, "minuteUTC": Int64(minute)}
    if schedule.kind != "hourly":
        told["hourUTC"] = Int64(schedule.hour)
    if schedule.kind == "weekly":
        told["dayOfWeek"] = Int64(WEEKDAYS.index(schedule.day_of_week))
    if schedule.kind == "monthly":
        told["day"] = Int64(schedule.day)
    return told


def _last_run(tx: Transaction, cron: CronJob) -> Value | None:
    runs = last_runs(tx, cron.name)
    return _run(cron, runs[-1]) if runs else None


def _run(cron: CronJob, run: CronRunRecord) -> Value:
    # Results of crons are not kept, so there is nothing to show of one that succeeded.
    status: Value = {"type": "success", "result": {"type": "truncated", "truncatedLog": ""}}
    if run.error is not None:
        status = {"type": "err", "error": run.error}
    return {
        "_id": run.id,
        "_creationTime": run.creation_time,
        "name": cron.name,
        "ts": _nanoseconds(run.scheduled_time),
        "udfPath": cron.function,
        "udfArgs": b"[%b]" % cron.args,
        "status": status,
        "logLines": {"logLines": list(run.log_lines), "isTruncated": run.is_truncated},
        # Seconds from when it was due to its end: when it began is not kept.
        "executionTime": max(0.0, run.completed_time - run.scheduled_time) / 1000,
    }


def _nanoseconds(milliseconds: float) -> Int64:
    return Int64(round(milliseconds * 1e6))
