"""The official npm client (`ConvexClient`), unmodified, against a real server process."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.driver import Driver, RemoteError
from tests.support.proxy import BreakingProxy, breaking_proxy
from tests.support.server import ADMIN_KEY, ReactorProcess

pytestmark = [pytest.mark.node, pytest.mark.process]


async def _client(npm: Driver, url: str, name: str = "one") -> str:
    await npm.call("newClient", name=name, url=url)
    return name


async def test_it_subscribes_mutates_and_sees_what_others_write(
    server: ReactorProcess, npm: Driver, channel: str
) -> None:
    """client-protocol 11 to 13, 20"""
    name = await _client(npm, server.url)
    await npm.call("subscribe", name=name, sub="bodies", path="messages:bodies", args={"channel": channel})
    await npm.until_update("bodies", lambda value: value == [])
    assert await npm.call("mutation", name=name, path="messages:append", args={"channel": channel, "body": "a"}) == 0
    assert npm.updates("bodies")[-1] == ["a"], "the mutation resolves when its Transition has arrived"
    server.mutation("messages:send", {"channel": channel, "body": "b"})
    await npm.until_update("bodies", lambda value: value == ["a", "b"])
    assert npm.updates("bodies") == [[], ["a"], ["a", "b"]]
    assert await npm.call("query", name=name, path="messages:count", args={"channel": channel}) == 2
    assert await npm.call("action", name=name, path="actions:echo", args={"value": {"x": [1.5]}}) == {"x": [1.5]}


async def test_a_projection_runs_again_only_for_what_it_shows(
    server: ReactorProcess, npm: Driver, channel: str
) -> None:
    """issue 6, item 4: and a count only when keys come or go"""
    name = await _client(npm, server.url)

    def change(**step: object) -> list[str]:
        return server.mutation("items:change", {"steps": [step]})

    (id,) = change(do="insert", bucket=channel, rank=1, label="old", weight=1)
    for sub, path in (("labels", "items:labelsAndRun"), ("n", "items:countAndRun"), ("all", "items:inBucket")):
        await npm.call("subscribe", name=name, sub=sub, path=path, args={"bucket": channel})
        await npm.until_update(sub, bool)
    for weight in (2, 3, 4):
        change(do="weigh", id=id, weight=weight)
        await npm.until_update("all", lambda rows, weight=weight: rows[0]["weight"] == weight)
    # Whole documents were sent again each time, all queries of a client are of one moment: these did not run.
    assert len(npm.updates("labels")) == len(npm.updates("n")) == 1
    change(do="label", id=id, label="new")
    await npm.until_update("labels", lambda value: value["labels"] == ["new"])
    assert len(npm.updates("labels")) == 2
    change(do="move", id=id, bucket=f"{channel} elsewhere", rank=1)
    await npm.until_update("labels", lambda value: value["labels"] == [])
    await npm.until_update("n", lambda value: value["count"] == 0)
    assert [len(npm.updates(sub)) for sub in ("labels", "n")] == [3, 2]


async def test_a_search_is_live_for_the_documents_that_match_it(
    server: ReactorProcess, npm: Driver, channel: str
) -> None:
    """server-semantics 5.2, 47"""
    name = await _client(npm, server.url)

    def add(label: str, bucket: str = channel) -> None:
        server.mutation("items:change", {"steps": [{"do": "insert", "bucket": bucket, "rank": 1, "label": label}]})

    await npm.call("subscribe", name=name, sub="found", path="items:search", args={"bucket": channel, "text": "red fi"})
    await npm.until_update("found", lambda value: value == [])
    add("blue bird")  # no word of it
    add("red fish", f"{channel} elsewhere")  # another bucket
    add("One FISH!")
    await npm.until_update("found", lambda value: value == ["One FISH!"])
    add("red fish")
    await npm.until_update("found", lambda value: value == ["red fish", "One FISH!"])
    assert len(npm.updates("found")) == 3


async def test_documents_have_their_system_fields(server: ReactorProcess, npm: Driver, channel: str) -> None:
    name = await _client(npm, server.url)
    id = await npm.call("mutation", name=name, path="messages:send", args={"channel": channel, "body": "x"})
    (message,) = await npm.call("query", name=name, path="messages:list", args={"channel": channel})
    assert message["_id"] == id
    assert message["_creationTime"] > 1_700_000_000_000
    assert {key: value for key, value in message.items() if not key.startswith("_")} == {
        "channel": channel,
        "body": "x",
        "author": "anonymous",
        "number": 0,
    }


async def test_mutations_and_queries_asked_before_the_socket_is_open_are_answered(
    server: ReactorProcess, npm: Driver, channel: str
) -> None:
    """client-protocol 1.2"""
    npm.send("newClient", name="one", url=server.url)
    npm.send("subscribe", name="one", sub="n", path="messages:count", args={"channel": channel})
    answers = [
        npm.send("mutation", name="one", path="messages:append", args={"channel": channel, "body": "x"})
        for _ in range(3)
    ]
    action = npm.send("action", name="one", path="actions:echo", args={"value": "early"})
    assert [await npm.answer(answer) for answer in answers] == [0, 1, 2]
    assert await npm.answer(action) == "early"
    await npm.until_update("n", lambda value: value == 3)


async def test_mutations_of_one_client_run_in_order(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 21"""
    name = await _client(npm, server.url)
    calls = [["messages:append", {"channel": channel, "body": f"{number}"}] for number in range(200)]
    answers = await npm.call("mutations", name=name, calls=calls)
    assert [answer["ok"] for answer in answers] == list(range(200))


async def test_two_counters_are_never_seen_different(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 14: in the order in which the client calls its listeners"""
    name = await _client(npm, server.url)
    for side in ("left", "right"):
        await npm.call("subscribe", name=name, sub=side, path="counters:read", args={"name": f"{channel} {side}"})
    await npm.until_update("right", lambda value: value == 0)
    for number in range(1, 21):
        server.mutation("counters:incrementBoth", {"left": f"{channel} left", "right": f"{channel} right"})
        await npm.until_update("right", lambda value, number=number: value == number)
        assert npm.updates("left")[-1] == number


async def test_errors_reject_and_application_errors_carry_data(
    server: ReactorProcess, npm: Driver, channel: str
) -> None:
    """client-protocol 15"""
    name = await _client(npm, server.url)
    for op, path, letter in (
        ("mutation", "failures:inMutation", "M"),
        ("action", "failures:inAction", "A"),
        ("query", "failures:inQuery", "Q"),
    ):
        with pytest.raises(RemoteError) as plain:
            await npm.call(op, name=name, path=path, args={"how": "plain"})
        assert plain.value.name == "Error"
        assert not plain.value.has_data
        assert "a plain error" in plain.value.text
        assert f"[CONVEX {letter}({path})]" in plain.value.text
        for how, data in (
            ("object", {"code": "BROKEN", "detail": {"n": 1.5, "list": [True, None, "x"]}}),
            ("none", None),
        ):
            with pytest.raises(RemoteError) as told:
                await npm.call(op, name=name, path=path, args={"how": how})
            assert told.value.name == "ConvexError"
            assert told.value.data == data


async def test_a_failing_subscription_recovers(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 15"""
    name = await _client(npm, server.url)
    await npm.call("subscribe", name=name, sub="guarded", path="messages:guarded", args={"channel": channel})
    await npm.until_update("guarded", lambda value: value == 0)
    id = server.mutation("messages:send", {"channel": channel, "body": "application trouble"})
    failure = await npm.until_update("guarded", lambda value: isinstance(value, dict))
    assert failure["data"] == {"code": "TROUBLE", "channel": channel}
    server.mutation("messages:update", {"id": id, "body": "fine"})
    await npm.until_update("guarded", lambda value: value == 1)


async def test_bad_calls_fail_alone(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 16"""
    name = await _client(npm, server.url)
    await npm.call("subscribe", name=name, sub="good", path="messages:count", args={"channel": channel})
    await npm.call("subscribe", name=name, sub="unknown", path="messages:nope", args={})
    await npm.call("subscribe", name=name, sub="kind", path="messages:append", args={"channel": channel, "body": "x"})
    await npm.call("subscribe", name=name, sub="args", path="messages:count", args={"channel": 5})
    for sub in ("unknown", "kind", "args"):
        await npm.until_update(sub, lambda value: isinstance(value, dict))
    server.mutation("messages:send", {"channel": channel, "body": "x"})
    await npm.until_update("good", lambda value: value == 1)


async def test_log_lines_are_understood(server: ReactorProcess, npm: Driver) -> None:
    """client-protocol 2.7: the client complains about lines whose level it can't find"""
    name = await _client(npm, server.url)
    await npm.call("mutation", name=name, path="logs:fromMutation", args={})
    await npm.call("action", name=name, path="logs:fromAction", args={})
    await npm.call("query", name=name, path="logs:fromQuery", args={})
    lines = npm.console()
    assert any("a warning of some kind" in line for line in lines), lines
    assert not any("Could not parse" in line for line in lines), lines


@pytest.mark.parametrize("http", [False, True])
async def test_every_kind_of_value_makes_the_round_trip(server: ReactorProcess, npm: Driver, http: bool) -> None:
    """client-protocol 47"""
    await npm.call("newHttpClient" if http else "newClient", name="one", url=server.url)
    report = await npm.call("roundTrip", name="one", path="values:echo", http=http)
    assert report["tried"] > 20
    assert report["wrong"] == []


async def test_stored_values_come_back_as_they_went(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 47, through the database"""
    name = await _client(npm, server.url)
    content = {
        "int": {"$integer": "AAAAAAAAAIA="},
        "nan": {"$float": "AAAAAAAA+H8="},
        "minusZero": {"$float": "AAAAAAAAAIA="},
        "bytes": {"$bytes": "AQID"},
        "text": "𝄞\u0000",
        "list": [[], {}, None],
    }
    id = await npm.call("mutation", name=name, path="values:store", args={"label": channel, "content": content})
    assert await npm.call("query", name=name, path="values:load", args={"id": id}) == content


async def test_an_optimistic_update_gives_way_to_the_servers_value_without_flicker(
    server: ReactorProcess, npm: Driver, channel: str
) -> None:
    """client-protocol 26"""
    name = await _client(npm, server.url)
    await npm.call("subscribe", name=name, sub="bodies", path="messages:bodies", args={"channel": channel})
    await npm.until_update("bodies", lambda value: value == [])
    for body in ("a", "b"):
        await npm.call(
            "mutation",
            name=name,
            path="messages:append",
            args={"channel": channel, "body": body},
            optimistic={"path": "messages:bodies", "args": {"channel": channel}, "append": f"{body} (sending)"},
        )
    assert npm.updates("bodies") == [[], ["a (sending)"], ["a"], ["a", "b (sending)"], ["a", "b"]]
    with pytest.raises(RemoteError):
        await npm.call(
            "mutation",
            name=name,
            path="messages:sendThenFail",
            args={"channel": channel, "body": "c"},
            optimistic={"path": "messages:bodies", "args": {"channel": channel}, "append": "c (sending)"},
        )
    await npm.until_update("bodies", lambda value: value == ["a", "b"])
    assert npm.updates("bodies")[5:] == [["a", "b", "c (sending)"], ["a", "b"]]


async def test_an_unsubscribed_query_is_not_called_again(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 12"""
    name = await _client(npm, server.url)
    for sub in ("kept", "dropped"):
        path = "messages:count" if sub == "kept" else "messages:bodies"
        await npm.call("subscribe", name=name, sub=sub, path=path, args={"channel": channel})
        await npm.until_update(sub, lambda value: value in (0, []))
    await npm.call("unsubscribe", sub="dropped")
    server.mutation("messages:send", {"channel": channel, "body": "x"})
    await npm.until_update("kept", lambda value: value == 1)
    assert npm.updates("dropped") == [[]]


# --- connections that break


async def test_it_survives_five_aborted_connections(
    server: ReactorProcess, npm: Driver, proxy: BreakingProxy, channel: str
) -> None:
    """client-protocol 19"""
    name = await _client(npm, proxy.url)
    await npm.call("subscribe", name=name, sub="n", path="messages:count", args={"channel": channel})
    await npm.until_update("n", lambda value: value == 0)
    for number in range(1, 6):
        proxy.cut()
        await npm.until(lambda number=number: sum(e["event"] == "socketClosed" for e in npm.events) == number)
        server.mutation("messages:send", {"channel": channel, "body": "x"})
        await npm.until_update("n", lambda value, number=number: value == number)
    assert (await npm.call("traffic", name=name))["opened"] == 6
    counts = npm.updates("n")
    assert sorted(counts) == counts, "never back in time"


async def test_a_mutation_that_committed_but_was_not_answered_runs_once(
    server: ReactorProcess, npm: Driver, proxy: BreakingProxy, channel: str
) -> None:
    """client-protocol 22 and 26"""
    name = await _client(npm, proxy.url)
    await npm.call("subscribe", name=name, sub="bodies", path="messages:bodies", args={"channel": channel})
    await npm.until_update("bodies", lambda value: value == [])
    proxy.hold_answers()
    mutation = npm.send("mutation", name=name, path="messages:append", args={"channel": channel, "body": "once"})
    await proxy.wait_held_answer()
    server.mutation("messages:append", {"channel": channel, "body": "after it"})
    proxy.cut()
    proxy.flow()
    assert await npm.answer(mutation) == 0, "the first outcome, not that of a second run"
    await npm.until_update("bodies", lambda value: value == ["once", "after it"])
    assert server.query("messages:bodies", {"channel": channel}) == ["once", "after it"]


async def test_a_mutation_that_never_arrived_runs_once(
    server: ReactorProcess, npm: Driver, proxy: BreakingProxy, channel: str
) -> None:
    """client-protocol 23"""
    name = await _client(npm, proxy.url)
    await npm.call("subscribe", name=name, sub="n", path="messages:count", args={"channel": channel})
    await npm.until_update("n", lambda value: value == 0)
    proxy.hold_requests()
    mutation = npm.send("mutation", name=name, path="messages:append", args={"channel": channel, "body": "once"})
    await proxy.wait_held_request()
    assert server.query("messages:count", {"channel": channel}) == 0
    proxy.cut()
    proxy.flow()
    assert await npm.answer(mutation) == 0
    assert server.query("messages:count", {"channel": channel}) == 1


async def test_an_action_in_flight_is_lost_with_its_connection_but_runs_on(
    server: ReactorProcess, npm: Driver, proxy: BreakingProxy, channel: str
) -> None:
    """client-protocol 27"""
    name = await _client(npm, proxy.url)
    await npm.call("subscribe", name=name, sub="n", path="messages:count", args={"channel": channel})
    await npm.until_update("n", lambda value: value == 0)
    proxy.hold_answers()
    action = npm.send("action", name=name, path="actions:send", args={"channel": channel, "body": "x"})
    await proxy.wait_held_answer()
    proxy.cut()
    proxy.flow()
    with pytest.raises(RemoteError, match="Connection lost while action was in flight"):
        await npm.answer(action)
    await npm.until_update("n", lambda value: value == 1)


async def test_a_stalled_network_delays_and_loses_nothing(
    server: ReactorProcess, npm: Driver, proxy: BreakingProxy, channel: str
) -> None:
    name = await _client(npm, proxy.url)
    await npm.call("subscribe", name=name, sub="n", path="messages:count", args={"channel": channel})
    await npm.until_update("n", lambda value: value == 0)
    proxy.hold_answers()
    for _ in range(10):
        server.mutation("messages:send", {"channel": channel, "body": "x"})
    await proxy.wait_held_answer()
    proxy.flow()
    await npm.until_update("n", lambda value: value == 10)
    assert (await npm.call("traffic", name=name))["opened"] == 1


async def test_it_comes_back_after_a_restart(own_server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 9: closed with a reason that makes it reconnect, live again soon"""
    name = await _client(npm, own_server.url)
    await npm.call("subscribe", name=name, sub="n", path="messages:count", args={"channel": channel})
    await npm.call("mutation", name=name, path="messages:append", args={"channel": channel, "body": "x"})
    assert own_server.terminate() == 0, own_server.log()
    await npm.until(lambda: any(e["event"] == "socketClosed" for e in npm.events))
    mutation = npm.send("mutation", name=name, path="messages:append", args={"channel": channel, "body": "offline"})
    own_server.start()
    assert await npm.answer(mutation) == 1
    await npm.until_update("n", lambda value: value == 2)
    own_server.kill()
    mutation = npm.send("mutation", name=name, path="messages:append", args={"channel": channel, "body": "again"})
    own_server.start()
    assert await npm.answer(mutation) == 2
    await npm.until_update("n", lambda value: value == 3)
    assert npm.updates("n") == sorted(npm.updates("n"))


@pytest.mark.timeout(150)
async def test_a_minute_of_silence_does_not_cost_the_connection(
    server: ReactorProcess, npm: Driver, pypi: Driver, channel: str
) -> None:
    """client-protocol 6 and 7: the npm client gives up after 60 s, the PyPI client after 30 s without a sign of life"""
    names = [await _client(npm, server.url, name) for name in ("subscribed", "bare")]
    await npm.call("subscribe", name=names[0], sub="n", path="messages:count", args={"channel": channel})
    await pypi.call("new_client", name="py", url=server.url)
    await pypi.call("subscribe", name="py", sub="n", path="messages:count", args={"channel": channel})
    assert await pypi.call("next", sub="n") == 0
    await npm.until_update("n", lambda value: value == 0)
    await asyncio.sleep(66)  # the behaviour is about time itself
    waiting = pypi.send("next", sub="n")
    for name in names:
        traffic = await npm.call("traffic", name=name)
        assert traffic["opened"] == 1, traffic
        assert traffic["received"].count("Ping") >= 4, traffic
    server.mutation("messages:send", {"channel": channel, "body": "good morning"})
    await npm.until_update("n", lambda value: value == 1)
    assert await pypi.answer(waiting) == 1


# --- large data, pages, identity


async def test_a_12_mb_result_arrives_in_chunks(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 56"""
    name = await _client(npm, server.url)
    await npm.call("subscribe", name=name, sub="n", path="messages:count", args={"channel": channel})
    big = npm.send("query", name=name, path="values:big", args={"megabytes": 12})
    for _ in range(3):
        server.mutation("messages:send", {"channel": channel, "body": "meanwhile"})
    value = await npm.answer(big)
    assert set(value["rows"]) == {"aé€😀" * 10_000}
    assert len(value["rows"]) == 120
    received = (await npm.call("traffic", name=name))["received"]
    first = received.index("TransitionChunk")
    assert set(received[first : first + 3]) <= {"TransitionChunk", "Ping"}
    await npm.until_update("n", lambda value: value == 3)


async def test_pages_of_the_paginated_subscription(
    server: ReactorProcess, npm: Driver, proxy: BreakingProxy, channel: str
) -> None:
    """client-protocol 52 and 53: rows inserted while offline land in the page they belong to"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [10, 20, 30, 40, 50]})
    name = await _client(npm, proxy.url)
    await npm.call(
        "subscribePages", name=name, sub="p", path="messages:page", args={"channel": channel}, initialNumItems=2
    )

    def pages() -> tuple[str, list[float]]:
        told = [e for e in npm.events if e["event"] == "pages"]
        return (told[-1]["status"], [row["number"] for row in told[-1]["results"]]) if told else ("", [])

    await npm.until(lambda: pages() == ("CanLoadMore", [10, 20]))
    await npm.call("loadMore", sub="p", numItems=2)
    await npm.until(lambda: pages() == ("CanLoadMore", [10, 20, 30, 40]))
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [15]})
    await npm.until(lambda: pages() == ("CanLoadMore", [10, 15, 20, 30, 40]))
    proxy.refuse = True
    proxy.cut()
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [5, 25, 35, 45]})
    proxy.refuse = False
    await npm.until(lambda: pages() == ("CanLoadMore", [5, 10, 15, 20, 25, 30, 35, 40]))
    await npm.call("loadMore", sub="p", numItems=5)
    await npm.until(lambda: pages() == ("Exhausted", [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]))


async def test_an_admin_acting_as_somebody(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 34"""
    name = await _client(npm, server.url)
    await npm.call("subscribe", name=name, sub="who", path="identity:whoami", args={})
    await npm.until_update("who", lambda value: value is None)
    await npm.call(
        "setAdminAuth", name=name, token=ADMIN_KEY, identity={"subject": "ann", "issuer": "https://i.example"}
    )
    identity = await npm.until_update("who", lambda value: value is not None)
    assert identity["tokenIdentifier"] == "https://i.example|ann"
    assert await npm.call("query", name=name, path="hidden:recall", args={"label": channel}) == "0 remembered"


@pytest.mark.parametrize("token", ["always-the-same", "fresh"])
async def test_a_token_nobody_can_verify_leaves_the_client_anonymous(
    server: ReactorProcess, npm: Driver, channel: str, token: str
) -> None:
    """client-protocol 31: it gives up after a few attempts, and public queries work without identity"""
    name = await _client(npm, server.url)
    await npm.call("subscribe", name=name, sub="n", path="messages:count", args={"channel": channel})
    await npm.until_update("n", lambda value: value == 0)
    await npm.call("setAuth", name=name, token=token)
    await npm.until(lambda: any(e["event"] == "authenticated" for e in npm.events))
    assert [e["authenticated"] for e in npm.events if e["event"] == "authenticated"] == [False]
    append = {"path": "messages:append", "args": {"channel": channel, "body": "x"}}
    assert await npm.call("mutation", name=name, **append) == 0
    await npm.until_update("n", lambda value: value == 1)
    assert await npm.call("query", name=name, path="identity:whoami", args={}) is None
    traffic = await npm.call("traffic", name=name)
    assert 1 <= traffic["sent"].count("Authenticate") <= 4, traffic
    assert traffic["received"].count("AuthError") == traffic["sent"].count("Authenticate")


async def test_a_bad_admin_key_does_not_stop_other_clients(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 34"""
    for name in ("good", "bad"):
        await _client(npm, server.url, name)
        await npm.call("subscribe", name=name, sub=name, path="messages:count", args={"channel": channel})
        await npm.until_update(name, lambda value: value == 0)
    await npm.call("setAdminAuth", name="bad", token="conformance|wrong")
    append = {"path": "messages:append", "args": {"channel": channel, "body": "x"}}
    assert await npm.call("mutation", name="good", **append) == 0
    for name in ("good", "bad"):
        await npm.until_update(name, lambda value: value == 1)
    traffic = await npm.call("traffic", name="bad")
    assert traffic["received"].count("AuthError") == traffic["sent"].count("Authenticate") == 1


async def test_many_clients_see_the_same(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """design promise 6, as seen from outside"""
    names = [await _client(npm, server.url, f"client {number}") for number in range(20)]
    for name in names:
        await npm.call("subscribe", name=name, sub=name, path="messages:bodies", args={"channel": channel})
    for name in names:
        await npm.until_update(name, lambda value: value == [])
    calls = [["messages:append", {"channel": channel, "body": f"{number}"}] for number in range(3)]
    await asyncio.gather(*(npm.call("mutations", name=name, calls=calls) for name in names))
    final = server.query("messages:bodies", {"channel": channel})
    assert len(final) == 60
    for name in names:
        await npm.until_update(name, lambda value: value == final)
        for update in npm.updates(name):
            assert update == final[: len(update)], "every state seen is a state that was"


async def test_a_deployment_address_with_a_trailing_slash(server: ReactorProcess, npm: Driver, channel: str) -> None:
    """client-protocol 1"""
    name = await _client(npm, f"{server.url}/")
    assert await npm.call("query", name=name, path="messages:count", args={"channel": channel}) == 0


async def test_a_server_that_is_not_there_yet_is_waited_for(
    tmp_path_factory: pytest.TempPathFactory, npm: Driver, channel: str
) -> None:
    server = ReactorProcess(tmp_path_factory.mktemp("late") / "reactor")
    async with breaking_proxy(server.port) as proxy:
        name = await _client(npm, proxy.url)
        answer = npm.send("mutation", name=name, path="messages:append", args={"channel": channel, "body": "early"})
        await npm.until(lambda: any(e["event"] == "socketClosed" for e in npm.events))
        try:
            server.start()
            assert await npm.answer(answer) == 0
        finally:
            server.close()
