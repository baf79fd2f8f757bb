"""The records of stored files: `_storage`, which user code sees, and `_files`, which ties each to its URL and its blob.

Both are written in one transaction, so a file is there with all that belongs to it or not at all. All functions run on
a store thread, in the transaction that they are given.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from reactor.engine.commit_record import CommitRecord
from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.store.catalogue import Catalogue, TableInfo
from reactor.store.protocol import Reader
from reactor.values.keys import decode_key
from reactor.values.wire import decode

__all__ = [
    "FILES", "STORAGE", "StoredEntry", "delete_file", "deleted_blobs", "file_by_id", "file_by_key", "insert_file", "known_blobs",
]  # fmt: skip

STORAGE: Final = "_storage"
FILES: Final = "_files"


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One file. `key` is the UUID in its URL, `sha256` the 32 bytes, `blob` where its contents are."""

    id: str
    key: str
    blob: str
    sha256: bytes
    size: int
    content_type: str | None

    @property
    def sha256_base64(self) -> str:
        return base64.b64encode(self.sha256).decode("ascii")


def insert_file(tx: WriteTransaction, blob: str, *, sha256: bytes, size: int, content_type: str | None) -> str:
    """Record a file whose blob is durable. Returns its id."""
    digest = base64.b64encode(sha256).decode("ascii")
    storage_id = tx.insert(STORAGE, {"sha256": digest, "size": float(size), "contentType": content_type})
    tx.insert(FILES, {"storageId": storage_id, "key": str(uuid.uuid4()), "blob": blob})
    return storage_id


def delete_file(tx: WriteTransaction, entry: StoredEntry) -> None:
    """Forget a file. Its blob is for whoever watches the commits (`deleted_blobs`)."""
    found = _lookup(tx, "by_storage_id", entry.id)
    if found is not None:
        tx.delete(_table(tx, FILES), found["_id"])
    tx.delete(_table(tx, STORAGE), entry.id)


def file_by_id(tx: Transaction, storage_id: str) -> StoredEntry | None:
    """The file with this `_storage` id."""
    return _entry(tx, _lookup(tx, "by_storage_id", storage_id))


def file_by_key(tx: Transaction, key: str) -> StoredEntry | None:
    """The file with this UUID in its URL (lower case)."""
    return _entry(tx, _lookup(tx, "by_key", key))


def known_blobs(tx: Transaction, names: Iterable[str]) -> set[str]:
    """Those of the blobs that belong to a file."""
    return {name for name in names if _lookup(tx, "by_blob", name) is not None}


def blob_names(reader: Reader, catalogue: Catalogue) -> list[str]:
    """The blobs of all files, however many."""
    index = catalogue.tables[FILES].indexes["by_blob"]
    names: list[str] = []
    start = b""
    while rows := reader.scan(index, start, None, reverse=False, limit=1000):
        names += [decode_key(key)[0] for key, _ in rows]
        start = rows[-1][0] + b"\x00"
    return names


def deleted_blobs(record: CommitRecord, catalogue: Catalogue) -> list[str]:
    """The blobs of the files that a commit deleted."""
    table = catalogue.tables.get(FILES)
    if table is None:
        return []
    by_blob = table.indexes["by_blob"].number
    return [
        decode_key(change.before[0])[0]
        for write in record.writes
        if write.table == table.number and write.operation == "delete"
        for change in write.keys
        if change.index_number == by_blob and change.before is not None
    ]


def _entry(tx: Transaction, found: dict[str, Any] | None) -> StoredEntry | None:
    if found is None:
        return None
    body = tx.get(_table(tx, STORAGE), found["storageId"])
    if body is None:
        return None
    document: Any = decode(body)
    return StoredEntry(
        id=document["_id"],
        key=found["key"],
        blob=found["blob"],
        sha256=base64.b64decode(document["sha256"]),
        size=int(document["size"]),
        content_type=document["contentType"],
    )


def _lookup(tx: Transaction, index: str, value: str) -> dict[str, Any] | None:
    row = tx.scan(make_range(_table(tx, FILES).indexes[index], [value])).next()
    return None if row is None else decode(row[1])  # type: ignore[return-value]  # a stored document is an object


def _table(tx: Transaction, name: str) -> TableInfo:
    table = tx.table(name)
    assert table is not None, f"{name} is made at start"
    return table
