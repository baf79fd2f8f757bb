"""What is joined, what stays unique, and what goes along."""

from __future__ import annotations

import pytest

from functions import categories, posts, users
from reactor import ApplicationError, DatabaseError, Id, MutationCtx
from reactor.testing import Backend
from schema import AuthorProfile, Post, PostCategory, User


async def user(backend: Backend, name: str = "Ann") -> Id[User]:
    return await backend.mutation(users.create, email=f"{name}@example.com", name=name)


async def test_an_address_belongs_to_one_user(backend: Backend) -> None:
    await user(backend)
    with pytest.raises(ApplicationError, match="taken"):
        await user(backend)


async def test_a_user_has_one_profile_at_most(backend: Backend) -> None:
    ann = await user(backend)
    async with backend.subscribe(users.get, user_id=ann) as updates:
        before = await updates.next()
        assert before is not None
        assert (before.name, before.profile) == ("Ann", None)
        for bio in ("writes", "writes and sings"):
            await backend.mutation(users.set_profile, user_id=ann, bio=bio)
            after = await updates.next()
            assert after is not None
            assert after.profile is not None
            assert after.profile.bio == bio

    async def profiles(ctx: MutationCtx) -> int:
        return await ctx.db.query(AuthorProfile).count()

    assert await backend.run(profiles) == 1


async def test_an_authors_posts_by_state_newest_first(backend: Backend) -> None:
    ann, bob = await user(backend), await user(backend, "Bob")
    one, two, _ = [await backend.mutation(posts.create, author_id=ann, title=title) for title in ("1", "2", "3")]
    await backend.mutation(posts.create, author_id=bob, title="Bob's")
    await backend.mutation(posts.publish, post_id=two)
    await backend.mutation(posts.publish, post_id=one)

    async def titles(published: bool | None) -> list[str]:
        return [post.title for post in await backend.query(posts.by_author, author_id=ann, published=published)]

    assert await titles(True) == ["2", "1"]
    assert await titles(False) == ["3"]
    assert await titles(None) == ["2", "1", "3"]


async def test_a_post_shows_its_author_and_categories_as_they_are_now(backend: Backend) -> None:
    ann = await user(backend)
    post = await backend.mutation(posts.create, author_id=ann, title="Tea")
    async with backend.subscribe(posts.with_categories, post_id=post) as updates:
        first = await updates.next()
        assert first is not None
        assert (first.author_name, first.categories) == ("Ann", [])
        await backend.mutation(categories.add, post_id=post, name="Drinks")
        second = await updates.next()
        assert second is not None
        assert [category.name for category in second.categories] == ["Drinks"]

        async def rename(ctx: MutationCtx) -> None:
            await ctx.db.patch(ann, name="Anna")

        await backend.run(rename)
        third = await updates.next()
        assert third is not None
        assert third.author_name == "Anna"


async def test_a_category_has_a_post_once_and_loses_it_with_the_post(backend: Backend) -> None:
    ann = await user(backend)
    tea, coffee = [await backend.mutation(posts.create, author_id=ann, title=title) for title in ("Tea", "Coffee")]
    drinks = await backend.mutation(categories.add, post_id=tea, name="Drinks")
    for post in (tea, coffee):
        assert await backend.mutation(categories.add, post_id=post, name="Drinks") == drinks
    assert [post.title for post in await backend.query(posts.in_category, category_id=drinks)] == ["Tea", "Coffee"]

    await backend.mutation(posts.remove, post_id=tea)
    assert [post.title for post in await backend.query(posts.in_category, category_id=drinks)] == ["Coffee"]

    async def links(ctx: MutationCtx) -> int:
        return await ctx.db.query(PostCategory).count()

    assert await backend.run(links) == 1
    with pytest.raises(ApplicationError, match="Post not found"):
        await backend.mutation(categories.add, post_id=tea, name="Drinks")


async def test_queries_wait_for_a_staged_index_to_be_declared_ready(backend: Backend) -> None:
    async def by_title(ctx: MutationCtx) -> Post | None:
        return await ctx.db.query(Post).with_index("by_title", title="Tea").first()

    with pytest.raises(DatabaseError, match="staged"):
        await backend.run(by_title)
