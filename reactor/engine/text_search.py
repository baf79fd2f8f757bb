"""Searching a full-text index inside a transaction: matches best first, documents fetched as they are pulled.

What a search depends on is not the documents that it returned but what it asked for (`TextRead`): a write touches it when
the document, before or after, has one of the words and passes all of the filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from reactor.engine.ranges import id_key
from reactor.engine.read_set import Fields, TextRead
from reactor.errors import DatabaseError
from reactor.limits import SEARCH_MAX_CANDIDATES
from reactor.search.text import filter_token
from reactor.store.catalogue import IndexInfo, TableInfo
from reactor.store.text import TextMatch, TextQuery
from reactor.values.keys import encode_value

if TYPE_CHECKING:
    from reactor.engine.transaction import Transaction

__all__ = ["TextScan", "TextSearch"]


class TextSearch(msgspec.Struct, frozen=True, gc=False):
    """What to search for, in which index.

    `query` is None when the text has no words, so that nothing matches; `filters` are (position among the index's filter
    fields, encoded value), in the order of `query.filters`.
    """

    table: TableInfo
    index: IndexInfo
    query: TextQuery | None
    filters: tuple[tuple[int, str], ...] = ()

    def read(self, fields: Fields) -> TextRead | None:
        """What it depends on; None when nothing ever matches it."""
        query = self.query
        if query is None:
            return None
        filters = tuple(sorted(set(self.filters)))
        words = frozenset(word for word in query.words if not word.startswith(query.last))
        return TextRead(self.index.number, filters, words, query.last, fields)


class TextScan:
    """Matches of one search, pulled one at a time like the rows of a `Scan`.

    Which documents match is decided at the first pull; one that this transaction deletes meanwhile is passed over. The keys
    order matches and end in their ids, like those of an index, so that a page can end at one.
    """

    __slots__ = ("_after", "_at", "_keys", "_last", "_matches", "_search", "_transaction")

    def __init__(self, transaction: Transaction, search: TextSearch, after: bytes | None, last: bytes | None) -> None:
        """Only matches behind the key `after`, up to and including the key `last`."""
        self._transaction = transaction
        self._search = search
        self._after, self._last = after, last
        self._matches: Sequence[TextMatch] | None = None
        self._keys: list[bytes] = []
        self._at = 0

    def limit_chunk(self, rows: int) -> None:
        """As `Scan.limit_chunk`: documents are fetched one by one anyway."""

    def next(self) -> tuple[bytes, bytes] | None:
        """Return the next (key, document body), or None behind the last match.

        Raises LimitExceeded, and DatabaseError behind `SEARCH_MAX_CANDIDATES` when there are more.
        """
        if self._matches is None:
            self._find()
        transaction, matches = self._transaction, self._matches
        assert matches is not None
        while self._at < len(matches):
            at = self._at
            if at >= SEARCH_MAX_CANDIDATES:
                raise _too_many()
            self._at += 1
            key = self._keys[at]
            if (self._after is not None and key <= self._after) or (self._last is not None and key > self._last):
                continue
            body = transaction.reader.get(self._search.table, matches[at].document_id)
            if body is not None:
                transaction.usage.read_document(len(body))
                return key, body
        return None

    def count(self) -> int:
        """How many match, without a look at the documents. Raises DatabaseError for more than `SEARCH_MAX_CANDIDATES`."""
        self._find()
        if len(self._keys) > SEARCH_MAX_CANDIDATES:
            raise _too_many()
        return len(self._keys)

    def _find(self) -> None:
        search = self._search
        self._matches = (
            ()
            if search.query is None
            else self._transaction.reader.search_text(search.index, search.query, SEARCH_MAX_CANDIDATES + 1)
        )
        self._keys = [
            encode_value(float(match.rank)) + encode_value(-match.creation_time) + id_key(match.document_id)
            for match in self._matches
        ]


def _too_many() -> DatabaseError:
    return DatabaseError(
        f"Search query scanned too many documents (fetched {SEARCH_MAX_CANDIDATES}). Consider using a smaller limit, "
        "paginating the query, or using a filter field to narrow your search.",
        code="SearchQueryScannedTooManyDocumentsError",
    )


def text_filter(position: int, value: object) -> tuple[int, str]:
    """One entry of `TextSearch.filters`."""
    return position, filter_token(position, value)
