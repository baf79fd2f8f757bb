"""The sync protocol frame by frame, over a real socket to a real server process.

Every test here runs through `SyncClient`, which checks on every frame: the chain of versions (client-protocol 3),
timestamps (8), framing (10), and that responses answer requests of the same connection (28).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.support.proxy import BreakingProxy
from tests.support.server import ADMIN_KEY, ReactorProcess
from tests.support.sync_client import ZERO, SyncClient, ts_of

pytestmark = pytest.mark.process

MakeClient = Callable[..., SyncClient]

# --- connection


@pytest.mark.parametrize(
    "path",
    ["/api/sync", "/api/1.45.0/sync", "/api/1.48.0/sync", "/api/sync?clientVersion=x", "//api/1.48.0/sync"],
)
@pytest.mark.parametrize("headers", [{}, {"Convex-Client": "rust-0.10.2"}])
async def test_every_spelling_of_the_sync_path_upgrades(
    server: ReactorProcess, raw: MakeClient, path: str, headers: dict[str, str], channel: str
) -> None:
    """client-protocol 1"""
    client = raw(f"ws://127.0.0.1:{server.port}{path}", headers=headers)
    await client.open()
    query = await client.subscribe("messages:count", {"channel": channel})
    assert query.value == 0
    assert client.transitions[0]["startVersion"] == ZERO


@pytest.mark.parametrize("version", ["nonsense", "1.x.0"])
async def test_a_version_that_is_none_is_refused_before_the_upgrade(server: ReactorProcess, version: str) -> None:
    """client-protocol 1.1"""
    with pytest.raises(Exception, match="400"):
        async with connect(f"ws://127.0.0.1:{server.port}/api/{version}/sync"):
            pass


async def test_a_socket_that_only_connects_and_leaves_disturbs_nobody(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 2"""
    witness = raw()
    await witness.open()
    query = await witness.subscribe("messages:count", {"channel": channel})
    for hello in (True, False):
        visitor = raw()
        await visitor.open(hello=hello)
        await visitor.close()
        visitor = raw()
        await visitor.open(hello=hello)
        await visitor.abort()
    server.mutation("messages:send", {"channel": channel, "body": "still here"})
    await witness.until_value(query, lambda count: count == 1)


async def test_a_silent_socket_is_kept_and_pinged_and_may_speak_late(raw: MakeClient, channel: str) -> None:
    """client-protocol 2 and 6: an application Ping within 15 s of silence, and Connect may come late (a client that pauses)."""
    silent, connected = raw(), raw()
    await silent.open(hello=False)
    await connected.open()
    await connected.until(lambda: any(frame["type"] == "Ping" for frame in connected.frames), patience=18)
    await silent.hello()
    query = await silent.subscribe("messages:count", {"channel": channel})
    assert query.value == 0


async def test_connect_and_authenticate_alone_bring_no_transition_before_the_first_query_set(
    raw: MakeClient, channel: str
) -> None:
    """client-protocol 4: one Transition {0,0} → {1,1}"""
    client = raw()
    await client.open(hello=False)
    await client.hello()
    await client.authenticate(tokenType="Admin", value=ADMIN_KEY)
    query = client.new_query("identity:isAdmin")
    await client.modify({"type": "Add", "queryId": query.id, "udfPath": query.path, "args": [{}]})
    await client.until(lambda: client.version["querySet"] == 1)
    assert len(client.transitions) == 1, client.transitions
    assert client.transitions[0]["endVersion"]["identity"] == 1
    assert query.value is True


async def test_a_client_without_a_query_set_gets_its_mutation_resolved(raw: MakeClient, channel: str) -> None:
    """client-protocol 5 and 20"""
    client = raw(headers={"Convex-Client": "python-0.8.1"})
    await client.open()
    await client.authenticate(tokenType="None")
    answer = await client.mutation("messages:append", {"channel": channel, "body": "hi"})
    assert answer["success"]
    assert answer["result"] == 0


async def test_a_client_that_only_authenticates_learns_that_it_was_accepted(raw: MakeClient) -> None:
    """client-protocol 5: without a query set the hold on the first Transition ends by itself"""
    client = raw(headers={"Convex-Client": "python-0.8.1"})
    await client.open()
    await client.authenticate(tokenType="Admin", value=ADMIN_KEY)
    await client.until(lambda: client.version["identity"] == 1)


# --- queries


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


# --- protocol misuse


@pytest.mark.parametrize(
    "message", [{"type": "ModifyQuerySet", "baseVersion": 7, "newVersion": 8, "modifications": []}]
)
async def test_a_wrong_base_version_is_fatal(raw: MakeClient, message: dict[str, object]) -> None:
    """client-protocol 18"""
    client = raw()
    await client.open()
    await client.send(message)
    await client.until_closed()
    assert client.fatal is not None
    assert "Base version 7 passed up doesn't match the current version 0" in client.fatal["error"]


@pytest.mark.parametrize(
    "frame",
    [
        "this is no JSON",
        '{"type":"Nonsense"}',
        '{"no":"type"}',
        "[]",
        "null",
        '{"type":"ModifyQuerySet","baseVersion":"0","newVersion":1,"modifications":[]}',
        '{"type":"Mutation","requestId":0,"udfPath":"messages:append"}',
        '{"type":"Mutation","requestId":-1,"udfPath":"messages:append","args":[{}]}',
        '{"type":"Mutation","requestId":0,"udfPath":5,"args":[{}]}',
        '{"type":"Connect","sessionId":"again","connectionCount":0}',
        '{"a":' * 20000,
        "{" + '"type":"Mutation",' * 3,
    ],
)
async def test_a_malformed_message_ends_its_own_connection_only(
    server: ReactorProcess, raw: MakeClient, channel: str, frame: str
) -> None:
    witness, culprit = raw(), raw()
    await witness.open()
    query = await witness.subscribe("messages:count", {"channel": channel})
    await culprit.open()
    await culprit.socket.send(frame)
    await culprit.until_closed()
    server.mutation("messages:send", {"channel": channel, "body": "unimpressed"})
    await witness.until_value(query, lambda count: count == 1)


async def test_a_binary_frame_ends_the_connection(raw: MakeClient) -> None:
    client = raw()
    await client.open()
    await client.socket.send(b'{"type":"Event"}')
    await client.until_closed()


async def test_messages_before_connect_are_refused(raw: MakeClient, channel: str) -> None:
    client = raw()
    await client.open(hello=False)
    await client.request("Mutation", "messages:append", {"channel": channel, "body": "too early"})
    await client.until_closed()


async def test_events_are_ignored(raw: MakeClient, channel: str) -> None:
    """client-protocol 1.10"""
    client = raw()
    await client.open()
    await client.send({"type": "Event", "eventType": "ClientConnect", "event": {"marks": [1, 2, {"x": None}]}})
    assert (await client.subscribe("messages:count", {"channel": channel})).value == 0


async def test_an_id_added_twice_ends_the_connection(raw: MakeClient, channel: str) -> None:
    """client-protocol 1.5"""
    client = raw()
    await client.open()
    query = await client.subscribe("messages:count", {"channel": channel})
    await client.modify({"type": "Add", "queryId": query.id, "udfPath": query.path, "args": [query.args]})
    await client.until_closed()


async def test_an_oversized_message_is_refused_and_costs_nobody_else(raw: MakeClient, channel: str) -> None:
    """client-protocol 50"""
    witness, culprit = raw(), raw()
    await witness.open()
    await culprit.open()
    with contextlib.suppress(Exception):  # closed while still being sent to: as good
        await culprit.socket.send(json.dumps({"type": "Event", "event": "x" * (40 * 1024 * 1024)}))
    await culprit.until_closed()
    assert (await witness.subscribe("messages:count", {"channel": channel})).value == 0


# --- mutations and actions


@pytest.mark.parametrize("subscribed", [False, True])
@pytest.mark.parametrize(
    ("path", "args", "success"),
    [
        ("messages:append", {"body": "x"}, True),
        ("messages:onlyReads", {}, True),
        ("messages:sendThenFail", {"body": "x"}, False),
        ("messages:sendIfOpen", {"body": "x"}, False),
        ("messages:nope", {}, False),
        ("messages:append", {"body": 5}, False),
    ],
)
async def test_every_mutation_is_answered_and_followed_by_a_transition(
    raw: MakeClient, channel: str, path: str, args: dict[str, object], success: bool, subscribed: bool
) -> None:
    """client-protocol 20"""
    client = raw()
    await client.open()
    if subscribed:
        await client.subscribe("messages:count", {"channel": channel})
    else:
        await client.modify()
    answer = await client.mutation(path, {"channel": channel, **args})
    assert answer["success"] is success, answer
    assert ("errorData" in answer) is (path == "messages:sendIfOpen")
    assert [frame["type"] for frame in client.frames if frame["type"] != "Ping"][-2:] == [
        "MutationResponse",
        "Transition",
    ]


async def test_a_mutation_shows_in_the_transition_that_resolves_it(raw: MakeClient, channel: str) -> None:
    """client-protocol 20"""
    client = raw()
    await client.open()
    query = await client.subscribe("messages:count", {"channel": channel})
    for number in range(1, 11):
        await client.mutation("messages:append", {"channel": channel, "body": "x"})
        assert query.value == number


async def test_mutations_sent_back_to_back_run_in_order(raw: MakeClient, channel: str) -> None:
    """client-protocol 21"""
    client = raw()
    await client.open()
    requests = [
        await client.request("Mutation", "messages:append", {"channel": channel, "body": f"{number}"})
        for number in range(100)
    ]
    answers = [await client.settled(request) for request in requests]
    assert [answer["result"] for answer in answers] == list(range(100))
    assert [ts_of(a["ts"]) for a in answers] == sorted({ts_of(a["ts"]) for a in answers})
    bodies = await client.subscribe("messages:bodies", {"channel": channel})
    assert bodies.value == [f"{number}" for number in range(100)]


async def test_a_resent_mutation_is_answered_from_its_record(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 22: the same value, log lines and timestamp, and no second write"""
    client = raw()
    await client.open()
    await client.modify()
    first = await client.mutation("messages:append", {"channel": channel, "body": "once"}, request_id=4)
    server.mutation("messages:send", {"channel": channel, "body": "in between"})
    for _ in range(2):
        await client.abort()
        await client.open()
        await client.modify()
        again = await client.mutation("messages:append", {"channel": channel, "body": "once"}, request_id=4)
        assert again == first
    assert server.query("messages:bodies", {"channel": channel}) == ["once", "in between"]


async def test_a_mutation_whose_answer_was_lost_is_not_run_again(
    server: ReactorProcess, raw: MakeClient, proxy: BreakingProxy, channel: str
) -> None:
    """client-protocol 22"""
    client = raw(f"ws://127.0.0.1:{proxy.port}/api/1.48.0/sync")
    await client.open()
    query = await client.subscribe("messages:bodies", {"channel": channel})
    proxy.hold_answers()
    await client.request("Mutation", "messages:append", {"channel": channel, "body": "once"}, request_id=0)
    await proxy.wait_held_answer()
    assert server.query("messages:count", {"channel": channel}) == 1
    proxy.cut()
    await client.until_closed()
    proxy.flow()
    await client.reopen()
    answer = await client.mutation("messages:append", {"channel": channel, "body": "once"}, request_id=0)
    assert answer["success"]
    assert answer["result"] == 0
    assert query.value == ["once"]


async def test_records_survive_a_restart(own_server: ReactorProcess, channel: str) -> None:
    """client-protocol 22 and 8"""
    client = SyncClient(own_server.ws_url)
    await client.open()
    await client.modify()
    first = await client.mutation("messages:append", {"channel": channel, "body": "once"}, request_id=0)
    seen = client.max_ts
    own_server.kill()
    await client.until_closed()
    own_server.start()
    await client.abort()
    await client.open()
    await client.modify()
    again = await client.mutation("messages:append", {"channel": channel, "body": "once"}, request_id=0)
    assert again == first
    assert ts_of(client.version["ts"]) >= seen
    assert own_server.query("messages:count", {"channel": channel}) == 1
    await client.close()


async def test_a_failed_mutation_leaves_nothing_and_may_be_tried_again(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 24"""
    client = raw()
    await client.open()
    await client.modify()
    closed = await client.mutation("messages:sendIfOpen", {"channel": channel, "body": "let me in"}, request_id=0)
    assert closed["errorData"] == {"code": "CLOSED", "channel": channel}
    failed = await client.mutation("messages:sendThenFail", {"channel": channel, "body": "never"}, request_id=1)
    assert not failed["success"]
    assert server.query("messages:count", {"channel": channel}) == 0
    server.mutation("messages:send", {"channel": channel, "body": "open"})
    await client.abort()
    await client.open()
    await client.modify()
    opened = await client.mutation("messages:sendIfOpen", {"channel": channel, "body": "let me in"}, request_id=0)
    assert opened["success"], opened
    assert server.query("messages:bodies", {"channel": channel}) == ["open", "let me in"]


async def test_a_repeat_while_the_first_still_runs_does_not_run_twice(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 25: from the same session on a second connection, while the first attempt holds the writer"""
    first, second = raw(), raw()
    second.session = first.session
    await first.open()
    await first.request(
        "Mutation", "messages:sendSlowly", {"channel": channel, "body": "once", "seconds": 0.3}, request_id=0
    )
    await second.open()
    await second.modify()
    answer = await second.mutation(
        "messages:sendSlowly", {"channel": channel, "body": "once", "seconds": 0.3}, request_id=0
    )
    assert answer["result"] == 0
    assert server.query("messages:count", {"channel": channel}) == 1


async def test_another_session_with_the_same_request_id_is_another_mutation(raw: MakeClient, channel: str) -> None:
    for number in range(3):
        client = raw()
        await client.open()
        await client.modify()
        answer = await client.mutation("messages:append", {"channel": channel, "body": "x"}, request_id=0)
        assert answer["result"] == number


async def test_an_action_is_answered_and_lets_mutations_pass(raw: MakeClient, channel: str) -> None:
    """client-protocol 27: the action only ends once the mutation, sent after it, has run"""
    client = raw()
    await client.open()
    await client.modify()
    action = await client.request("Action", "actions:waitForMessage", {"channel": channel})
    mutation = await client.mutation("messages:append", {"channel": channel, "body": "go"})
    assert mutation["success"]
    answer = await client.response(action)
    assert answer["success"], answer
    assert answer["result"] == 1
    assert "ts" not in answer


async def test_an_action_outlives_its_client_and_its_result_goes_nowhere(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 27 and 28: the strict client fails on answers to requests of an earlier connection"""
    client = raw()
    await client.open()
    query = await client.subscribe("messages:bodies", {"channel": channel})
    await client.request("Action", "actions:sendLater", {"channel": channel, "body": "from beyond", "seconds": 0.2})
    await client.request("Action", "actions:echo", {"value": 1})  # read by the server, so the one before is, too
    await client.until(lambda: 1 in client.responses)
    await client.reopen()
    await client.until_value(query, lambda bodies: bodies == ["from beyond"])
    await client.barrier()
    assert list(client.responses) == [1]


@pytest.mark.parametrize(
    ("how", "data"),
    [
        ("object", {"code": "BROKEN", "detail": {"n": 1.5, "list": [True, None, "x"]}}),
        ("string", "a broken string"),
        ("number", 42),
        ("none", None),
        ("subclass", {"code": "FORBIDDEN"}),
    ],
)
async def test_application_errors_carry_their_data_and_others_none(raw: MakeClient, how: str, data: object) -> None:
    """client-protocol 15, with errors of every kind of function"""
    client = raw()
    await client.open()
    await client.modify()
    mutation = await client.mutation("failures:inMutation", {"how": how})
    action = await client.action("failures:inAction", {"how": how})
    query = client.new_query("failures:inQuery", {"how": how})
    await client.modify({"type": "Add", "queryId": query.id, "udfPath": query.path, "args": [query.args]})
    await client.until(lambda: client.version["querySet"] == 2)
    for answer in (mutation, action, query.last):
        assert "errorData" in answer
        assert answer["errorData"] == data
        assert any("about to fail" in line for line in answer["logLines"])


async def test_plain_errors_carry_no_data(raw: MakeClient) -> None:
    """client-protocol 15"""
    client = raw()
    await client.open()
    await client.modify()
    for answer in (
        await client.mutation("failures:inMutation", {"how": "plain"}),
        await client.action("failures:inAction", {"how": "plain"}),
    ):
        assert not answer["success"]
        assert "errorData" not in answer
        assert answer["result"].startswith("[Request ID: ")
        assert "a plain error" in answer["result"]


async def test_a_flood_of_mutations_ends_in_a_clean_close(raw: MakeClient, channel: str) -> None:
    """client-protocol 29: the writer is held while 1,100 pile up"""
    client = raw()
    await client.open()
    await client.modify()
    await client.request("Mutation", "messages:sendSlowly", {"channel": channel, "body": "slow", "seconds": 0.8})
    with contextlib.suppress(Exception):  # closed while still being sent to
    code, reason = await client.until_closed()
    assert (code, reason) == (1013, "TooManyConcurrentMutations")


async def test_log_lines_arrive_with_their_levels(raw: MakeClient) -> None:
    """client-protocol 2.7"""
    client = raw()
    await client.open()
    query = await client.subscribe("logs:fromQuery")
    mutation = await client.mutation("logs:fromMutation")
    action = await client.action("logs:fromAction")
    for lines in (query.last["logLines"], mutation["logLines"], action["logLines"]):
        assert [line.split("] ")[0] for line in lines] == ["[LOG", "[INFO", "[WARN", "[ERROR"], lines
        assert "a warning of some kind" in lines[2]


async def test_log_lines_beyond_the_limit_are_cut_with_a_note(raw: MakeClient) -> None:
    """client-protocol 2.7"""
    client = raw()
    await client.open()
    lines = (await client.subscribe("logs:many", {"lines": 300})).last["logLines"]
    assert len(lines) <= 257
    assert lines[-1] == "[ERROR] Log overflow (maximum 256). Remaining log lines omitted."


# --- identity (tokens of identity providers have tests of their own)


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


async def test_a_bad_admin_key_is_an_auth_error(raw: MakeClient) -> None:
    """client-protocol 34"""
    client = raw()
    await client.open()
    await client.modify()
    await client.authenticate(tokenType="Admin", value="conformance|wrong")
    await client.until_closed()
    assert client.auth_error is not None
    assert client.auth_error["authUpdateAttempted"] is True
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


# --- values


@pytest.mark.parametrize(
    "value",
    [
        {"$integer": "AQAAAAAAAAA="},
        {"$integer": "AAAAAAAAAIA="},
        {"$float": "AAAAAAAAAIA="},
        {"$float": "AAAAAAAA+H8="},
        {"$float": "AAAAAAAA8P8="},
        {"$bytes": ""},
        {"$bytes": "AQID"},
        [[[]]],
        {"": {"a b": [None, True, 1.5, "𝄞 😀 \u0000"]}},
        9007199254740992,
        1e300,
        -0.5,
    ],
)
async def test_values_come_back_as_they_went(raw: MakeClient, value: object) -> None:
    """client-protocol 47"""
    client = raw()
    await client.open()
    assert (await client.subscribe("values:echo", {"value": value})).value == value


@pytest.mark.parametrize(
    "value",
    [
        {"ключ": 1},
        {"$x": 1},
        {"a\nb": 1},
        {"x" * 1025: 1},
        {"$integer": "AQ=="},
        {"$float": "AAAAAAAA+D8="},
        {"$set": []},
        {"$map": []},
        {"$integer": 1},
        {"$bytes": "not base64!"},
        [0] * 8193,
        {f"f{number}": 0 for number in range(1025)},
    ],
)
async def test_bad_values_are_refused_where_they_stand(raw: MakeClient, value: object) -> None:
    """client-protocol 48 and 50"""
    client = raw()
    await client.open()
    good, bad = await client.add(("greet", {}), ("values:echo", {"value": value}))
    assert bad.last["type"] == "QueryFailed"
    assert good.value == "hello world"


def _nested(depth: int) -> object:
    value: object = []
    for _ in range(depth - 1):
        value = [value]
    return value


async def test_deep_values_are_refused(raw: MakeClient) -> None:
    """client-protocol 50: 64 levels"""
    client = raw()
    await client.open()
    shallow, deep, result, too_deep = await client.add(
        ("values:echo", {"value": _nested(50)}),
        ("values:echo", {"value": _nested(70)}),
        ("values:nested", {"depth": 60}),
        ("values:nested", {"depth": 70}),
    )
    assert shallow.value == _nested(50)
    assert result.value == _nested(60)
    assert deep.last["type"] == too_deep.last["type"] == "QueryFailed"


@pytest.mark.parametrize("kind", ["non-ascii", "dollar", "control"])
async def test_bad_field_names_never_reach_a_client(raw: MakeClient, kind: str) -> None:
    """client-protocol 48"""
    client = raw()
    await client.open()
    assert (await client.subscribe("values:badKeys", {"kind": kind})).last["type"] == "QueryFailed"


async def test_ids_are_checked_against_their_table(server: ReactorProcess, raw: MakeClient, channel: str) -> None:
    """client-protocol 49"""
    message = server.mutation("messages:send", {"channel": channel, "body": "mine"})
    holder = server.mutation("values:store", {"label": channel, "content": None})
    assert len(message) == 32
    client = raw()
    await client.open()
    good, other = await client.add(("values:messageBody", {"id": message}), ("values:messageBody", {"id": holder}))
    assert good.value == "mine"
    assert other.last["type"] == "QueryFailed"
    for position in (0, 1, 15, 30, 31):
        letter = "0" if message[position] != "0" else "1"
        changed = message[:position] + letter + message[position + 1 :]
        assert (await client.subscribe("values:messageBody", {"id": changed})).last["type"] == "QueryFailed"


async def test_typed_arguments_make_the_round_trip(raw: MakeClient) -> None:
    """client-protocol 47: through a struct with a field of every type"""
    value = {
        "number": 1.5,
        "whole": 3,
        "big": {"$integer": "AQAAAAAAAAA="},
        "data": {"$bytes": "AQID"},
        "text": "😀",
        "flag": True,
        "nothing": None,
        "numbers": [1, {"$float": "AAAAAAAA+H8="}, {"$float": "AAAAAAAAAIA="}],
        "byName": {"a": 1, "b c": {"$float": "AAAAAAAA8H8="}},
        "choice": "left",
        "point": {"x": 0, "y": {"$float": "AAAAAAAA8P8="}},
        "either": "text",
        "anything": [{"$integer": "AgAAAAAAAAA="}, {"x": {"$bytes": ""}}],
    }
    client = raw()
    await client.open()
    assert (await client.subscribe("values:echoTyped", {"value": value})).value == value
    for broken, path in (
        ({**value, "choice": "up"}, "choice"),
        ({**value, "point": {"x": 0}}, "point"),
        ({**value, "maybe": None}, "maybe"),
        ({**value, "whole": 3.5}, "whole"),
        ({**value, "big": 3}, "big"),
        ({**value, "unknown": 3}, "unknown"),
    ):
        failed = (await client.subscribe("values:echoTyped", {"value": broken})).last
        assert failed["type"] == "QueryFailed", broken
        assert path in failed["errorMessage"]


# --- unsafe functions


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


# --- pagination


def _pages(query: str, channel: str, **options: object) -> tuple[str, dict[str, object]]:
    return query, {"channel": channel, "paginationOpts": {"numItems": 3, "cursor": None, **options}}


async def test_pages_end_with_a_cursor_that_is_a_string(server: ReactorProcess, raw: MakeClient, channel: str) -> None:
    """client-protocol 51"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [1, 2, 3, 4]})
    client = raw()
    await client.open()
    first = await client.subscribe(*_pages("messages:page", channel, id=1))
    assert [row["number"] for row in first.value["page"]] == [1, 2, 3]
    assert first.value["isDone"] is False
    assert isinstance(first.last["journal"], str)
    second = await client.subscribe(
        *_pages("messages:page", channel, cursor=first.value["continueCursor"], endCursor=None)
    )
    assert [row["number"] for row in second.value["page"]] == [4]
    assert second.value["isDone"] is True
    assert isinstance(second.value["continueCursor"], str)
    third = await client.subscribe(
        *_pages("messages:page", channel, id=-1, maximumRowsRead=2, maximumBytesRead=1_000_000, numItems=4)
    )
    assert len(third.value["page"]) <= 2


async def test_pages_grow_and_shrink_without_gap_or_overlap(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 52"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [10, 20, 30, 40, 50, 60, 70]})
    client = raw()
    await client.open()
    pages = [await client.subscribe(*_pages("messages:page", channel))]
    while not pages[-1].value["isDone"]:
        pages.append(
            await client.subscribe(*_pages("messages:page", channel, cursor=pages[-1].value["continueCursor"]))
        )

    def numbers() -> list[list[float]]:
        return [[row["number"] for row in page.value["page"]] for page in pages]

    assert numbers() == [[10, 20, 30], [40, 50, 60], [70]]
    await client.mutation("messages:sendMany", {"channel": channel, "numbers": [5, 15, 25, 35, 80]})
    assert numbers() == [[5, 10, 15, 20, 25, 30], [35, 40, 50, 60], [70, 80]]
    await client.mutation("messages:removeNumbers", {"channel": channel, "numbers": [5, 10, 15, 20, 25, 30, 60]})
    assert numbers() == [[], [35, 40, 50], [70, 80]]
    await client.mutation("messages:sendMany", {"channel": channel, "numbers": [30, 29, 31]})
    assert [number for page in numbers() for number in page] == [29, 30, 31, 35, 40, 50, 70, 80]


async def test_page_boundaries_survive_a_reconnect(server: ReactorProcess, raw: MakeClient, channel: str) -> None:
    """client-protocol 53"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [10, 20, 30, 40]})
    client = raw()
    await client.open()
    page = await client.subscribe(*_pages("messages:page", channel))
    await client.abort()
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [1, 2, 25, 35]})
    await client.reopen()
    await client.until(lambda: client.version["querySet"] == 1)
    assert [row["number"] for row in page.value["page"]] == [1, 2, 10, 20, 25, 30]


async def test_a_page_split_at_its_cursor_gives_the_same_rows(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 54"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": list(range(10))})
    client = raw()
    await client.open()
    page = await client.subscribe(*_pages("messages:page", channel, numItems=6))
    split, end = page.value["splitCursor"], page.value["continueCursor"]
    assert isinstance(split, str)
    left, right = await client.add(
        _pages("messages:page", channel, numItems=6, endCursor=split),
        _pages("messages:page", channel, numItems=6, cursor=split, endCursor=end),
    )
    assert left.value["continueCursor"] == split
    assert right.value["continueCursor"] == end
    assert left.value["page"]
    assert right.value["page"]
    assert left.value["page"] + right.value["page"] == page.value["page"]


async def test_a_cursor_that_is_none_is_invalid(server: ReactorProcess, raw: MakeClient, channel: str) -> None:
    """client-protocol 55"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [1, 2, 3, 4]})
    client = raw()
    await client.open()
    page = await client.subscribe(*_pages("messages:page", channel))
    for cursor, where in (("garbage", channel), (page.value["continueCursor"], f"{channel} other")):
        bad = await client.subscribe(*_pages("messages:page", where, cursor=cursor))
        assert bad.last["type"] == "QueryFailed"
        assert "InvalidCursor" in bad.last["errorMessage"]
        assert bad.last["errorData"] == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}


# --- large data


async def test_a_12_mb_result_comes_in_chunks_to_npm_clients(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 56: the strict client fails when anything but Ping comes between"""
    client, other = raw(), raw()
    await client.open()
    big = client.new_query("values:bigLive", {"megabytes": 12, "label": channel})
    small = client.new_query("messages:count", {"channel": channel})
    await client.modify(*({"type": "Add", "queryId": q.id, "udfPath": q.path, "args": [q.args]} for q in (big, small)))
    await other.open()
    await other.modify()
    for _ in range(5):  # other traffic while the chunks are under way
        await other.mutation("messages:append", {"channel": channel, "body": "x"})
    await client.until_value(small, lambda count: count == 5)
    chunks = [frame for frame in client.frames if frame["type"] == "TransitionChunk"]
    assert chunks[0]["totalParts"] == 3
    assert len(big.value["rows"]) == 12_000_000 // 100_000
    assert set(big.value["rows"]) == {"aé€😀" * 10_000}
    await other.mutation("values:store", {"label": channel, "content": None})
    await client.until_value(big, lambda value: value["mark"] == "1")


@pytest.mark.parametrize("path", ["/api/sync", "/api/1.27.0/sync"])
async def test_a_12_mb_result_comes_in_fragments_to_other_clients(
    server: ReactorProcess, raw: MakeClient, path: str
) -> None:
    """client-protocol 56"""
    client = raw(f"ws://127.0.0.1:{server.port}{path}")
    await client.open()
    big = await client.subscribe("values:big", {"megabytes": 12})
    assert len(big.value["rows"]) == 120
    assert not [frame for frame in client.frames if frame["type"] == "TransitionChunk"]


async def test_a_client_that_never_reads_costs_nobody_else(
    server: ReactorProcess, raw: MakeClient, proxy: BreakingProxy, channel: str
) -> None:
    """Bounded (promise 7): results wait as versions, not as copies, for a client whose socket is full."""
    lazy, busy = raw(f"ws://127.0.0.1:{proxy.port}/api/1.48.0/sync"), raw()
    await lazy.open()
    big = await lazy.subscribe("values:bigLive", {"megabytes": 4, "label": channel})
    proxy.hold_answers()
    await busy.open()
    count = await busy.subscribe("messages:count", {"channel": channel})
    for number in range(1, 16):
        await busy.mutation("values:store", {"label": channel, "content": None})
        await busy.mutation("messages:append", {"channel": channel, "body": "x"})
        assert count.value == number
    proxy.flow()
    await lazy.until_value(big, lambda value: value["mark"] == "15")
    assert len(big.updates) < 15, "a slow client gets the newest state, not the backlog"


# --- shutdown


async def test_sigterm_closes_sockets_so_that_clients_come_back(own_server: ReactorProcess, channel: str) -> None:
    """client-protocol 9"""
    client = SyncClient(own_server.ws_url)
    await client.open()
    await client.subscribe("messages:count", {"channel": channel})
    pending = [
        await client.request("Mutation", "messages:append", {"channel": channel, "body": "x"}) for _ in range(20)
    ]
    await client.response(pending[0])
    assert own_server.terminate() == 0, own_server.log()
    code, reason = await client.until_closed()
    assert client.fatal is None
    assert code in (1001, 1011, 1012), (code, reason)
    acknowledged = [number for number in pending if number in client.responses]
    own_server.start()
    stored = own_server.query("messages:count", {"channel": channel})
    assert stored >= len(acknowledged)
    await client.abort()
    await client.open()
    await client.modify()
    for number in pending:  # what a JS client does
        answer = await client.mutation("messages:append", {"channel": channel, "body": "x"}, request_id=number)
        assert answer["success"]
    assert own_server.query("messages:count", {"channel": channel}) == 20
    await client.close()


async def test_a_second_process_on_the_same_data_is_refused(own_server: ReactorProcess) -> None:
    intruder = ReactorProcess(own_server.work)
    intruder.log_path = own_server.work / "intruder.log"
    intruder.start(ready=False)
    assert intruder.wait_exit() != 0
    assert "use" in intruder.log() or "lock" in intruder.log(), intruder.log()
    assert "Traceback" not in intruder.log()
    assert httpx.get(f"{own_server.url}/version").status_code == 200
        for _ in range(1100):
            await client.request("Mutation", "messages:append", {"channel": channel, "body": "x"})
