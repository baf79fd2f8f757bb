"""Connections to other services: one per user and service (sample app, section 9)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from functions import oauth
from reactor import UNSET, InvalidArguments
from reactor.testing import Backend
from schema import OAuthConnection, OAuthProvider
from tests.sample_app.scene import Wire, refused


async def connect(user: Backend, provider: OAuthProvider = "figma", **more: Any) -> Any:
    given = {"access_token": "t1", "scope": "read", **more}
    return await user.mutation(oauth.store_connection, provider=provider, **given)


async def connection(user: Backend, provider: OAuthProvider = "figma") -> OAuthConnection:
    found = await user.query(oauth.get_connection, provider=provider)
    assert found is not None
    return found


async def test_a_new_connection_answers_its_id_and_a_renewed_one_null(ann: Backend, ann_wire: Wire) -> None:
    new = await connect(ann)
    assert new == (await connection(ann)).id
    renewed = await ann_wire.mutation("oauth:storeConnection", provider="figma", accessToken="t2", scope="write")
    assert renewed is None
    assert [(c.id, c.access_token, c.scope) for c in await ann.query(oauth.list_connections)] == [(new, "t2", "write")]


@pytest.mark.parametrize("nothing", [{}, {"refresh_token": "", "metadata": None}])
async def test_renewing_keeps_refresh_token_and_metadata_and_forgets_the_end(
    ann: Backend, backend: Backend, nothing: dict[str, Any]
) -> None:
    await connect(ann, refresh_token="r1", expires_at=5, metadata={"name": "Ann"})
    old = await connection(ann)
    await backend.advance(timedelta(seconds=1))
    await connect(ann, access_token="t2", **nothing)
    new = await connection(ann)
    assert (old.refresh_token, old.expires_at, old.metadata) == ("r1", 5, {"name": "Ann"})
    assert (new.access_token, new.refresh_token, new.expires_at, new.metadata) == ("t2", "r1", None, {"name": "Ann"})
    assert (new.created_at, new.updated_at) == (old.created_at, backend.now())


async def test_renewing_takes_what_is_given(ann: Backend) -> None:
    await connect(ann, refresh_token="r1", expires_at=5, metadata={"name": "Ann"})
    await connect(ann, refresh_token="r2", expires_at=6, metadata={})
    new = await connection(ann)
    assert (new.refresh_token, new.expires_at, new.metadata) == ("r2", 6, {})


async def test_connections_are_per_user_and_service_and_listed_oldest_first(ann: Backend, bob: Backend) -> None:
    await connect(ann, "github")
    await connect(ann, "figma")
    await connect(bob, "figma", access_token="bob's")
    assert [c.provider for c in await ann.query(oauth.list_connections)] == ["github", "figma"]
    assert (await connection(ann)).access_token == "t1"
    assert (await connection(bob)).access_token == "bob's"


async def test_revoking_forgets_the_connection_and_is_fine_without_one(ann: Backend, bob: Backend) -> None:
    await connect(ann)
    await connect(bob)
    await ann.mutation(oauth.revoke_connection, provider="figma")
    await ann.mutation(oauth.revoke_connection, provider="figma")
    assert await ann.query(oauth.get_connection, provider="figma") is None
    assert await bob.query(oauth.get_connection, provider="figma") is not None


async def test_metadata_is_replaced(ann: Backend) -> None:
    await connect(ann, metadata={"a": 1})
    await ann.mutation(oauth.update_metadata, provider="figma", metadata={"b": 2})
    assert (await connection(ann)).metadata == {"b": 2}


async def test_there_must_be_a_connection_to_describe(ann: Backend) -> None:
    with refused("No figma connection found"):
        await ann.mutation(oauth.update_metadata, provider="figma", metadata={})
    with refused("No github connection found"):
        await ann.mutation(oauth.update_metadata, provider="github", metadata={})


async def test_the_anonymous_are_unauthorized(backend: Backend, operator: Backend) -> None:
    for nobody in (backend, operator):
        with refused("Unauthorized"):
            await connect(nobody)
        with refused("Unauthorized"):
            await nobody.mutation(oauth.revoke_connection, provider="figma")
        with refused("Unauthorized"):
            await nobody.mutation(oauth.update_metadata, provider="figma", metadata={})
        with refused("Unauthorized"):
            await nobody.query(oauth.get_connection, provider="figma")
        with refused("Unauthorized"):
            await nobody.query(oauth.list_connections)


async def test_services_are_a_closed_list(ann: Backend) -> None:
    with pytest.raises(InvalidArguments):
        await ann.query("oauth:getConnection", provider="FIGMA")
    with pytest.raises(InvalidArguments):
        await ann.mutation("oauth:updateMetadata", provider="figma")


async def test_metadata_that_was_never_given_is_absent(ann: Backend) -> None:
    await connect(ann)
    assert (await connection(ann)).metadata is UNSET
