"""Runs the crons of the app in force: each at most once at a time, mutations exactly once per occurrence."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

from reactor.auth.identity import Caller
from reactor.engine.database import Database
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import StoreError, Unavailable
from reactor.faults import hit
from reactor.model import cron_jobs
from reactor.model.cron_jobs import CronJob, DeclaredCron
from reactor.model.scheduled_functions import DIED
from reactor.runtime.backend import LiveBackend
from reactor.runtime.execute import Execution, execute_mutation, execution_of
from reactor.runtime.failures import new_request_id
from reactor.runtime.logs import line_texts
from reactor.runtime.registry import RegisteredFunction
from reactor.workers.alarm import Alarm, due_ns
from reactor.workers.job_run import target_of
from reactor.workers.scheduler import error_text

__all__ = ["CronWorker"]

logger = logging.getLogger("reactor.scheduler")

ACTION_STARTS: Final = "crons.action_starts"
ACTION_ENDED: Final = "crons.action_ended"
MUTATION_RAN: Final = "crons.mutation_ran"
RETRY_MS: Final = 1_000.0
LANE: Final = "#crons"
_NOBODY: Final = Caller(key="job")
_SLACK_MS: Final = 0.001


class _Entry:
    """A cron in memory."""

    def __init__(self, cron: CronJob) -> None:
        self.id = cron.id
        self.next_time = cron.next_time
        self.busy = False
        self.usual_s = 0.0


class CronWorker:
    """One per deployment. `use` puts a set of crons into force; `close` before the backend and the database.

    With `splay` every cron has a second of its own; without, they run at the full minute.
    """

    def __init__(self, database: Database, backend: LiveBackend, *, splay: bool) -> None:
        self._database = database
        self._backend = backend
        self._clock = database.clock
        self._splay = splay
        self._entries: dict[str, _Entry] = {}
        self._tasks: dict[asyncio.Task[None], _Entry] = {}
        self._actions: set[asyncio.Task[None]] = set()
        self._open = False
        self._waiters: list[asyncio.Future[None]] = []
        self._alarm = Alarm(self._clock, self._pump, "reactor crons")

    async def use(self, declared: Sequence[DeclaredCron]) -> None:
        """From now on run these; the first time, what was overdue too."""
        splay = self._splay
        if not self._open and not declared and not await self._database.read(cron_jobs.all_crons):
            self._open = True
            return

        def change(tx: WriteTransaction) -> list[CronJob]:
            if not self._open:
                cron_jobs.fail_interrupted(tx, splay=splay)
            cron_jobs.sync(tx, declared, splay=splay)
            return cron_jobs.all_crons(tx)

        crons = await self._database.write(change, lane=LANE)
        self._open = True
        before = self._entries
        self._entries = {}
        for cron in crons:
            entry = before.get(cron.id)
            if entry is None:
                entry = _Entry(cron)
            elif not entry.busy:
                entry.next_time = cron.next_time
            self._entries[cron.id] = entry
        self._pump()

    async def close(self, grace_s: float = 0.0) -> None:
        """Begin nothing more; wait for what is running, and cancel actions after `grace_s`."""
        if not self._open:
            return
        self._open = False
        self._alarm.set(None)
        if self._actions:
            await asyncio.wait(self._actions, timeout=grace_s)
        for task in self._actions:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # For tests

    @property
    def next_due_ns(self) -> int | None:
        """When the next run is due, or None."""
        return min((due_ns(e.next_time) for e in self._entries.values() if not e.busy), default=None)

    async def idle(self, *, actions: bool = True) -> None:
        """Return once nothing is due and nothing is running; with `actions=False` actions may be."""
        while self._open and self._is_busy(actions):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(future)
            await future

    def _is_busy(self, actions: bool) -> bool:
        going = self._tasks.keys() if actions else self._tasks.keys() - self._actions
        return bool(going) or any(map(self._is_due, self._entries.values()))

    # Running

    def _is_due(self, entry: _Entry) -> bool:
        return not entry.busy and entry.next_time <= self._clock.now_ns() / 1e6 + _SLACK_MS

    def _pump(self) -> None:
        if self._open:
            for entry in sorted(filter(self._is_due, self._entries.values()), key=lambda e: e.next_time):
                entry.busy = True
                task = asyncio.create_task(self._run(entry), name="reactor cron")
                self._tasks[task] = entry
                task.add_done_callback(self._ended)
            self._alarm.set(self.next_due_ns)
        self._tell_waiters()

    def _ended(self, task: asyncio.Task[None]) -> None:
        entry = self._tasks.pop(task)
        self._actions.discard(task)
        entry.busy = False
        if not task.cancelled() and (error := task.exception()) is not None:
            # Ours, or the disk's: the run is still due, or found running after a restart.
            logger.error("a cron could not be run: %r", error, exc_info=error)
            entry.next_time = self._clock.now_ns() / 1e6 + RETRY_MS
        self._pump()

    async def _run(self, entry: _Entry) -> None:
        due = (await self._database.read(lambda tx: {c.id: c for c in cron_jobs.all_crons(tx)})).get(entry.id)
        if due is None:
            self._entries.pop(entry.id, None)
            return
        after = await self._run_due(due, entry)
        if after is None:
            self._entries.pop(entry.id, None)
        else:
            entry.next_time = after.next_time

    async def _run_due(self, cron: CronJob, entry: _Entry) -> CronJob | None:
        """Run an occurrence to its end; the cron as it is then, None when it was removed."""
        app, host = self._backend.app, self._backend.host
        if cron.running is not None:  # of an action whose end could not be written down
            return await self._complete(cron, cron.running, DIED, ())
        due = cron.next_time
        request_id = new_request_id()
        if due > self._clock.now_ns() / 1e6 + _SLACK_MS:
            return cron
        fn: RegisteredFunction | None = None
        execution: Execution | None = None

        def start(tx: WriteTransaction) -> CronJob | None:
            nonlocal fn, execution
            fn = execution = None
            begun = cron_jobs.begin(tx, cron.id, due)
            if begun is None:
                return None
            fn = target_of(app, begun.function)
            if fn.kind == "action":
                return begun
            guard = host.poison
            if guard is not None:
                guard.enter(cron.id, int(due))
            began = time.monotonic()
            try:
                execution = execute_mutation(app, fn, begun.args, tx, _NOBODY, host=host, request_id=request_id)
            finally:
                if guard is not None:
                    guard.leave()
                    guard.survived(cron.id, int(due))
                entry.usual_s = entry.usual_s * 0.8 + (time.monotonic() - began) * 0.2
            hit(MUTATION_RAN)
            return cron_jobs.complete(
                tx, cron.id, due, error=None, log_lines=line_texts(execution.log_lines), splay=self._splay
            )

        try:
            by = (cron.function.replace(".js:", ":"), request_id)
            begun = await self._database.write(start, lane=LANE, background=True, usual_s=entry.usual_s, by=by)
        except (Unavailable, StoreError):
            raise
        except Exception as error:
            path = cron.function.replace(".js:", ":") if fn is None else fn.path
            self._backend.reports.failed(error, "mutation", path, request_id, _NOBODY, "Cron", is_known=fn is not None)
            return await self._failed(cron, due, error)
        if begun is None or fn is None:
            return (await self._database.read(lambda tx: {c.id: c for c in cron_jobs.all_crons(tx)})).get(cron.id)
        if fn.kind == "mutation":
            if execution is not None:
                self._backend.reports.succeeded(fn, execution, request_id, _NOBODY, "Cron")
            return begun
        task = asyncio.current_task()
        if task is not None:
            self._actions.add(task)
        self._tell_waiters()
        try:
            hit(ACTION_STARTS)
            done = await self._backend.run_action(app, fn, begun.args, _NOBODY, request_id=request_id, door="Cron")
            hit(ACTION_ENDED)
        except asyncio.CancelledError:  # we are closing
            return await self._complete(cron, due, DIED, ())
        except Exception as error:
            hit(ACTION_ENDED)
            self._backend.reports.log_failure(error, fn.path, request_id)
            return await self._failed(cron, due, error)
        return await self._complete(cron, due, None, line_texts(done.log_lines))

    def _tell_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)

    async def _failed(self, cron: CronJob, due: float, error: Exception) -> CronJob | None:
        """The function failed: that is logged, and the cron goes on at its next time."""
        text = error_text(error, self._backend.app)
        logger.warning("cron %s (%s) failed: %s", cron.name, cron.function, text.rstrip())
        return await self._complete(cron, due, text, line_texts(execution_of(error).log_lines))

    async def _complete(self, cron: CronJob, due: float, error: str | None, log_lines: Sequence[str]) -> CronJob | None:
        return await self._database.write(
            lambda tx: cron_jobs.complete(tx, cron.id, due, error=error, log_lines=log_lines, splay=self._splay),
            lane=LANE,
            background=True,
        )
