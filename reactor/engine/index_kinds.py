"""What becomes of a document in an index, by the index's kind.

A kind that is not "database" is a `Maintainer` in `MAINTAINERS`. The writer's transaction calls it for every insert, update
and delete of a document, in the same savepoint as the document itself; the backfill of a new index calls it for each
document that was there before (`fill`), which a writer may have entered already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from reactor.engine.index_keys import key_parts
from reactor.engine.vector_entries import VectorMaintainer
from reactor.store.catalogue import IndexInfo, IndexKind, TableInfo
from reactor.store.protocol import Writer

__all__ = ["MAINTAINERS", "Maintainer", "fill", "maintain"]

Document = Mapping[str, Any]
"""A whole document as a tree, with its system fields."""


class Maintainer(Protocol):
    """Keeps one kind of index. Stateless: all it knows is the index, the documents and what the writer finds."""

    def change(self, writer: Writer, index: IndexInfo, before: Document | None, after: Document | None) -> None:
        """A document changed; `before` is None for a new one, `after` for a deleted one.

        While the index is being filled, `before` may not be in it, and `after` may be in it already when `before` is None.
        """
        ...


MAINTAINERS: Final[dict[IndexKind, Maintainer]] = {"vector": VectorMaintainer()}


def maintain(
    writer: Writer,
    table: TableInfo,
    before: Document | None,
    after: Document | None,
    changed: Iterable[str] | None = None,
) -> None:
    """Keep the search and vector indexes of a table; `changed` are the top-level fields that differ, if that is known."""
    for index in table.others:
        if (changed is None or not index.roots.isdisjoint(changed)) and (kind := MAINTAINERS.get(index.kind)):
            kind.change(writer, index, before, after)


def fill(writer: Writer, index: IndexInfo, document: Document) -> None:
    """Enter one document into an index of any kind; it may be there."""
    if index.kind == "database":
        writer.add_key(index, b"".join(key_parts(index, document)), document["_id"])
    elif kind := MAINTAINERS.get(index.kind):
        kind.change(writer, index, None, document)
