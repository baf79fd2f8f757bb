"""Who a connection speaks for (tokens of identity providers have tests of their own).

Every test runs through `SyncClient`, which checks on every frame the chain of versions (client-protocol 3), timestamps
(8), framing (10), and that responses answer requests of the same connection (28).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.server import ADMIN_KEY
from tests.support.sync_client import SyncClient

pytestmark = pytest.mark.process

MakeClient = Callable[..., SyncClient]


@pytest.mark.parametrize("field", ["impersonating", "acting_as"])
async def test_an_admin_can_act_as_somebody(raw: MakeClient, field: str) -> None:
    """client-protocol 33 and 34"""
    client = raw()
    await client.open()
    (who, admin) = await client.add(("identity:whoami", {}), ("identity:isAdmin", {}))
    assert who.value is None
    assert admin.value is False
    await client.authenticate(
        tokenType="Admin", value=ADMIN_KEY, **{field: {"subject": "u1", "issuer": "https://i.example", "name": "N"}}
    )
    identity = await client.until_value(who, lambda value: value is not None)
    assert identity == {"subject": "u1", "issuer": "https://i.example", "tokenIdentifier": "https://i.example|u1"}
    for path, kind in (("identity:whoamiMutation", "Mutation"), ("identity:whoamiAction", "Action")):
        answer = await client.response(await client.request(kind, path))
        assert answer["result"] == identity
    await client.authenticate(tokenType="None")
    await client.until_value(who, lambda value: value is None)
    await client.until(lambda: client.version["identity"] == 2)


async def test_an_admin_can_call_internal_functions(raw: MakeClient, channel: str) -> None:
    """client-protocol 34"""
    client = raw()
    await client.open()
    await client.authenticate(tokenType="Admin", value=ADMIN_KEY)
    query = await client.subscribe("hidden:recall", {"label": channel})
    assert query.value == "0 remembered"
    assert (await client.mutation("hidden:remember", {"label": channel}))["success"]
    assert query.value == "1 remembered"
    assert (await client.action("hidden:whisper", {"text": "x"}))["result"] == "(x)"


async def test_a_bad_admin_key_is_an_auth_error(raw: MakeClient, channel: str) -> None:
    """client-protocol 34, deployment-api 2"""
    client = raw()
    await client.open()
    await client.authenticate(tokenType="Admin", value="conformance|wrong")
    queries = await client.add(
        ("_system/cli/tables:default", {"paginationOpts": {"cursor": None, "numItems": 1}}),
        ("_system/made/up:default", {}),
        ("messages:count", {"channel": channel}),
    )
    assert client.auth_error is not None
    assert client.auth_error["authUpdateAttempted"] is True
    for query in queries[:2]:
        assert "You do not have permission to perform this operation" in query.last["errorMessage"]
    assert queries[2].value == 0
    assert client.fatal is None


async def test_two_identities_of_one_query_get_their_own_answers(raw: MakeClient) -> None:
    """design promise 6: shared, but not when the query looked at the identity"""
    clients = [raw() for _ in range(3)]
    queries = []
    for number, client in enumerate(clients):
        await client.open()
        await client.authenticate(
            tokenType="Admin", value=ADMIN_KEY, impersonating={"subject": f"u{number}", "issuer": "https://i"}
        )
        queries.append(await client.subscribe("identity:whoami"))
    assert [query.value["subject"] for query in queries] == ["u0", "u1", "u2"]
