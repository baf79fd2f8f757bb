"""Documents written by an operator: with the schema, the limits and the transactions of everybody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from reactor.admin.system.frontend import frontend_mutation
from reactor.admin.system.reading import in_transaction, read_page, table_of, table_plan
from reactor.engine.ranges import IndexRange
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction, check_table_name
from reactor.errors import (
    ApplicationError,
    DatabaseError,
    DocumentNotFound,
    InvalidDocument,
    InvalidValue,
    LimitExceeded,
)
from reactor.runtime.contexts import MutationCtx
from reactor.schema import v
from reactor.store.catalogue import BY_CREATION_TIME, TableInfo
from reactor.values.types import UNSET
from reactor.values.wire import decode

__all__ = ["ABSENT", "MAX_AT_ONCE"]

MAX_AT_ONCE: Final = 4096
"""Documents of one call. Source: deployment-api 8."""
CLEAR_ROWS: Final = 4000
CLEAR_BYTES: Final = 4_000_000
"""They count twice: read for the page, and for being deleted."""
ABSENT: Final = (
    "__CONVEX_PLACEHOLDER_undefined_I23atX0jcndVbFgXoQZffsih7eAqktCyFjgUuAeNBtfr3ySOljPSPSEOPFgprkdBO3zXNiGEJxmJ5ZFPc5C5q"
    "KesG80QRPvlJe8vgSxAt9feLTwxTg4PHfVwUaTEJU67FDwldWmTxp1guMPwxQ2jOuhEryTBf3mQ"
)
"""What dashboards send for "no value", which JSON has no word for."""

Answer = dict[str, Any]
_DONE: Final[Answer] = {"success": True}


@frontend_mutation("addDocument:default", {"table": v.string(), "documents": v.array(v.any())})
def add_documents(tx: WriteTransaction, table: str, documents: list[Any]) -> Answer:
    """Insert all of them, or none. A document that does not fit is told as a ConvexError."""
    if len(documents) > MAX_AT_ONCE:
        return _too_many("add", len(documents))
    with _told():
        _check_name(table)
        for document in documents:
            tx.insert(table, _new_fields(document))
    return _DONE


@frontend_mutation("replaceDocument:default", {"id": v.string(), "document": v.any()})
def replace_document(tx: WriteTransaction, id: str, document: Any) -> Answer:
    """Put `document` in the place of the one with this id."""
    with _told():
        table = _table_of(tx, id)
        if table is None or tx.get(table, id) is None:
            return _failed("Document does not exist.")
        tx.replace(table, id, _object(document))
    return _DONE


@frontend_mutation(
    "patchDocumentsFields:default",
    {"table": v.string(), "fields": v.any(), "ids": v.optional(v.array(v.string()))},
)
def patch_fields(tx: WriteTransaction, table: str, fields: Any, ids: list[str] | None = None) -> Answer:
    """Change the same fields of several documents, or of all in the table. All or none."""
    if ids is not None and len(ids) > MAX_AT_ONCE:
        return _too_many("change", len(ids))
    with _told():
        _check_name(table)
        changes = {name: UNSET if value == ABSENT else value for name, value in _object(fields).items()}
        for document_id in _ids(tx, table) if ids is None else ids:
            tx.patch(_same_table(tx, document_id, table), document_id, changes)
    return _DONE


@frontend_mutation(
    "deleteDocuments:default", {"toDelete": v.array(v.object({"id": v.string(), "tableName": v.string()}))}
)
def delete_documents(tx: WriteTransaction, to_delete: list[dict[str, str]]) -> Answer:
    """Delete documents by id. All or none."""
    if len(to_delete) > MAX_AT_ONCE:
        return _too_many("delete", len(to_delete))
    with _told():
        for one in to_delete:
            tx.delete(_same_table(tx, one["id"], one["tableName"]), one["id"])
    return _DONE


@frontend_mutation("clearTablePage:default", {"tableName": v.string(), "cursor": v.nullable(v.string())})
async def clear_page(ctx: MutationCtx, table_name: str, cursor: str | None) -> Answer:
    """Delete the oldest documents of a table, some thousands at a time: call it again with its cursor while `hasMore`."""
    _check_name(table_name)
    table = in_transaction(ctx, table_of, table_name)
    if table is None:
        return {"deleted": 0, "hasMore": False, "continueCursor": cursor or ""}
    options = {"numItems": CLEAR_ROWS, "cursor": cursor, "maximumBytesRead": CLEAR_BYTES}
    page = read_page(ctx, table_plan(ctx, table), options)
    in_transaction(ctx, _delete, table, page["page"])
    return {"deleted": len(page["page"]), "hasMore": not page["isDone"], "continueCursor": page["continueCursor"]}


@frontend_mutation("createTable:default", {"table": v.string()})
def create_table(tx: WriteTransaction, table: str) -> None:
    """Make an empty table; one that is there stays as it is."""
    with _told():
        _check_name(table)
        tx.require_table(table)


def _too_many(verb: str, count: int) -> Answer:
    return _failed(f"Can't {verb} more than {MAX_AT_ONCE} documents at once: {count} were given. Split them.")


def _failed(error: str) -> Answer:
    return {"success": False, "error": error}


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with the data is the operator's to read, in production too."""
    try:
        yield
    except (InvalidValue, DatabaseError, DocumentNotFound, LimitExceeded) as error:
        raise ApplicationError(str(error)) from error


def _check_name(table: str) -> None:
    if table.startswith("_"):
        raise DatabaseError("System tables (prefixed with `_`) are read-only.", code="SystemTableError")
    check_table_name(table)


def _object(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InvalidDocument(
            f"A document is an object, not {type(given).__name__}.", expected="object", code="InvalidDocumentError"
        )
    return given


def _new_fields(document: Any) -> dict[str, Any]:
    fields = _object(document)
    for name in ("_id", "_creationTime"):
        if name in fields:
            raise InvalidDocument(
                f"A new document can't bring its own {name!r}: the system gives it. Leave it out.",
                path=f".{name}",
                code="InvalidDocumentError",
            )
    return fields


def _table_of(tx: WriteTransaction, document_id: str) -> TableInfo | None:
    """The user's table that an id belongs to, or None."""
    table = tx.table_of_id(document_id)
    if table is not None:
        _check_name(table.name)
    return table


def _same_table(tx: WriteTransaction, document_id: str, name: str) -> TableInfo:
    table = _table_of(tx, document_id)
    if table is None or table.name != name:
        raise DatabaseError(f"{document_id!r} is not an id of the table {name!r}.", code="InvalidId")
    return table


def _ids(tx: WriteTransaction, name: str) -> Iterator[str]:
    table = tx.table(name)
    if table is not None:
        scan = tx.scan(IndexRange(table.indexes[BY_CREATION_TIME], b"", None))
        while (row := scan.next()) is not None:
            document: Any = decode(row[1])
            yield document["_id"]


def _delete(tx: Transaction, table: TableInfo, documents: list[dict[str, Any]]) -> None:
    assert isinstance(tx, WriteTransaction)
    for document in documents:
        tx.delete(table, document["_id"])
