"""Who is next: the jobs that wait for the writer, in lanes that take turns, background work apart."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import Final, cast

from reactor.engine.write_job import WriteJob

__all__ = ["Lanes"]

TURN: Final = 8
"""Jobs of one lane that are taken before the next lane has its turn."""
BACKGROUND_SHARE: Final = 4
"""Background jobs get a quarter of a batch while clients wait."""


class _Queue:
    """Waiting jobs of one kind by lane, taken round-robin, `TURN` at a time."""

    def __init__(self) -> None:
        self.count = 0
        # A job that is alone in its lane stands there itself: each HTTP call has a lane of its own.
        self._lanes: OrderedDict[str, deque[WriteJob] | WriteJob] = OrderedDict()

    def put(self, job: WriteJob) -> None:
        waiting = self._lanes.get(job.lane)
        if waiting is None:
            self._lanes[job.lane] = job
        elif type(waiting) is deque:
            waiting.append(job)
        else:
            self._lanes[job.lane] = deque((cast(WriteJob, waiting), job))
        self.count += 1

    def take(self, most: int) -> list[WriteJob]:
        taken: list[WriteJob] = []
        while self._lanes and len(taken) < most:
            name, waiting = self._lanes.popitem(last=False)
            if type(waiting) is not deque:
                taken.append(cast(WriteJob, waiting))
                continue
            taken.extend([waiting.popleft() for _ in range(min(TURN, len(waiting), most - len(taken)))])
            if waiting:
                self._lanes[name] = waiting
        self.count -= len(taken)
        return taken


class Lanes:
    """All waiting jobs: clients' and background ones. Guarded by a lock: two threads use it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._returned: deque[WriteJob] = deque()
        self._clients = _Queue()
        self._background = _Queue()

    @property
    def count(self) -> int:
        return len(self._returned) + self._clients.count + self._background.count

    def put(self, job: WriteJob) -> None:
        (self._background if job.background else self._clients).put(job)

    def put_back(self, jobs: list[WriteJob]) -> None:
        """Return what was taken but not run; it is first in the next batch."""
        self._returned.extendleft(reversed(jobs))

    def take(self, most: int) -> list[WriteJob]:
        taken: list[WriteJob] = []
        while self._returned and len(taken) < most:
            taken.append(self._returned.popleft())
        room = most - len(taken)
        share = room if not self._clients.count else min(room, most // BACKGROUND_SHARE)
        background = self._background.take(share) if self._background.count else []
        taken += self._clients.take(room - len(background))
        return taken + background
