"""The `_system/…` functions. Importing this package makes them part of every app."""

from reactor.admin.system import (
    crons,
    deployment,
    documents,
    environment,
    events,
    files,
    functions,
    indexes,
    modules,
    scheduled_jobs,
    schemas,
    table_documents,
    tables,
    transfers,
    why,
)

__all__ = [
    "crons",
    "deployment",
    "documents",
    "environment",
    "events",
    "files",
    "functions",
    "indexes",
    "modules",
    "scheduled_jobs",
    "schemas",
    "table_documents",
    "tables",
    "transfers",
    "why",
]
