"""How the kit reads and writes its own tables: through the transaction of whoever called, whatever kind of ctx that is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import FunctionError
from reactor.model.scheduled_functions import off_the_books
from reactor.runtime.actions import ActionCtx
from reactor.runtime.call import Operation
from reactor.runtime.contexts import MutationCtx, QueryCtx
from reactor.store.catalogue import TableInfo
from reactor.values.wire import decode

__all__ = ["find", "get", "in_transaction", "of_app", "rows", "scan", "table_of", "update"]

T = TypeVar("T")


def in_transaction(
    ctx: QueryCtx | ActionCtx,
    name: str,
    work: Callable[[Any], T],
    *,
    writes: bool = False,
    looks_at_time: bool = False,
    counted: bool = False,
) -> Coroutine[Any, Any, T]:
    """Do `work(tx)` in the transaction of a query or mutation, or, from an action, in one of its own.

    `name` is how errors call it. Unless `counted`, what it reads and writes is not counted against the function's limits.
    Raises FunctionError for a ctx that can't write what has to be written.
    """

    def run(tx: Transaction) -> T:
        if counted:
            return work(tx)
        with off_the_books(tx):
            return work(tx)

    if isinstance(ctx, QueryCtx):
        if writes and not isinstance(ctx, MutationCtx):
            raise FunctionError(f"{name} writes: call it from a mutation or an action, not from a query.")
        call = ctx._call

        def perform() -> T:
            if looks_at_time:
                call.root.observed_time = True
            return run(call.tx)

        return Operation(call, name, perform, ())
    if isinstance(ctx, ActionCtx):
        return _in_action(ctx, run)
    raise FunctionError(f"{name} takes the function's own ctx, not {type(ctx).__name__}.")


async def _in_action(ctx: ActionCtx, work: Callable[[WriteTransaction], T]) -> T:
    running = ctx._running
    running.check_alive()
    return await running.runner.write(work)


def of_app(ctx: QueryCtx | ActionCtx) -> Any:
    """What stands behind a ctx: a Root or a running action, with `app` and `host`."""
    return ctx._call.root if isinstance(ctx, QueryCtx) else ctx._running


# Documents of system tables


def table_of(tx: Transaction, name: str) -> TableInfo:
    return tx.catalogue.tables[name]


def get(tx: Transaction, table: str, document_id: str) -> dict[str, Any] | None:
    """A document by its id, or None."""
    body = tx.get(table_of(tx, table), document_id)
    return None if body is None else _tree(body)


def rows(
    tx: Transaction,
    table: str,
    index: str,
    equal: tuple[Any, ...] = (),
    *,
    lower: tuple[Any, bool] | None = None,
    upper: tuple[Any, bool] | None = None,
    reverse: bool = False,
    most: int = 16,
) -> list[dict[str, Any]]:
    """The first documents of an index range, 16 at most."""
    info = table_of(tx, table)
    range_ = make_range(info.indexes[index], equal, lower, upper)
    return [_tree(body) for _, body in tx.rows(info, range_, most, reverse=reverse)]


def find(tx: Transaction, table: str, index: str, *equal: Any) -> dict[str, Any] | None:
    """The first document with these values in an index, or None."""
    found = rows(tx, table, index, equal, most=1)
    return found[0] if found else None


def scan(
    tx: Transaction,
    table: str,
    index: str,
    equal: tuple[Any, ...] = (),
    *,
    lower: tuple[Any, bool] | None = None,
    upper: tuple[Any, bool] | None = None,
    reverse: bool = False,
) -> Iterator[dict[str, Any]]:
    """The documents of an index range, each read when it is asked for."""
    found = tx.scan(make_range(table_of(tx, table).indexes[index], equal, lower, upper), reverse=reverse)
    while (row := found.next()) is not None:
        yield _tree(row[1])


def update(tx: WriteTransaction, table: str, document: dict[str, Any], **fields: Any) -> None:
    """Change some fields of a document (wire names)."""
    tx.patch(table_of(tx, table), document["_id"], fields)


def _tree(body: bytes) -> dict[str, Any]:
    tree: Any = decode(body)
    return tree
