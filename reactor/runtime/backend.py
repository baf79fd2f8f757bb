"""The waist, implemented: calls by path become runs of the current app's functions, and schema and code are deployed.

It holds the app in force. A deploy's commit and the change of the app are one loop step, so that no cut mixes code
generations (engine.md rule 25); a call that is running keeps the app it began with.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from reactor.auth.identity import Caller
from reactor.engine.backfill import Progress
from reactor.engine.commit_record import CommitRecord
from reactor.engine.database import Database
from reactor.engine.deploy import deploy
from reactor.engine.transaction import Transaction
from reactor.engine.vector_indexes import VectorIndexes, require_libraries
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import FunctionNotFound, LimitExceeded, ReactorError
from reactor.runtime.actions import execute_action
from reactor.runtime.app import App
from reactor.runtime.execute import Execution, execute_query, execution_of
from reactor.runtime.executions import Door, Executions, Finished, new_execution_id, print_log_lines
from reactor.runtime.failures import new_request_id
from reactor.runtime.host import Host, NestedResult
from reactor.runtime.live import LiveQueries
from reactor.runtime.logs import line_texts
from reactor.runtime.mutation_job import MutationJob
from reactor.runtime.pins import OutOfRetention, Pins
from reactor.runtime.query_entry import QueryCall, QueryRun
from reactor.runtime.registry import RegisteredFunction
from reactor.runtime.reports import Reports
from reactor.runtime.reruns import described
from reactor.runtime.subscriber import LiveSubscriber
from reactor.runtime.waist import Failure, Outcome, Success, next_cut
from reactor.runtime.wanted import fits, wanted_tables
from reactor.schema.spec import schema_json

__all__ = ["LiveBackend"]

T = TypeVar("T")


class LiveBackend:
    """See `waist.Backend` and `host.Runner`. `dev` shows errors and log lines to clients, production only to the operator.

    `executions` is told of all that was run; without one, what functions log is printed.
    """

    def __init__(self, database: Database, host: Host, *, dev: bool, executions: Executions | None = None) -> None:
        self._database = database
        self.host = host
        if executions is None:
            executions = Executions()
            executions.listen(print_log_lines)
        self.reports = Reports(executions, dev=dev, root=lambda: self.app.root)
        self.app = App({})
        """The app in force; an empty one until the first deploy."""
        self._deployed: tuple[int, App, App] = (0, self.app, self.app)
        """When the app in force came, it, and the one before: a query on an older snapshot runs the code of its time."""
        self.transactions = 0
        """Those of actions (and tests) that are under way."""
        self.running_actions = 0
        self._next_app: App | None = None
        self._lanes = itertools.count()
        self._action_slots = asyncio.Semaphore(host.limits.concurrent_actions)
        # Before LiveQueries: at a deploy's commit the app must have changed when queries are told to run again.
        database.listen(self._on_commit, lambda: None)
        self.live = LiveQueries(database, self._run_query, executions)
        self._pins = Pins(database, self._run_query, self._report_query)
        self.vectors = VectorIndexes(database)

    async def close(self) -> None:
        """End the waves and the pinned snapshots; the database is the caller's to close."""
        await self._pins.close()
        await self.vectors.close()
        await self.live.close()

    @property
    def processed_ts(self) -> int:
        return self._database.processed_ts

    def table_name(self, number: int) -> str | None:
        return self._database.store.catalogue.table_name(number)

    # Deploys

    async def deploy(self, app: App, *, progress: Progress | None = None) -> None:
        """Put an app into force: its schema first, then, in one step with the commit, its code.

        Raises SchemaError, naming the documents that don't fit; then everything is as it was.
        """
        schema = app.schema
        tables = [] if schema is None else wanted_tables(schema, self.table_name)
        if any(index.kind == "vector" for table in tables for index in table.indexes):
            require_libraries()
        self._next_app = app
        try:
            async with self._database.schema_lock:
                text = "" if schema is None else msgspec.json.encode(schema_json(schema)).decode()
                await deploy(self._database, tables, fits=fits, progress=progress, schema=text)
        finally:
            self._next_app = None

    def _on_commit(self, record: CommitRecord) -> None:
        if "code" in record.names and self._next_app is not None:
            self._deployed = (record.ts, self._next_app, self.app)
            self.app = self._next_app

    @property
    def has_app(self) -> bool:
        """Whether code was ever put into force."""
        return self._deployed[0] > 0

    def _app_at(self, ts: int) -> App:
        since, app, before = self._deployed
        return app if ts >= since else before

    # Queries

    def subscriber(self, caller: Caller, *, door: Door = "SyncWorker") -> LiveSubscriber:
        return self.live.subscriber(caller, door)

    async def query(
        self, path: str, args: bytes, caller: Caller, *, at_ts: int | None = None, asked_by: str = ""
    ) -> Outcome:
        if at_ts is not None:
            try:
                return await self._pins.query(QueryCall(path, args, None, caller), at_ts, asked_by)
            except OutOfRetention as error:
                return self.reports.told(error, path)[0]
        subscriber = self.live.subscriber(caller, "HttpApi", asked_by)
        try:
            subscriber.add(0, path, args)
            cut = await next_cut(subscriber, 0)
        finally:
            subscriber.close()
        outcome = cut.updates[0].version.outcome
        return dataclasses.replace(outcome, ts=cut.ts) if isinstance(outcome, Success) else outcome

    async def pin_snapshot(self) -> int:
        return await self._pins.pin()

    def _run_query(self, call: QueryCall, tx: Transaction) -> QueryRun:
        """On a store thread. Never raises: what goes wrong is the outcome."""
        began = time.perf_counter()
        app = self._app_at(tx.ts)
        fn: RegisteredFunction | None = None
        execution = Execution()
        request_id = new_request_id()
        text: str | None = None
        try:
            fn = app.resolve(call.path, admin=call.caller.is_admin, kind="query")
            execution = execute_query(
                app, fn, call.args, tx, call.caller, host=self.host, journal=call.journal, request_id=request_id
            )
            log_lines = line_texts(execution.log_lines) if self.reports.shows(call.caller) else ()
            outcome: Outcome = Success(execution.value, log_lines, tx.ts, execution.journal)
        except BaseException as error:
            execution = execution_of(error)
            outcome, text = self.reports.told(error, call.path, request_id, call.caller)
        try:
            read_set = tx.read_set()
        except LimitExceeded as error:
            outcome, text = self.reports.told(error, call.path, request_id, call.caller)
            read_set = tx.coarse_read_set()
        seconds = time.perf_counter() - began
        finished: Finished | None = None
        if self.reports.executions.listeners:
            path = call.path if fn is None else fn.path
            finished = Finished(
                "query", path, request_id, call.caller, "SyncWorker", began, seconds, execution.log_lines,
                tx.usage, len(execution.value), text,
                ts=tx.ts, is_known=fn is not None, code=outcome.code if isinstance(outcome, Failure) else "",
            )  # fmt: skip
        return QueryRun(outcome, read_set, execution.observed_identity, execution.observed_time, seconds, finished)

    def _report_query(self, run: QueryRun, asked_by: str) -> None:
        """Of a run outside of the live queries, which report their own."""
        if run.finished is not None:
            run.finished.door, run.finished.asked_by = "HttpApi", asked_by
            self.reports.executions.report(run.finished)

    # Mutations and actions

    def mutation(
        self,
        path: str,
        args: bytes,
        caller: Caller,
        done: Callable[[Outcome], None],
        *,
        session: tuple[str, int] | None = None,
        request_id: str | None = None,
    ) -> None:
        app, reports = self.app, self.reports
        request_id = request_id or new_request_id()
        door: Door = "HttpApi" if session is None else "SyncWorker"
        try:
            fn = app.resolve(path, admin=caller.is_admin, kind="mutation")
        except ReactorError as error:
            failure = reports.failed(error, "mutation", path, request_id, caller, door, is_known=False)
            asyncio.get_running_loop().call_soon(done, failure)
            return

        def finished(result: Execution | BaseException, ts: int) -> None:
            if isinstance(result, BaseException):
                done(reports.failed(result, "mutation", fn.path, request_id, caller, door))
            else:
                if reports.executions.listeners:
                    reports.succeeded(fn, result, request_id, caller, door, ts)
                done(Success(result.value, line_texts(result.log_lines) if reports.shows(caller) else (), ts))

        self._submit(app, fn, args, caller, finished, session, request_id)

    def _submit(
        self,
        app: App,
        fn: RegisteredFunction,
        args: bytes,
        caller: Caller,
        finished: Callable[[Execution | BaseException, int], None],
        session: tuple[str, int] | None,
        request_id: str,
    ) -> None:
        lane = session[0] if session is not None else f"#{next(self._lanes)}"
        self._database.submit(
            MutationJob(app, fn, args, caller, self.host, finished, lane=lane, request=session, request_id=request_id)
        )

    async def action(
        self, path: str, args: bytes, caller: Caller, *, request_id: str | None = None, door: Door = "HttpApi"
    ) -> Outcome:
        app = self.app
        request_id = request_id or new_request_id()
        try:
            fn = app.resolve(path, admin=caller.is_admin, kind="action")
        except ReactorError as error:
            return self.reports.failed(error, "action", path, request_id, caller, door, is_known=False)
        try:
            async with self._action_slots:
                execution = await self.run_action(app, fn, args, caller, request_id=request_id, door=door)
        except Exception as error:
            return self.reports.told(error, path, request_id, caller)[0]
        return Success(execution.value, line_texts(execution.log_lines) if self.reports.shows(caller) else ())

    async def run_action(
        self,
        app: App,
        fn: RegisteredFunction,
        args: bytes,
        caller: Caller,
        *,
        request_id: str,
        door: Door,
        parent: str | None = None,
    ) -> Execution:
        """Run an action to its end, and report it. Raises the very exception that it raised."""
        execution_id = new_execution_id()
        self.running_actions += 1
        tell = self.reports.executions.line_teller("action", fn.path, request_id, execution_id, parent)
        try:
            execution = await execute_action(
                app, fn, args, self, caller,
                host=self.host, request_id=request_id, execution_id=execution_id, on_line=tell,
            )  # fmt: skip
        except BaseException as error:
            self.reports.report_failure(
                error, "action", fn.path, request_id, caller, door, parent=parent, id=execution_id
            )
            raise
        finally:
            self.running_actions -= 1
        self.reports.succeeded(fn, execution, request_id, caller, door, parent=parent, id=execution_id)
        return execution

    async def call(self, path: str, args: bytes, caller: Caller, *, request_id: str | None = None) -> Outcome:
        try:
            fn = self.app.resolve(path, admin=caller.is_admin)
        except FunctionNotFound as error:
            # This door speaks of functions, not of public ones. Source: client-protocol 2.1.
            name = path.replace(".js:", ":").removesuffix(".js").removesuffix(":default")
            text = f"Could not find function for {name!r}. Did you forget to run `npx convex dev`?"
            return self.reports.told(FunctionNotFound(text, code=error.code), path, request_id, caller)[0]
        except ReactorError as error:
            return self.reports.told(error, path, request_id, caller)[0]
        if fn.kind == "query":
            return await self.query(path, args, caller, asked_by=request_id or "")
        if fn.kind == "action":
            return await self.action(path, args, caller, request_id=request_id)
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(result: Outcome) -> None:
            if not outcome.done():
                outcome.set_result(result)

        self.mutation(path, args, caller, done, request_id=request_id)
        return await outcome

    async def run(
        self,
        app: App,
        fn: RegisteredFunction,
        args: bytes,
        caller: Caller,
        *,
        request_id: str,
        parent: str | None = None,
    ) -> NestedResult:
        """Run one function for an action (or a test): a transaction of its own; its exceptions come as they are."""
        if fn.kind == "action":
            execution = await self.run_action(
                app, fn, args, caller, request_id=request_id, door="Action", parent=parent
            )
            return NestedResult(execution.value, execution.log_lines)
        self.transactions += 1
        try:
            execution, ts = await self._transact(app, fn, args, caller, request_id)
        except Exception as error:
            self.reports.report_failure(error, fn.kind, fn.path, request_id, caller, "Action", parent=parent)
            raise
        finally:
            self.transactions -= 1
        self.reports.succeeded(fn, execution, request_id, caller, "Action", ts, parent=parent)
        return NestedResult(execution.value, execution.log_lines)

    async def _transact(
        self, app: App, fn: RegisteredFunction, args: bytes, caller: Caller, request_id: str
    ) -> tuple[Execution, int]:
        if fn.kind == "query":
            return await self._database.read(
                lambda tx: (execute_query(app, fn, args, tx, caller, host=self.host, request_id=request_id), tx.ts)
            )
        finished: asyncio.Future[tuple[Execution, int]] = asyncio.get_running_loop().create_future()

        def deliver(result: Execution | BaseException, ts: int) -> None:
            if finished.done():
                return
            if isinstance(result, BaseException):
                finished.set_exception(result)
            else:
                finished.set_result((result, ts))

        self._submit(app, fn, args, caller, deliver, None, request_id)
        return await finished

    async def write(self, change: Callable[[WriteTransaction], T]) -> T:
        self.transactions += 1
        try:
            return await self._database.write(change)
        finally:
            self.transactions -= 1

    # What people see

    def why(self, path: str | None, limit: int) -> list[dict[str, Any]]:
        """Why live queries ran: of one function, or all, the newest first (see `reruns.described`)."""
        newest = itertools.islice(self.live.reruns.newest(path), limit)
        return [described(rerun, self._database.catalogue) for rerun in newest]
