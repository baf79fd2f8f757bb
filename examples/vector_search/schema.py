"""Foods, each with the embedding of its description."""

from __future__ import annotations

from functions.embedding import DIMENSIONS

from reactor import Document, define_schema, define_table


class Food(Document):
    cuisine: str
    description: str
    embedding: list[float]


schema = define_schema(
    foods=define_table(Food)
    .index("by_description", "description")
    .search_index("search_description", "description", filter_fields=["cuisine"])
    .vector_index("by_embedding", "embedding", dimensions=DIMENSIONS, filter_fields=["cuisine"]),
)
