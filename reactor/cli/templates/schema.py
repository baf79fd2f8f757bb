"""The tables of this app."""

from __future__ import annotations

from reactor import Document, define_schema, define_table


class Task(Document):
    text: str
    done: bool = False


schema = define_schema(
    tasks=define_table(Task).index("by_done", "done"),
)
