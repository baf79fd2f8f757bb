"""`@batched(Table)`: do something to every document of a table, a batch at a time, in the background.

Each batch is one scheduled mutation, which also writes down how far it came: so after a crash, a restart or a failure it goes
on where it was, and no document is done twice or left out. What is running is known from the job, not from a flag.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final, Generic, Literal, TypeVar, overload

from typing_extensions import TypeForm

from reactor.engine.ranges import IndexRange
from reactor.engine.scan import Scan
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import DatabaseError, FunctionError, SchemaError
from reactor.kit import records
from reactor.model import scheduled_functions
from reactor.runtime.actions import ActionCtx
from reactor.runtime.builtin import builtin
from reactor.runtime.call import Call, Operation
from reactor.runtime.contexts import MutationCtx, QueryCtx
from reactor.runtime.registry import Mutation, internal_mutation
from reactor.runtime.tables import TableBinding, bind_table, unknown_index
from reactor.schema.structs import Struct
from reactor.store.catalogue import BY_CREATION_TIME
from reactor.values.wire import encode

__all__ = ["BatchJob", "BatchStatus", "batched"]

D = TypeVar("D")
Handler = Callable[[MutationCtx, D], Coroutine[Any, Any, None]]

TABLE: Final = "_batch_jobs"
_STEP: Final = "_reactor/kit.js:runBatch"


class BatchStatus(Struct):
    """How far a batch job is. Times are milliseconds since 1970; `error` is there when it failed."""

    state: Literal["not started", "running", "done", "failed", "canceled"]
    processed: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    error: str | None = None


class BatchJob(Mutation[MutationCtx, [bool], BatchStatus], Generic[D]):
    """What `@batched` makes: an internal mutation that starts the job, and may be called like any other."""

    def __init__(self, work: Handler[D], table: Any, size: int, index: str, pause_ms: float) -> None:
        async def start(ctx: MutationCtx, restart: bool = False) -> BatchStatus:
            return await self.start(ctx, restart=restart)

        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(start, name, getattr(work, name))
        super().__init__(start, is_internal=True)
        self.work = work
        self.table = table
        self.size = size
        self.index = index
        self.pause_ms = pause_ms

    def start(self, ctx: MutationCtx | ActionCtx, *, restart: bool = False) -> Coroutine[Any, Any, BatchStatus]:
        """Start the job, or go on after a failure or a cancellation, with the first document that is not done.

        Nothing happens when it is running, or done; with `restart=True` it begins again with the first document.
        """
        name = self._name()

        def work(tx: WriteTransaction) -> BatchStatus:
            document = records.find(tx, TABLE, "by_name", name)
            status = _status(tx, document)
            if status.state == "running" and document is not None:
                if not restart:
                    return status
                scheduled_functions.cancel(tx, document["job"], is_caller=lambda _: False)
            if status.state == "done" and not restart:
                return status
            run = 1 if document is None else document["run"] + 1
            fields: dict[str, Any] = {
                "state": "running",
                "run": run,
                "endedAt": None,
                "job": _schedule(tx, name, run, tx.now_ms),
            }
            if document is None or restart:
                fields |= {"cursor": None, "processed": 0, "startedAt": tx.now_ms}
            if document is None:
                tx.insert(TABLE, {"name": name, **fields})
            else:
                records.update(tx, TABLE, document, **fields)
            return _status(tx, records.find(tx, TABLE, "by_name", name))

        return records.in_transaction(ctx, f"{name}.start", work, writes=True)

    def status(self, ctx: QueryCtx | ActionCtx) -> Coroutine[Any, Any, BatchStatus]:
        """How far it is; a query that asks runs again after every batch."""
        name = self._name()

        def work(tx: Transaction) -> BatchStatus:
            return _status(tx, records.find(tx, TABLE, "by_name", name))

        return records.in_transaction(ctx, f"{name}.status", work)

    def cancel(self, ctx: MutationCtx | ActionCtx) -> Coroutine[Any, Any, None]:
        """Stop after the batch that is running, if one is. What is done stays done; `start` goes on from there."""
        name = self._name()

        def work(tx: WriteTransaction) -> None:
            document = records.find(tx, TABLE, "by_name", name)
            if document is not None and _status(tx, document).state == "running":
                scheduled_functions.cancel(tx, document["job"], is_caller=lambda _: False)
                records.update(tx, TABLE, document, state="canceled", endedAt=tx.now_ms)

        return records.in_transaction(ctx, f"{name}.cancel", work, writes=True)

    def _name(self) -> str:
        if self.path is None:
            raise FunctionError(f"{self} is not part of a loaded app: declare it in a module of the functions package.")
        return self.path


@overload
def batched(
    table: str, /, *, size: int = 100, index: str = BY_CREATION_TIME, pause: timedelta = timedelta(0)
) -> Callable[[Handler[Any]], BatchJob[Any]]: ...
@overload
def batched(
    table: TypeForm[D], /, *, size: int = 100, index: str = BY_CREATION_TIME, pause: timedelta = timedelta(0)
) -> Callable[[Handler[D]], BatchJob[D]]: ...
def batched(
    table: Any, /, *, size: int = 100, index: str = BY_CREATION_TIME, pause: timedelta = timedelta(0)
) -> Callable[[Handler[Any]], BatchJob[Any]]:
    """Declare what is to be done to each document of `table`: `async def handler(ctx: MutationCtx, document)`.

    `size` documents make a batch, which is one mutation with its limits; `pause` lies between two. They come in the order of
    `index`; the handler must not change the fields of that index, or documents may come again or be left out. Raises
    SchemaError for a size below 1.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise SchemaError(f"@batched: `size` is a positive number, not {size!r}")
    return lambda work: BatchJob(work, table, size, index, max(0.0, pause / timedelta(milliseconds=1)))


def _status(tx: Transaction, document: dict[str, Any] | None) -> BatchStatus:
    """What is stored, unless the job that was to do the next batch tells otherwise."""
    if document is None:
        return BatchStatus(state="not started")
    state, ended, error = document["state"], document["endedAt"], None
    if state == "running":
        job = records.get(tx, scheduled_functions.TABLE, document["job"])
        kind = "failed" if job is None else job["state"]["kind"]
        if job is not None and kind in ("failed", "canceled"):
            state, ended, error = kind, job.get("completedTime"), job["state"].get("error")
        elif job is None:  # it ended long ago, and is forgotten
            state = "failed"
    return BatchStatus(
        state=state, processed=document["processed"], started_at=document["startedAt"], ended_at=ended, error=error
    )


def _schedule(tx: WriteTransaction, name: str, run: int, at: float) -> str:
    return scheduled_functions.schedule(tx, _STEP, encode({"name": name, "run": run}), at)


# One batch


async def _run_batch(ctx: MutationCtx, name: str, run: int) -> None:
    call = ctx._call
    declared = call.root.app.functions.get(name)
    if declared is None or not isinstance(declared.function, BatchJob):
        raise FunctionError(f"{name} is no batch job any more.")
    job: BatchJob[Any] = declared.function

    async def do(what: Callable[..., Any], *args: Any) -> Any:
        return await Operation(call, name, what, args)

    state = await do(records.find, call.tx, TABLE, "by_name", name)
    if state is None or state["state"] != "running" or state["run"] != run:
        return
    binding = bind_table(call.root.app, job.table)
    scan = await do(_scan, call, job, binding, state["cursor"])
    cursor, count = state["cursor"], 0
    while scan is not None and count < job.size and (row := await do(scan.next)) is not None:
        await job.work(ctx, await do(binding.read, row[1]))
        cursor, count = row[0], count + 1
    await do(_advance, call.tx, job, state, cursor, count)


def _scan(call: Call, job: BatchJob[Any], binding: TableBinding, cursor: bytes | None) -> Scan | None:
    table = call.tx.table(binding.name)
    if table is None:
        return None
    index = table.indexes.get(job.index)
    if index is None or index.state != "ready":
        raise unknown_index(binding, job.index, [n for n, i in table.indexes.items() if i.state == "ready"])
    if table.is_system:
        raise DatabaseError("System tables (prefixed with `_`) are read-only.", code="SystemTableError")
    return call.tx.scan(IndexRange(index, b"" if cursor is None else cursor + b"\x00", None))


def _advance(tx: WriteTransaction, job: BatchJob[Any], state: dict[str, Any], cursor: bytes | None, count: int) -> None:
    """Write down how far it came, in the transaction of the batch itself, and arrange for the next one."""
    name = state["name"]
    # Read again: the handler may have canceled or restarted its own job.
    current = records.find(tx, TABLE, "by_name", name)
    if current is None or current["run"] != state["run"]:
        return
    fields: dict[str, Any] = {"cursor": cursor, "processed": state["processed"] + count}
    if current["state"] == "running":
        if count < job.size:
            fields |= {"state": "done", "endedAt": tx.now_ms}
        else:
            fields["job"] = _schedule(tx, name, state["run"], tx.now_ms + job.pause_ms)
    records.update(tx, TABLE, current, **fields)


builtin(internal_mutation(_run_batch), "kit:runBatch")
