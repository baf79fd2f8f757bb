"""The waist, implemented: calls by path become runs of the current app's functions, and schema and code are deployed.

It holds the app in force. A deploy's commit and the change of the app are one loop step, so that no cut mixes code
generations (engine.md rule 25); a call that is running keeps the app it began with.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from reactor.auth.identity import Caller
from reactor.engine.commit_record import CommitRecord
from reactor.engine.database import Database
from reactor.engine.deploy import Progress, WantedIndex, WantedTable, deploy
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import DatabaseError, FunctionNotFound, LimitExceeded, ReactorError, StoreError
from reactor.runtime.actions import execute_action
from reactor.runtime.app import App
from reactor.runtime.execute import Execution, execute_query, execution_of
from reactor.runtime.failures import failure_of, new_request_id
from reactor.runtime.host import Host, NestedResult
from reactor.runtime.live import LiveQueries
from reactor.runtime.mutation_job import MutationJob
from reactor.runtime.pins import Pins
from reactor.runtime.query_entry import QueryCall, QueryRun
from reactor.runtime.registry import RegisteredFunction
from reactor.runtime.subscriber import LiveSubscriber
from reactor.runtime.waist import Failure, Outcome, Success
from reactor.schema.changes import is_subset
from reactor.schema.indexes import AnyIndexDefinition, SearchIndexDefinition, VectorIndexDefinition
from reactor.schema.spec import exact_json, validator_from_json
from reactor.schema.table import TableDefinition
from reactor.store.protocol import SnapshotEnded

__all__ = ["LiveBackend", "wanted_index"]

logger = logging.getLogger("reactor.functions")

T = TypeVar("T")


class LiveBackend:
    """See `waist.Backend` and `host.Runner`. `dev` shows errors and log lines to clients, production redacts them."""

    def __init__(self, database: Database, host: Host, *, dev: bool) -> None:
        self._database = database
        self.host = host
        self.dev = dev
        self.app = App({})
        """The app in force; an empty one until the first deploy."""
        self._deployed: tuple[int, App, App] = (0, self.app, self.app)
        """When the app in force came, it, and the one before: a query on an older snapshot runs the code of its time."""
        self.transactions = 0
        """Those of actions (and tests) that are under way."""
        self._next_app: App | None = None
        self._lanes = itertools.count()
        self._action_slots = asyncio.Semaphore(host.limits.concurrent_actions)
        # Before LiveQueries: at a deploy's commit the app must have changed when queries are told to run again.
        database.listen(self._on_commit, lambda: None)
        self.live = LiveQueries(database, self._run_query)
        self._pins = Pins(database)

    async def close(self) -> None:
        """End the waves and the pinned snapshots; the database is the caller's to close."""
        await self._pins.close()
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
        tables = [] if schema is None else [self._wanted(t, schema.schema_validation) for t in schema.tables.values()]
        self._next_app = app
        try:
            await deploy(self._database, tables, fits=_fits, progress=progress)
        finally:
            self._next_app = None

    def _wanted(self, table: TableDefinition, validated: bool) -> WantedTable:
        resolve = self.table_name
        takes = table.codec.takes

        def check(body: bytes, document: dict[str, Any]) -> None:
            if not takes(body, resolve):
                table.check(body, document, resolve)

        indexes = tuple(map(wanted_index, table.all_indexes))
        return WantedTable(table.name, indexes, check if validated else None, exact_json(table.validator))

    def _on_commit(self, record: CommitRecord) -> None:
        if "code" in record.names and self._next_app is not None:
            self._deployed = (record.ts, self._next_app, self.app)
            self.app = self._next_app

    def _app_at(self, ts: int) -> App:
        since, app, before = self._deployed
        return app if ts >= since else before

    # Queries

    def subscriber(self, caller: Caller) -> LiveSubscriber:
        return self.live.subscriber(caller)

    async def query(self, path: str, args: bytes, caller: Caller, *, at_ts: int | None = None) -> Outcome:
        if at_ts is not None:
            return await self._query_at(path, args, caller, at_ts)
        subscriber = self.live.subscriber(caller)
        try:
            subscriber.add(0, path, args)
            cut = await subscriber.cut()
        finally:
            subscriber.close()
        outcome = cut.updates[0].version.outcome
        return dataclasses.replace(outcome, ts=cut.ts) if isinstance(outcome, Success) else outcome

    async def pin_snapshot(self) -> int:
        return await self._pins.pin()

    async def _query_at(self, path: str, args: bytes, caller: Caller, ts: int) -> Outcome:
        call = QueryCall(path, args, None, caller)
        snapshot = self._pins.at(ts)
        if snapshot is not None:
            try:
                run = await snapshot.run(lambda reader: self._run_query(call, self._database.transaction(reader)))
                return _stamped(run.outcome, ts)
            except SnapshotEnded:
                pass  # the store needed its space back: see whether the newest data will do
        if ts > self._database.processed_ts:
            return self.failure(_out_of_retention(ts, "has not been reached yet"))

        def read(tx: Transaction) -> tuple[int, QueryRun]:
            tx.depend_on("code")  # the code of that time may be gone, too
            return tx.ts, self._run_query(call, tx)

        with self._database.holding(ts):
            read_ts, run = await self._database.read(read)
            await self._database.wait_processed(read_ts)
            if self._database.ring.first_touch(run.read_set, ts, read_ts) is None:
                return _stamped(run.outcome, ts)
        return self.failure(_out_of_retention(ts, "is no longer kept, and the data has changed since"))

    def _run_query(self, call: QueryCall, tx: Transaction) -> QueryRun:
        """On a store thread. Never raises: what goes wrong is the outcome."""
        began = time.monotonic()
        app = self._app_at(tx.ts)
        execution = Execution()
        try:
            fn = app.resolve(call.path, admin=call.caller.is_admin, kind="query")
            request_id = new_request_id()
            execution = execute_query(
                app, fn, call.args, tx, call.caller, host=self.host, journal=call.journal, request_id=request_id
            )
            outcome: Outcome = Success(
                execution.value, execution.log_lines if self.dev else (), tx.ts, execution.journal
            )
            self.log(fn, execution)
        except BaseException as error:
            execution = execution_of(error)
            outcome = self.failure(error, call.path)
        try:
            read_set = tx.read_set()
        except LimitExceeded as error:
            outcome, read_set = self.failure(error, call.path), tx.coarse_read_set()
        return QueryRun(
            outcome, read_set, execution.observed_identity, execution.observed_time, time.monotonic() - began
        )

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
        app = self.app
        try:
            fn = app.resolve(path, admin=caller.is_admin, kind="mutation")
        except ReactorError as error:
            asyncio.get_running_loop().call_soon(done, self.failure(error, path, request_id))
            return
        request_id = request_id or new_request_id()

        def finished(result: Execution | BaseException, ts: int) -> None:
            if isinstance(result, BaseException):
                done(self.failure(result, path, request_id))
            else:
                self.log(fn, result)
                done(Success(result.value, result.log_lines if self.dev else (), ts))

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

    async def action(self, path: str, args: bytes, caller: Caller, *, request_id: str | None = None) -> Outcome:
        app = self.app
        request_id = request_id or new_request_id()
        try:
            fn = app.resolve(path, admin=caller.is_admin, kind="action")
            async with self._action_slots:
                execution = await execute_action(app, fn, args, self, caller, host=self.host, request_id=request_id)
        except Exception as error:
            return self.failure(error, path, request_id)
        self.log(fn, execution)
        return Success(execution.value, execution.log_lines if self.dev else ())

    async def call(self, path: str, args: bytes, caller: Caller, *, request_id: str | None = None) -> Outcome:
        try:
            fn = self.app.resolve(path, admin=caller.is_admin)
        except FunctionNotFound as error:
            # This door speaks of functions, not of public ones. Source: client-protocol 2.1.
            name = path.replace(".js:", ":").removesuffix(".js").removesuffix(":default")
            text = f"Could not find function for {name!r}. Did you forget to run `npx convex dev`?"
            return self.failure(FunctionNotFound(text, code=error.code), path, request_id)
        except ReactorError as error:
            return self.failure(error, path, request_id)
        if fn.kind == "query":
            return await self.query(path, args, caller)
        if fn.kind == "action":
            return await self.action(path, args, caller, request_id=request_id)
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(result: Outcome) -> None:
            if not outcome.done():
                outcome.set_result(result)

        self.mutation(path, args, caller, done, request_id=request_id)
        return await outcome

    async def run(
        self, app: App, fn: RegisteredFunction, args: bytes, caller: Caller, *, request_id: str
    ) -> NestedResult:
        """Run one function for an action (or a test): a transaction of its own; its exceptions come as they are."""
        if fn.kind == "action":
            execution = await execute_action(app, fn, args, self, caller, host=self.host, request_id=request_id)
            return NestedResult(execution.value, execution.log_lines)
        self.transactions += 1
        try:
            execution = await self._transact(app, fn, args, caller, request_id)
        finally:
            self.transactions -= 1
        return NestedResult(execution.value, execution.log_lines)

    async def _transact(
        self, app: App, fn: RegisteredFunction, args: bytes, caller: Caller, request_id: str
    ) -> Execution:
        if fn.kind == "query":
            return await self._database.read(
                lambda tx: execute_query(app, fn, args, tx, caller, host=self.host, request_id=request_id)
            )
        finished: asyncio.Future[Execution] = asyncio.get_running_loop().create_future()

        def deliver(result: Execution | BaseException, ts: int) -> None:
            if finished.done():
                return
            if isinstance(result, BaseException):
                finished.set_exception(result)
            else:
                finished.set_result(result)

        self._submit(app, fn, args, caller, deliver, None, request_id)
        return await finished

    async def write(self, change: Callable[[WriteTransaction], T]) -> T:
        self.transactions += 1
        try:
            return await self._database.write(change)
        finally:
            self.transactions -= 1

    # What people see

    def failure(self, error: BaseException, path: str = "", request_id: str | None = None) -> Failure:
        """What a caller is told of an error; the operator finds the whole of it in the log."""
        request_id = request_id or new_request_id()
        if not isinstance(error, ReactorError) or isinstance(error, StoreError):
            logger.error("[%s] %s failed", request_id, path, exc_info=error)
        for line in execution_of(error).log_lines:
            logger.info("%s: %s", path, line)
        return failure_of(error, request_id=request_id, redact=not self.dev, root=self.app.root)

    def log(self, fn: RegisteredFunction, execution: Execution) -> None:
        """Show the operator what a function printed."""
        for line in execution.log_lines:
            logger.info("%s: %s", fn.path, line)


def wanted_index(index: AnyIndexDefinition) -> WantedIndex:
    """What a deploy makes of an index of the schema."""
    if isinstance(index, SearchIndexDefinition):
        return WantedIndex(index.name, index.fields, index.staged, "search")
    if isinstance(index, VectorIndexDefinition):
        return WantedIndex(index.name, index.fields, index.staged, "vector", index.dimensions)
    return WantedIndex(index.name, index.fields, index.staged)


def _stamped(outcome: Outcome, ts: int) -> Outcome:
    return dataclasses.replace(outcome, ts=ts) if isinstance(outcome, Success) else outcome


def _out_of_retention(ts: int, why: str) -> DatabaseError:
    return DatabaseError(
        f"The timestamp {ts} {why}. Ask for a new one with /api/query_ts; it is good for some seconds.",
        code="OutOfRetention",
    )


def _fits(stored: Any, table: WantedTable) -> bool:
    """Whether every document that the stored validator let in fits the new one."""
    try:
        return is_subset(validator_from_json(stored), validator_from_json(table.validator))
    except ReactorError:
        return False  # written by another version: look at the documents
