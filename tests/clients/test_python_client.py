"""The official PyPI clients, unmodified, against a real server process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.driver import Driver, RemoteError
from tests.support.proxy import BreakingProxy
from tests.support.server import ADMIN_KEY, ReactorProcess

pytestmark = pytest.mark.process


async def _next_but(pypi: Driver, waiting: asyncio.Future[Any], old: Any) -> Any:
    """The next value but the old one, which this client tells again after each reconnect."""
    while (value := await pypi.answer(waiting)) == old:
        waiting = pypi.send("next", sub="s")
    return value


async def test_it_subscribes_mutates_and_sees_what_others_write(
    server: ReactorProcess, pypi: Driver, channel: str
) -> None:
    """client-protocol 11 to 13, 20, 28"""
    await pypi.call("new_client", name="c", url=server.url)
    await pypi.call("subscribe", name="c", sub="s", path="messages:bodies", args={"channel": channel})
    assert await pypi.call("next", sub="s") == []
    append = {"path": "messages:append", "args": {"channel": channel, "body": "a"}}
    assert await pypi.call("mutation", name="c", **append) == 0
    assert await pypi.call("next", sub="s") == ["a"]
    waiting = pypi.send("next", sub="s")
    server.mutation("messages:send", {"channel": channel, "body": "b"})
    assert await pypi.answer(waiting) == ["a", "b"]
    assert await pypi.call("query", name="c", path="messages:count", args={"channel": channel}) == 2
    assert await pypi.call("action", name="c", path="actions:echo", args={"value": {"x": [1]}}) == {"x": [1]}
    await pypi.call("unsubscribe", sub="s")


async def test_a_mutation_without_any_subscription_resolves(server: ReactorProcess, pypi: Driver, channel: str) -> None:
    """client-protocol 5: this client sends no ModifyQuerySet of its own accord"""
    await pypi.call("new_client", name="c", url=server.url)
    append = {"path": "messages:append", "args": {"channel": channel, "body": "a"}}
    assert await pypi.call("mutation", name="c", **append) == 0
    await pypi.call("set_admin_auth", name="c", key=ADMIN_KEY)
    assert await pypi.call("mutation", name="c", **append) == 1
    assert await pypi.call("query", name="c", path="hidden:recall", args={"label": channel}) == "0 remembered"
    assert await pypi.call("query", name="c", path="identity:isAdmin") is True


async def test_errors(server: ReactorProcess, pypi: Driver, channel: str) -> None:
    """client-protocol 15, and rule 3: it waits for a Transition after an application error too"""
    await pypi.call("new_client", name="c", url=server.url)
    for op, path in (
        ("mutation", "failures:inMutation"),
        ("action", "failures:inAction"),
        ("query", "failures:inQuery"),
    ):
        with pytest.raises(RemoteError, match="a plain error") as plain:
            await pypi.call(op, name="c", path=path, args={"how": "plain"})
        assert plain.value.name != "ConvexError"
        for how, data in (
            ("object", {"code": "BROKEN", "detail": {"n": 1.5, "list": [True, None, "x"]}}),
            ("string", "a broken string"),
        ):
            with pytest.raises(RemoteError) as told:
                await pypi.call(op, name="c", path=path, args={"how": how})
            assert (told.value.name, told.value.data) == ("ConvexError", data)


async def test_a_failing_subscription_recovers(server: ReactorProcess, pypi: Driver, channel: str) -> None:
    """client-protocol 15"""
    await pypi.call("new_client", name="c", url=server.url)
    await pypi.call("subscribe", name="c", sub="s", path="messages:guarded", args={"channel": channel})
    assert await pypi.call("next", sub="s") == 0
    waiting = pypi.send("next", sub="s")
    id = server.mutation("messages:send", {"channel": channel, "body": "application trouble"})
    with pytest.raises(RemoteError) as told:
        await pypi.answer(waiting)
    assert told.value.data == {"code": "TROUBLE", "channel": channel}
    waiting = pypi.send("next", sub="s")
    server.mutation("messages:update", {"id": id, "body": "fine"})
    assert await pypi.answer(waiting) == 1


async def test_every_kind_of_value_makes_the_round_trip(server: ReactorProcess, pypi: Driver) -> None:
    """client-protocol 47"""
    await pypi.call("new_client", name="c", url=server.url)
    report = await pypi.call("round_trip", name="c", path="values:echo")
    assert report["tried"] > 20
    assert report["wrong"] == []


async def test_it_survives_five_aborted_connections(
    server: ReactorProcess, pypi: Driver, proxy: BreakingProxy, channel: str
) -> None:
    """client-protocol 17, 19 and 28: after a reconnect its paths end in `.js`"""
    await pypi.call("new_client", name="c", url=proxy.url)
    await pypi.call("subscribe", name="c", sub="s", path="messages:count", args={"channel": channel})
    assert await pypi.call("next", sub="s") == 0
    for number in range(1, 6):
        waiting = pypi.send("next", sub="s")
        proxy.cut()
        server.mutation("messages:send", {"channel": channel, "body": "x"})
        assert await _next_but(pypi, waiting, number - 1) == number
        assert await pypi.call("mutation", name="c", path="messages:onlyReads", args={"channel": channel}) == number


async def test_it_comes_back_after_a_restart(own_server: ReactorProcess, pypi: Driver, channel: str) -> None:
    """client-protocol 9"""
    await pypi.call("new_client", name="c", url=own_server.url)
    await pypi.call("subscribe", name="c", sub="s", path="messages:count", args={"channel": channel})
    assert await pypi.call("next", sub="s") == 0
    for number in (1, 2):
        waiting = pypi.send("next", sub="s")
        if number == 1:
            own_server.terminate()
        else:
            own_server.kill()
        own_server.start()
        own_server.mutation("messages:send", {"channel": channel, "body": "x"})
        assert await _next_but(pypi, waiting, number - 1) == number


async def test_a_12_mb_result_arrives_whole(server: ReactorProcess, pypi: Driver) -> None:
    """client-protocol 56"""
    await pypi.call("new_client", name="c", url=server.url)
    assert await pypi.call("size_of_rows", name="c", path="values:big", args={"megabytes": 12}) == [120, 40_000]


async def test_a_40_mb_transition_of_several_queries_arrives_in_fragments(
    server: ReactorProcess, pypi: Driver, channel: str
) -> None:
    """client-protocol 56: a single frame above 16 MiB would make this client reconnect for ever"""
    await pypi.call("new_client", name="c", url=server.url)
    subs = ["a", "b", "c", "d"]
    for number, sub in enumerate(subs):
        args = {"megabytes": 10 + number / 10, "label": channel}
        await pypi.call("subscribe", name="c", sub=sub, path="values:bigLive", args=args)
    assert await pypi.call("next_sizes", subs=subs) == [100, 101, 102, 103]
    server.mutation("values:store", {"label": channel, "content": None})  # all four change at once
    assert await pypi.call("next_sizes", subs=subs) == [100, 101, 102, 103]


# --- the HTTP client


async def test_http_query_mutation_and_action(server: ReactorProcess, pypi: Driver, channel: str) -> None:
    """client-protocol 40, and rule 15: it takes no JSON integers, nested ones neither"""
    await pypi.call("new_http_client", name="h", url=server.url)
    append = {"path": "messages:append", "args": {"channel": channel, "body": "a"}}
    assert await pypi.call("mutation", name="h", **append) == 0
    (message,) = await pypi.call("query", name="h", path="messages:list", args={"channel": channel})
    assert message["number"] == 0
    assert await pypi.call("action", name="h", path="actions:echo", args={"value": {"x": [1, [2]]}}) == {"x": [1, [2]]}
    report = await pypi.call("round_trip", name="h", path="values:echo")
    assert report["wrong"] == []


async def test_http_errors(server: ReactorProcess, pypi: Driver) -> None:
    """client-protocol 40"""
    await pypi.call("new_http_client", name="h", url=server.url)
    for op, path in (
        ("query", "failures:inQuery"),
        ("mutation", "failures:inMutation"),
        ("action", "failures:inAction"),
    ):
        with pytest.raises(RemoteError, match="a plain error"):
            await pypi.call(op, name="h", path=path, args={"how": "plain"})
        with pytest.raises(RemoteError, match="a broken string") as told:
            await pypi.call(op, name="h", path=path, args={"how": "string"})
        assert told.value.data == "a broken string"
        with pytest.raises(RemoteError) as told:
            await pypi.call(op, name="h", path=path, args={"how": "object"})
        assert told.value.data == {"code": "BROKEN", "detail": {"n": 1.5, "list": [True, None, "x"]}}


async def test_http_admin_and_bad_tokens(server: ReactorProcess, pypi: Driver, channel: str) -> None:
    """client-protocol 35 and 40"""
    await pypi.call("new_http_client", name="h", url=server.url)
    await pypi.call("set_auth", name="h", token="invalid-token-one")
    with pytest.raises(RemoteError, match="401 "):
        await pypi.call("query", name="h", path="messages:count", args={"channel": channel})
    await pypi.call("clear_auth", name="h")
    assert await pypi.call("query", name="h", path="messages:count", args={"channel": channel}) == 0
    await pypi.call("set_admin_auth", name="h", key=ADMIN_KEY)
    assert await pypi.call("query", name="h", path="hidden:recall", args={"label": channel}) == "0 remembered"
    await pypi.call("set_admin_auth", name="h", key="conformance|wrong")
    with pytest.raises(RemoteError, match="403 BadDeployKey"):
        await pypi.call("query", name="h", path="messages:count", args={"channel": channel})
