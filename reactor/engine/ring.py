"""Recent commit records in memory, in timestamp order: what a query that ran a moment ago is checked against.

A query read at snapshot S registers its read set at a later P; whether a commit in (S, P] touched it is answered here. The
ring reaches back to the oldest snapshot that is still running, however many bytes that takes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from reactor.engine.commit_record import CommitRecord
from reactor.engine.read_set import ReadSet

__all__ = ["Ring"]


class Ring:
    def __init__(self, floor: int, max_bytes: int) -> None:
        """`floor`: the newest timestamp before the first record to come."""
        self.floor = floor
        """Commits with `ts <= floor` are no longer known."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._timestamps: list[int] = []
        self._records: list[CommitRecord] = []
        self._sizes: list[int] = []

    def __len__(self) -> int:
        return len(self._records)

    def append(self, record: CommitRecord, oldest_needed: int) -> None:
        """Add the newest record; forget old ones that nobody needs (`ts <= oldest_needed`) beyond the size."""
        size = record.size
        self._timestamps.append(record.ts)
        self._records.append(record)
        self._sizes.append(size)
        self._bytes += size
        if self._bytes > self._max_bytes:
            self._forget(oldest_needed)

    def _forget(self, oldest_needed: int) -> None:
        # Down to three quarters, so that the cost of deleting from the front of lists is spread over many appends.
        drop = 0
        while (
            drop < len(self._records) - 1
            and self._timestamps[drop] <= oldest_needed
            and self._bytes > self._max_bytes * 3 // 4
        ):
            self._bytes -= self._sizes[drop]
            drop += 1
        if drop:
            self.floor = self._timestamps[drop - 1]
            del self._timestamps[:drop], self._records[:drop], self._sizes[:drop]

    def after(self, ts: int) -> Iterator[CommitRecord]:
        """The records with a greater timestamp. `ts` must not be below `floor`."""
        for position in range(bisect_right(self._timestamps, ts), len(self._records)):
            yield self._records[position]

    def at(self, ts: int) -> CommitRecord | None:
        """The record of this timestamp, None when it is no longer known."""
        position = bisect_right(self._timestamps, ts) - 1
        return self._records[position] if position >= 0 and self._timestamps[position] == ts else None

    def first_touch(self, read_set: ReadSet, after: int, until: int | None = None) -> int | None:
        """The timestamp of the first commit later than `after` (and up to `until`) that touched `read_set`, or None.

        What is older than the ring counts as touched: the caller reads again.
        """
        if after < self.floor:
            return self.floor
        for record in self.after(after):
            if until is not None and record.ts > until:
                return None
            if read_set.touched_by(record):
                return record.ts
        return None
