"""The documents of the two system tables that users can read: stored files and scheduled functions."""

from __future__ import annotations

from typing import Any, Final, Literal

from reactor.schema.structs import Document, Struct

__all__ = ["SYSTEM_TABLES", "ScheduledFunction", "ScheduledState", "StoredFile"]


class StoredFile(Document):
    """A row of `_storage`: `sha256` in base64, `size` in bytes, `content_type` as given at the upload, or None."""

    sha256: str
    size: int
    content_type: str | None


class ScheduledState(Struct):
    """How far a scheduled function is. `error` only with `kind="failed"`."""

    kind: Literal["pending", "inProgress", "success", "failed", "canceled"]
    error: str | None = None


class ScheduledFunction(Document):
    """A row of `_scheduled_functions`. `name` is like `messages.js:send`; times are milliseconds since the epoch."""

    name: str
    args: list[Any]
    state: ScheduledState
    scheduled_time: float
    completed_time: float | None = None


SYSTEM_TABLES: Final[dict[type[Document], str]] = {StoredFile: "_storage", ScheduledFunction: "_scheduled_functions"}
"""Document class → system table, the same in every schema."""
