from reactor import Document, define_schema, define_table


class Event(Document):
    stream: str
    kind: str
    text: str
    value: float
    tags: list[str]


class Count(Document):
    name: str
    value: int


schema = define_schema(
    events=define_table(Event).index("by_stream", "stream", "value"),
    counts=define_table(Count).index("by_name", "name"),
)
