"""The system tables that exist beside the user's: their names, their indexes, and making them at the first start.

Their documents are written with the same transactions as the user's, so they are in the commit log, reactive and rolled
back like any other. User code reads the first two through `ctx.db.system`; the others are ours alone.
"""

from __future__ import annotations

from typing import Final

from reactor.engine.commit_record import CommitKind, CommitRecord, tables_changed
from reactor.engine.database import Database
from reactor.store.catalogue import Catalogue
from reactor.store.protocol import IndexChange, Writer

__all__ = ["PUBLIC", "SYSTEM_TABLES", "ensure_system_tables"]

PUBLIC: Final = ("_storage", "_scheduled_functions")
"""Readable by user code."""

SYSTEM_TABLES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "_storage": {},
    "_scheduled_functions": {
        "by_state_and_time": ("state.kind", "scheduledTime"),
        "by_completed_time": ("completedTime",),
    },
    "_environment_variables": {"by_name": ("name",)},
    "_deployment_events": {},
    "_cron_jobs": {"by_name": ("name",)},
    "_cron_job_runs": {"by_name_and_time": ("name", "scheduledTime")},
    "_files": {"by_storage_id": ("storageId",), "by_key": ("key",), "by_blob": ("blob",)},
    "_imports": {},
    "_exports": {"by_start_ts": ("start_ts",)},
    # Of reactor.kit
    "_rate_limits": {"by_name_and_key": ("name", "key"), "by_full_at": ("fullAt",)},
    "_presence": {
        "by_room": ("name", "room"),
        "by_room_and_user": ("name", "room", "user"),
        "by_user": ("name", "user"),
    },
    "_presence_sessions": {"by_member": ("name", "room", "user", "session"), "by_expires": ("expires",)},
    "_presence_sweeps": {},
    "_batch_jobs": {"by_name": ("name",)},
    "_aggregates": {"by_name": ("name",)},
    "_aggregate_nodes": {"by_key": ("tree", "space", "level", "key")},
    "_work_pools": {"by_name": ("name",)},
    "_work": {"by_pool_and_state": ("pool", "state", "time")},
}
"""Table → index → fields. An index that is added here to a table with documents in it is not filled: give it a new name
only together with a migration."""


async def ensure_system_tables(database: Database) -> None:
    """Make what is missing, in one commit; nothing when all is there."""
    missing, indexes = _missing(database.catalogue)
    if not missing and not indexes:
        return

    def change(writer: Writer) -> CommitRecord:
        catalogue = writer.create_tables(missing) if missing else database.catalogue
        wanted = _missing(catalogue)[1]
        if wanted:
            catalogue = writer.change_indexes(add=wanted, drop=())
            added = {(w.table, w.name) for w in wanted}
            made = [i for t in catalogue.tables.values() for i in t.indexes.values() if (i.table, i.name) in added]
            writer.change_indexes(add=(), drop=(), enable=made)
        return CommitRecord(0, CommitKind.DEPLOY, [], tables_changed(missing))

    await database.commit_alone(change)


def _missing(catalogue: Catalogue) -> tuple[list[str], list[IndexChange]]:
    tables = [name for name in SYSTEM_TABLES if name not in catalogue.tables]
    indexes = [
        IndexChange(table, name, fields)
        for table, named in SYSTEM_TABLES.items()
        if table in catalogue.tables
        for name, fields in named.items()
        if name not in catalogue.tables[table].indexes
    ]
    return tables, indexes
