from typing import Any

from reactor import ActionCtx, Id, Int64, MutationCtx, QueryCtx, action, internal_mutation, mutation, query
from schema import Circle, Everything, Point, Square, User


@query
async def list_(ctx: QueryCtx, owner: Id[User], limit: int = 10) -> list[Everything]:
    """All that somebody owns.

    The comment may hold */ and "quotes".
    """
    return await ctx.db.query(Everything).with_index("by_owner_and_big", owner=owner).take(limit)


@query
async def nothing(ctx: QueryCtx) -> None:
    return None


@query
async def shape(ctx: QueryCtx, id: Id[Circle | Square]) -> Circle | Square | None:
    return await ctx.db.get(id)


@mutation
async def echo(
    ctx: MutationCtx, big: Int64, raw: bytes, point: Point, free: Any = None, many: dict[str, list[int]] | None = None
) -> Int64:
    return big


@internal_mutation
async def sweep(ctx: MutationCtx, user: User) -> Id[User]:
    return user.id


@action
async def untyped(ctx: ActionCtx, anything: Any):
    return anything
