"""Rows of one index range, pulled one at a time: what was pulled is what was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reactor.engine.ranges import IndexRange
from reactor.engine.read_set import Fields, Interval

if TYPE_CHECKING:
    from reactor.engine.transaction import Transaction

__all__ = ["FIRST_CHUNK", "Scan"]

FIRST_CHUNK: Final = 16
GREATEST_CHUNK: Final = 256
SURE_BYTES: Final = 1024 * 1024
"""A chunk of fewer rows than asked for, and of less than this, is the last one (see `Reader.scan`)."""


class Scan:
    """Rows of one index range, pulled one at a time; what was pulled is what was read.

    Rows come from the store in chunks that no open statement stands behind. A write of the same transaction throws the
    rest of a chunk away, so rows deleted or inserted ahead are seen as they are.
    """

    __slots__ = (
        "_at", "_chunk", "_end", "_fields", "_index", "_last", "_reader", "_reverse", "_rows", "_start", "_transaction",
        "_version", "_was_last", "exhausted", "range",
    )  # fmt: skip

    def __init__(self, transaction: Transaction, range_: IndexRange, reverse: bool, fields: Fields = None) -> None:
        """`fields`: what the caller looks at of the documents."""
        self.range = range_
        self._fields = fields
        self.exhausted = range_.is_empty
        self._transaction = transaction
        self._reader = transaction.reader
        self._index = range_.index
        self._reverse = reverse
        self._start, self._end = range_.start, range_.end
        self._rows: list[tuple[bytes, bytes]] = []
        self._at = 0
        self._chunk = FIRST_CHUNK
        self._version = transaction.version
        self._was_last = False
        """Whether the chunk at hand reaches the end of the range."""
        self._last: bytes | None = None

    def limit_chunk(self, rows: int) -> None:
        """Don't fetch more than `rows` in the first chunk: the caller will not want more."""
        self._chunk = max(1, min(self._chunk, rows))

    def next(self) -> tuple[bytes, bytes] | None:
        """Return the next (index key, document body), or None at the end of the range.

        Raises LimitExceeded when the row is one too many for the function.
        """
        if self.exhausted:
            return None
        transaction = self._transaction
        if self._at >= len(self._rows) or self._version != transaction.version:
            if self._was_last and self._version == transaction.version:
                self.exhausted = True
                return None
            self._fetch()
            if not self._rows:
                self.exhausted = True
                return None
        row = self._rows[self._at]
        self._at += 1
        self._last = row[0]
        transaction.usage.read_document(len(row[1]))
        return row

    def _fetch(self) -> None:
        if self._last is not None:
            if self._reverse:
                self._end = self._last
            else:
                self._start = self._last + b"\x00"
        self._version = self._transaction.version
        self._at = 0
        if self._end is not None and self._end <= self._start:
            self._rows = []
            return
        self._rows = self._reader.scan(self._index, self._start, self._end, reverse=self._reverse, limit=self._chunk)
        # A chunk of large rows may be short for its size; only then does it take an empty one to know the end.
        rows = self._rows
        self._was_last = len(rows) < self._chunk and sum(len(body) for _, body in rows) < SURE_BYTES
        self._chunk = min(self._chunk * 4, GREATEST_CHUNK)

    def interval(self) -> Interval | None:
        """What has been read so far, or None when nothing was."""
        range_ = self.range
        start, end = range_.start, range_.end
        if not self.exhausted:
            if self._last is None:
                return None
            if self._reverse:
                start = self._last
            else:
                end = self._last + b"\x00"
        return Interval(self._index.number, range_.depth, range_.prefix, start, end, self._fields)
