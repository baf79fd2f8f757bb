"""One wave: the snapshot's timestamp, what runs on it, and who waits for which of its results."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reactor.runtime.query_entry import Entry
    from reactor.runtime.subscriber import LiveSubscriber

__all__ = ["Wave"]


class Wave:
    """One snapshot's worth of runs, and who waits for which."""

    __slots__ = ("fast", "slow", "ts", "waiting")

    def __init__(self, ts: int) -> None:
        self.ts = ts
        self.fast: list[Entry] = []
        self.slow: list[Entry] = []
        self.waiting: dict[Entry, list[LiveSubscriber]] = {}
