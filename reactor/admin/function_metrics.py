"""Counts and durations of executions, by function: a listener that adds up a few numbers for each.

Functions are named by paths of the app, and by nothing that a client made up: all unknown ones are one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

from reactor.runtime.executions import Executions, Finished, Kind

__all__ = ["BUCKETS_S", "FunctionMetrics", "FunctionStats"]

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0)
"""Upper bounds of the histogram's buckets, in seconds; above the last there is one more."""
UNKNOWN: Final = "(unknown)"


class FunctionStats:
    """Of one function."""

    __slots__ = ("buckets", "cached", "failures", "seconds", "successes")

    def __init__(self) -> None:
        self.successes = 0
        self.failures: Counter[str] = Counter()
        """By `application_error` (the function said no) and `error`."""
        self.cached = 0
        """Answers from the cache; they are among no other numbers."""
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.seconds = 0.0


class FunctionMetrics:
    """Follows `executions` from now on."""

    def __init__(self, executions: Executions) -> None:
        self.functions: dict[tuple[Kind, str], FunctionStats] = {}
        self.stop = executions.listen(self._finished)

    def _finished(self, finished: Finished) -> None:
        key = finished.kind, finished.path if finished.is_known else UNKNOWN
        stats = self.functions.get(key)
        if stats is None:
            stats = self.functions[key] = FunctionStats()
        if finished.is_cached:
            stats.cached += 1
            return
        if finished.error is None:
            stats.successes += 1
        else:
            stats.failures["application_error" if finished.code == "ApplicationError" else "error"] += 1
        seconds = finished.seconds
        stats.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        stats.seconds += seconds
