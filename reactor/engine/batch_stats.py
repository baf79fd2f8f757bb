"""How large the committer's batches are and how long their commits take: two histograms, for metrics.

Written on the writer's thread once per batch, read from anywhere: each number is right, and they may be one batch apart.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

__all__ = ["BatchStats"]

SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class BatchStats:
    """Counts per bucket; bounds are inclusive, and above the last there is one more bucket."""

    def __init__(self) -> None:
        self.sizes: tuple[tuple[float, ...], list[int]] = SIZES, [0] * (len(SIZES) + 1)
        self.seconds: tuple[tuple[float, ...], list[int]] = SECONDS, [0] * (len(SECONDS) + 1)
        self.committed = 0
        """Transactions in all batches."""
        self.total_s = 0.0
        """Seconds that all commits took."""

    def note(self, size: int, seconds: float) -> None:
        self.sizes[1][bisect_left(SIZES, size)] += 1
        self.seconds[1][bisect_left(SECONDS, seconds)] += 1
        self.committed += size
        self.total_s += seconds
