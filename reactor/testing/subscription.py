"""A live query in a test: what the subscriber sees next, and that it sees nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from reactor.runtime.waist import Backend, Outcome, Subscriber, next_cut

__all__ = ["Subscription"]

R_co = TypeVar("R_co", covariant=True)

PATIENCE_S = 10.0
"""How long `next` waits, in real seconds, before it says that nothing came."""


class Subscription(Generic[R_co]):
    """One subscriber of one query. Like every client it may skip states: it gets the newest one."""

    def __init__(self, backend: Backend, subscriber: Subscriber, path: str, unpack: Callable[[Outcome], R_co]) -> None:
        self._backend = backend
        self._subscriber = subscriber
        self._path = path
        self._unpack = unpack

    async def next(self, *, patience: float = PATIENCE_S) -> R_co:
        """The next result: the first one at once, later ones when they change. Raises what the query raised.

        Raises AssertionError when nothing new came within `patience` seconds.
        """
        try:
            async with asyncio.timeout(patience):
                while True:
                    for update in (await next_cut(self._subscriber)).updates:
                        return self._unpack(update.version.outcome)
        except TimeoutError:
            raise AssertionError(f"{self._path}: no new result within {patience:g} s") from None

    async def assert_quiet(self) -> None:
        """Nothing that happened so far changed the result. Raises AssertionError with the result that did come."""
        cut = await next_cut(self._subscriber, self._backend.processed_ts)
        for update in cut.updates:
            raise AssertionError(f"{self._path}: expected no new result, but got {update.version.outcome}")

    def __aiter__(self) -> Subscription[R_co]:
        return self

    async def __anext__(self) -> R_co:
        return await self.next()
