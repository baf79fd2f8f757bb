"""The same classes without `from __future__ import annotations`: annotations are objects, forward references strings.

Before Python 3.14 they are evaluated when the class is made; from 3.14 on when they are asked for.
"""

import enum
import sys
from typing import Any, Generic, Literal, Optional, TypeVar

import pytest

from reactor.schema import v
from reactor.schema.hints import UnresolvedName
from reactor.schema.ids import Fields, Id
from reactor.schema.structs import Document, Struct, fields_of
from reactor.schema.tables import define_schema, define_table

T = TypeVar("T")


class Kind(enum.StrEnum):
    A = "a"


class Comment(Document):
    post_id: Id["Post"]
    replies: list[Id["Comment"]] = []
    author: "Author"
    editor: Optional["Author"] = None
    kind: Kind = Kind.A


class Author(Struct):
    display_name: str


class Post(Document):
    title: str
    pinned: Id[Comment] | None = None


class Page(Struct, Generic[T]):
    page: list[T]


AUTHOR = v.object({"displayName": v.string()})


def test_forward_references_in_strings_are_found() -> None:
    schema = define_schema(comments=define_table(Comment), posts=define_table(Post))
    assert schema.tables["comments"].validator == v.object(
        {
            "postId": v.id("posts"),
            "replies": v.optional(v.array(v.id("comments"))),
            "author": AUTHOR,
            "editor": v.optional(AUTHOR),
            "kind": v.optional(v.literal("a")),
        }
    )
    assert schema.tables["posts"].validator == v.object({"title": v.string(), "pinned": v.optional(v.id("comments"))})


def test_handlers_may_name_tables_that_they_do_not_import() -> None:
    schema = define_schema(comments=define_table(Comment), posts=define_table(Post))

    async def show(ctx: "NotHere", post: Id["Post"], draft: 'Fields["Post"] | None' = None) -> Page["Post"]:  # noqa: F821
        ...

    arguments = schema.arguments_of(show)
    assert arguments.validator == v.object(
        {
            "post": v.id("posts"),
            "draft": v.optional(v.object({"title": v.string(), "pinned": v.optional(v.id("comments"))})),
        }
    )
    whole = schema.tables["posts"].document_validator
    assert schema.returns_of(show).validator == v.object({"page": v.array(whole)})


def test_a_name_that_is_nowhere_is_reported_with_its_place() -> None:
    schema = define_schema()

    async def show(ctx: Any, post: "Nowhere") -> None:  # noqa: F821  # pyright: ignore
        ...

    with pytest.raises(UnresolvedName, match=r"show\(post\): name 'Nowhere' is not defined"):
        schema.arguments_of(show)


def test_fields_keep_the_order_in_which_they_were_written() -> None:
    assert [f.name for f in fields_of(Comment)][2:] == ["post_id", "replies", "author", "editor", "kind"]


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="annotations without quotes may point forward from Python 3.14 on"
)
def test_unquoted_forward_references_work_where_python_has_them() -> None:
    names: dict[str, Any] = {"Document": Document, "Id": Id, "Literal": Literal, "__name__": __name__}
    exec("class A(Document):\n  b: Id[B]\nclass B(Document):\n  name: str", names)
    globals().update(B=names["B"])
    schema = define_schema(a=define_table(names["A"]), b=define_table(names["B"]))
    assert schema.tables["a"].validator == v.object({"b": v.id("b")})
