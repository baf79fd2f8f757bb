"""A module whose function may be called by the module's name alone."""

from reactor import QueryCtx, query


@query(name="default")
async def default(ctx: QueryCtx, name: str = "world") -> str:
    return f"hello {name}"
