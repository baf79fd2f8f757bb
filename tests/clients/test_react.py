"""The official React hooks, rendered by React itself into a DOM in Node, against a real server process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.driver import Driver, RemoteError
from tests.support.proxy import BreakingProxy
from tests.support.server import CONFORMANCE_APP, ReactorProcess, running_server

pytestmark = [pytest.mark.node, pytest.mark.process]

LOADING = {"loading": True}


def _states(react: Driver, root: str) -> list[Any]:
    return [event["state"] for event in react.events if event["event"] == "render" and event["root"] == root]


async def _until_state(react: Driver, root: str, state: Any) -> None:
    await react.until(lambda: bool(seen := _states(react, root)) and seen[-1] == state)


async def test_use_query_and_use_mutation(server: ReactorProcess, react: Driver, channel: str) -> None:
    """client-protocol 11, 20, 26: the optimistic row is replaced in one render, never missing, never doubled"""
    await react.call("newClient", name="c", url=server.url)
    await react.call("mount", client="c", root="board", component="Board", channel=channel)
    await _until_state(react, "board", [])
    assert await react.call("press", root="board", button="append", **{"with": "a"}) == 0
    assert await react.call("press", root="board", button="append", **{"with": "b"}) == 1
    await _until_state(react, "board", ["a", "b"])
    assert _states(react, "board") == [LOADING, [], ["a (sending)"], ["a"], ["a", "b (sending)"], ["a", "b"]]
    assert await react.call("html", root="board") == "<ul><li>a</li><li>b</li></ul>"
    server.mutation("messages:send", {"channel": channel, "body": "from elsewhere"})
    await _until_state(react, "board", ["a", "b", "from elsewhere"])
    assert await react.call("press", root="board", button="echo", **{"with": {"x": 1}}) == {"x": 1}


async def test_an_optimistic_update_of_a_failing_mutation_is_rolled_back(
    server: ReactorProcess, react: Driver, channel: str
) -> None:
    """client-protocol 26"""
    await react.call("newClient", name="c", url=server.url)
    await react.call("mount", client="c", root="board", component="Board", channel=channel)
    await _until_state(react, "board", [])
    with pytest.raises(RemoteError, match="after the write"):
        await react.call("press", root="board", button="fail", **{"with": "a"})
    await _until_state(react, "board", [])
    assert _states(react, "board") == [LOADING, [], ["a (sending)"], []]


async def test_two_components_see_each_others_changes(server: ReactorProcess, react: Driver, channel: str) -> None:
    for name in ("one", "two"):
        await react.call("newClient", name=name, url=server.url)
        await react.call("mount", client=name, root=name, component="Board", channel=channel)
        await _until_state(react, name, [])
    await react.call("press", root="one", button="append", **{"with": "hello"})
    await _until_state(react, "two", ["hello"])


async def test_two_queries_of_one_render_are_from_one_moment(
    server: ReactorProcess, react: Driver, channel: str
) -> None:
    """client-protocol 14"""
    left, right = f"{channel} left", f"{channel} right"
    await react.call("newClient", name="c", url=server.url)
    await react.call("mount", client="c", root="pair", component="Pair", left=left, right=right)
    await _until_state(react, "pair", [0, 0])
    for number in range(1, 16):
        server.mutation("counters:incrementBoth", {"left": left, "right": right})
        if number % 5 == 0:
            await _until_state(react, "pair", [number, number])
    assert all(a == b for a, b in _states(react, "pair"))


async def test_a_skipped_query_is_asked_when_wanted(server: ReactorProcess, react: Driver, channel: str) -> None:
    """client-protocol 12"""
    await react.call("newClient", name="c", url=server.url)
    await react.call("mount", client="c", root="s", component="Skipping", channel=channel)
    await _until_state(react, "s", LOADING)
    await react.call("press", root="s", button="turn", **{"with": True})
    await _until_state(react, "s", 0)
    server.mutation("messages:send", {"channel": channel, "body": "x"})
    await _until_state(react, "s", 1)
    await react.call("press", root="s", button="turn", **{"with": False})
    await _until_state(react, "s", LOADING)


async def test_a_failing_query_reaches_the_error_boundary_and_recovers(
    server: ReactorProcess, react: Driver, channel: str
) -> None:
    """client-protocol 15"""
    await react.call("newClient", name="c", url=server.url)
    id = server.mutation("messages:send", {"channel": channel, "body": "application trouble"})
    await react.call(
        "mount", client="c", root="f", component="Fragile", query="messages:guarded", args={"channel": channel}
    )
    await react.until(lambda: any("failed" in state for state in _states(react, "f") if isinstance(state, dict)))
    failed = _states(react, "f")[-1]["failed"]
    assert failed["name"] == "ConvexError"
    assert failed["data"] == {"code": "TROUBLE", "channel": channel}
    server.mutation("messages:update", {"id": id, "body": "fine"})
    await react.call("press", root="f", button="again")
    await _until_state(react, "f", 1)


async def test_use_paginated_query_loads_page_after_page(server: ReactorProcess, react: Driver, channel: str) -> None:
    """client-protocol 51 and 52"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [10, 20, 30, 40, 50]})
    await react.call("newClient", name="c", url=server.url)
    await react.call(
        "mount",
        client="c",
        root="p",
        component="Pages",
        query="messages:page",
        args={"channel": channel},
        initialNumItems=2,
    )

    def page() -> tuple[str, list[float]]:
        states = _states(react, "p")
        return (states[-1]["status"], [row["number"] for row in states[-1]["results"]]) if states else ("", [])

    await react.until(lambda: page() == ("CanLoadMore", [10, 20]))
    await react.call("press", root="p", button="loadMore", **{"with": 2})
    await react.until(lambda: page() == ("CanLoadMore", [10, 20, 30, 40]))
    await react.call("press", root="p", button="loadMore", **{"with": 2})
    await react.until(lambda: page() == ("Exhausted", [10, 20, 30, 40, 50]))
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [5, 15, 25, 35, 45, 55]})
    await react.until(lambda: page() == ("Exhausted", [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55]))
    server.mutation("messages:removeNumbers", {"channel": channel, "numbers": [10, 20, 30, 40, 50]})
    await react.until(lambda: page() == ("Exhausted", [5, 15, 25, 35, 45, 55]))
    for state in _states(react, "p"):
        numbers = [row["number"] for row in state["results"]]
        assert numbers == sorted(set(numbers)), "no row twice, none out of order, in any render"


async def test_a_page_that_grew_is_split_without_anybody_noticing(
    server: ReactorProcess, react: Driver, channel: str
) -> None:
    """client-protocol 54: the hook asks for the two halves with endCursor, then drops the whole"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [0, 1000]})
    await react.call("newClient", name="c", url=server.url)
    await react.call(
        "mount",
        client="c",
        root="p",
        component="Pages",
        query="messages:page",
        args={"channel": channel},
        initialNumItems=2,
    )
    await react.until(lambda: bool(s := _states(react, "p")) and s[-1]["status"] == "CanLoadMore")
    expected = [0, *range(100, 112), 1000]
    server.mutation("messages:sendMany", {"channel": channel, "numbers": expected[1:-1]})

    def removed() -> list[dict[str, Any]]:
        return [m for m in sent for m in m.get("modifications", []) if m["type"] == "Remove"]

    sent: list[dict[str, Any]] = []
    for _ in range(200):
        sent = (await react.call("traffic", name="c"))["sent"]
        if removed():
            break
    else:
        raise AssertionError(f"the page was never split: {sent}")
    asked = [
        m["args"][0]["paginationOpts"]
        for message in sent
        for m in message.get("modifications", [])
        if m["type"] == "Add"
    ]
    assert any(options.get("endCursor") for options in asked)
    await react.until(lambda: [row["number"] for row in _states(react, "p")[-1]["results"]] == expected)
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [50, 500]})
    await react.until(
        lambda: [row["number"] for row in _states(react, "p")[-1]["results"]] == sorted([*expected, 50, 500])
    )
    for state in _states(react, "p"):
        numbers = [row["number"] for row in state["results"]]
        assert numbers == sorted(set(numbers))


async def test_pages_survive_a_cut_connection(
    server: ReactorProcess, react: Driver, proxy: BreakingProxy, channel: str
) -> None:
    """client-protocol 53"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [1, 2, 3, 4]})
    await react.call("newClient", name="c", url=proxy.url)
    await react.call(
        "mount",
        client="c",
        root="p",
        component="Pages",
        query="messages:page",
        args={"channel": channel},
        initialNumItems=2,
    )
    await react.until(lambda: bool(s := _states(react, "p")) and s[-1]["status"] == "CanLoadMore")
    await react.call("press", root="p", button="loadMore", **{"with": 2})
    await react.until(lambda: len(_states(react, "p")[-1]["results"]) == 4)
    proxy.cut()
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [0]})
    await react.until(lambda: [row["number"] for row in _states(react, "p")[-1]["results"]] == [0, 1, 2, 3, 4])
    assert not [state for state in _states(react, "p") if "failed" in state]


async def test_an_invalid_cursor_starts_the_pages_afresh(tmp_path: Path, react: Driver, channel: str) -> None:
    """client-protocol 55: new code reads by another index, so the cursors that the page holds are of another query"""
    app = tmp_path / "app"
    shutil.copytree(CONFORMANCE_APP, app, ignore=shutil.ignore_patterns("__pycache__"))
    with running_server(tmp_path / "reactor", app=app) as server:
        server.mutation("messages:sendMany", {"channel": channel, "numbers": [4, 3, 2, 1]})
        await react.call("newClient", name="c", url=server.url)
        await react.call(
            "mount",
            client="c",
            root="p",
            component="Pages",
            query="messages:page",
            args={"channel": channel},
            initialNumItems=2,
        )

        def numbers() -> list[float]:
            states = _states(react, "p")
            return [row["number"] for row in states[-1]["results"]] if states else []

        await react.until(lambda: numbers() == [1, 2])
        await react.call("press", root="p", button="loadMore", **{"with": 2})
        await react.until(lambda: numbers() == [1, 2, 3, 4])
        code = app / "functions" / "messages.py"
        old = 'with_index("by_channel_number", channel=channel)'
        assert old in code.read_text()
        code.write_text(code.read_text().replace(old, 'with_index("by_channel", channel=channel)'))
        await react.until(lambda: numbers() == [4, 3])
        await react.call("press", root="p", button="loadMore", **{"with": 2})
        await react.until(lambda: numbers() == [4, 3, 2, 1])
        assert not [state for state in _states(react, "p") if "failed" in state]


async def test_the_connection_state_hook(
    server: ReactorProcess, react: Driver, proxy: BreakingProxy, channel: str
) -> None:
    await react.call("newClient", name="c", url=proxy.url)
    await react.call("mount", client="c", root="state", component="Connection")
    await react.call("mount", client="c", root="board", component="Board", channel=channel)
    await react.until(lambda: bool(s := _states(react, "state")) and s[-1]["isWebSocketConnected"])
    await _until_state(react, "board", [])
    before = len(_states(react, "state"))
    proxy.cut()
    await react.until(lambda: any(not s["isWebSocketConnected"] for s in _states(react, "state")[before:]))
    await react.until(lambda: _states(react, "state")[-1]["isWebSocketConnected"])
    assert LOADING not in _states(react, "board")[1:], "a reconnect doesn't blank the screen (client-protocol rule 14)"
