"""The single writer's transaction: its writes go straight to the store inside a savepoint, so that every later read sees them.

It collects the net change per document for the commit record, and undoes a nested mutation's share of it when that fails.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from reactor.engine.commit_record import CommitKind, CommitRecord, DocumentWrite, KeyChange
from reactor.engine.index_keys import key_parts, key_tail, key_with_tail
from reactor.engine.index_kinds import maintain, text_changes
from reactor.engine.ranges import IndexRange
from reactor.engine.read_set import Fields
from reactor.engine.transaction import Transaction
from reactor.errors import DatabaseError, DocumentNotFound, InvalidDocument, LimitExceeded
from reactor.limits import IDENTIFIER_MAX_CHARS, MAX_TABLES, Limits
from reactor.store.catalogue import Catalogue, TableInfo
from reactor.store.protocol import Writer
from reactor.values.ids import new_id, table_number_of
from reactor.values.size import check_document_limits
from reactor.values.types import UNSET, values_equal
from reactor.values.wire import decode_stored, encode, encode_changed

__all__ = ["DocumentCheck", "MissingTable", "WriteObserver", "WriteTransaction", "check_table_name"]

DocumentCheck = Callable[[bytes, dict[str, Any]], None]
"""Schema enforcement: given a whole document, encoded and as a tree, raises InvalidDocument."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class MissingTable(BaseException):
    """An insert met a table that does not exist yet: the committer creates it, then the mutation runs again.

    Not an `Exception`, so that user code does not catch it by accident.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def check_table_name(name: str) -> None:
    """Raise DatabaseError unless `name` can name a user's table."""
    if not _IDENTIFIER.fullmatch(name) or name.startswith("_") or len(name) > IDENTIFIER_MAX_CHARS:
        raise DatabaseError(
            f"{name!r} can't be the name of a table: names start with a letter, go on with letters, digits and "
            f"underscores, and have at most {IDENTIFIER_MAX_CHARS} characters.",
            code="InvalidTableName",
        )


WriteObserver = Callable[["WriteTransaction", dict[str, Any] | None, dict[str, Any] | None], None]
"""Given a document before and after a change, as trees; None where there is none. It may write other tables."""


class _Pending(msgspec.Struct, gc=False):
    """A document's net change so far; the document trees are None where it did not, or no longer does, exist.

    `changed` holds the names of the fields that differ, or None when that has to be worked out.
    """

    table: TableInfo
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    changed: Iterable[str] | None

    def write(self, document_id: str) -> DocumentWrite | None:
        """What the commit record says of it; None when nobody ever saw the document."""
        table, before, after = self.table, self.before, self.after
        indexes = table.indexes.values()
        if before is None:
            if after is None:
                return None
            tail = key_tail(after)
            keys = [KeyChange(i.number, None, key_with_tail(i, after, tail)) for i in indexes]
            texts = text_changes(table, None, after) if table.search else ()
            return DocumentWrite(table.number, document_id, "insert", keys, tuple(after), texts)
        tail = key_tail(before)
        if after is None:
            keys = [KeyChange(i.number, key_with_tail(i, before, tail), None) for i in indexes]
            texts = text_changes(table, before, None) if table.search else ()
            return DocumentWrite(table.number, document_id, "delete", keys, tuple(before), texts)
        changed = self.changed
        if changed is None:
            changed = [
                name
                for name in before.keys() | after.keys()
                if not values_equal(before.get(name, UNSET), after.get(name, UNSET))
            ]
        keys_may_differ = not table.roots.isdisjoint(changed)
        keys = []
        for index in indexes:
            if not index.fields:
                old = new = tail[1:] if index.is_by_id else tail
            else:
                old = new = key_with_tail(index, before, tail)
                if keys_may_differ and not index.roots.isdisjoint(changed):
                    new = key_with_tail(index, after, tail)
            keys.append(KeyChange(index.number, old, new))
        texts = text_changes(table, before, after, changed) if table.search else ()
        return DocumentWrite(table.number, document_id, "update", keys, tuple(changed), texts)


class WriteTransaction(Transaction):
    """The writer's transaction. Nested mutations are savepoints (`savepoint`, `release`, `rollback_to`)."""

    __slots__ = (
        "_checks",
        "_creation_time",
        "_documents",
        "_marks",
        "_pending",
        "_undo",
        "names",
        "observers",
        "on_pending_violation",
        "pending_checks",
        "writer",
    )

    writable = True

    def __init__(
        self,
        writer: Writer,
        catalogue: Catalogue,
        now_ms: float,
        limits: Limits,
        *,
        checks: Mapping[str, DocumentCheck],
        creation_time: float,
        pending_checks: Mapping[str, DocumentCheck] | None = None,
        on_pending_violation: Callable[[str, str, InvalidDocument], None] | None = None,
    ) -> None:
        """`creation_time` is the last one given out; `last_creation_time` afterwards is the next transaction's."""
        super().__init__(writer, catalogue, now_ms, limits, track=False)
        self.writer = writer
        self.observers: Mapping[str, WriteObserver] = {}
        """By table: told of each change of a document, within the transaction, before the write returns."""
        self.names: set[str] = set()
        """Names that this transaction changes, for the commit record."""
        self.pending_checks = pending_checks
        self.on_pending_violation = on_pending_violation
        self._checks = checks
        self._creation_time = max(now_ms, math.nextafter(creation_time, math.inf))
        self._pending: dict[str, _Pending] = {}
        self._undo: list[tuple[str, _Pending | None]] = []
        self._marks: list[tuple[int, int]] = []
        self._documents: dict[str, tuple[TableInfo, bytes | None]] = {}

    @property
    def last_creation_time(self) -> float:
        return math.nextafter(self._creation_time, -math.inf)

    @property
    def has_written(self) -> bool:
        return bool(self._pending or self.names)

    # Reads: nobody else writes meanwhile, so a body read once by id is good until this transaction changes it.

    def get(self, table: TableInfo, document_id: str) -> bytes | None:
        self.usage.query()
        body = self._body(table, document_id)
        if body is not None:
            self.usage.read_document(len(body))
        return body

    def _body(self, table: TableInfo, document_id: str) -> bytes | None:
        known = self._documents.get(document_id)
        if known is not None:
            return known[1]
        body = self.reader.get(table, document_id)
        self._documents[document_id] = table, body
        return body

    def rows(
        self, table: TableInfo, range_: IndexRange, limit: int, *, reverse: bool = False, fields: Fields = None
    ) -> list[tuple[bytes, bytes]]:
        self.usage.query()
        start, end = range_.start, range_.end
        if end is not None and end <= start:
            return []
        rows = self.reader.scan(range_.index, start, end, reverse=reverse, limit=limit)
        for key, body in rows:
            self.usage.read_document(len(body))
            self._documents[key[key.rindex(b"\x10") + 1 : -1].decode()] = table, body  # `remember`, written out
        return rows

    def remember(self, table: TableInfo, key: bytes, body: bytes) -> None:
        """A scan handed this row of `table` out: a following patch need not fetch it again."""
        self._documents[key[key.rindex(b"\x10") + 1 : -1].decode()] = table, body

    def table_of_id(self, document_id: str) -> TableInfo | None:
        known = self._documents.get(document_id)
        return super().table_of_id(document_id) if known is None else known[0]

    # Writes

    def insert(self, table_name: str, fields: dict[str, Any]) -> str:
        """Insert a document (wire field names, without system fields) and return its id.

        Raises InvalidDocument, LimitExceeded; MissingTable (for the committer) when the table does not exist yet.
        """
        table = self.catalogue.tables.get(table_name)
        if table is None:
            table = self.require_table(table_name)
        document_id = new_id(table.number, int(self.now_ms * 1e6))
        document = {**fields, "_id": document_id, "_creationTime": self._creation_time}
        body = self._checked(table, document)
        self._creation_time = math.nextafter(self._creation_time, math.inf)
        self.usage.write_document(len(body))
        self.version += 1
        self.writer.insert(table, document_id, body)
        tail = key_tail(document)
        for index in table.kept:
            self.writer.add_key(index, b"".join(key_with_tail(index, document, tail)), document_id)
        if table.others:
            maintain(self.writer, table, None, document)
        self._documents[document_id] = table, body
        self._note(table, document_id, None, document)
        return document_id

    def require_table(self, name: str) -> TableInfo:
        """The table of this name.

        Raises MissingTable (for the committer) when it does not exist yet; DatabaseError, LimitExceeded when it can't be made.
        """
        table = self.catalogue.tables.get(name)
        if table is None:
            check_table_name(name)
            if len(self.catalogue.tables) >= MAX_TABLES:
                raise LimitExceeded(f"Number of tables cannot exceed {MAX_TABLES}.", code="TooManyTables")
            raise MissingTable(name)
        return table

    def insert_existing(self, table: TableInfo, document: dict[str, Any]) -> None:
        """Insert a document with its `_id` and `_creationTime` (import and restore).

        Raises DatabaseError when the id is taken or belongs to another table.
        """
        document_id = document["_id"]
        if table_number_of(document_id) != table.number:
            raise DatabaseError(f"{document_id!r} is not an id of table {table.name!r}")
        if self._body(table, document_id) is not None:
            raise DatabaseError(f"a document with id {document_id!r} already exists in table {table.name!r}")
        body = self._checked(table, document)
        self.usage.write_document(len(body))
        self.version += 1
        self.writer.insert(table, document_id, body)
        tail = key_tail(document)
        for index in table.kept:
            self.writer.add_key(index, b"".join(key_with_tail(index, document, tail)), document_id)
        if table.others:
            maintain(self.writer, table, None, document)
        self._documents[document_id] = table, body
        self._note(table, document_id, None, document)

    def patch(self, table: TableInfo, document_id: str, changes: Mapping[str, Any]) -> None:
        """Merge `changes` (wire names, top level; UNSET removes) into a document. What changes nothing writes nothing.

        Raises DocumentNotFound, InvalidDocument, LimitExceeded.
        """
        before, is_json = decode_stored(self._existing(table, document_id, "Update"))
        if "_id" in changes or "_creationTime" in changes:
            _check_system_fields(before, changes)
        changed: dict[str, Any] = {}
        for name, value in changes.items():
            old = before.get(name, UNSET)
            if old is not value and (value is UNSET or old is UNSET or not values_equal(old, value)):
                changed[name] = value
        if not changed:
            return
        after = {**before, **changed}
        for name, value in changed.items():
            if value is UNSET:
                del after[name]
        body = encode_changed(after, changed) if is_json else encode(after)
        if table.name[0] != "_":
            check_document_limits(after, body, changed)
        self._update(table, before, after, body, changed)

    def replace(self, table: TableInfo, document_id: str, fields: Mapping[str, Any]) -> None:
        """Put `fields` in the place of all but the system fields. What changes nothing writes nothing.

        Raises DocumentNotFound, InvalidDocument, LimitExceeded.
        """
        before, _ = decode_stored(self._existing(table, document_id, "Replace"))
        _check_system_fields(before, fields)
        after = {**fields, "_id": before["_id"], "_creationTime": before["_creationTime"]}
        if not values_equal(before, after):
            body = encode(after)
            if table.name[0] != "_":
                check_document_limits(after, body)
            self._update(table, before, after, body)

    def delete(self, table: TableInfo, document_id: str) -> None:
        """Raises DocumentNotFound, also when this transaction has already deleted it."""
        before, _ = decode_stored(self._existing(table, document_id, "Delete"))
        self.usage.write_document(0)
        self.version += 1
        self.writer.delete(table, document_id)
        tail = key_tail(before)
        for index in table.kept:
            self.writer.remove_key(index, b"".join(key_with_tail(index, before, tail)))
        if table.others:
            maintain(self.writer, table, before, None)
        self._documents[document_id] = table, None
        self._note(table, document_id, before, None)

    def _existing(self, table: TableInfo, document_id: str, verb: str) -> bytes:
        known = self._documents.get(document_id)
        body = self._body(table, document_id) if known is None else known[1]
        if body is None:
            raise DocumentNotFound(f"{verb} on nonexistent document ID {document_id}")
        self.usage.read_document(len(body))
        return body

    def _update(
        self,
        table: TableInfo,
        before: dict[str, Any],
        after: dict[str, Any],
        body: bytes,
        changed: Mapping[str, Any] | None = None,
    ) -> None:
        """`body`: `after`, encoded. `changed`: the fields that differ, if that is known."""
        document_id = before["_id"]
        self._check(table, body, after)
        self.usage.write_document(len(body))
        self.version += 1
        self.writer.update(table, document_id, body)
        if changed is None or not table.roots.isdisjoint(changed):
            for index in table.kept:
                if changed is None or not index.roots.isdisjoint(changed):
                    old, new = b"".join(key_parts(index, before)), b"".join(key_parts(index, after))
                    if old != new:
                        self.writer.remove_key(index, old)
                        self.writer.add_key(index, new, document_id)
        if table.others:
            maintain(self.writer, table, before, after, changed)
        self._documents[document_id] = table, body
        self._note(table, document_id, before, after, changed)

    def _checked(self, table: TableInfo, document: dict[str, Any]) -> bytes:
        """Encode a document after checking it against the limits of documents and the table's schema."""
        body = encode(document)
        if table.name[0] != "_":  # our own hold whole argument objects, which have limits of their own
            check_document_limits(document, body)
        self._check(table, body, document)
        return body

    def _check(self, table: TableInfo, body: bytes, document: dict[str, Any]) -> None:
        check = self._checks.get(table.name)
        if check is not None:
            check(body, document)
        if self.pending_checks is not None and (check := self.pending_checks.get(table.name)) is not None:
            try:
                check(body, document)
            except InvalidDocument as error:
                # The schema being deployed does not fit this write: the deploy fails, the write does not.
                if self.on_pending_violation is not None:
                    self.on_pending_violation(table.name, document["_id"], error)

    # Savepoints

    def savepoint(self) -> None:
        """Begin a nested mutation."""
        self.writer.savepoint()
        self._marks.append((len(self._undo), self.version))

    def release(self) -> None:
        """The nested mutation succeeded: its changes now belong to the outer one."""
        self.writer.release()
        self._marks.pop()

    def rollback_to(self) -> None:
        """The nested mutation failed: undo all it wrote. What it read and used still counts."""
        self.writer.rollback_to()
        undone, _ = self._marks.pop()
        while len(self._undo) > undone:
            document_id, previous = self._undo.pop()
            if previous is None:
                del self._pending[document_id]
            else:
                self._pending[document_id] = previous
        self._documents.clear()
        self.version += 1

    def _note(
        self,
        table: TableInfo,
        document_id: str,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
        changed: Iterable[str] | None = None,
    ) -> None:
        earlier = self._pending.get(document_id)
        if self._marks:
            self._undo.append((document_id, earlier))
        if earlier is None:
            self._pending[document_id] = _Pending(table, before, after, changed)
        else:
            self._pending[document_id] = _Pending(table, earlier.before, after, None)
        if self.observers and (observer := self.observers.get(table.name)) is not None:
            observer(self, before, after)

    # The end

    def record(self, ts: int) -> CommitRecord:
        """The commit record of all that was written, to be stored with timestamp `ts`."""
        writes = [w for name, pending in self._pending.items() if (w := pending.write(name)) is not None]
        return CommitRecord(ts, CommitKind.MUTATION, writes, tuple(sorted(self.names)) if self.names else ())


def _check_system_fields(document: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    for name in ("_id", "_creationTime"):
        if name in changes and not values_equal(document[name], changes[name]):
            raise InvalidDocument(
                f"The system field {name!r} can't be changed: it is {document[name]!r} for as long as the document lives.",
                path=f".{name}",
                expected=repr(document[name]),
                got=repr(changes[name]),
                code="InvalidDocumentError",
            )
