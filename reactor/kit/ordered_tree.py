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
        self._of = (name, _text(space))

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
        if start < _key(nodes[0]):
            yield from self._parts(level - 1, start, _key(nodes[0]), True)
        yield from map(_total, nodes[:-1])
        if whole:
            yield _total(nodes[-1])
        else:
            yield from self._parts(level - 1, _key(nodes[-1]), end, False)

    def at(self, offset: int) -> bytes | None:
        """The key with so many before it, or None."""
        start: bytes = b""
        for level in range(self._levels(), -1, -1):
            found = None
            for node in self._scan(level, start, None):
                if offset < node["count"]:
                    found = _key(node)
                    break
                offset -= node["count"]
            if found is None:
                return None
            start = found
        return start

    def first(self, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False) -> bytes | None:
        """The least key of a range (the greatest with `reverse`), or None."""
        return next((_key(node) for node in self._scan(0, start, end, reverse=reverse)), None)

    # Writing

    def put(self, key: bytes, number: float) -> None:
        """Add a key, or change its number. Nothing happens when it is there with that number."""
        known = self._node(0, key)
        if known is not None:
            if known["sum"] != number:
                records.update(self._writing, NODES, known, sum=number)
                self._change(key, 0, 0, number, known["sum"])
            return
        levels, height = self._levels(), _height(key)
        if height > levels:
            whole = self.total()
            for level in range(levels + 1, height + 1):
                self._insert(level, b"", whole)
            self._set_levels(height)
        self._insert(0, key, Total(1, number))
        for level in range(1, height + 1):
            after = self._after(level, key)
            self._insert(level, key, self._sum_up(level, key, after))
            before = self._holding(level, key, before=True)
            self._set(before, self._sum_up(level, _key(before), key))
        self._change(key, height, 1, number, 0)

    def remove(self, key: bytes) -> None:
        """Take a key out. Nothing happens when it is not there."""
        tx = self._writing
        known = self._node(0, key)
        if known is None:
            return
        table = records.table_of(tx, NODES)
        tx.delete(table, known["_id"])
        height = _height(key)
        for level in range(1, height + 1):
            node = self._node(level, key)
            if node is not None:
                tx.delete(table, node["_id"])
                before = self._holding(level, key)
                self._set(before, self._sum_up(level, _key(before), self._after(level, key)))
        self._change(key, height, -1, 0, known["sum"])

    def _change(self, key: bytes, height: int, keys: int, new: float, old: float) -> None:
        """Bring the totals above a key up to date, from the level above `height` on, from below.

        Whole numbers are added, which is exact; sums of fractions are summed up anew, so that errors don't add up.
        """
        whole = isinstance(new, int) and isinstance(old, int)
        for level in range(height + 1, self._levels() + 1):
            node = self._holding(level, key)
            sum_ = node["sum"] + new - old
            if whole and isinstance(sum_, int) and abs(sum_) <= _EXACT:
                self._set(node, Total(node["count"] + keys, sum_))
            else:
                self._set(node, self._sum_up(level, _key(node), self._after(level, key)))

    def _sum_up(self, level: int, start: bytes, end: bytes | None) -> Total:
        return _added(map(_total, self._scan(level - 1, start, end)))

    def _holding(self, level: int, key: bytes, *, before: bool = False) -> dict[str, Any]:
        """The node of a level that a key belongs to; with `before` the last one that begins before it."""
        upper = (_text(key), not before)
        (node,) = records.rows(self._tx, NODES, "by_key", (*self._of, level), upper=upper, reverse=True, most=1)
        return node

    def _after(self, level: int, key: bytes) -> bytes | None:
        found = records.rows(self._tx, NODES, "by_key", (*self._of, level), lower=(_text(key), False), most=1)
        return _key(found[0]) if found else None

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
            self._set(node, Total(levels, 0))

    def _set(self, node: dict[str, Any], total: Total) -> None:
        records.update(self._writing, NODES, node, count=total.count, sum=total.sum)

    def _node(self, level: int, key: bytes) -> dict[str, Any] | None:
        return records.find(self._tx, NODES, "by_key", *self._of, level, _text(key))

    def _insert(self, level: int, key: bytes, total: Total) -> None:
        name, space = self._of
        fields = {
            "tree": name,
            "space": space,
            "level": level,
            "key": _text(key),
            "count": total.count,
            "sum": total.sum,
        }
        self._writing.insert(NODES, fields)

    def _scan(self, level: int, start: bytes, end: bytes | None, *, reverse: bool = False) -> Iterator[dict[str, Any]]:
        upper = None if end is None else (_text(end), False)
        return records.scan(
            self._tx, NODES, "by_key", (*self._of, level), lower=(_text(start), True), upper=upper, reverse=reverse
        )


def _text(key: bytes) -> str:
    """Keys are kept as text, a character per byte: strings compare like their bytes, and are much faster to read."""
    return key.decode("latin-1")


def _key(node: dict[str, Any]) -> bytes:
    key: str = node["key"]
    return key.encode("latin-1")


def _total(node: dict[str, Any]) -> Total:
    return Total(node["count"], node["sum"])
