"""Mutations and actions frame by frame, against a real server process.

Every test runs through `SyncClient`, which checks on every frame the chain of versions (client-protocol 3), timestamps
(8), framing (10), and that responses answer requests of the same connection (28).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from tests.support.proxy import BreakingProxy
from tests.support.server import ReactorProcess
from tests.support.sync_client import SyncClient, ts_of

pytestmark = pytest.mark.process

MakeClient = Callable[..., SyncClient]


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
        for _ in range(1100):
            await client.request("Mutation", "messages:append", {"channel": channel, "body": "x"})
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
