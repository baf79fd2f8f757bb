"""What becomes of a document in an index, by the index's kind.

A kind that is not "database" is a `Maintainer` in `MAINTAINERS`. The writer's transaction calls it for every insert, update
and delete of a document, in the same savepoint as the document itself; the backfill of a new index calls it for each
document that was there before (`fill`), which a writer may have entered already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from reactor.engine.commit_record import TextChange, TextSide
from reactor.engine.index_keys import field_at
from reactor.engine.vector_entries import VectorMaintainer
from reactor.search.text import filter_token, make_entry
from reactor.store.catalogue import IndexInfo, IndexKind, TableInfo
from reactor.store.protocol import Reader, Writer
from reactor.values.wire import decode

__all__ = ["MAINTAINERS", "Maintainer", "fill", "maintain", "next_documents", "text_changes"]

AT_ONCE_BYTES: Final = 32 * 1024

Document = Mapping[str, Any]
"""A whole document as a tree, with its system fields."""


class Maintainer(Protocol):
    """Keeps one kind of index. Stateless: all it knows is the index, the documents and what the writer finds."""

    def change(self, writer: Writer, index: IndexInfo, before: Document | None, after: Document | None) -> None:
        """A document changed; `before` is None for a new one, `after` for a deleted one.

        While the index is being filled, `before` may not be in it, and `after` may be in it already when `before` is None.
        """
        ...


class TextMaintainer:
    """Search indexes: the words of a field, and the filter fields (see `search.text`)."""

    def change(self, writer: Writer, index: IndexInfo, before: Document | None, after: Document | None) -> None:
        entry = None
        if after is not None:
            text, *filters = [field_at(after, path) for path in index.fields]
            entry = make_entry(after["_id"], after["_creationTime"], text, filters)
        if entry is not None:
            writer.put_text(index, entry)
        elif before is not None:
            writer.remove_text(index, before["_id"], before["_creationTime"])


def text_changes(
    table: TableInfo, before: Document | None, after: Document | None, changed: Iterable[str] = ()
) -> list[TextChange]:
    """What a document's change means to the search indexes of its table; `changed` are the fields that differ."""
    found: list[TextChange] = []
    for index in table.search.values():
        old = None if before is None else _side(index, before)
        new = old
        if before is None or after is None or not index.roots.isdisjoint(changed):
            new = None if after is None else _side(index, after)
            if new == old:
                new = old
        if old is not None or new is not None:
            found.append(TextChange(index.number, old, new))
    return found


def _side(index: IndexInfo, document: Document) -> TextSide | None:
    text, *filters = [field_at(document, path) for path in index.fields]
    if type(text) is not str:
        return None
    return TextSide(text, tuple([filter_token(position, value) for position, value in enumerate(filters)]))


MAINTAINERS: Final[dict[IndexKind, Maintainer]] = {"search": TextMaintainer(), "vector": VectorMaintainer()}


def maintain(
    writer: Writer,
    table: TableInfo,
    before: Document | None,
    after: Document | None,
    changed: Iterable[str] | None = None,
) -> None:
    """Keep the search and vector indexes of a table; `changed` are the top-level fields that differ, if that is known."""
    for index in table.others:
        if changed is None or not index.roots.isdisjoint(changed):
            MAINTAINERS[index.kind].change(writer, index, before, after)


def next_documents(reader: Reader, by_id: IndexInfo, start: bytes, most: int) -> tuple[list[Document], bytes]:
    """Documents from the cursor `start` on, to be entered at once, and the cursor behind them. An empty list at the end.

    Few that are large: a full-text index takes 0.1 ms for each KiB of them.
    """
    found: list[Document] = []
    size = 0
    while len(found) < most and size < AT_ONCE_BYTES:
        rows = reader.scan(by_id, start, None, reverse=False, limit=1)
        if not rows:
            break
        [(key, body)] = rows
        document: Any = decode(body)
        found.append(document)
        size += len(body)
        start = key + b"\x00"
    return found, start


def fill(writer: Writer, index: IndexInfo, documents: Sequence[Document]) -> None:
    """Enter documents into a search or vector index; they may be there."""
    kind = MAINTAINERS[index.kind]
    # A full-text index takes documents together that come in order of creation; ids, the usual order, are random.
    for document in sorted(documents, key=_creation_time):
        kind.change(writer, index, None, document)


def _creation_time(document: Document) -> float:
    return document["_creationTime"]
