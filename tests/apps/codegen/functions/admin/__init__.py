from reactor import QueryCtx, query


@query(name="tools")
async def list_tools(ctx: QueryCtx) -> str:
    """A function and a module of the same name."""
    return "tools"
