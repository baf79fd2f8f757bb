"""Live queries frame by frame, against a real server process.

Every test runs through `SyncClient`, which checks on every frame the chain of versions (client-protocol 3), timestamps
(8), framing (10), and that responses answer requests of the same connection (28).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.support.server import ReactorProcess
from tests.support.sync_client import SyncClient, ts_of

pytestmark = pytest.mark.process

MakeClient = Callable[..., SyncClient]


async def test_several_adds_in_one_query_set_come_back_in_one_transition(raw: MakeClient, channel: str) -> None:
    """client-protocol 11"""
    client = raw()
    await client.open()
    await client.add(
        ("messages:count", {"channel": channel}),
        ("messages:bodies", {"channel": channel}),
        ("greet", {}),
        ("messages:nope", {}),
    )
    assert len(client.transitions) == 1
    kinds = [change["type"] for change in client.transitions[0]["modifications"]]
    assert sorted(kinds) == ["QueryFailed", "QueryUpdated", "QueryUpdated", "QueryUpdated"]


async def test_a_removed_query_is_confirmed_and_stays_silent(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 12"""
    client = raw()
    await client.open()
    kept, removed = await client.add(
        ("messages:count", {"channel": channel}), ("messages:bodies", {"channel": channel})
    )
    await client.remove(removed)
    assert {"type": "QueryRemoved", "queryId": removed.id} in client.transitions[-1]["modifications"]
    server.mutation("messages:send", {"channel": channel, "body": "later"})
    await client.until_value(kept, lambda count: count == 1)
    assert len(removed.updates) == 1


async def test_a_query_added_and_removed_in_one_message_is_only_removed(raw: MakeClient, channel: str) -> None:
    """client-protocol 1.5"""
    client = raw()
    await client.open()
    query = client.new_query("messages:count", {"channel": channel})
    await client.modify(
        {"type": "Add", "queryId": query.id, "udfPath": query.path, "args": [query.args]},
        {"type": "Remove", "queryId": query.id},
    )
    await client.until(lambda: client.version["querySet"] == 1)
    assert query.updates == []


async def test_only_what_a_write_touches_is_sent_again(server: ReactorProcess, raw: MakeClient, channel: str) -> None:
    """client-protocol 13: neither other ranges nor equal results of touched ranges"""
    client = raw()
    await client.open()
    mine, other, newest, log = await client.add(
        ("messages:count", {"channel": channel}),
        ("messages:count", {"channel": f"{channel} other"}),
        ("messages:guarded", {"channel": f"{channel} other"}),
        ("logs:aboutCounter", {"name": channel}),
    )
    for number in range(3):
        server.mutation("messages:send", {"channel": channel, "body": f"{number}"})
        await client.until_value(mine, lambda count, number=number: count == number + 1)
    assert [len(q.updates) for q in (mine, other, newest, log)] == [4, 1, 1, 1]
    # An equal value whose log lines differ is news; an equal value after a write into its range is not.
    server.mutation("counters:increment", {"name": channel, "by": 1})
    await client.until(lambda: len(log.updates) == 2)
    message = server.query("messages:newest", {"channel": channel})
    server.mutation("messages:update", {"id": message["_id"], "body": "changed"})
    await client.barrier()
    assert len(mine.updates) == 4


async def test_two_counters_of_one_mutation_are_never_seen_different(raw: MakeClient, channel: str) -> None:
    """client-protocol 14, under concurrent writers and on several subscribers"""
    left, right = f"{channel} left", f"{channel} right"
    readers = [raw() for _ in range(3)]
    pairs = []
    for reader in readers:
        await reader.open()
        pairs.append(await reader.add(("counters:read", {"name": left}), ("counters:read", {"name": right})))
    writers = [raw() for _ in range(4)]

    async def write(writer: SyncClient) -> None:
        await writer.open()
        for _ in range(25):
            answer = await writer.mutation("counters:incrementBoth", {"left": left, "right": right})
            assert answer["success"], answer

    await asyncio.gather(*map(write, writers))
    for reader, (a, b) in zip(readers, pairs, strict=True):
        await reader.until(lambda a=a, b=b: a.value == b.value == 100)
        now: dict[int, float] = {}
        for transition in reader.transitions:
            now.update({change["queryId"]: change["value"] for change in transition["modifications"]})
            assert now[a.id] == now[b.id], transition


@pytest.mark.parametrize("trouble", ["plain", "application"])
async def test_a_failing_query_recovers_when_its_data_is_mended(
    server: ReactorProcess, raw: MakeClient, channel: str, trouble: str
) -> None:
    """client-protocol 15"""
    client = raw()
    await client.open()
    query = await client.subscribe("messages:guarded", {"channel": channel})
    id = server.mutation("messages:send", {"channel": channel, "body": f"{trouble} trouble"})
    await client.until(lambda: query.last["type"] == "QueryFailed")
    if trouble == "plain":
        assert "errorData" not in query.last
        assert "plain trouble" in query.last["errorMessage"]
    else:
        assert query.last["errorData"] == {"code": "TROUBLE", "channel": channel}
    server.mutation("messages:update", {"id": id, "body": "fine again"})
    assert await client.until_value(query, lambda value: value == 1) == 1


async def test_a_failure_is_not_sent_again_while_it_stays_the_same(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 1.5: errors are compared without their request id"""
    client = raw()
    await client.open()
    (query, count) = await client.add(
        ("messages:guarded", {"channel": channel}), ("messages:count", {"channel": channel})
    )
    for number in range(3):
        server.mutation("messages:send", {"channel": channel, "body": "plain trouble"})
        await client.until_value(count, lambda value, number=number: value == number + 1)
    assert [update["type"] for update in query.updates] == ["QueryUpdated", "QueryFailed"]


@pytest.mark.parametrize(
    ("path", "args", "text"),
    [
        ("messages:nope", {}, "Could not find public function for 'messages:nope'"),
        ("nowhere:list", {}, "Could not find public function for 'nowhere:list'"),
        ("hidden:recall", {"label": "x"}, "Could not find public function for 'hidden:recall'"),
        ("messages:send", {"channel": "c", "body": "b"}, "Trying to execute messages.js:send as Query"),
        ("messages:count", {}, "channel"),
        ("messages:count", {"channel": 5}, "channel"),
        ("messages:count", {"channel": "c", "extra": 1}, "extra"),
        ("messages:get", {"id": "not an id"}, "id"),
    ],
)
async def test_a_bad_query_fails_alone(
    server: ReactorProcess, raw: MakeClient, channel: str, path: str, args: dict[str, object], text: str
) -> None:
    """client-protocol 16"""
    client = raw()
    await client.open()
    good, bad = await client.add(("messages:count", {"channel": channel}), (path, args))
    assert bad.last["type"] == "QueryFailed"
    assert "errorData" not in bad.last
    assert text in bad.last["errorMessage"]
    server.mutation("messages:send", {"channel": channel, "body": "on it goes"})
    await client.until_value(good, lambda count: count == 1)


async def test_a_mistyped_function_name_is_answered_with_the_right_one(raw: MakeClient) -> None:
    client = raw()
    await client.open()
    query = await client.subscribe("messages:lst", {"channel": "c"})
    assert "messages:list" in query.last["errorMessage"]


@pytest.mark.parametrize(
    ("one", "same"),
    [("messages:count", "messages.js:count"), ("greet", "greet:default"), ("greet:default", "greet.js")],
)
async def test_two_spellings_of_a_path_are_one_function(raw: MakeClient, channel: str, one: str, same: str) -> None:
    """client-protocol 17"""
    client = raw()
    await client.open()
    args = {"channel": channel} if "messages" in one else {"name": channel}
    first, second = await client.add((one, args), (same, args))
    assert first.value == second.value


async def test_nested_modules_have_paths_with_slashes(raw: MakeClient) -> None:
    client = raw()
    await client.open()
    assert (await client.subscribe("admin/deepTools:answer")).value == 42


async def test_five_aborted_connections_each_restore_the_subscription(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 19 and 8"""
    client = raw()
    await client.open()
    query = await client.subscribe("messages:count", {"channel": channel})
    for number in range(1, 6):
        seen = client.max_ts
        await client.reopen()
        await client.until(lambda: client.version["querySet"] == 1)
        assert ts_of(client.version["ts"]) >= seen
        server.mutation("messages:send", {"channel": channel, "body": f"{number}"})
        await client.until_value(query, lambda count, number=number: count == number)
