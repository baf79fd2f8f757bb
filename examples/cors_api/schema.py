"""Items: a name and a text."""

from __future__ import annotations

from reactor import Document, define_schema, define_table


class Item(Document):
    name: str
    text: str
    added_by: str


schema = define_schema(items=define_table(Item).index("by_name", "name"))
