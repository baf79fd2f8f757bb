"""Long work in the background, in short transactions between which clients' mutations have the writer and the disk.

Its commits don't wait for the disk: who uses it can begin again after a power loss, or ends in a commit that does wait,
and makes all before it durable, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

from reactor.engine.database import Database
from reactor.store.protocol import Writer

__all__ = ["Pace"]

T = TypeVar("T")

CHECKPOINT_AFTER_S: Final = 0.004
"""Seconds of writing, half a megabyte or so, that are brought to their place on the disk before there is more. A client's commit
waits for the disk behind whatever is on its way there."""

REST: Final = 1.5
"""While clients write, that many times as long as a step or a checkpoint took is theirs."""


class Pace:
    """The steps of one piece of work, one after the other."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._commits = database.commits
        self._written_s = 0.0
        self.step_s = 0.0
        """How long the writer was busy with the last step."""

    async def step(self, work: Callable[[Writer], T]) -> T:
        """Run `work`, some milliseconds, in a transaction of its own. Returns at once while no client writes.

        Otherwise `REST` times as long as it took is theirs.
        """

        def job(writer: Writer) -> tuple[T, float]:
            began = time.monotonic()
            writer.begin(durable=False)
            result = work(writer)
            writer.commit()
            return result, time.monotonic() - began

        result, self.step_s = await self._database.store.write(job)
        await self.rest(self.step_s, REST * self.step_s)
        return result

    async def rest(self, written_s: float, rest_s: float, *, was_in_the_way: bool = False) -> None:
        """After so many seconds of writing, let clients go first for so many, if there are any.

        `was_in_the_way`: there are. A mutation that was kept waiting may be running by now, and is not counted anywhere.
        """
        self._written_s += written_s
        commits = self._database.commits
        if commits == self._commits and not was_in_the_way and not self._database.waiting_jobs:
            return
        self._commits = commits
        if self._written_s < CHECKPOINT_AFTER_S:
            await asyncio.sleep(rest_s)
            return
        self._written_s = 0.0
        began = time.monotonic()
        await self._database.store.checkpoint()
        await asyncio.sleep(max(rest_s, REST * (time.monotonic() - began)))
