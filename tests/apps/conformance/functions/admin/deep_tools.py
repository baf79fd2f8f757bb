"""A nested module: "admin/deepTools:answer"."""

from reactor import QueryCtx, query


@query
async def answer(ctx: QueryCtx) -> int:
    return 42
