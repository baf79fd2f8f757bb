"""Foods, written with their embeddings and found by them."""

from __future__ import annotations

from functions.embedding import embed
from reactor import ActionCtx, Id, MutationCtx, Projection, QueryCtx, Struct, action, internal_query, mutation, query
from schema import Food

SOME = [
    ("Japanese", "Hot ramen noodles in a broth with egg"),
    ("Thai", "Spicy curry soup with shrimp"),
    ("Italian", "Pizza, bread dough with tomato and cheese"),
    ("Italian", "Pasta with cream and mushrooms"),
    ("French", "Fish stew with fresh vegetables"),
    ("Austrian", "Sweet chocolate cake"),
    ("Italian", "Ice cream, a cold sweet dessert"),
    ("Greek", "Salad of fresh vegetables with cheese"),
]


class Result(Struct):
    id: Id[Food]
    cuisine: str
    description: str
    score: float


class FoodText(Projection):
    cuisine: str
    description: str


@mutation
async def insert(ctx: MutationCtx, cuisine: str, description: str, embedding: list[float]) -> Id[Food]:
    """Write a food; one with this description gets the new embedding."""
    known = await ctx.db.query(Food).with_index("by_description", description=description).first()
    if known is not None:
        await ctx.db.patch(known, cuisine=cuisine, embedding=embedding)
        return known.id
    return await ctx.db.insert(Food(cuisine=cuisine, description=description, embedding=embedding))


@action
async def populate(ctx: ActionCtx) -> int:
    """Write some foods. Embeddings are made in actions, because that takes time or asks another service."""
    embeddings = await embed([description for _, description in SOME])
    for (cuisine, description), embedding in zip(SOME, embeddings, strict=True):
        await ctx.run_mutation(insert, cuisine=cuisine, description=description, embedding=embedding)
    return len(SOME)


@action
async def similar(ctx: ActionCtx, text: str, cuisines: list[str] | None = None, limit: int = 10) -> list[Result]:
    """The foods whose descriptions are nearest to the text in meaning, of all cuisines or of some."""
    [vector] = await embed([text])
    hits = await ctx.vector_search(
        Food,
        "by_embedding",
        vector,
        limit=limit,
        filter=(lambda q: q.or_(*[q.eq("cuisine", cuisine) for cuisine in cuisines])) if cuisines else None,
    )
    foods = await ctx.run_query(fetch_results, ids=[hit.id for hit in hits])
    # Between the search and this query a food may have been deleted.
    return [
        Result(id=food.id, cuisine=food.cuisine, description=food.description, score=hit.score)
        for hit, food in zip(hits, foods, strict=True)
        if food is not None
    ]


@query
async def search(ctx: QueryCtx, text: str) -> list[FoodText]:
    """The foods with these words in their descriptions. Unlike a vector search it is live: clients can subscribe to it."""
    return await (
        ctx.db.query(Food)
        .with_search_index("search_description", lambda q: q.search("description", text))
        .select(FoodText)
        .take(10)
    )


@internal_query
async def fetch_results(ctx: QueryCtx, ids: list[Id[Food]]) -> list[Food | None]:
    return await ctx.db.get_many(ids)
