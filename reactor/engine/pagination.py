"""Pages of an index range: sealed cursors, where a page starts and ends, and when a client should split one.

A cursor is a position (after an index key, or the end) encrypted and authenticated together with a fingerprint of the query
it belongs to: clients can neither read it nor change it nor use it with another query. Encryption is deterministic,
because a page that did not change must compare equal.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from reactor.engine.ranges import IndexRange
from reactor.engine.read_set import Fields
from reactor.engine.text_search import TextSearch
from reactor.engine.transaction import Transaction
from reactor.errors import ApplicationError, DatabaseError
from reactor.limits import PAGE_SOFT_MAX_ROWS, Limits

__all__ = ["CursorSealer", "InvalidCursor", "Page", "PageStatus", "fingerprint", "part_between", "read_page"]

PageStatus = Literal["SplitRecommended", "SplitRequired"]

_END: Final = b"\x00"
_AFTER: Final = b"\x01"
_SPLIT_AT: Final = 0.75


class InvalidCursor(ApplicationError):
    """A cursor that is damaged, or another query's. Clients start over from the first page when they see its data."""

    code = "InvalidCursor"

    def __init__(self) -> None:
        super().__init__({"isConvexSystemError": True, "paginationError": "InvalidCursor"})
        self.args = (
            "InvalidCursor: Tried to run a query starting from a cursor, but it looks like this cursor is from a "
            "different query.",
        )


class CursorSealer:
    """Seals and opens positions. `key` is 32 secret bytes of the deployment."""

    __slots__ = ("_cipher", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher: Any = None

    def _aead(self) -> Any:
        if self._cipher is None:
            # Imported at first use: an app without pagination need not load it.
            from cryptography.hazmat.primitives.ciphers.aead import AESSIV

            self._cipher = AESSIV(hashlib.blake2b(self._key, digest_size=32, person=b"reactor-cursor").digest())
        return self._cipher

    def seal(self, position: bytes | None, query: bytes) -> str:
        """The cursor for "after this index key" (None: the end of the range) of the query with this fingerprint."""
        plain = _END if position is None else _AFTER + position
        return base64.urlsafe_b64encode(self._aead().encrypt(plain, [query])).decode().rstrip("=")

    def open(self, cursor: str, query: bytes) -> bytes | None:
        """The position of a cursor: an index key, or None for the end. Raises InvalidCursor."""
        from cryptography.exceptions import InvalidTag

        try:
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            plain = self._aead().decrypt(sealed, [query])
        except (ValueError, binascii.Error, InvalidTag, OverflowError):
            raise InvalidCursor from None
        return None if plain == _END else plain[1:]


def fingerprint(source: IndexRange | TextSearch, *, reverse: bool, operators: Iterable[str] = ()) -> bytes:
    """32 bytes that differ between queries: table, index, its fields, range or search, order, kinds of filters in order."""
    index = source.index
    if isinstance(source, IndexRange):
        what: list[Any] = [source.start.hex(), None if source.end is None else source.end.hex(), reverse]
    else:
        query = source.query
        what = ["search", None if query is None else [query.words, query.last, query.filters]]
    parts = [index.table, index.name, list(index.fields), *what, list(operators)]
    return hashlib.sha256(json.dumps(parts).encode()).digest()


@dataclass(slots=True)
class Page:
    """One page. `end` is its last position as a cursor; `page_status` recommends or demands a split at `split_cursor`."""

    items: list[Any]
    is_done: bool
    end: str
    split_cursor: str | None
    page_status: PageStatus | None


def read_page(
    tx: Transaction,
    source: IndexRange | TextSearch,
    convert: Callable[[bytes, bytes], tuple[bool, Any]],
    *,
    sealer: CursorSealer,
    query: bytes,
    reverse: bool,
    num_items: int,
    cursor: str | None,
    end_cursor: str | None,
    maximum_rows_read: int | None,
    maximum_bytes_read: int | None,
    limits: Limits,
    fields: Fields = None,
) -> Page:
    """Read one page. `fields` is what `convert` looks at of a document.

    `convert` turns an index key and a stored body into (kept by the filters, item). With `end_cursor` the page is everything in
    (cursor, end_cursor], whatever the numbers say; else up to `num_items` kept rows. Raises InvalidCursor, DatabaseError.
    """
    _check_numbers(num_items, maximum_rows_read, maximum_bytes_read, limits)
    start: bytes | None = None
    if cursor is not None:
        start = sealer.open(cursor, query)
        if start is None:  # after the end there is nothing
            return Page([], True, cursor, None, None)
    until_end = False
    stop: bytes | None = None
    if end_cursor is not None:
        stop = sealer.open(end_cursor, query)
        until_end = stop is None
    bounded = end_cursor is not None
    # Where a page ends for its bytes, it depends on all of each document. That a split is recommended for them is only advice.
    if isinstance(source, IndexRange):
        seen = None if maximum_bytes_read is not None else fields
        scan = tx.scan(part_between(source, start, stop, reverse), reverse=reverse, fields=seen)
    else:
        # Relevance has no middle to split at, and what a search may read is bounded in another way.
        maximum_rows_read = maximum_bytes_read = None
        scan = tx.search(source, fields=fields, after=start, last=stop)
    if not bounded:
        scan.limit_chunk(num_items)
    items: list[Any] = []
    keys: list[bytes] = []
    size = 0
    status: PageStatus | None = None
    done = False
    while bounded or len(items) < num_items:
        if not bounded and keys and _exhausted(len(keys), size, maximum_rows_read, maximum_bytes_read):
            status = "SplitRequired"
            break
        row = scan.next()
        if row is None:
            done = True
            break
        key, body = row
        keys.append(key)
        size += len(body)
        kept, item = convert(key, body)
        if kept:
            items.append(item)
    if bounded:
        end, is_done = end_cursor or "", until_end
    elif done:
        end, is_done = sealer.seal(None, query), True
    else:
        end, is_done = sealer.seal(keys[-1], query), False
    if status is None and (
        len(keys) > _SPLIT_AT * (maximum_rows_read or limits.documents_read)
        or size > _SPLIT_AT * (maximum_bytes_read or limits.bytes_read)
        or len(items) > PAGE_SOFT_MAX_ROWS
    ):
        status = "SplitRecommended"
    can_split = len(keys) > 2 and isinstance(source, IndexRange)
    split = sealer.seal(keys[(len(keys) - 1) // 2], query) if can_split else None
    return Page(items, is_done, end, split, status)


def _check_numbers(num_items: int, rows: int | None, size: int | None, limits: Limits) -> None:
    if num_items < 0:
        raise DatabaseError(f"`options.numItems` must be a positive number. Received `{num_items}`.")
    if num_items == 0:
        raise DatabaseError("Must request at least 1 document while paginating", code="NoDocumentsForPagination")
    if num_items > limits.documents_read:
        raise DatabaseError(f"Requested too many items: {num_items}", code="PageSizeTooLarge")
    for name, value in (("maximumRowsRead", rows), ("maximumBytesRead", size)):
        if value is not None and value <= 0:
            raise DatabaseError(f"`options.{name}` must be greater than 0.", code="InvalidPaginationLimit")


def _exhausted(rows: int, size: int, maximum_rows: int | None, maximum_bytes: int | None) -> bool:
    return (maximum_rows is not None and rows >= maximum_rows) or (maximum_bytes is not None and size >= maximum_bytes)


def part_between(range_: IndexRange, after: bytes | None, last: bytes | None, reverse: bool) -> IndexRange:
    """The part of a range behind one key and up to and including another, in reading order."""
    start, end = range_.start, range_.end
    if reverse:
        if after is not None and (end is None or after < end):
            end = after
        if last is not None and last > start:
            start = last
    else:
        if after is not None and after + b"\x00" > start:
            start = after + b"\x00"
        if last is not None and (end is None or last + b"\x00" < end):
            end = last + b"\x00"
    return msgspec.structs.replace(range_, start=start, end=end)
