"""The documents of `_imports` and `_exports`: each import and export, and how far it is. Clients follow them live.

Source of the shapes: deployment-api 5.1 and 5.2. All functions run on a store thread, in the transaction that they are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.model.scheduled_functions import off_the_books
from reactor.store.catalogue import BY_CREATION_TIME
from reactor.values.types import Int64
from reactor.values.wire import decode

__all__ = [
    "EXPORTS", "IMPORTS", "add", "end_interrupted", "export_at", "latest", "newest", "read", "set_state", "update",
    "written_by",
]  # fmt: skip

IMPORTS: Final = "_imports"
EXPORTS: Final = "_exports"
KEPT: Final = 100
"""So many of each are remembered; older ones that have ended are forgotten."""

RESTARTED: Final = "Hit an error while importing:\nThe server was stopped before this import was done. Nothing was changed; start it again."


def add(tx: WriteTransaction, table: str, fields: dict[str, Any]) -> str:
    """Add one, and forget the oldest."""
    with off_the_books(tx):
        document_id = tx.insert(table, fields)
        for document in newest(tx, table, KEPT + 20)[KEPT:]:
            if is_over(table, document):
                tx.delete(tx.catalogue.tables[table], document["_id"])
        return document_id


def is_over(table: str, document: Mapping[str, Any]) -> bool:
    state = document["state"]
    return (state["state"] if table == IMPORTS else state) in ("completed", "failed", "canceled")


def read(tx: Transaction, table: str, document_id: str) -> dict[str, Any] | None:
    """The document, or None; also for what is no id of this table."""
    info = tx.catalogue.tables[table]
    if tx.table_of_id(document_id) is not info:
        return None
    with off_the_books(tx):
        body = tx.get(info, document_id)
    return None if body is None else _tree(body)


def newest(tx: Transaction, table: str, most: int) -> list[dict[str, Any]]:
    """The last ones, newest first."""
    found: list[dict[str, Any]] = []
    scan = tx.scan(make_range(tx.catalogue.tables[table].indexes[BY_CREATION_TIME]), reverse=True)
    with off_the_books(tx):
        while len(found) < most and (row := scan.next()) is not None:
            found.append(_tree(row[1]))
    return found


def latest(tx: Transaction, table: str) -> dict[str, Any] | None:
    found = newest(tx, table, 1)
    return found[0] if found else None


def export_at(tx: Transaction, start_ts: int) -> dict[str, Any] | None:
    """The export of the snapshot at this commit timestamp."""
    index = tx.catalogue.tables[EXPORTS].indexes["by_start_ts"]
    row = tx.scan(make_range(index, (Int64(start_ts),))).next()
    return None if row is None else _tree(row[1])


def update(tx: WriteTransaction, table: str, document_id: str, **fields: Any) -> None:
    with off_the_books(tx):
        tx.patch(tx.catalogue.tables[table], document_id, fields)


def set_state(
    tx: WriteTransaction, import_id: str, state: dict[str, Any], *, unless: Sequence[str] = (), **fields: Any
) -> bool:
    """Give an import this state; False, and nothing is changed, when it is gone or in one of the states `unless`."""
    document = read(tx, IMPORTS, import_id)
    if document is None or document["state"]["state"] in unless:
        return False
    update(tx, IMPORTS, import_id, state=state, **fields)
    return True


def written_by(document: Mapping[str, Any]) -> int | None:
    """How many documents an import has written; None unless it is completed."""
    state = document["state"]
    return int(state["num_rows_written"]) if state["state"] == "completed" else None


def end_interrupted(tx: WriteTransaction) -> None:
    """Fail what was going on when the process ended: its files and hidden tables are gone with it."""
    for table, change in ((IMPORTS, _fail_import), (EXPORTS, _fail_export)):
        for document in newest(tx, table, KEPT + 20):
            if not is_over(table, document):
                change(tx, document["_id"])


def _fail_import(tx: WriteTransaction, document_id: str) -> None:
    update(tx, IMPORTS, document_id, state={"state": "failed", "error_message": RESTARTED})


def _fail_export(tx: WriteTransaction, document_id: str) -> None:
    text = "The server was stopped before this export was done. Request it again."
    update(tx, EXPORTS, document_id, state="failed", error_message=text)


def _tree(body: bytes) -> dict[str, Any]:
    tree: Any = decode(body)
    return tree
