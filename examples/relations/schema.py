"""A blog: people with at most one profile, their posts, and categories that share posts."""

from __future__ import annotations

from reactor import Document, Id, define_schema, define_table


class User(Document):
    email: str
    name: str


class AuthorProfile(Document):
    """At most one per user, which `users:setProfile` sees to."""

    user_id: Id[User]
    bio: str


class Post(Document):
    author_id: Id[User]
    title: str
    published: bool = False


class Category(Document):
    name: str


class PostCategory(Document):
    """This post is in this category."""

    post_id: Id[Post]
    category_id: Id[Category]


schema = define_schema(
    users=define_table(User).index("by_email", "email"),
    author_profiles=define_table(AuthorProfile).index("by_userId", "user_id"),
    posts=define_table(Post)
    # Sorted by author, then drafts before published ones, then by age. It also serves queries by author alone, which
    # an index with the fields the other way round would not.
    .index("by_author_and_published", "author_id", "published")
    # Built in the background while queries can't use it yet. Once it is there, deploy again without `staged`.
    .index("by_title", "title", staged=True),
    categories=define_table(Category).index("by_name", "name"),
    post_categories=define_table(PostCategory)
    .index("by_postId_categoryId", "post_id", "category_id")
    .index("by_categoryId", "category_id"),
)
