"""An ordered set of keys with a number each, in a system table: counts, sums and ranks of any range in O(log n).

It is a skip list that needs no chance: how high a key reaches follows from its hash. At level 0 every key has a node; at level n
about one key in 8ⁿ begins a node, which has the count and the sum of all keys up to the next node of that level. A change
touches one node per level, those whose totals really change, so readers of other ranges are not disturbed. Totals are always
added up anew from the level below: they are exact, whatever came and went.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.kit import records

__all__ = ["NODES", "OrderedTree", "Total"]

NODES: Final = "_aggregate_nodes"

_LEVELS: Final = -1
"""The level of the one node that says how many levels there are."""
_HIGHEST: Final = 12
_EXACT: Final = 2**53


@dataclass(frozen=True, slots=True)
class Total:
    """How many keys, and the sum of their numbers."""

    count: int = 0
    sum: float = 0

    def __add__(self, other: Total) -> Total:
        return _added((self, other))


def _added(totals: Iterable[Total]) -> Total:
    count, numbers = 0, []
    for total in totals:
        count += total.count
        numbers.append(total.sum)
    if all(isinstance(number, int) for number in numbers):
        whole = sum(numbers)
        return Total(count, whole if abs(whole) <= _EXACT else float(whole))
    return Total(count, math.fsum(numbers))


def _height(key: bytes) -> int:
    number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) | 1 << 63
    return min(_HIGHEST, ((number & -number).bit_length() - 1) // 3)


class OrderedTree:
    """One tree: that of the aggregate `name` for one `space`, as a transaction sees it."""

    __slots__ = ("_of", "_tx")

    def __init__(self, tx: Transaction, name: str, space: bytes) -> None:
        self._tx = tx
        self._of = (name, space)

    # Reading

    def total(self, start: bytes = b"", end: bytes | None = None) -> Total:
        """Of the keys in `start <= key < end`."""
        return _added(self._parts(self._levels(), start, end, end is None))

    def _parts(self, level: int, start: bytes, end: bytes | None, whole: bool) -> Iterator[Total]:
        """`whole`: a node of a higher level begins at `end`, so no node of this one reaches beyond it."""
        if end is not None and end <= start:
            return
        nodes = list(self._scan(level, start, end))
        if level == 0 or not nodes:
            if level:
                yield from self._parts(level - 1, start, end, whole)
            else:
                yield from map(_total, nodes)
            return
        if start < nodes[0]["key"]:
            yield from self._parts(level - 1, start, nodes[0]["key"], True)
        yield from map(_total, nodes[:-1])
        if whole:
            yield _total(nodes[-1])
        else:
            yield from self._parts(level - 1, nodes[-1]["key"], end, False)

    def at(self, offset: int) -> bytes | None:
        """The key with so many before it, or None."""
        start: bytes = b""
        for level in range(self._levels(), -1, -1):
            found = None
            for node in self._scan(level, start, None):
                if offset < node["count"]:
                    found = node["key"]
                    break
                offset -= node["count"]
            if found is None:
                return None
            start = found
        return start

    def first(self, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False) -> bytes | None:
        """The least key of a range (the greatest with `reverse`), or None."""
        return next((node["key"] for node in self._scan(0, start, end, reverse=reverse)), None)

    # Writing

    def put(self, key: bytes, number: float) -> None:
        """Add a key, or change its number. Nothing happens when it is there with that number."""
        tx = self._writing
        known = self._node(0, key)
        if known is not None:
            if known["sum"] != number:
                records.update(tx, NODES, known, sum=number)
                self._refresh(key, 0)
            return
        levels, height = self._levels(), _height(key)
        if height > levels:
            whole = self.total()
            for level in range(levels + 1, height + 1):
                self._insert(level, b"", whole)
            self._set_levels(height)
        self._insert(0, key, Total(1, number))
        self._refresh(key, height)

    def remove(self, key: bytes) -> None:
        """Take a key out. Nothing happens when it is not there."""
        tx = self._writing
        if self._node(0, key) is None:
            return
        table = records.table_of(tx, NODES)
        for level in range(_height(key) + 1):
            node = self._node(level, key)
            if node is not None:
                tx.delete(table, node["_id"])
        self._refresh(key, 0)

    def _refresh(self, key: bytes, height: int) -> None:
        """Bring the totals above a key up to date, from below; up to `height` a node begins at the key."""
        for level in range(1, self._levels() + 1):
            after = self._after(level, key)
            if level <= height:
                self._insert(level, key, _added(map(_total, self._scan(level - 1, key, after))))
                after = key
            before = next(self._scan(level, b"", key, reverse=True, inclusive=level > height))
            total = _added(map(_total, self._scan(level - 1, before["key"], after)))
            records.update(self._writing, NODES, before, count=total.count, sum=total.sum)

    def _after(self, level: int, key: bytes) -> bytes | None:
        return next((node["key"] for node in self._scan(level, key + b"\x00", None)), None)

    # Nodes

    @property
    def _writing(self) -> WriteTransaction:
        assert isinstance(self._tx, WriteTransaction)
        return self._tx

    def _levels(self) -> int:
        node = self._node(_LEVELS, b"")
        return 0 if node is None else node["count"]

    def _set_levels(self, levels: int) -> None:
        node = self._node(_LEVELS, b"")
        if node is None:
            self._insert(_LEVELS, b"", Total(levels, 0))
        else:
            records.update(self._writing, NODES, node, count=levels)

    def _node(self, level: int, key: bytes) -> dict[str, Any] | None:
        return records.find(self._tx, NODES, "by_key", *self._of, level, key)

    def _insert(self, level: int, key: bytes, total: Total) -> None:
        name, space = self._of
        fields = {"tree": name, "space": space, "level": level, "key": key, "count": total.count, "sum": total.sum}
        self._writing.insert(NODES, fields)

    def _scan(
        self, level: int, start: bytes, end: bytes | None, *, reverse: bool = False, inclusive: bool = False
    ) -> Iterator[dict[str, Any]]:
        upper = None if end is None else (end, inclusive)
        return records.scan(
            self._tx, NODES, "by_key", (*self._of, level), lower=(start, True), upper=upper, reverse=reverse
        )


def _total(node: dict[str, Any]) -> Total:
    return Total(node["count"], node["sum"])
