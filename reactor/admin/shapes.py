"""The shapes of the documents in each table, over HTTP: what tools go by for tables that no schema describes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from reactor.admin.request_body import check_component
from reactor.admin.shape_inference import Shape, shape_of
from reactor.engine.database import Database
from reactor.engine.transaction import Transaction
from reactor.http.access import WhoAsks, require_admin
from reactor.http.request import Handler, Request
from reactor.limits import MIB
from reactor.store.catalogue import BY_CREATION_TIME, FIRST_USER_TABLE, TableInfo
from reactor.values.wire import decode

__all__ = ["ShapesApi"]

SAMPLE: Final = 100
"""So many of the newest and of the oldest documents are looked at, a megabyte of each."""


class ShapesApi:
    """The handler for operators; everybody else is refused with 403."""

    def __init__(self, database: Database, who_asks: WhoAsks) -> None:
        self._database, self._who_asks = database, who_asks

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {("GET", "/api/shapes2"): self.shapes}

    async def shapes(self, request: Request) -> None:
        """GET /api/shapes2: a shape for every table of the user's, by its name."""
        await require_admin(request, self._who_asks)
        check_component(request.query_parameters().get("component"))
        found: dict[str, Shape] = {}
        tables = sorted(self._database.catalogue.tables.values(), key=lambda table: table.name)
        for table in tables:
            if table.number >= FIRST_USER_TABLE:
                found[table.name] = await self._database.read(lambda tx, table=table: _shape(tx, table))
        await request.answer(msgspec.json.encode(found))


def _shape(tx: Transaction, table: TableInfo) -> Shape:
    documents = {document["_id"]: document for reverse in (True, False) for document in _sample(tx, table, reverse)}
    return shape_of(list(documents.values()), tx.catalogue.table_name)


def _sample(tx: Transaction, table: TableInfo, reverse: bool) -> list[dict[str, Any]]:
    rows = tx.reader.scan(table.indexes[BY_CREATION_TIME], b"", None, reverse=reverse, limit=SAMPLE)
    documents: list[Any] = []
    size = 0
    for _, body in rows:
        size += len(body)
        documents.append(decode(body))
        if size > MIB:
            break
    return documents
