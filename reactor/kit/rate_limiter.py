"""`RateLimiter`: how often something may be done, counted in the same transaction that does it.

A use that is part of a mutation which fails was none. There is no contention to shard for: mutations run one after another.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, Literal

from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import ApplicationError, FunctionError
from reactor.kit import records
from reactor.kit.rates import FixedWindow, RateLimit, State, TokenBucket
from reactor.runtime.actions import ActionCtx
from reactor.runtime.contexts import MutationCtx, QueryCtx
from reactor.schema.naming import did_you_mean
from reactor.schema.structs import Struct

__all__ = ["RateLimitStatus", "RateLimitValue", "RateLimited", "RateLimiter"]

TABLE: Final = "_rate_limits"


class RateLimitStatus(Struct):
    """Whether it may be done, and in how many milliseconds: if not `ok`, try again then; if reserved, do it then."""

    ok: bool
    retry_after: float | None = None


class RateLimitValue(Struct):
    """What was left at the time `ts`, and how it grows: all that a client needs to work it out for any later time."""

    value: float
    ts: float
    rate: float
    period: float
    capacity: float
    kind: Literal["token bucket", "fixed window"]


class RateLimited(ApplicationError):
    """Raised by `limit(…, throws=True)`. Clients see `{"kind": "RateLimited", "name": …, "retryAfter": milliseconds}`."""

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__({"kind": "RateLimited", "name": name, "retryAfter": retry_after})
        self.name = name
        self.retry_after = retry_after


class RateLimiter:
    """Named limits: `RateLimiter(send=token_bucket(rate=10, period=timedelta(minutes=1)))`.

    Each is counted per `key` (a user's id, say), or globally without one. The counts belong to the name: two limiters of an
    app that both declare `send` share them.
    """

    def __init__(self, **limits: TokenBucket | FixedWindow) -> None:
        self._limits = limits

    def limit(
        self,
        ctx: MutationCtx | ActionCtx,
        name: str,
        *,
        key: str | None = None,
        count: float = 1,
        reserve: bool = False,
        throws: bool = False,
        config: TokenBucket | FixedWindow | None = None,
    ) -> Coroutine[Any, Any, RateLimitStatus]:
        """Use `count` of a limit, if that much is left; nothing is used otherwise.

        With `reserve=True` it is taken of what is to come: the status is ok, with the time to wait in `retry_after`, unless
        more than `max_reserved` would be outstanding. `config` takes the place of the declared limit, for those that depend
        on who asks. Raises FunctionError (unknown name, a count that can never be); with `throws=True` RateLimited.
        """
        limit = self._config(name, config)
        _check_count(name, limit, count, reserve)

        def work(tx: WriteTransaction) -> RateLimitStatus:
            now = tx.now_ms
            document = records.find(tx, TABLE, "by_name_and_key", name, key)
            status, (value, ts) = _take(limit, document, now, count, reserve)
            if not status.ok:
                if throws:
                    raise RateLimited(name, status.retry_after or 0.0)
                return status
            fields = {"value": value, "ts": ts, "fullAt": limit.full_at((value, ts))}
            if document is not None:
                records.update(tx, TABLE, document, **fields)
            elif count:
                _forget_full(tx, now)
                tx.insert(TABLE, {"name": name, "key": key, **fields})
            return status

        return records.in_transaction(ctx, "RateLimiter.limit", work, writes=True)

    def check(
        self,
        ctx: QueryCtx | ActionCtx,
        name: str,
        *,
        key: str | None = None,
        count: float = 1,
        reserve: bool = False,
        throws: bool = False,
        config: TokenBucket | FixedWindow | None = None,
    ) -> Coroutine[Any, Any, RateLimitStatus]:
        """What `limit` would say; nothing is used. A query that checks runs again when the limit is used, not as time goes by."""
        limit = self._config(name, config)
        _check_count(name, limit, count, reserve)

        def work(tx: Transaction) -> RateLimitStatus:
            document = records.find(tx, TABLE, "by_name_and_key", name, key)
            status, _ = _take(limit, document, tx.now_ms, count, reserve)
            if throws and not status.ok:
                raise RateLimited(name, status.retry_after or 0.0)
            return status

        return records.in_transaction(ctx, "RateLimiter.check", work, looks_at_time=True)

    def value(
        self,
        ctx: QueryCtx | ActionCtx,
        name: str,
        *,
        key: str | None = None,
        config: TokenBucket | FixedWindow | None = None,
    ) -> Coroutine[Any, Any, RateLimitValue]:
        """How much is left, and how it grows: for showing it."""
        limit = self._config(name, config)

        def work(tx: Transaction) -> RateLimitValue:
            document = records.find(tx, TABLE, "by_name_and_key", name, key)
            value, ts = limit.at(_state(document), tx.now_ms)
            return RateLimitValue(
                value=value,
                ts=ts,
                rate=limit.rate,
                period=limit.period_ms,
                capacity=limit.capacity,
                kind="token bucket" if isinstance(limit, TokenBucket) else "fixed window",
            )

        return records.in_transaction(ctx, "RateLimiter.value", work, looks_at_time=True)

    def reset(self, ctx: MutationCtx | ActionCtx, name: str, *, key: str | None = None) -> Coroutine[Any, Any, None]:
        """Forget all uses, of one key."""
        if name not in self._limits:
            raise self._unknown(name)

        def work(tx: WriteTransaction) -> None:
            document = records.find(tx, TABLE, "by_name_and_key", name, key)
            if document is not None:
                tx.delete(records.table_of(tx, TABLE), document["_id"])

        return records.in_transaction(ctx, "RateLimiter.reset", work, writes=True)

    def _config(self, name: str, given: RateLimit | None) -> RateLimit:
        config = self._limits.get(name) if given is None else given
        if config is None:
            raise self._unknown(name)
        return config

    def _unknown(self, name: str) -> FunctionError:
        declared = ", ".join(self._limits) or "none"
        return FunctionError(
            f"There is no rate limit {name!r}.{did_you_mean(name, self._limits)} Declared: {declared}.",
            code="UnknownRateLimit",
        )


def _check_count(name: str, config: RateLimit, count: float, reserve: bool) -> None:
    if isinstance(count, bool) or not isinstance(count, int | float) or not count >= 0:
        raise FunctionError(f"The count of rate limit {name!r} is a number that is not negative, unlike {count!r}.")
    most = config.capacity
    if reserve:
        if config.max_reserved is None:
            return
        most += config.max_reserved
    if count > most:
        raise FunctionError(f"Rate limit {name!r} will never allow {count:g} at once: its capacity is {most:g}.")


def _take(
    config: RateLimit, document: dict[str, Any] | None, now: float, count: float, reserve: bool
) -> tuple[RateLimitStatus, State]:
    value, ts = config.at(_state(document), now)
    state = (value - count, ts)
    wait = config.wait(state, now)
    if wait <= 0:
        return RateLimitStatus(ok=True), (max(0.0, state[0]), ts)
    if reserve and (config.max_reserved is None or -state[0] <= config.max_reserved):
        return RateLimitStatus(ok=True, retry_after=wait), state
    return RateLimitStatus(ok=False, retry_after=wait), state


def _state(document: dict[str, Any] | None) -> State | None:
    return None if document is None else (document["value"], document["ts"])


def _forget_full(tx: WriteTransaction, now: float) -> None:
    """Keys that have everything left need no document. Two go for each that comes, so they never pile up."""
    for document in records.rows(tx, TABLE, "by_full_at", upper=(now, True), most=2):
        tx.delete(records.table_of(tx, TABLE), document["_id"])
