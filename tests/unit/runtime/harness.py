"""An app written in the test, loaded from files and run on a real database, without server or backend."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactor.auth.identity import ANONYMOUS, Caller
from reactor.clock import ManualClock
from reactor.engine.database import Database
from reactor.engine.deploy import WantedTable, deploy
from reactor.engine.read_set import ReadSet
from reactor.engine.transaction import Transaction
from reactor.engine.vector_indexes import VectorIndexes
from reactor.engine.write_transaction import WriteTransaction
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.model.system_tables import ensure_system_tables
from reactor.runtime.actions import execute_action
from reactor.runtime.app import App
from reactor.runtime.execute import Execution, execute_mutation, execute_query
from reactor.runtime.host import Host, NestedResult
from reactor.runtime.loader import AppLoader
from reactor.runtime.logs import line_texts
from reactor.runtime.registry import RegisteredFunction
from reactor.runtime.wanted import wanted_index
from reactor.store.sqlite.store import SqliteStore
from reactor.values.wire import decode, encode
from tests.unit.engine.conftest import Job


def write_files(root: Path, files: Mapping[str, str]) -> Path:
    """Write an app's files, by path relative to `root`."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"), "utf-8")
    (root / "functions").mkdir(parents=True, exist_ok=True)
    return root


@dataclass
class Ran:
    """An execution, its result as a value, and what a query read."""

    value: Any
    execution: Execution
    read_set: ReadSet | None = None

    @property
    def logs(self) -> tuple[str, ...]:
        return line_texts(self.execution.log_lines)


class Harness:
    """One app on one database."""

    def __init__(self, loader: AppLoader, app: App, database: Database, clock: ManualClock, host: Host) -> None:
        self.loader, self.app, self.database, self.clock, self.host = loader, app, database, clock, host
        self.caller: Caller = ANONYMOUS
        self.vectors = VectorIndexes(database)
        self.environment: dict[str, str] = host.environment  # type: ignore[assignment]

    @classmethod
    async def open(cls, root: Path, limits: Limits = DEFAULT_LIMITS) -> Harness:
        loader = AppLoader(root / "app")
        app = loader.load()
        clock = ManualClock()
        database = Database(SqliteStore(root / "data", clock=clock, synchronous="OFF"), clock, limits)
        await database.open()
        await ensure_system_tables(database)
        harness = cls(loader, app, database, clock, Host(limits=limits, clock=clock))
        await harness.deploy()
        return harness

    async def deploy(self) -> None:
        catalogue = self.database.store

        def check(table: Any) -> Any:
            return lambda body, document: table.check(body, document, catalogue.catalogue.table_name)

        tables = [
            WantedTable(
                table.name,
                tuple(map(wanted_index, table.all_indexes)),
                check(table),
                table.validator.json(),
            )
            for table in self.app.types.tables.values()
        ]
        await deploy(self.database, tables)

    async def close(self) -> None:
        await self.vectors.close()
        await self.database.close()
        self.loader.close()

    def fn(self, path: str) -> RegisteredFunction:
        return self.app.resolve(path, admin=True)

    async def query(self, path: str, journal: str | None = None, /, **args: Any) -> Ran:
        """Run a query with arguments by wire name."""
        seen: list[ReadSet] = []

        def run(tx: Transaction) -> Execution:
            try:
                return execute_query(
                    self.app, self.fn(path), encode(args), tx, self.caller, host=self.host, journal=journal
                )
            finally:
                seen.append(tx.read_set())

        execution = await self.database.read(run)
        return Ran(decode(execution.value), execution, seen[0])

    async def mutation(self, path: str, /, **args: Any) -> Ran:
        """Run a mutation with arguments by wire name."""

        def run(tx: WriteTransaction) -> Execution:
            return execute_mutation(self.app, self.fn(path), encode(args), tx, self.caller, host=self.host)

        job = Job(run)
        self.database.submit(job)
        _, execution = await job.done
        return Ran(decode(execution.value), execution)

    async def action(self, path: str, /, **args: Any) -> Ran:
        execution = await execute_action(
            self.app, self.fn(path), encode(args), Direct(self), self.caller, host=self.host
        )
        return Ran(decode(execution.value), execution)

    async def documents(self, table: str) -> list[dict[str, Any]]:
        """All documents of a table, in order of creation."""

        def run(tx: Transaction) -> list[dict[str, Any]]:
            info = tx.table(table)
            if info is None:
                return []
            rows = tx.reader.scan(info.indexes["by_creation_time"], b"", None, reverse=False, limit=10_000)
            return [json.loads(body) for _, body in rows]

        return await self.database.read(run)


class Direct:
    """What an action calls through, without a backend."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.callers: list[Caller] = []

    @property
    def vectors(self) -> VectorIndexes:
        return self.harness.vectors

    def table_name(self, number: int) -> str | None:
        return self.harness.database.catalogue.table_name(number)

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
        self.callers.append(caller)
        harness = self.harness
        if fn.kind == "query":
            execution = await harness.database.read(
                lambda tx: execute_query(app, fn, args, tx, caller, host=harness.host)
            )
        elif fn.kind == "mutation":
            job = Job(lambda tx: execute_mutation(app, fn, args, tx, caller, host=harness.host))
            harness.database.submit(job)
            _, execution = await job.done
        else:
            execution = await execute_action(app, fn, args, self, caller, host=harness.host)
        return NestedResult(execution.value, execution.log_lines)
