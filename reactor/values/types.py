"""What a value is: the kinds that functions and documents carry, and the one order and equality that the database uses.

A `Value` is `None`, `bool`, `int` or `float` (both are the wire's float64; a whole number within ±2^53 is an `int`),
`Int64`, `str`, `bytes`, a `list` of values or a `dict` from names to values. `UNSET` is "not there": never a value.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from msgspec import UNSET, UnsetType

from reactor.errors import InvalidValue

__all__ = [
    "INT64_MAX",
    "INT64_MIN",
    "SAFE_INTEGER",
    "UNSET",
    "Int64",
    "UnsetType",
    "Value",
    "compare",
    "plain",
    "show_int",
    "values_equal",
]

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
SAFE_INTEGER: Final = 2**53
"""Every whole number up to here, and no run of them beyond, is exact as a float64."""


def show_int(number: int) -> str:
    """The number for an error text; huge ones, which Python refuses to print, by their length."""
    return int.__repr__(number) if number.bit_length() <= 256 else f"An integer of {number.bit_length()} bits"


class Int64(int):
    """A 64-bit integer of its own kind: `Int64(1)` and `1` are never equal to the database (JavaScript's `1n` and `1`).

    In Python it is an `int` (`Int64(1) == 1`), and arithmetic gives plain ints. Raises InvalidValue outside 64 bits.
    """

    __slots__ = ()

    def __new__(cls, value: Any = 0, /) -> Int64:
        self = super().__new__(cls, value)
        if not INT64_MIN <= self <= INT64_MAX:
            raise InvalidValue(
                f"{show_int(self)} does not fit into 64 bits: Int64 goes from {INT64_MIN} to {INT64_MAX}.",
                expected="Int64",
                got="int",
            )
        return self

    def __repr__(self) -> str:
        return f"Int64({int.__repr__(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)


Value: TypeAlias = "bool | int | float | str | bytes | list[Value] | dict[str, Value] | None"
"""One value as a Python tree. `Int64` is an `int` to type checkers."""

_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (Int64, Int64),
    (str, str.__str__),  # str() of a string enum is its name
    (int, int),
    (float, float),
    (bytes, bytes),
    (list, list),
    (dict, dict),
)


def plain(value: Any) -> Any:
    """The built-in value inside an instance of a subclass: string enums, typed ids, default dicts, NumPy's float64.

    NotImplemented for everything else.
    """
    for base, convert in _BASES:
        if isinstance(value, base):
            return convert(value)
    return NotImplemented


_DOUBLE: Final = struct.Struct(">d")
_BITS: Final = struct.Struct(">q")

# undefined < null < Int64 < Float64 < Boolean < String < Bytes < Array < Object
_RANK: Final[dict[type, int]] = {
    UnsetType: 0,
    type(None): 1,
    Int64: 2,
    int: 3,
    float: 3,
    bool: 4,
    str: 5,
    bytes: 6,
    list: 7,
    dict: 8,
}


def _rank(value: Any) -> int:
    rank = _RANK.get(type(value))
    if rank is not None:
        return rank
    for base in type(value).__mro__:  # str enums, typed ids, subclasses of dict
        if base in _RANK:
            return _RANK[base]
    raise InvalidValue(f"{type(value).__name__} is not a supported value.", got=type(value).__name__)


def _float_order(number: float) -> int:
    """An integer that orders like IEEE's total order: -NaN < -inf < … < -0.0 < 0.0 < … < inf < NaN."""
    bits: int = _BITS.unpack(_DOUBLE.pack(number))[0]
    return bits if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF) - 1


def compare(a: Any, b: Any) -> int:
    """-1, 0 or 1: the total order of values that indexes have. Takes `UNSET`, which comes first.

    Raises InvalidValue for what is no value.
    """
    rank, other = _rank(a), _rank(b)
    if rank != other:
        return -1 if rank < other else 1
    if rank <= 1:
        return 0
    if rank == 3:
        if a != b or not a:  # unequal, NaN, or zeros whose sign counts
            a, b = _float_order(a), _float_order(b)
        return (a > b) - (a < b)
    if rank == 7:
        for left, right in zip(a, b, strict=False):
            if result := compare(left, right):
                return result
        return (len(a) > len(b)) - (len(a) < len(b))
    if rank == 8:
        left_items, right_items = sorted(a.items(), key=_name), sorted(b.items(), key=_name)
        for (left_name, left), (right_name, right) in zip(left_items, right_items, strict=False):
            if left_name != right_name:
                return -1 if left_name < right_name else 1
            if result := compare(left, right):
                return result
        return (len(a) > len(b)) - (len(a) < len(b))
    return (a > b) - (a < b)


def _name(item: tuple[str, Any]) -> str:
    return item[0]


def values_equal(a: Any, b: Any) -> bool:
    """The database's equality, deep: `3` is `3.0`, NaN is NaN; `True`, `1` and `Int64(1)` differ, as do `0.0` and `-0.0`.

    Raises InvalidValue for what is no value.
    """
    kind = type(a)
    if kind is type(b) and (kind is str or kind is int):
        return a == b
    rank = _rank(a)
    if rank != _rank(b):
        return False
    if rank <= 1:
        return True
    if rank == 3:
        if a == b and a:
            return True
        return _float_order(a) == _float_order(b)
    if rank == 7:
        return len(a) == len(b) and all(map(values_equal, a, b))
    if rank == 8:
        return a.keys() == b.keys() and all(values_equal(item, b[name]) for name, item in a.items())
    return a == b
