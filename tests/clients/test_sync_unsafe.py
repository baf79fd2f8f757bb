"""Functions that do what they must not: each gets its error and costs nobody else anything.

Every test runs through `SyncClient`, which checks on every frame the chain of versions (client-protocol 3), timestamps
(8), framing (10), and that responses answer requests of the same connection (28).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.server import ReactorProcess
from tests.support.sync_client import SyncClient

pytestmark = pytest.mark.process

MakeClient = Callable[..., SyncClient]


@pytest.mark.parametrize(
    ("path", "args", "text"),
    [
        ("unsafe:sleeps", {}, "action"),
        ("unsafe:hugeResult", {"megabytes": 17}, "large"),
        ("unsafe:returnsASet", {}, "set"),
        ("unsafe:returnsTheWrongType", {}, ""),
        ("unsafe:recursive", {}, ""),
        ("values:longArray", {"length": 8193}, "8192"),
    ],
)
async def test_what_a_query_must_not_do_fails_that_query_only(
    raw: MakeClient, channel: str, path: str, args: dict[str, object], text: str
) -> None:
    client = raw()
    await client.open()
    good, bad = await client.add(("messages:count", {"channel": channel}), (path, args))
    assert bad.last["type"] == "QueryFailed"
    assert text.lower() in bad.last["errorMessage"].lower()
    await client.mutation("messages:append", {"channel": channel, "body": "on"})
    assert good.value == 1


@pytest.mark.parametrize("path", ["unsafe:sleepsAfterWrite", "unsafe:swallowsSleep"])
async def test_a_mutation_that_awaits_something_foreign_commits_nothing(
    raw: MakeClient, channel: str, path: str
) -> None:
    client = raw()
    await client.open()
    count = await client.subscribe("messages:count", {"channel": channel})
    assert not (await client.mutation(path, {"channel": channel}))["success"]
    assert (await client.mutation("messages:append", {"channel": channel, "body": "on"}))["result"] == 0
    assert count.value == 1


async def test_an_endless_query_is_stopped_and_others_go_on_meanwhile(raw: MakeClient, channel: str) -> None:
    stuck, busy = raw(), raw()
    await stuck.open()
    await busy.open()
    endless = stuck.new_query("unsafe:neverEnds")
    await stuck.modify({"type": "Add", "queryId": endless.id, "udfPath": endless.path, "args": [{}]})
    count = await busy.subscribe("messages:count", {"channel": channel})
    for number in range(1, 6):
        await busy.mutation("messages:append", {"channel": channel, "body": "x"})
        assert count.value == number
    await stuck.until(lambda: bool(endless.updates))
    assert endless.last["type"] == "QueryFailed"


async def test_an_endless_mutation_is_stopped_and_commits_nothing(raw: MakeClient, channel: str) -> None:
    client = raw()
    await client.open()
    await client.modify()
    assert not (await client.mutation("unsafe:neverEndsAfterWrite", {"channel": channel}))["success"]
    assert (await client.mutation("messages:append", {"channel": channel, "body": "on"}))["result"] == 0


@pytest.mark.parametrize(
    ("path", "args"),
    [
        ("unsafe:hugeDocument", {"kilobytes": 1100}),
        ("unsafe:deepDocument", {"depth": 20}),
    ],
)
async def test_documents_beyond_the_limits_are_refused(
    raw: MakeClient, channel: str, path: str, args: dict[str, object]
) -> None:
    """client-protocol 50"""
    client = raw()
    await client.open()
    await client.modify()
    assert not (await client.mutation(path, {"label": channel, **args}))["success"]


async def test_endless_queries_of_many_clients_do_not_stop_the_others(own_server: ReactorProcess, channel: str) -> None:
    """Bounded (promise 7): each is stopped at its time limit; reads and writes of others go on between them"""
    stuck = [SyncClient(own_server.ws_url) for _ in range(8)]
    busy = SyncClient(own_server.ws_url)
    await busy.open()
    count = await busy.subscribe("messages:count", {"channel": channel})
    endless = []
    for number, client in enumerate(stuck):
        await client.open()
        query = client.new_query("unsafe:neverEnds", {"mark": number})
        endless.append(query)
        await client.modify({"type": "Add", "queryId": query.id, "udfPath": query.path, "args": [query.args]})
    for number in range(1, 11):
        await busy.mutation("messages:append", {"channel": channel, "body": "x"})
        assert count.value == number
        other = await busy.subscribe("messages:count", {"channel": f"{channel} {number}"})
        assert other.value == 0
    for client, query in zip(stuck, endless, strict=True):
        await client.until(lambda query=query: bool(query.updates), patience=60)
        assert query.last["type"] == "QueryFailed"
        await client.close()
    await busy.close()
