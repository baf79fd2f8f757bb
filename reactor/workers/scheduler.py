"""Runs what was scheduled, in order of due time, a few at once: mutations exactly once, actions at most once.

What is due next is kept in memory and follows the commit log: whoever commits a job wakes the scheduler by that. Every
claim and every completion is a background job of the committer, so that clients go first (engine.md rules 4 and 24).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, Final

from reactor.engine.commit_record import CommitRecord
from reactor.engine.database import Database
from reactor.engine.transaction import Transaction
from reactor.errors import StoreError, Unavailable
from reactor.faults import hit
from reactor.model import scheduled_functions
from reactor.model.scheduled_functions import DIED, RETENTION_MS, TABLE, Job
from reactor.runtime.app import App
from reactor.runtime.backend import LiveBackend
from reactor.runtime.failures import failure_of, new_request_id
from reactor.runtime.registry import RegisteredFunction
from reactor.values.keys import decode_key, encode_value
from reactor.workers.alarm import Alarm, due_ns
from reactor.workers.due_jobs import CAPACITY, DueJob, DueJobs
from reactor.workers.job_run import LANE, JobRun, job_caller

__all__ = ["ACTION_ENDED", "ACTION_STARTS", "BEFORE_FAILED", "Scheduler", "error_text"]

logger = logging.getLogger("reactor.scheduler")

ACTION_STARTS: Final = "scheduler.action_starts"
"""The action is durably in progress; it has not begun."""
ACTION_ENDED: Final = "scheduler.action_ended"
"""The action has ended; nobody has written that down."""
BEFORE_FAILED: Final = "scheduler.before_failed"
"""The mutation was rolled back; that it failed is not written down."""

FIRST_RETRY_MS: Final = 500.0
LAST_RETRY_MS: Final = 2 * 3600 * 1000.0
"""Back-off after errors of ours, not the function's. Source: server-semantics 6.3."""
SWEEP: Final = 100
"""Old jobs deleted in one transaction."""
SWEEP_PAUSE_MS: Final = 60_000.0

_PENDING: Final = encode_value("pending")
_SLACK_MS: Final = 0.001
"""Times of jobs are floats of milliseconds since 1970, which are good for a quarter of a microsecond."""


def error_text(error: BaseException, app: App) -> str:
    """What is kept of an error with a job: its text and the user's frames."""
    return failure_of(error, root=app.root).message.partition("\n")[2]


class Scheduler:
    """One per deployment. `start` before anything is served, `close` before the backend and the database."""

    def __init__(self, database: Database, backend: LiveBackend) -> None:
        self._database = database
        self._backend = backend
        self._clock = database.clock
        self._due = DueJobs()
        self._begun: set[str] = set()
        """Jobs on their way through the committer."""
        self._actions: dict[str, asyncio.Task[None]] = {}
        self._attempts: dict[str, int] = {}
        self._loading: asyncio.Task[None] | None = None
        self._missed: list[CommitRecord] = []
        """Commits since a loading began."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = False
        self._open = False
        self._stopping = asyncio.Event()
        self._usual_s = 0.0
        self._waiters: list[asyncio.Future[None]] = []
        self._alarm = Alarm(self._clock, self._pump, "reactor scheduler")
        self._sweep_alarm = Alarm(self._clock, self._start_sweep, "reactor scheduler sweep")
        table = database.catalogue.tables[TABLE]
        self._table = table.number
        self._index = table.indexes["by_state_and_time"].number
        database.listen(self._on_commit, self._after_batch)

    async def start(self) -> None:
        """Fail the actions that a crash interrupted, then begin with what is overdue. Does nothing when started.

        The app must be in force: jobs whose function is not there fail.
        """
        if self._open:
            return
        while await self._database.write(lambda tx: scheduled_functions.fail_interrupted(tx, SWEEP)):
            pass
        self._open = True
        self._pump()
        self._start_sweep()

    async def close(self, grace_s: float = 0.0) -> None:
        """Begin nothing more; wait for the actions that are running, and cancel them after `grace_s`."""
        if not self._open:
            return
        self._open = False
        self._stopping.set()
        self._alarm.set(None)
        self._sweep_alarm.set(None)
        if self._actions:
            await asyncio.wait(self._actions.values(), timeout=grace_s)
        for task in self._actions.values():
            task.cancel()
        while self._begun or self._actions or self._tasks or self._loading is not None:
            await self._change()

    @property
    def running(self) -> int:
        """How many functions are on their way through the writer, or run as actions."""
        return len(self._begun) + len(self._actions)

    @property
    def lag_s(self) -> float:
        """How many seconds the next one is late."""
        first = self._due.first()
        return 0.0 if first is None else max(0.0, self._clock.now_ns() / 1e9 - first.time / 1e3)

    # For tests

    @property
    def next_due_ns(self) -> int | None:
        """When the next job is due by the clock, or None."""
        first = self._due.first()
        return None if first is None else due_ns(first.time)

    async def idle(self, *, actions: bool = True) -> None:
        """Return once nothing is due and nothing is running; with `actions=False` actions may be."""
        while self._is_busy(actions):
            await self._change()

    def _is_busy(self, actions: bool) -> bool:
        if not self._open:
            return False
        if self._begun or self._loading is not None or self._tasks or (actions and self._actions):
            return True
        first = self._due.first()
        return first is not None and self._is_due(first) and len(self._actions) < self._most

    def _change(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        return future

    def _tell(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for future in waiters:
                if not future.done():
                    future.set_result(None)

    # What is due

    def _on_commit(self, record: CommitRecord) -> None:
        if self._open:
            if self._loading is not None:
                self._missed.append(record)
            self._follow(record)

    def _follow(self, record: CommitRecord) -> None:
        for write in record.writes:
            if write.table != self._table:
                continue
            if self._sweep_alarm.at_ns is None:
                self._sweep_alarm.set(self._clock.now_ns() + due_ns(RETENTION_MS))
            for change in write.keys:
                if change.index_number == self._index:
                    after = change.after
                    if after is not None and after[0] == _PENDING:
                        time = decode_key(after[1])[0]
                        self._due.add(DueJob(b"".join(after[1:]), write.id, time))
                        self._changed = True
                    elif change.before is not None and change.before[0] == _PENDING:
                        self._due.remove(write.id)
                        self._attempts.pop(write.id, None)
                        self._changed = True

    def _after_batch(self) -> None:
        if self._changed:
            self._changed = False
            self._pump()

    @property
    def _most(self) -> int:
        return self._database.limits.concurrent_scheduled

    def _is_due(self, job: DueJob) -> bool:
        return job.time <= self._clock.now_ns() / 1e6 + _SLACK_MS

    def _pump(self) -> None:
        """Begin what is due, as far as there is room."""
        if self._open and self._loading is None:
            self._begin_due()
        self._tell()

    def _begin_due(self) -> None:
        while len(self._begun) + len(self._actions) < self._most:
            first = self._due.first()
            if first is None:
                if self._due.must_load:
                    self._loading = asyncio.create_task(self._load(), name="reactor scheduler load")
                else:
                    self._alarm.set(None)
                return
            if not self._is_due(first):
                self._alarm.set(due_ns(first.time))
                return
            self._due.take()
            if first.id not in self._begun and first.id not in self._actions:
                self._begin(first.id)

    async def _load(self) -> None:
        """Look up the next jobs, and bring them up to date with the commits that came meanwhile."""

        def look(tx: Transaction) -> tuple[int, list[tuple[bytes, str, float]]]:
            return tx.ts, scheduled_functions.due_jobs(tx, CAPACITY)

        self._missed = []
        try:
            ts, rows = await self._database.read(look)
            await self._database.wait_processed(ts)
            begun = self._begun | self._actions.keys()
            self._due.load((DueJob(*row) for row in rows if row[1] not in begun), complete=len(rows) < CAPACITY)
            for record in self._missed:
                if record.ts > ts:
                    self._follow(record)
        except Exception:
            if self._open:
                logger.exception("the scheduled functions can't be read; trying again soon")
                await self._pause(1_000.0)
        finally:
            self._loading = None
            self._missed = []
        self._pump()

    # Running

    def _begin(self, job_id: str) -> None:
        self._begun.add(job_id)
        self._database.submit(JobRun(job_id, self._backend.app, self._backend.host, self._usual_s, self._ran))

    def _ran(self, run: JobRun, error: BaseException | None, ts: int) -> None:
        """The job has passed the writer. Its outcome is durable, unless there is an error."""
        job, fn = run.job, run.fn
        # A batch is committed before something long begins; which job it will be is not known beforehand.
        self._usual_s = max(self._usual_s * 0.9, run.took_s)
        if error is None:
            self._begun.discard(run.id)
            if fn is not None and fn.kind == "action" and job is not None:
                self._actions[run.id] = asyncio.create_task(self._act(job, run.app, fn), name=f"job {fn.path}")
            elif fn is not None and run.execution is not None:
                self._backend.reports.succeeded(fn, run.execution, run.request_id, job_caller(run.id), "Scheduler", ts)
        elif isinstance(error, Unavailable | StoreError):
            self._try_later(run.id, error)
        else:
            name = run.id if job is None else job.name
            path = name.replace(".js:", ":") if fn is None else fn.path
            caller = job_caller(run.id)
            self._backend.reports.failed(
                error, "mutation", path, run.request_id, caller, "Scheduler", is_known=fn is not None
            )
            self._do(self._fail(run.id, name, error_text(error, run.app)))
        self._pump()

    async def _act(self, job: Job, app: App, fn: RegisteredFunction) -> None:
        error: str | None = None
        request_id = new_request_id()
        try:
            hit(ACTION_STARTS)
            await self._backend.run_action(
                app, fn, job.args, job_caller(job.id), request_id=request_id, door="Scheduler"
            )
        except asyncio.CancelledError:  # we are closing
            error = DIED
        except Exception as raised:
            self._backend.reports.log_failure(raised, fn.path, request_id)
            error = error_text(raised, app)
            logger.warning("scheduled action %s failed: %s", job.name, error.rstrip())
        hit(ACTION_ENDED)
        try:
            await self._finish(job.id, error)
        finally:
            del self._actions[job.id]
            self._pump()

    async def _fail(self, job_id: str, name: str, text: str) -> None:
        """Write down that a mutation failed. Until then it is pending, and would be run again after a crash."""
        logger.warning("scheduled function %s failed: %s", name, text.rstrip())
        hit(BEFORE_FAILED)
        try:
            await self._finish(job_id, text)
        finally:
            self._begun.discard(job_id)

    async def _finish(self, job_id: str, error: str | None) -> None:
        pause = FIRST_RETRY_MS
        while True:
            try:
                await self._database.write(
                    lambda tx: scheduled_functions.finish(tx, job_id, error), lane=LANE, background=True
                )
                return
            except (Unavailable, StoreError) as trouble:
                if not self._open or getattr(trouble, "code", "") == "ShuttingDown":
                    return  # after the restart it is found in the state it is in
                await self._pause(pause)
                pause = min(pause * 2, LAST_RETRY_MS)

    async def _pause(self, ms: float) -> None:
        """In real time, cut short when we are closing."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), ms / 1000)

    def _try_later(self, job_id: str, error: BaseException) -> None:
        """The function is not to blame: try again, later each time."""
        self._begun.discard(job_id)
        if not self._open:
            return
        attempt = self._attempts[job_id] = self._attempts.get(job_id, 0) + 1
        pause = min(FIRST_RETRY_MS * 2 ** (attempt - 1), LAST_RETRY_MS)
        logger.warning("a scheduled function could not be run and is tried again in %g s: %s", pause / 1000, error)
        time = self._clock.now_ns() / 1e6 + pause
        self._due.add(DueJob(encode_value(time), job_id, time))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="reactor scheduler")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the scheduler: %r", error, exc_info=error)
        self._pump()

    # Old jobs

    def _start_sweep(self) -> None:
        if self._open:
            self._do(self._sweep())

    async def _sweep(self) -> None:
        """Delete what ended long ago, a little at a time, and come back when the next is old enough."""
        until = self._clock.now_ns() / 1e6 - RETENTION_MS
        while self._open:
            oldest = await self._database.write(
                lambda tx: scheduled_functions.delete_completed(tx, until, SWEEP), lane="#sweep", background=True
            )
            if oldest is None:
                return
            if oldest > until:
                now = self._clock.now_ns() / 1e6
                self._sweep_alarm.set(due_ns(max(oldest + RETENTION_MS, now + SWEEP_PAUSE_MS)))
                return
