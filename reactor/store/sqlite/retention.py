"""How long the commit log and the request records are kept: a few rows are pruned in each commit (rules 9 and 22).

Pruning rides in commits that write anyway, a little more than they add: it costs no fsync of its own, and what is kept
shrinks to its bounds as long as anybody writes.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from reactor.clock import Clock
from reactor.limits import DEFAULT_LIMITS, Limits

__all__ = ["Pruner", "Retention"]

_SECOND = 1_000_000_000
_DAY = 86_400 * _SECOND


@dataclass(frozen=True, slots=True)
class Retention:
    """Bounds of what is kept besides the data. Seconds, bytes, rows, days."""

    log_seconds: float = DEFAULT_LIMITS.log_retention_s
    log_bytes: int = DEFAULT_LIMITS.log_retention_bytes
    requests_per_session: int = DEFAULT_LIMITS.request_records_per_session
    request_days: float = DEFAULT_LIMITS.request_record_days

    @classmethod
    def of(cls, limits: Limits) -> Retention:
        """What a deployment's limits say."""
        return cls(
            limits.log_retention_s,
            limits.log_retention_bytes,
            limits.request_records_per_session,
            limits.request_record_days,
        )


class Pruner:
    """Prunes within the writer's transaction. `undo` takes back what it remembers of one that failed."""

    def __init__(self, retention: Retention, clock: Clock) -> None:
        self._retention, self._clock = retention, clock
        self._log_bytes = 0
        self._oldest: int | None = None
        self._sweep: tuple[str, int] = ("", -1)
        self._before = (self._log_bytes, self._oldest, self._sweep)

    def load(self, raw: sqlite3.Connection) -> None:
        """Measure the log, once after the file was opened."""
        # SQLite knows the length of a record without reading it.
        oldest, total = raw.execute("SELECT min(ts), total(length(record)) FROM log").fetchone()
        self._oldest, self._log_bytes = oldest, int(total)

    def prune(self, raw: sqlite3.Connection, *, rows: int, size: int, requests: int) -> None:
        """Make up for a transaction that appends `rows` log rows of `size` bytes and `requests` request records."""
        self._before = (self._log_bytes, self._oldest, self._sweep)
        if rows:
            self._prune_log(raw, rows, size)
        if requests:
            self._prune_requests(raw, requests)

    def undo(self) -> None:
        """The transaction that was pruned last did not commit."""
        self._log_bytes, self._oldest, self._sweep = self._before

    def _prune_log(self, raw: sqlite3.Connection, rows: int, size: int) -> None:
        self._log_bytes += size
        too_old = self._clock.now_ns() - int(self._retention.log_seconds * _SECOND)
        if self._oldest is None:
            self._oldest = raw.execute("SELECT min(ts) FROM log").fetchone()[0]
        if (self._oldest is None or self._oldest >= too_old) and self._log_bytes <= self._retention.log_bytes:
            return
        last: int | None = None
        found = raw.execute(
            "SELECT ts, length(record) FROM log WHERE ts < (SELECT max(ts) FROM log) ORDER BY ts LIMIT ?",
            (2 * rows + 16,),
        ).fetchall()
        self._oldest = None
        for ts, length in found:
            if ts >= too_old and self._log_bytes <= self._retention.log_bytes:
                self._oldest = ts
                break
            last = ts
            self._log_bytes -= length
        if last is not None:
            raw.execute("DELETE FROM log WHERE ts <= ?", (last,))

    def _prune_requests(self, raw: sqlite3.Connection, requests: int) -> None:
        # A walk through the whole table, over and over: an index by time would cost every mutation a write.
        too_old = self._clock.now_ns() - int(self._retention.request_days * _DAY)
        limit = 4 * requests + 4
        found = raw.execute(
            "SELECT session, request, ts FROM requests WHERE (session, request) > (?, ?) "
            "ORDER BY session, request LIMIT ?",
            (*self._sweep, limit),
        ).fetchall()
        self._sweep = (found[-1][0], found[-1][1]) if len(found) == limit else ("", -1)
        for session, request, ts in found:
            if ts < too_old:
                raw.execute("DELETE FROM requests WHERE session = ? AND request = ?", (session, request))

    def too_low(self, request: int) -> int | None:
        """Below which number a session's records may go now that it has reached `request`; None means not now."""
        # Sessions number their requests one by one, so this keeps the newest without counting them.
        lowest = request - self._retention.requests_per_session + 1
        return lowest if lowest > 0 and request % 64 == 0 else None
