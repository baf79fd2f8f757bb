from reactor import Id, MutationCtx, QueryCtx, mutation, query
from schema import Note


@query
async def newest(ctx: QueryCtx, board: int) -> list[Note]:
    return await ctx.db.query(Note).with_index("by_board", board=board).order("desc").take(10)


@mutation
async def add(ctx: MutationCtx, board: int, text: str) -> Id[Note]:
    return await ctx.db.insert(Note(board=board, text=text))
