"""Posts: one author has many (1:n), and a post is in many categories that have many posts (n:m)."""

from __future__ import annotations

from reactor import ApplicationError, Id, MutationCtx, QueryCtx, mutation, query
from schema import Category, Post, PostCategory, User


class PostWithCategories(Post):
    author_name: str | None = None
    """Absent when the author is gone."""
    categories: list[Category]


@mutation
async def create(ctx: MutationCtx, author_id: Id[User], title: str) -> Id[Post]:
    """A draft, until it is published."""
    if await ctx.db.get(author_id) is None:
        raise ApplicationError("Author not found")
    return await ctx.db.insert(Post(author_id=author_id, title=title))


@mutation
async def publish(ctx: MutationCtx, post_id: Id[Post]) -> None:
    if await ctx.db.get(post_id) is None:
        raise ApplicationError("Post not found")
    await ctx.db.patch(post_id, published=True)


@query
async def by_author(ctx: QueryCtx, author_id: Id[User], published: bool | None = None) -> list[Post]:
    """Up to a hundred posts of an author, newest first: published ones, drafts, or published ones before drafts."""
    posts = ctx.db.query(Post)
    if published is None:
        posts = posts.with_index("by_author_and_published", author_id=author_id)
    else:
        posts = posts.with_index("by_author_and_published", author_id=author_id, published=published)
    return await posts.order("desc").take(100)


@query
async def with_categories(ctx: QueryCtx, post_id: Id[Post]) -> PostWithCategories | None:
    """A join is a look-up by id or by index. It costs no round trip, and the result stays live in all its parts."""
    post = await ctx.db.get(post_id)
    if post is None:
        return None
    author = await ctx.db.get(post.author_id)
    links = await ctx.db.query(PostCategory).with_index("by_postId_categoryId", post_id=post_id).collect()
    categories = await ctx.db.get_many([link.category_id for link in links])
    return post.extend(
        PostWithCategories,
        author_name=author.name if author else None,
        categories=[category for category in categories if category is not None],
    )


@query
async def in_category(ctx: QueryCtx, category_id: Id[Category]) -> list[Post]:
    """The other way through the same table: up to a hundred posts of a category."""
    links = await ctx.db.query(PostCategory).with_index("by_categoryId", category_id=category_id).take(100)
    posts = await ctx.db.get_many([link.post_id for link in links])
    return [post for post in posts if post is not None]


@mutation
async def remove(ctx: MutationCtx, post_id: Id[Post]) -> None:
    """References are not enforced, so what refers to the post goes in the same mutation."""
    if await ctx.db.get(post_id) is None:
        return
    async for link in ctx.db.query(PostCategory).with_index("by_postId_categoryId", post_id=post_id):
        await ctx.db.delete(link.id)
    await ctx.db.delete(post_id)
