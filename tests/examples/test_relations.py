"""The relations example through the official client."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.driver import Driver, RemoteError
from tests.support.examples import EXAMPLES, next_but
from tests.support.server import running_server

pytestmark = pytest.mark.process


async def test_a_join_is_live_and_an_error_arrives(tmp_path: Path, pypi: Driver) -> None:
    with running_server(tmp_path, app=EXAMPLES / "relations") as server:
        await pypi.call("new_client", name="c", url=server.url)

        async def call(path: str, /, **args: object) -> str:
            return await pypi.call("mutation", name="c", path=path, args=args)

        ann = await call("users:create", email="ann@example.com", name="Ann")
        with pytest.raises(RemoteError) as told:
            await call("users:create", email="ann@example.com", name="Ann again")
        assert told.value.data == "This e-mail address is taken"

        post = await call("posts:create", authorId=ann, title="Tea")
        await pypi.call("subscribe", name="c", sub="post", path="posts:withCategories", args={"postId": post})
        first = await pypi.call("next", sub="post")
        assert (first["authorName"], first["published"], first["categories"]) == ("Ann", False, [])
        drinks = await call("categories:add", postId=post, name="Drinks")
        second = await next_but(pypi, "post", first)
        assert [(category["_id"], category["name"]) for category in second["categories"]] == [(drinks, "Drinks")]

        await call("posts:publish", postId=post)
        published = {"authorId": ann, "published": True}
        [listed] = await pypi.call("query", name="c", path="posts:byAuthor", args=published)
        assert listed["title"] == "Tea"
