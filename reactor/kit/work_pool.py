"""`WorkPool`: mutations and actions in the background, so many at a time, tried again when they fail.

    pool = WorkPool("mail", max_parallelism=3, retry=Retry(attempts=5))
    work_id = await pool.enqueue(ctx, emails.send, to=address)

A mutation runs exactly once. An action runs at most once per attempt: if the server dies meanwhile that attempt has failed.
"""

from __future__ import annotations

import copy
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, ParamSpec, overload

from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import DatabaseError, FunctionError, ReactorError, SchemaError
from reactor.kit import records, work
from reactor.kit.work import WorkResult
from reactor.runtime.actions import ActionCtx
from reactor.runtime.builtin import builtin
from reactor.runtime.contexts import MutationCtx, QueryCtx
from reactor.runtime.references import FunctionProxy
from reactor.runtime.registry import Action, Mutation, internal_action, internal_mutation
from reactor.runtime.scheduling import encode_for_later, find_target
from reactor.schema.dumping import dump
from reactor.schema.structs import Struct
from reactor.values.wire import decode

__all__ = ["Retry", "WorkPool", "WorkResult", "WorkStatus"]

P = ParamSpec("P")

_PER_CALL: Final = 256
"""Items that `cancel_all` deals with at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often something is tried, all in all, and how long the pauses are: `first`, then each `base` times as long.

    Each pause is cut by up to a half at random. Raises SchemaError for numbers that make no sense.
    """

    attempts: int = 4
    first: timedelta = timedelta(milliseconds=500)
    base: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first < timedelta(0) or not 1 <= self.base < 1000:
            raise SchemaError(f"{self!r}: at least one attempt, no negative pauses, and a base from 1 on")


class WorkStatus(Struct):
    """How far a work item is, with what it came to. `error` is that of the last attempt that failed."""

    state: Literal["waiting", "pending", "running", "success", "failed", "canceled"]
    attempts: int
    value: Any = None
    error: str | None = None


class WorkPool:
    """Up to `max_parallelism` items of this name run at a time, in the order in which they could begin.

    `retry` is for items that fail; without, one attempt is all. Outcomes can be asked for until `keep` after the end. All
    actions that are scheduled share the deployment's limit (`concurrent_scheduled`).
    """

    def __init__(
        self, name: str, *, max_parallelism: int = 10, retry: Retry | None = None, keep: timedelta = timedelta(days=1)
    ) -> None:
        """Raises SchemaError for a `max_parallelism` that is not 1 to 1000."""
        if isinstance(max_parallelism, bool) or not 1 <= max_parallelism <= 1000:
            raise SchemaError(f"WorkPool {name!r}: `max_parallelism` is 1 to 1000, not {max_parallelism!r}")
        self._name = name
        self._settings = {"maxParallelism": max_parallelism, "keepMs": max(0.0, keep / timedelta(milliseconds=1))}
        self._retry = retry
        self._delay_ms = 0.0
        self._on_complete: Any = None
        self._context: Any = None

    def with_options(
        self,
        *,
        retry: Retry | None = None,
        delay: timedelta = timedelta(0),
        on_complete: Mutation[Any, ..., Any] | Action[Any, ..., Any] | FunctionProxy | str | None = None,
        context: Any = None,
    ) -> WorkPool:
        """The same pool, for enqueueing otherwise: `await pool.with_options(delay=…).enqueue(…)`.

        `on_complete` is a mutation (or action) with one parameter, a `WorkResult`, that is scheduled when the item has come to
        its end, whatever that is; `context` is handed on to it.
        """
        other = copy.copy(self)
        other._retry = retry if retry is not None else self._retry
        other._delay_ms = max(0.0, delay / timedelta(milliseconds=1))
        other._on_complete = on_complete
        other._context = dump(context)
        return other

    @overload
    def enqueue(
        self,
        ctx: MutationCtx | ActionCtx,
        ref: Mutation[Any, P, Any] | Action[Any, P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, str]: ...
    @overload
    def enqueue(
        self,
        ctx: MutationCtx | ActionCtx,
        ref: FunctionProxy | str,
        args: Mapping[str, Any] | None = None,
        /,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, str]: ...
    def enqueue(self, ctx: MutationCtx | ActionCtx, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run `ref` with these arguments when there is room, if this mutation commits. Returns the id of the work item.

        Raises FunctionError (what is no mutation or action), InvalidArguments, LimitExceeded.
        """

        def add(tx: WriteTransaction) -> str:
            root = records.of_app(ctx)
            target, path = find_target(root.app, ref)
            if target.kind == "query":
                raise FunctionError(f"{target.path} is a query: only mutations and actions can be enqueued.")
            raw = encode_for_later(
                target, path, ref, args, kwargs, tx.catalogue.table_name, root.host.limits.arguments_bytes
            )
            retry = self._retry
            on_complete = None if self._on_complete is None else find_target(root.app, self._on_complete)[0].path
            fields = {
                "function": target.path,
                "kind": target.kind,
                "args": decode(raw),
                "retry": None
                if retry is None
                else {
                    "attempts": retry.attempts,
                    "firstMs": retry.first / timedelta(milliseconds=1),
                    "base": retry.base,
                },
                "onComplete": on_complete,
                "context": self._context,
            }
            return work.add(tx, self._name, self._settings, fields, tx.now_ms + self._delay_ms)

        return records.in_transaction(ctx, "WorkPool.enqueue", add, writes=True)

    def status(self, ctx: QueryCtx | ActionCtx, work_id: str) -> Coroutine[Any, Any, WorkStatus | None]:
        """How far an item is; None when it is not known (any more). A query that asks follows it."""

        def look(tx: Transaction) -> WorkStatus | None:
            item = _item(tx, self._name, work_id)
            if item is None:
                return None
            return WorkStatus(
                state=item["state"], attempts=item["attempts"], value=item.get("value"), error=item.get("error")
            )

        return records.in_transaction(ctx, "WorkPool.status", look)

    def cancel(self, ctx: MutationCtx | ActionCtx, work_id: str) -> Coroutine[Any, Any, bool]:
        """Cancel an item. What has not begun never will; an action that is running goes on, and is not tried again.

        False when it had ended already, or is not known.
        """

        def stop(tx: WriteTransaction) -> bool:
            item = _item(tx, self._name, work_id)
            return item is not None and work.cancel(tx, records.of_app(ctx).app, work_id)

        return records.in_transaction(ctx, "WorkPool.cancel", stop, writes=True)

    def cancel_all(self, ctx: MutationCtx | ActionCtx) -> Coroutine[Any, Any, int]:
        """Cancel what is waiting or running, the oldest 256 of each. Returns how many; 0 when there is nothing left."""

        def stop(tx: WriteTransaction) -> int:
            count = 0
            for state in ("waiting", "pending", "running"):
                found = records.scan(tx, work.WORK, "by_pool_and_state", (self._name, state))
                ids = [
                    item["_id"] for _, item in zip(range(_PER_CALL), found, strict=False) if not item.get("canceling")
                ]
                count += sum([work.cancel(tx, records.of_app(ctx).app, work_id) for work_id in ids])
            return count

        return records.in_transaction(ctx, "WorkPool.cancel_all", stop, writes=True)

    def counts(self, ctx: QueryCtx | ActionCtx) -> Coroutine[Any, Any, dict[str, int]]:
        """How many items there are by state; those that ended as long as they are kept."""

        def count(tx: Transaction) -> dict[str, int]:
            states = ("waiting", "pending", "running", *work.ENDED)
            return {state: work.count(tx, self._name, state) for state in states}

        return records.in_transaction(ctx, "WorkPool.counts", count)


def _item(tx: Transaction, pool: str, work_id: str) -> dict[str, Any] | None:
    table = tx.table_of_id(work_id) if isinstance(work_id, str) else None
    if table is None or table.name != work.WORK:
        raise DatabaseError(f"{work_id!r} is not the id of a work item.", code="InvalidId")
    item = records.get(tx, work.WORK, work_id)
    return item if item is not None and item["pool"] == pool else None


# The jobs


def _text(error: Exception) -> str:
    kind = type(error).__name__
    return str(error) if isinstance(error, ReactorError) and str(error) else f"{kind}: {error}"


async def _run_mutation(ctx: MutationCtx, work_id: str, attempt: int) -> None:
    """The mutation, its outcome and what follows from it are one transaction."""
    item = await _begun(ctx, work_id, attempt)
    if item is None:
        return
    outcome: dict[str, Any]
    try:
        outcome = {"value": dump(await ctx.run_mutation(item["function"], item["args"]))}
    except Exception as error:
        outcome = {"error": _text(error)}
        ctx.log(f"{item['function']} failed (attempt {attempt}): {outcome['error']}")
    await _settle(ctx, work_id, attempt, outcome)


async def _run_action(ctx: ActionCtx, work_id: str, attempt: int) -> None:
    item = await _begun(ctx, work_id, attempt)
    if item is None:
        return
    outcome: dict[str, Any]
    try:
        outcome = {"value": dump(await ctx.run_action(item["function"], item["args"]))}
    except Exception as error:
        outcome = {"error": _text(error)}
        ctx.log(f"{item['function']} failed (attempt {attempt}): {outcome['error']}")
    await _settle(ctx, work_id, attempt, outcome)


async def _begun(ctx: MutationCtx | ActionCtx, work_id: str, attempt: int) -> dict[str, Any] | None:
    def look(tx: Transaction) -> dict[str, Any] | None:
        item = records.get(tx, work.WORK, work_id)
        return item if item is not None and item["state"] == "running" and item["attempts"] == attempt else None

    return await records.in_transaction(ctx, "WorkPool", look)


async def _settle(ctx: MutationCtx | ActionCtx, work_id: str, attempt: int, outcome: dict[str, Any]) -> None:
    await records.in_transaction(
        ctx,
        "WorkPool",
        lambda tx: work.settle(tx, records.of_app(ctx).app, work_id, attempt, **outcome),
        writes=True,
    )


async def _is_due(ctx: MutationCtx, work_id: str) -> None:
    await records.in_transaction(ctx, "WorkPool", lambda tx: work.due(tx, work_id), writes=True)


async def _check(ctx: MutationCtx, pool: str) -> None:
    app = records.of_app(ctx).app
    await records.in_transaction(ctx, "WorkPool", lambda tx: work.check_pool(tx, app, pool), writes=True)


builtin(internal_mutation(_run_mutation), "kit:runWorkMutation")
builtin(internal_action(_run_action), "kit:runWorkAction")
builtin(internal_mutation(_is_due), "kit:workIsDue")
builtin(internal_mutation(_check), "kit:checkWorkPool")
