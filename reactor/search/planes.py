"""Unit vectors in two planes of 8-bit integers: one to look at all vectors quickly, both to tell the last candidates apart.

A vector v is `scale * (high + low / 254) + rest`, the high plane rounded from v, the low one from what that left. Dot
products of 8-bit integers are exact whatever instructions the processor has, so all that a result can be off by is the
rounding, and that is known for each vector: its bounds are `error_high` (high plane alone) and `error` (both).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import simsimd
from numpy.typing import NDArray

__all__ = ["SLACK", "Planes", "Probe", "dots", "quantise"]

_LEVELS: Final = 127
_LOW: Final = 254.0
"""Steps of the low plane in one of the high plane."""
SLACK: Final = 4e-6
"""More than single precision can add to the bounds: scores are at most 1, sums of at most 4,096 products."""

Floats = NDArray[np.float32]
Bytes = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Planes:
    """Rows: vectors. `error_high` and `error` bound how far a product with a unit vector is off, by either way to take it."""

    high: Bytes
    low: Bytes
    scale: Floats
    error_high: Floats
    error: Floats


def quantise(vectors: Floats) -> Planes:
    """`vectors`: rows of length one, or of zeros."""
    exact = vectors.astype(np.float64)
    scale = (np.abs(vectors).max(axis=1) / _LEVELS).astype(np.float32)
    scale[scale == 0] = 1.0
    step = scale.astype(np.float64)[:, None]
    high = np.rint(exact / step).clip(-_LEVELS, _LEVELS)
    rest = exact - high * step
    low = np.rint(rest * (_LOW / step)).clip(-_LEVELS, _LEVELS)
    left = rest - low * (step / _LOW)
    return Planes(high.astype(np.int8), low.astype(np.int8), scale, _bound(rest), _bound(left))


def _bound(rest: NDArray[np.float64]) -> Floats:
    return (np.linalg.norm(rest, axis=1) * (1 + 1e-6) + SLACK).astype(np.float32)


class Probe:
    """A unit vector (or zeros) to compare with planes."""

    __slots__ = ("bytes", "error", "scale", "single", "unit")

    def __init__(self, unit: NDArray[np.float64]) -> None:
        self.unit = unit
        self.single: Floats = unit.astype(np.float32)
        self.scale = float(np.abs(unit).max()) / _LEVELS or 1.0
        rounded = np.rint(unit / self.scale)
        self.bytes: Bytes = rounded.astype(np.int8)[None, :]
        self.error = float(np.linalg.norm(unit - rounded * self.scale)) * (1 + 1e-6)
        """How far a product is off because this side is rounded, too."""

    def both(self, high: Bytes, low: Bytes, scale: Floats) -> Floats:
        """Products by both planes, within `error` of each vector."""
        rows = low.astype(np.float32)
        rows *= np.float32(1 / _LOW)
        rows += high
        return (rows @ self.single) * scale


def dots(probe: Probe, high: Bytes, out: Floats) -> None:
    """Products of the rounded probe with rows of a high plane, in steps of both scales, into `out`. Without the GIL."""
    # Not with its `out=`: simsimd 6.5 then gives None back without counting the reference, until Python 3.11 dies of it.
    products: Any = simsimd.cdist(probe.bytes, high, metric="dot")
    out[:] = np.asarray(products)[0]
