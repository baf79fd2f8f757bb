"""Every number a user can hit, in one place.

`Limits` is what a deployment runs with: the defaults are Convex's (`reference/server-semantics.md` sections 0.3, 3.5
and 4.8), and each field can be set in `[tool.reactor.limits]`. The constants below it are part of the data format or of
the protocol and are not settings.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["DEFAULT_LIMITS", "Limits"]

MIB: Final = 1024 * 1024

VALUE_MAX_BYTES: Final = 32 * MIB
"""Any value at all. Source: Convex's value layer."""
VALUE_MAX_NESTING: Final = 64
ARRAY_MAX_ELEMENTS: Final = 8192
OBJECT_MAX_FIELDS: Final = 1024
FIELD_NAME_MAX_BYTES: Final = 1024
IDENTIFIER_MAX_CHARS: Final = 64
REQUEST_HEAD_MAX_BYTES: Final = 64 * 1024
"""Of an HTTP request's line and headers, its URL included."""
FUNCTION_PATH_MAX_CHARS: Final = 4096
"""Of `module/sub:function`: as long as the path of a file may be."""
DOCUMENT_MAX_BYTES: Final = 1 * MIB
"""A stored document, `_id` and `_creationTime` included."""
DOCUMENT_MAX_NESTING: Final = 16
INDEX_MAX_FIELDS: Final = 15
"""Fields of one index; the implicit creation time is the sixteenth."""
TABLE_MAX_INDEXES: Final = 64
MAX_TABLES: Final = 10_000
SEARCH_MAX_FILTER_FIELDS: Final = 16
SEARCH_MAX_FILTERS: Final = 8
"""Filters of one search."""
SEARCH_MAX_TERMS: Final = 16
"""Words of a search text that are looked for; the rest is ignored."""
SEARCH_PREFIX_TERMS: Final = 16
"""Words that the last word of a search text may stand for as a prefix."""
SEARCH_WORD_BYTES: Final = 32
"""A word of so many UTF-8 bytes or more is not indexed."""
SEARCH_MAX_CANDIDATES: Final = 1024
"""The best matches of one search that can be read."""
VECTOR_DIMENSIONS: Final = (2, 4096)
VECTOR_RESULTS_MAX: Final = 256
VECTOR_FILTERS_MAX: Final = 64
"""Equalities in the filter of one vector search."""
PAGE_SOFT_MAX_ROWS: Final = 6144
"""A longer page recommends its client to split it."""
LOG_KEY_MAX_BYTES: Final = 1024
"""Longer index keys are cut in commit records, which only invalidates too much. Source: engine.md rule 9."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one function, one client and one deployment may use. Sizes in bytes, times in seconds."""

    # One top-level query or mutation, its nested calls included.
    documents_read: int = 32_000
    bytes_read: int = 16 * MIB
    database_queries: int = 4_096
    """Index ranges and single documents looked up."""
    documents_written: int = 16_000
    bytes_written: int = 16 * MIB
    functions_scheduled: int = 1_000
    scheduled_arguments_bytes: int = 16 * MIB
    user_time_s: float = 1.0
    """Time in user code, waiting for the store not counted."""
    store_time_s: float = 15.0
    nested_calls: int = 8
    log_lines: int = 256
    log_line_chars: int = 32_768

    # Any function.
    arguments_bytes: int = 16 * MIB
    result_bytes: int = 16 * MIB
    action_time_s: float = 600.0
    concurrent_actions: int = 64
    concurrent_scheduled: int = 8
    """Scheduled functions that run at once."""

    # All HTTP requests but uploads of files and of imports.
    request_bodies_bytes: int = 256 * MIB
    """Large bodies that are in memory at a time; further ones wait, and are refused with 503 when they wait for long."""
    request_stall_s: float = 30.0
    """A request whose head is not complete after this long, or of whose body less than 64 KiB came in it, is given up (408)."""

    # HTTP actions; their time is that of actions.
    http_request_bytes: int = 20 * MIB
    http_response_bytes: int = 20 * MIB
    concurrent_http_actions: int = 64
    waiting_http_actions: int = 1_000
    """Requests waiting for their turn; beyond it new ones are refused with 429."""

    # One file.
    file_bytes: int = 1024 * 1024 * MIB
    upload_time_s: float = 3_600.0
    upload_stall_s: float = 60.0
    """An upload of which nothing arrives for this long is given up."""
    concurrent_transfers: int = 500
    """Uploads and downloads at once; further ones wait. Each takes about half a megabyte."""

    # Import and export.
    import_bytes: int = 64 * 1024 * MIB
    """An uploaded file, and what it unpacks to."""
    import_part_bytes: int = 512 * MIB
    concurrent_uploads: int = 8
    """Files that are being uploaded for imports, or were and wait to be confirmed."""
    import_idle_s: float = 24 * 3600.0
    """An upload that nobody goes on with, and an import that nobody confirms, is given up after this."""
    export_kept_s: float = 14 * 24 * 3600.0
    """How long an export can be downloaded. Source: Convex's."""
    exports_kept: int = 5
    """Beyond these the oldest archive is deleted."""

    # One connection.
    queued_mutations: int = 1_000
    inflight_actions: int = 1_000
    client_message_bytes: int = 20 * MIB
    unsent_response_bytes: int = 1 * MIB
    unsent_responses: int = 1_000
    send_stall_s: float = 30.0
    """A client that takes nothing of what it is sent for this long, over HTTP too, is closed."""
    client_silence_s: float = 120.0
    ping_interval_s: float = 15.0
    transition_chunk_bytes: int = 5_000_000
    queries_per_connection: int = 10_000

    # The deployment.
    log_poll_s: float = 60.0
    """How long a request for log entries waits for the next one."""
    writer_queue: int = 20_000
    """Mutations waiting for the writer; beyond it new ones are refused as overloaded."""
    cached_query_bytes: int = 64 * MIB
    ring_bytes: int = 64 * MIB
    vector_memory_bytes: int = 4096 * MIB
    """What vector indexes may take in memory, about two bytes a dimension of each vector."""
    intervals_per_query: int = 4_096
    log_retention_s: float = 3_600.0
    log_retention_bytes: int = 256 * MIB
    request_records_per_session: int = 4_096
    request_record_days: float = 14.0


DEFAULT_LIMITS: Final = Limits()
