"""Values, ids and their limits as they cross a real connection.

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
