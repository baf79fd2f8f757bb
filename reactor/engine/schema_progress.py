"""The schema that a deploy is checking documents against, and how far it is: what dashboards follow meanwhile."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from reactor.engine.commit_record import CommitKind, CommitRecord
from reactor.engine.database import Database
from reactor.engine.transaction import Transaction
from reactor.store.protocol import Writer

__all__ = ["PendingCheck", "SchemaProgress", "pending_check"]

TELL_S: Final = 1.0
"""How often queries that show the progress are told of it."""

_META: Final = "schema_pending"


class PendingCheck(msgspec.Struct, frozen=True):
    """`schema` as its JSON text; `checked` of about `total` documents."""

    schema: str
    checked: int
    total: int


_decoder = msgspec.json.Decoder(PendingCheck)


def pending_check(tx: Transaction) -> PendingCheck | None:
    """What is being checked, if anything is. A query that calls this follows it."""
    tx.depend_on(_META)
    stored = tx.reader.get_meta(_META)
    return _decoder.decode(stored) if stored else None


class SchemaProgress:
    """Of one deploy. Nothing is told of one that has no documents to check."""

    def __init__(self, database: Database, schema: str) -> None:
        self._database, self._schema = database, schema
        self._told_at = 0.0
        self._checked = 0
        self._total = 0

    async def begin(self, total: int) -> None:
        """Another `total` documents have to be checked."""
        self._total += total
        if total:
            await self._tell()

    async def checked(self, count: int) -> None:
        self._checked += count
        if time.monotonic() - self._told_at >= TELL_S:
            await self._tell()

    async def failed(self) -> None:
        """There is no such schema any more. (When it comes into force, the commit that does that calls `end`.)"""
        if self._told_at:
            await self._commit(b"")

    def end(self, writer: Writer) -> None:
        """Part of another commit; also ends what a process that died has left."""
        if writer.get_meta(_META):
            writer.put_meta(_META, b"")

    async def _tell(self) -> None:
        self._told_at = time.monotonic()
        total = max(self._total, self._checked)
        await self._commit(msgspec.json.encode(PendingCheck(self._schema, self._checked, total)))

    async def _commit(self, value: bytes) -> None:
        def change(writer: Writer) -> CommitRecord:
            writer.put_meta(_META, value)
            return CommitRecord(0, CommitKind.DEPLOY, [], (_META,))

        await self._database.commit_alone(change)
