"""A change of our own as a job for the committer: any function of a transaction, awaited like a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from reactor.engine.write_transaction import WriteTransaction
from reactor.store.protocol import RequestRecord

__all__ = ["OwnJob"]

T = TypeVar("T")


class OwnJob(Generic[T]):
    """See `engine.committer.WriteJob`. `done` is the function's result once its commit is durable and published."""

    request: tuple[str, int] | None = None

    def __init__(
        self,
        change: Callable[[WriteTransaction], T],
        *,
        lane: str,
        background: bool,
        usual_s: float = 0.0,
        by: tuple[str, str] | None = None,
    ) -> None:
        """`change` runs on the writer's thread, and again if its transaction was lost."""
        self.usual_s = usual_s
        self.lane = lane
        self.background = background
        self.by = by
        self.done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._change = change
        self._result: Any = None

    def execute(self, tx: WriteTransaction) -> bytes:
        self._result = self._change(tx)
        return b""

    def replay(self, record: RequestRecord) -> None:
        raise AssertionError("has no request")

    def succeed(self, ts: int) -> None:
        if not self.done.done():  # whoever asked may have given up
            self.done.set_result(self._result)

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)
