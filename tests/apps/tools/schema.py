"""The tables of the app that the official command line is tested with."""

from typing import Any

from reactor import Document, Int64, define_schema, define_table


class Note(Document):
    text: str
    number: int
    big: Int64 | None = None


class Holder(Document):
    content: Any


class Nothing(Document):
    label: str


schema = define_schema(
    notes=define_table(Note).index("by_number", "number"),
    holders=define_table(Holder),
    nothings=define_table(Nothing),
)
