"""Helpers that apps expect in the box. Their state lives in system tables, transactional and reactive like all else.

    from reactor.kit import RateLimiter, token_bucket

Names are loaded when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reactor.kit.aggregate import Aggregate
    from reactor.kit.batches import BatchJob, BatchStatus, batched
    from reactor.kit.pages import Page, Paginator, get_page, paginator
    from reactor.kit.presence import Presence, Present
    from reactor.kit.rate_limiter import RateLimited, RateLimiter, RateLimitStatus, RateLimitValue
    from reactor.kit.rates import FixedWindow, TokenBucket, fixed_window, token_bucket
    from reactor.kit.work import WorkResult
    from reactor.kit.work_pool import Retry, WorkPool, WorkStatus

_HOMES = {
    "Aggregate": "reactor.kit.aggregate",
    "BatchJob": "reactor.kit.batches",
    "BatchStatus": "reactor.kit.batches",
    "FixedWindow": "reactor.kit.rates",
    "Page": "reactor.kit.pages",
    "Paginator": "reactor.kit.pages",
    "Presence": "reactor.kit.presence",
    "Present": "reactor.kit.presence",
    "RateLimitStatus": "reactor.kit.rate_limiter",
    "RateLimitValue": "reactor.kit.rate_limiter",
    "RateLimited": "reactor.kit.rate_limiter",
    "RateLimiter": "reactor.kit.rate_limiter",
    "Retry": "reactor.kit.work_pool",
    "TokenBucket": "reactor.kit.rates",
    "WorkPool": "reactor.kit.work_pool",
    "WorkResult": "reactor.kit.work",
    "WorkStatus": "reactor.kit.work_pool",
    "batched": "reactor.kit.batches",
    "fixed_window": "reactor.kit.rates",
    "get_page": "reactor.kit.pages",
    "paginator": "reactor.kit.pages",
    "token_bucket": "reactor.kit.rates",
}

__all__ = [
    "Aggregate",
    "BatchJob",
    "BatchStatus",
    "FixedWindow",
    "Page",
    "Paginator",
    "Presence",
    "Present",
    "RateLimitStatus",
    "RateLimitValue",
    "RateLimited",
    "RateLimiter",
    "Retry",
    "TokenBucket",
    "WorkPool",
    "WorkResult",
    "WorkStatus",
    "batched",
    "fixed_window",
    "get_page",
    "paginator",
    "token_bucket",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'reactor.kit' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
