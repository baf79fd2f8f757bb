"""Sessions of work. Whose they are is the token identifier, which is unique among all providers."""

from __future__ import annotations

from reactor import Document, define_schema, define_table


class Session(Document):
    user_id: str
    title: str


schema = define_schema(sessions=define_table(Session).index("by_userId", "user_id"))
