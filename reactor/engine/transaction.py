"""A transaction that reads one snapshot, and notes what it read.

Used by one thread, dies with its job, and never waits for anything but the store. `engine.write_transaction` is the writer's.
"""

from __future__ import annotations

from typing import Final

from reactor.engine.ranges import IndexRange
from reactor.engine.read_set import EMPTY, Fields, Interval, ReadSet, TextRead, merge
from reactor.engine.scan import Scan
from reactor.engine.text_search import TextScan, TextSearch
from reactor.engine.usage import Usage
from reactor.errors import LimitExceeded
from reactor.limits import Limits
from reactor.store.catalogue import Catalogue, TableInfo
from reactor.store.protocol import Reader
from reactor.values.ids import table_number_of

__all__ = ["Transaction"]

NO_FIELDS: Final[Fields] = frozenset()


class Transaction:
    """Reads at one snapshot.

    `now_ms` is the transaction's frozen time. With `track=False` no read set is kept (the writer needs none: there is
    nobody to conflict with). `usage` counts against the limits.
    """

    __slots__ = (
        "_intervals", "_names", "_points", "_scans", "_texts", "catalogue", "limits", "now_ms", "reader", "track", "usage",
        "version",
    )  # fmt: skip

    writable = False

    def __init__(
        self, reader: Reader, catalogue: Catalogue, now_ms: float, limits: Limits, *, track: bool = True
    ) -> None:
        self.reader = reader
        self.catalogue = catalogue
        self.now_ms = now_ms
        self.limits = limits
        self.usage = Usage(limits)
        self.track = track
        self.version = 0
        self._points: set[str] = set()
        self._names: set[str] = set()
        self._scans: list[Scan] = []
        self._intervals: list[Interval] = []
        self._texts: set[TextRead] = set()

    @property
    def ts(self) -> int:
        """The commit timestamp of the snapshot."""
        return self.reader.ts

    def table(self, name: str) -> TableInfo | None:
        """The table of this name, or None; that it is missing is remembered as a dependency."""
        table = self.catalogue.tables.get(name)
        if table is None:
            self.depend_on(f"table:{name}")
        return table

    def table_of_id(self, document_id: str) -> TableInfo | None:
        """The table an id belongs to; None for what is no id and for unknown table numbers."""
        number = table_number_of(document_id)
        return None if number is None else self.catalogue.by_number.get(number)

    def depend_on(self, name: str) -> None:
        """Record that the result depends on `name` (see `CommitRecord.names`)."""
        if self.track:
            self._names.add(name)

    def get(self, table: TableInfo, document_id: str) -> bytes | None:
        """The document's body, or None. A miss is a read too."""
        self.usage.query()
        if self.track:
            self._points.add(document_id)
        body = self.reader.get(table, document_id)
        if body is not None:
            self.usage.read_document(len(body))
        return body

    def scan(self, range_: IndexRange, *, reverse: bool = False, fields: Fields = None) -> Scan:
        """Start reading an index range. `fields` is what the caller will look at of the documents."""
        self.usage.query()
        scan = Scan(self, range_, reverse, fields)
        if self.track:
            self._scans.append(scan)
        return scan

    def search(
        self, search: TextSearch, *, fields: Fields = None, after: bytes | None = None, last: bytes | None = None
    ) -> TextScan:
        """Search a full-text index; see `TextScan`. `fields` is what the caller will look at of the documents."""
        self.usage.query()
        if self.track and (read := search.read(fields)) is not None:
            self._texts.add(read)
        return TextScan(self, search, after, last)

    def rows(
        self, table: TableInfo, range_: IndexRange, limit: int, *, reverse: bool = False, fields: Fields = None
    ) -> list[tuple[bytes, bytes]]:
        """The first rows of a range of `table`, `limit` (up to `FIRST_CHUNK`) at most; the caller reads them all.

        What `scan` would read, for less.
        """
        self.usage.query()
        start, end = range_.start, range_.end
        if end is not None and end <= start:
            rows = []
        else:
            rows = self.reader.scan(range_.index, start, end, reverse=reverse, limit=limit)
        if self.track:
            if len(rows) >= limit:
                if reverse:
                    start = rows[-1][0]
                else:
                    end = rows[-1][0] + b"\x00"
            self._intervals.append(Interval(range_.index.number, range_.depth, range_.prefix, start, end, fields))
        read_document = self.usage.read_document
        for row in rows:
            read_document(len(row[1]))
        return rows

    def count(self, range_: IndexRange) -> int:
        """How many index entries a range holds; no document is read, all keys of the range are."""
        self.usage.query()
        if self.track:
            self._intervals.append(
                Interval(range_.index.number, range_.depth, range_.prefix, range_.start, range_.end, NO_FIELDS)
            )
        return 0 if range_.is_empty else self.reader.count(range_.index, range_.start, range_.end)

    def read_set(self) -> ReadSet:
        """Everything read so far. Raises LimitExceeded beyond `intervals_per_query` distinct intervals."""
        intervals = [i for scan in self._scans if (i := scan.interval()) is not None]
        intervals += self._intervals
        texts = self._texts
        if not (intervals or self._points or self._names or texts):
            return EMPTY
        if self.usage.sizes_observed:
            intervals = [i._replace(fields=None) for i in intervals]
            texts = {t._replace(fields=None) for t in texts}
        merged = merge(intervals)
        if len(merged) + len(texts) > self.limits.intervals_per_query:
            raise LimitExceeded(
                f"Too many reads in a single function execution (limit: {self.limits.intervals_per_query}). "
                "Read fewer, wider index ranges.",
                code="TooManyReads",
            )
        return ReadSet(frozenset(self._points), merged, frozenset(self._names), frozenset(texts))

    def coarse_read_set(self) -> ReadSet:
        """Like `read_set`, with whole indexes in the place of too many intervals: it is touched more often, and small."""
        indexes = {scan.range.index.number for scan in self._scans} | {i.index_number for i in self._intervals}
        whole = frozenset(Interval(number, 0, b"", b"", None) for number in indexes)
        # A search for the empty prefix finds every word.
        texts = {TextRead(text.index_number, (), frozenset(), "") for text in self._texts}
        return ReadSet(frozenset(self._points), whole, frozenset(self._names), frozenset(texts))
