"""The next jobs in memory: the first thousand that are due, and the knowledge of whether there are more."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final, NamedTuple

__all__ = ["DueJob", "DueJobs"]

CAPACITY: Final = 1_000


class DueJob(NamedTuple):
    """`order` compares like the jobs' due times, then their age; `time` is the due time in milliseconds."""

    order: bytes
    id: str
    time: float


class DueJobs:
    """Jobs ordered by due time. Those beyond the horizon are known to the database only."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._heap: list[DueJob] = []
        self._orders: dict[str, bytes] = {}
        self._horizon: bytes | None = b""
        """Whatever is due after it may be missing here; None when nothing is missing."""

    def __len__(self) -> int:
        return len(self._orders)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._orders

    @property
    def must_load(self) -> bool:
        """Whether the next job, if there is one, has to be looked up."""
        return not self._orders and self._horizon is not None

    def load(self, jobs: Iterable[DueJob], *, complete: bool) -> None:
        """Begin anew with the first jobs of the database, in order. `complete`: these are all."""
        self._heap = list(jobs)  # sorted, which is a heap
        self._orders = {job.id: job.order for job in self._heap}
        self._horizon = None if complete or not self._heap else self._heap[-1].order

    def add(self, job: DueJob) -> None:
        if self._horizon is not None and job.order > self._horizon:
            return
        self._orders[job.id] = job.order
        heapq.heappush(self._heap, job)
        if len(self._heap) > 2 * self._capacity:
            self._shrink()

    def _shrink(self) -> None:
        kept = sorted(job for job in self._heap if self._orders.get(job.id) == job.order)
        if len(kept) > self._capacity:
            kept = kept[: self._capacity]
            self._horizon = kept[-1].order
        self._heap = kept
        self._orders = {job.id: job.order for job in kept}

    def remove(self, job_id: str) -> None:
        self._orders.pop(job_id, None)

    def first(self) -> DueJob | None:
        """The job that is due first, or None: then see `must_load`."""
        heap = self._heap
        while heap:
            job = heap[0]
            if self._orders.get(job.id) == job.order:
                return job
            heapq.heappop(heap)
        return None

    def take(self) -> DueJob:
        """Remove the first job. There must be one."""
        job = self.first()
        assert job is not None
        heapq.heappop(self._heap)
        del self._orders[job.id]
        return job
