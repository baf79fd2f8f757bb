"""The official `ConvexHttpClient` of npm against a real server process."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.driver import Driver, RemoteError
from tests.support.server import ADMIN_KEY, ReactorProcess

pytestmark = [pytest.mark.node, pytest.mark.process]


async def test_query_mutation_and_action(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 37 and 39"""
    await npm.call("newHttpClient", name="h", url=server.url)
    append = {"path": "messages:append", "args": {"channel": channel, "body": "x"}}
    assert await npm.call("http", name="h", kind="mutation", **append) == 0
    assert await npm.call("http", name="h", kind="query", path="messages:bodies", args={"channel": channel}) == ["x"]
    assert await npm.call("http", name="h", kind="action", path="actions:echo", args={"value": [None]}) == [None]


async def test_queued_mutations_keep_their_order(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 39"""
    await npm.call("newHttpClient", name="h", url=server.url)
    calls = [["messages:append", {"channel": channel, "body": f"{number}"}] for number in range(20)]
    assert await npm.call("httpAll", name="h", kind="mutation", calls=calls) == list(range(20))


async def test_errors(server: ReactorProcess, npm: Driver) -> None:
    """client-protocol 37: an errorData key means ConvexError, so ordinary errors have none"""
    await npm.call("newHttpClient", name="h", url=server.url)
    for kind, path in (
        ("query", "failures:inQuery"),
        ("mutation", "failures:inMutation"),
        ("action", "failures:inAction"),
    ):
        with pytest.raises(RemoteError, match="a plain error") as plain:
            await npm.call("http", name="h", kind=kind, path=path, args={"how": "plain"})
        assert plain.value.name == "Error"
        for how, data in (("string", "a broken string"), ("none", None), ("number", 42)):
            with pytest.raises(RemoteError) as told:
                await npm.call("http", name="h", kind=kind, path=path, args={"how": how})
            assert (told.value.name, told.value.data) == ("ConvexError", data)
    with pytest.raises(RemoteError, match="Could not find public function for 'messages:nope'"):
        await npm.call("http", name="h", kind="query", path="messages:nope", args={})
    with pytest.raises(RemoteError, match="channel"):
        await npm.call("http", name="h", kind="query", path="messages:count", args={})


async def test_consistent_queries_share_one_snapshot(own_server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 39. On a server of its own, because only so many snapshots are kept (engine rule 17)"""
    server = own_server
    left, right = f"{channel} left", f"{channel} right"
    await npm.call("newHttpClient", name="h", url=server.url)
    server.mutation("counters:incrementBoth", {"left": left, "right": right})
    first = await npm.call("http", name="h", kind="consistentQuery", path="counters:read", args={"name": left})
    for _ in range(5):
        server.mutation("counters:incrementBoth", {"left": left, "right": right})
    second = await npm.call("http", name="h", kind="consistentQuery", path="counters:read", args={"name": right})
    again = await npm.call("http", name="h", kind="consistentQuery", path="counters:read", args={"name": left})
    assert first == second == again == 1
    assert await npm.call("http", name="h", kind="query", path="counters:read", args={"name": left}) == 6


async def test_function_of_any_kind_is_for_admins(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 34, 35 and 39"""
    await npm.call("newHttpClient", name="anonymous", url=server.url)
    with pytest.raises(RemoteError, match="BadDeployKey"):
        await npm.call("httpFunction", name="anonymous", path="messages:count", args={"channel": channel})
    await npm.call("newHttpClient", name="admin", url=server.url, adminKey=ADMIN_KEY)
    for path, args, value in (
        ("messages:count", {"channel": channel}, 0),
        ("messages:append", {"channel": channel, "body": "x"}, 0),
        ("actions:echo", {"value": "v"}, "v"),
        ("hidden:recall", {"label": channel}, "0 remembered"),
    ):
        assert await npm.call("httpFunction", name="admin", path=path, args=args) == value
    await npm.call(
        "newHttpClient",
        name="ann",
        url=server.url,
        adminKey=ADMIN_KEY,
        identity={"subject": "ann", "issuer": "https://i.example", "name": "Ann Ünï"},
    )
    for kind, path in (
        ("query", "identity:whoami"),
        ("mutation", "identity:whoamiMutation"),
        ("action", "identity:whoamiAction"),
    ):
        identity = await npm.call("http", name="ann", kind=kind, path=path, args={})
        assert identity["subject"] == "ann"
        assert await npm.call("http", name="anonymous", kind=kind, path=path, args={}) is None
    await npm.call("newHttpClient", name="bad", url=server.url, adminKey="conformance|wrong")
    with pytest.raises(RemoteError, match="BadDeployKey"):
        await npm.call("http", name="bad", kind="query", path="identity:whoami", args={})


async def test_a_bearer_token_without_a_provider_is_an_error(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 35 and 57 (bearer-token-lifecycle)"""
    await npm.call("newHttpClient", name="h", url=server.url)
    await npm.call("setHttpAuth", name="h", token="invalid-token-one")
    with pytest.raises(RemoteError):
        await npm.call("http", name="h", kind="query", path="messages:count", args={"channel": channel})
    await npm.call("setHttpAuth", name="h", token=None)
    assert await npm.call("http", name="h", kind="query", path="messages:count", args={"channel": channel}) == 0


async def test_many_requests_at_once(server: ReactorProcess, npm: Driver, channel: str) -> None:
    for number in range(8):
        await npm.call("newHttpClient", name=f"h{number}", url=server.url)
    calls = [["counters:increment", {"name": channel}] for _ in range(10)]
    values = await asyncio.gather(
        *(npm.call("httpAll", name=f"h{number}", kind="mutation", calls=calls) for number in range(8))
    )
    assert sorted(value for some in values for value in some) == list(range(1, 81))


async def test_a_12_mb_result_arrives_whole(server: ReactorProcess, npm: Driver) -> None:
    """client-protocol 56"""
    await npm.call("newHttpClient", name="h", url=server.url)
    value = await npm.call("http", name="h", kind="query", path="values:big", args={"megabytes": 12})
    assert len(value["rows"]) == 120
