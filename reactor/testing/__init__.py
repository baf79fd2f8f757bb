"""A whole backend for tests: in memory, with a clock that you move. See `Backend`; pytest gets it as the fixture `backend`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reactor.clock import ManualClock
    from reactor.testing.harness import Backend, backend
    from reactor.testing.issuer import TestIssuer
    from reactor.testing.subscription import Subscription

__all__ = ["Backend", "ManualClock", "Subscription", "TestIssuer", "backend"]

_HOMES = {
    "Backend": "reactor.testing.harness",
    "ManualClock": "reactor.clock",
    "Subscription": "reactor.testing.subscription",
    "TestIssuer": "reactor.testing.issuer",
    "backend": "reactor.testing.harness",
}


def __getattr__(name: str) -> Any:
    # pytest imports this package in every project of the environment: nothing is loaded before it is used.
    if (home := _HOMES.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
