"""Sessions, and the checkpoints of each, numbered from 1."""

from __future__ import annotations

from reactor import Document, Id, StoredFile, define_schema, define_table


class Session(Document):
    name: str


class Checkpoint(Document):
    session_id: Id[Session]
    storage_id: Id[StoredFile]
    version: int
    created_at: float


schema = define_schema(
    sessions=define_table(Session),
    checkpoints=define_table(Checkpoint).index("by_sessionId_version", "session_id", "version"),
)
