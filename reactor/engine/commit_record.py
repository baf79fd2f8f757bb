"""What one commit changed: per document its index keys before and after, and the top-level fields that changed.

In memory a key is kept as its parts (one per field, then creation time and id), because invalidation looks up prefixes of
whole fields. The stored form joins them and cuts long keys; it is what other readers of the log get to see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Final, Literal

import msgspec

from reactor.limits import LOG_KEY_MAX_BYTES
from reactor.search.tokens import words_of

__all__ = [
    "ANY_INDEX",
    "ANY_TABLE",
    "CommitKind",
    "CommitRecord",
    "DocumentWrite",
    "KeyChange",
    "KeyParts",
    "Replaced",
    "StoredRecord",
    "StoredWrite",
    "TextChange",
    "TextSide",
    "decode_record",
    "tables_changed",
]

KeyParts = tuple[bytes, ...]

ANY_TABLE: Final = "tables"
"""The name that changes whenever any table comes to be or goes."""
ANY_INDEX: Final = "indexes"
"""The name that changes whenever a deploy adds indexes that are not in force yet, or gives them up."""


def tables_changed(names: Iterable[str]) -> tuple[str, ...]:
    """The `CommitRecord.names` of a commit in which the tables of these names came to be or went."""
    changed = tuple(f"table:{name}" for name in names)
    return (*changed, ANY_TABLE) if changed else ()


class CommitKind(IntEnum):
    MUTATION = 1
    DEPLOY = 2
    """Tables, indexes, schema or code changed."""


# Structs without `gc`: the ring keeps very many of them, which no collection need ever walk through (no cycles here).


class KeyChange(msgspec.Struct, frozen=True, gc=False):
    """A document's key in one index before and after; None where it was not, or is no longer, there."""

    index_number: int
    before: KeyParts | None
    after: KeyParts | None

    @property
    def moved(self) -> bool:
        """Whether the key differs, as it does when the document was inserted or deleted."""
        before, after = self.before, self.after
        return before is not after and before != after

    def sides(self) -> Iterator[KeyParts]:
        if self.before is not None:
            yield self.before
        if self.after is not None and self.after != self.before:
            yield self.after


class TextSide(msgspec.Struct, gc=False):
    """What a search index has, or had, of a document: its text, and the tokens of its filter fields."""

    text: str
    filters: tuple[str, ...]
    _words: frozenset[str] | None = None

    @property
    def words(self) -> frozenset[str]:
        """The text's words; worked out when somebody asks, which is rare: when no search is watched, nobody does."""
        if self._words is None:
            self._words = frozenset(words_of(self.text))
        return self._words


class TextChange(msgspec.Struct, frozen=True, gc=False):
    """A document in one search index before and after; the same object twice when nothing of it changed.

    None where it is not in it. Kept in memory only: the stored record has no texts.
    """

    index_number: int
    before: TextSide | None
    after: TextSide | None

    @property
    def moved(self) -> bool:
        return self.before is not self.after

    def sides(self) -> Iterator[TextSide]:
        if self.before is not None:
            yield self.before
        if self.after is not None and self.after is not self.before:
            yield self.after


class DocumentWrite(msgspec.Struct, gc=False):
    """One document's net change in one commit."""

    table: int
    id: str
    operation: Literal["insert", "update", "delete"]
    keys: Sequence[KeyChange]
    fields: tuple[str, ...]
    """Top-level fields whose value differs; all of them for an insert or delete."""
    texts: Sequence[TextChange] = ()


class Replaced(msgspec.Struct, array_like=True, frozen=True):
    """All documents of some tables gave way to others: no document is named, everything read of them is touched."""

    tables: frozenset[int]
    """Numbers of the tables, before and after."""
    indexes: frozenset[int]
    """Numbers of the indexes that were theirs, and of those that are now."""


class CommitRecord(msgspec.Struct, gc=False):
    ts: int
    kind: CommitKind
    writes: Sequence[DocumentWrite]
    names: tuple[str, ...] = ()
    """Other things that changed: `table:<name>` when a table came to be (see `tables_changed`), `code`."""
    replaced: Replaced | None = None
    """What an import put in the place of other documents, or a deletion of tables in the place of theirs."""
    size: int = 0
    """Roughly how many bytes it takes in memory; known once it was encoded."""
    by: tuple[str, str] | None = None
    """The function that committed and the id of its request; None for changes of our own. Not stored."""

    def encode(self) -> bytes:
        """The stored form: msgpack of a `StoredRecord`."""
        parts = ([_stored(w) for w in self.writes], self.names)
        data = _encoder.encode(parts if self.replaced is None else (*parts, self.replaced))
        # Objects, tuples and lists around each key weigh more than the key.
        self.size = 200 + 2 * len(data) + 600 * len(self.writes) + sum(map(_text_size, self.writes))
        return data


class StoredWrite(msgspec.Struct, array_like=True, frozen=True):
    """A document write as the log keeps it. `keys` holds [index, before, after], without `after` when equal to `before`."""

    table: int
    id: str
    operation: str
    keys: list[list[int | bytes | None]]
    fields: tuple[str, ...]


class StoredRecord(msgspec.Struct, array_like=True, frozen=True):
    writes: list[StoredWrite]
    names: tuple[str, ...]
    replaced: Replaced | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredRecord)


def _stored(write: DocumentWrite) -> tuple[object, ...]:
    # Plain tuples in the order of StoredWrite's fields: this runs for every document written.
    join, most = b"".join, LOG_KEY_MAX_BYTES
    keys = [
        (change.index_number, None if change.before is None else join(change.before)[:most])
        if change.before is change.after
        else _both(change, most)
        for change in write.keys
    ]
    return write.table, write.id, write.operation, keys, write.fields


def _text_size(write: DocumentWrite) -> int:
    return sum(300 + 4 * len(side.text) for change in write.texts for side in change.sides())


def _both(change: KeyChange, most: int) -> tuple[object, ...]:
    before, after = (None if parts is None else b"".join(parts)[:most] for parts in (change.before, change.after))
    return (change.index_number, before) if change.before == change.after else (change.index_number, before, after)


def decode_record(data: bytes) -> StoredRecord:
    """Read a stored record back. Keys may be cut at `LOG_KEY_MAX_BYTES`."""
    return _decoder.decode(data)
