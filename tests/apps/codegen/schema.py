"""An app that has every kind of type once."""

from typing import Literal

from reactor import Document, Id, Int64, Struct, define_schema, define_table


class Point(Struct):
    x: float
    y: float
    label: str | None = None


class User(Document):
    name: str


class Circle(Document):
    kind: Literal["circle"]
    radius: float


class Square(Document):
    kind: Literal["square"]
    side: float


class Everything(Document):
    owner: Id[User]
    text: str
    big: Int64
    raw: bytes
    flag: bool
    nothing: None
    choice: Literal["a", "b", 3, True]
    maybe: float | None
    optional: str | None = None
    points: list[Point]
    by_name: dict[str, Point]
    by_user: dict[Id[User], int]
    embedding: list[float]


schema = define_schema(
    users=define_table(User).index("by_name", "name"),
    shapes=define_table(Circle | Square),
    everything=define_table(Everything)
    .index("by_owner_and_big", "owner", "big")
    .search_index("search_text", "text", filter_fields=["owner", "flag"])
    .vector_index("by_embedding", "embedding", dimensions=3, filter_fields=["owner"]),
)
