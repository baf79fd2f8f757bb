"""Artifacts: files with a name, perhaps of a session."""

from __future__ import annotations

from reactor import Document, Id, StoredFile, define_schema, define_table


class Artifact(Document):
    storage_id: Id[StoredFile]
    session_id: str | None = None
    filename: str
    content_type: str
    size: int | None = None
    sha256: str | None = None  # in base64, as the system table has it
    created_at: float


schema = define_schema(
    artifacts=define_table(Artifact).index("by_sessionId", "session_id").index("by_storageId", "storage_id"),
)
