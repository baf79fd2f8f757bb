"""What operators did to a deployment, the last thousand times: code put into force, environment variables changed.

An event about data is part of the transaction that made the change; one about code follows the deploy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from reactor.engine.write_transaction import WriteTransaction
from reactor.model.scheduled_functions import off_the_books
from reactor.store.catalogue import BY_CREATION_TIME
from reactor.values.ids import new_id
from reactor.values.wire import decode

__all__ = ["PUSH", "TABLE", "Deployed", "record_event", "record_push"]

TABLE: Final = "_deployment_events"
KEPT: Final = 1_000
PUSH: Final = "push_config"

_META: Final = "deployed"


class Deployed(msgspec.Struct, frozen=True):
    """What was put into force: modules and crons by name with what tells versions apart, providers, the schema's JSON."""

    modules: Mapping[str, str] = {}
    crons: Mapping[str, str] = {}
    auth: list[str] = []
    schema: str | None = None


_decoder = msgspec.json.Decoder(Deployed)


@dataclass(slots=True)
class _Difference:
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, before: Mapping[str, str], after: Mapping[str, str]) -> _Difference:
        return cls(
            [name for name in after if name not in before],
            [name for name in after if name in before and after[name] != before[name]],
            [name for name in before if name not in after],
        )


def record_event(tx: WriteTransaction, action: str, metadata: Mapping[str, Any]) -> None:
    """Add an event; the oldest goes when there are too many."""
    with off_the_books(tx):
        table = tx.catalogue.tables[TABLE]
        by_time = table.indexes[BY_CREATION_TIME]
        # Times of its own: those of the user's documents must not depend on whether somebody deployed.
        newest: list[Any] = [decode(body) for _, body in tx.reader.scan(by_time, b"", None, reverse=True, limit=1)]
        after = [math.nextafter(event["_creationTime"], math.inf) for event in newest]
        document_id = new_id(table.number, int(tx.now_ms * 1e6))
        event = {"action": action, "member_id": None, "metadata": dict(metadata)}
        tx.insert_existing(table, {**event, "_id": document_id, "_creationTime": max([tx.now_ms, *after])})
        surplus = tx.reader.count(by_time, b"", None) - KEPT
        if surplus > 0:
            for _, body in tx.reader.scan(by_time, b"", None, reverse=False, limit=surplus):
                document: Any = decode(body)
                tx.delete(table, document["_id"])


def record_push(tx: WriteTransaction, now: Deployed) -> None:
    """Add an event with what is different from the last one; none when nothing is, as after a restart."""
    stored = tx.reader.get_meta(_META)
    before = Deployed() if stored is None else _decoder.decode(stored)
    if stored is not None and now == before:
        return
    modules = _Difference.of(before.modules, now.modules)
    crons = _Difference.of(before.crons, now.crons)
    metadata = {
        "auth": {"added": _without(now.auth, before.auth), "removed": _without(before.auth, now.auth)},
        "server_version": None,
        "modules": {"added": modules.added, "modified": modules.changed, "removed": modules.removed},
        "crons": {"added": crons.added, "updated": crons.changed, "deleted": crons.removed},
        "schema": None
        if now.schema == before.schema
        else {
            "previous_schema_id": None,
            "next_schema_id": None,
            "previous_schema": before.schema,
            "next_schema": now.schema,
        },
    }
    record_event(tx, PUSH, metadata)
    tx.writer.put_meta(_META, msgspec.json.encode(now))


def _without(names: Iterable[str], others: Iterable[str]) -> list[str]:
    left = set(others)
    return [name for name in names if name not in left]
