"""The tables of the app that the official clients are tested against."""

from typing import Any

from reactor import Document, define_schema, define_table


class Message(Document):
    channel: str
    body: str
    author: str = "anonymous"
    number: int = 0
    pinned: bool | None = None


class Counter(Document):
    name: str
    value: int


class Holder(Document):
    label: str
    content: Any


class Item(Document):
    bucket: str
    rank: int
    label: str
    weight: float | None = None


schema = define_schema(
    messages=define_table(Message).index("by_channel", "channel").index("by_channel_number", "channel", "number"),
    counters=define_table(Counter).index("by_name", "name"),
    holders=define_table(Holder).index("by_label", "label"),
    items=define_table(Item)
    .index("by_bucket_rank", "bucket", "rank")
    .index("by_rank", "rank")
    .search_index("search_label", "label", filter_fields=["bucket"]),
)
