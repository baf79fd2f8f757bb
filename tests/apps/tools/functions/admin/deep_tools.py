"""A module whose name and place are converted."""

from reactor import QueryCtx, query


@query
async def say_hello(ctx: QueryCtx, to: str = "you") -> str:
    return f"hello {to}"
