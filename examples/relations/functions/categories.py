"""Categories, which come to be with the first post in them."""

from __future__ import annotations

from reactor import ApplicationError, Id, MutationCtx, mutation
from schema import Category, Post, PostCategory


@mutation
async def add(ctx: MutationCtx, post_id: Id[Post], name: str) -> Id[Category]:
    """Put a post into the category with this name. It is there once, however often it is put there."""
    if await ctx.db.get(post_id) is None:
        raise ApplicationError("Post not found")
    category = await ctx.db.query(Category).with_index("by_name", name=name).unique()
    category_id = category.id if category else await ctx.db.insert(Category(name=name))
    pair = ctx.db.query(PostCategory).with_index("by_postId_categoryId", post_id=post_id, category_id=category_id)
    if await pair.first() is None:
        await ctx.db.insert(PostCategory(post_id=post_id, category_id=category_id))
    return category_id
