"""Sessions: what somebody wants of the agent, and what became of it."""

from __future__ import annotations

from typing import Literal

from reactor import Document, define_schema, define_table

Status = Literal["pending", "running", "completed", "failed"]


class Session(Document):
    user_id: str
    prompt: str
    status: Status
    result: str | None = None
    error: str | None = None
    started_at: float
    completed_at: float | None = None


schema = define_schema(
    sessions=define_table(Session).index("by_userId", "user_id").index("by_status", "status"),
)
