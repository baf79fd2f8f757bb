"""Bytes and values that no honest client sends. The server answers as documented, and everybody else goes on."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import struct
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.server import ReactorProcess
from tests.support.sync_client import Query, SyncClient, ts_of

pytestmark = pytest.mark.process

MakeClient = Callable[..., SyncClient]


def _frame(opcode: int, payload: bytes, *, masked: bool = True, fin: bool = True, reserved: int = 0) -> bytes:
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask | len(payload)])
    else:
        head += bytes([mask | 127]) + struct.pack(">Q", len(payload))
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        (_frame(1, b'{"type":"Event"}', masked=False), {1002}),
        (_frame(3, b"reserved opcode"), {1002}),
        (_frame(1, b"reserved bit", reserved=4), {1002}),
        (_frame(1, b'{"type":"\xff\xfe"}'), {1007}),
        (_frame(9, b"x" * 200), {1002}),
        (_frame(9, b"fragmented ping", fin=False), {1002}),
        (_frame(0, b"continuation of nothing"), {1002}),
        (bytes([0x81, 0xFF]) + struct.pack(">Q", 2**62) + b"\0\0\0\0", {1009, 1002}),
        (_frame(8, struct.pack(">H", 1005)), {1002}),
        (b"GET / HTTP/1.1\r\n\r\n", {1002, 1006}),
    ],
    ids=["unmasked", "opcode", "reserved", "utf8", "long ping", "split ping", "continuation", "2**62", "1005", "http"],
)
async def test_broken_frames(
    server: ReactorProcess, raw: MakeClient, channel: str, data: bytes, codes: set[int]
) -> None:
    """client-protocol, later findings"""
    witness, culprit = raw(), raw()
    await witness.open()
    query = await witness.subscribe("messages:count", {"channel": channel})
    await culprit.open()
    await culprit.modify()
    await culprit.until(lambda: culprit.version["querySet"] == 1)
    culprit.socket.transport.write(data)
    code, _ = await culprit.until_closed()
    assert code in codes
    server.mutation("messages:send", {"channel": channel, "body": "x"})
    await witness.until_value(query, lambda count: count == 1)


async def test_a_message_in_many_small_pieces(server: ReactorProcess, channel: str, raw: MakeClient) -> None:
    client = raw()
    await client.open()
    text = json.dumps({"type": "Event", "eventType": "é" * 100}).encode()
    for position in range(0, len(text), 3):
        last = position + 3 >= len(text)
        client.socket.transport.write(_frame(0 if position else 1, text[position : position + 3], fin=last))
    assert (await client.subscribe("messages:count", {"channel": channel})).value == 0


PLACE = "what is sent stands here"


async def _add_verbatim(client: SyncClient, query: Query, value: str) -> None:
    """Subscribe to an echo of a value that is spelled as it is given."""
    modification = {"type": "Add", "queryId": query.id, "udfPath": query.path, "args": [{"value": PLACE}]}
    message = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [modification]}
    client.query_set = 1
    await client.socket.send(json.dumps(message).replace(f'"{PLACE}"', value))


@pytest.mark.parametrize(
    "args",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "01",
        "1.",
        "'x'",
        '{"a":1,}',
        '"\\ud800"',
        '"\\x"',
        '"a\nb"',
        "[1",
        "9" * 5000,
    ],
)
async def test_arguments_that_are_no_json_or_no_number(
    server: ReactorProcess, raw: MakeClient, channel: str, args: str
) -> None:
    """A FatalError, or a failure of that query; never a value that is not what was sent."""
    client = raw()
    await client.open()
    query = client.new_query("values:echo", {})
    await _add_verbatim(client, query, args)
    await client.until(lambda: client.closed is not None or client.version["querySet"] == 1)
    if client.closed is None:
        assert query.last["type"] == "QueryFailed"
    else:
        assert client.fatal is not None
    body = json.dumps({"path": "values:echo", "args": {"value": PLACE}}).replace(f'"{PLACE}"', args)
    response = httpx.post(
        f"{server.url}/api/query", content=body.encode(), headers={"content-type": "application/json"}
    )
    assert response.status_code == 400 or response.json()["status"] == "error", response.text[:300]


@pytest.mark.parametrize(
    ("sent", "back"),
    [
        ("9007199254740993", 9007199254740992.0),
        ("-0.0", {"$float": "AAAAAAAAAIA="}),
        ("1E2", 100),
        ("123456789012345678901234567890", 1.2345678901234568e29),
        ("0.1", 0.1),
        ("5e-324", 5e-324),
        ('{"a":1,"a":2}', {"a": 2}),
        ('"\\u0041\\ud83d\\ude00"', "A😀"),
        (' [ 1 , { "b" : null } ] ', [1, {"b": None}]),
    ],
)
async def test_numbers_and_spellings_mean_what_they_mean_in_javascript(
    raw: MakeClient, sent: str, back: object
) -> None:
    client = raw()
    await client.open()
    query = client.new_query("values:echo", {})
    await _add_verbatim(client, query, sent)
    await client.until(lambda: client.version["querySet"] == 1)
    assert query.value == back


@pytest.mark.parametrize("journal", ["garbage", "", "{}", "x" * 100_000, '{"end":"é"}'])
async def test_a_journal_that_is_none_fails_its_query_only(
    server: ReactorProcess, raw: MakeClient, channel: str, journal: str
) -> None:
    """client-protocol 5.3: a journal that can't be decoded is an invalid cursor; plain queries have no use for one"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [1, 2, 3]})
    client = raw()
    await client.open()
    pages = client.new_query("messages:page", {"channel": channel, "paginationOpts": {"numItems": 2, "cursor": None}})
    plain = client.new_query("messages:count", {"channel": channel})
    await client.modify(
        *(
            {"type": "Add", "queryId": q.id, "udfPath": q.path, "args": [q.args], "journal": journal}
            for q in (pages, plain)
        )
    )
    await client.until(lambda: client.version["querySet"] == 1)
    assert plain.value == 3
    if pages.last["type"] == "QueryFailed":
        assert "InvalidCursor" in pages.last["errorMessage"]
        assert pages.last["errorData"] == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
    else:
        assert [row["number"] for row in pages.value["page"]] == [1, 2]


async def test_a_client_from_the_future_is_never_told_of_the_past(raw: MakeClient, channel: str) -> None:
    """client-protocol 1.11: a server restored from a backup refuses such clients, or overtakes them"""
    client = raw()
    await client.open(hello=False)
    future = 2**62
    await client.send(
        {
            "type": "Connect",
            "sessionId": client.session,
            "connectionCount": 3,
            "lastCloseReason": "InternalServerError",
            "maxObservedTimestamp": base64.b64encode(struct.pack("<Q", future)).decode(),
        }
    )
    with contextlib.suppress(Exception):
        await client.modify()
    await client.until(lambda: client.closed is not None or client.version["querySet"] == 1)
    if client.closed is None:
        assert ts_of(client.version["ts"]) >= future
    else:
        assert client.fatal is None, "the client would never come back"


@pytest.mark.parametrize("ts", ["AAAA", "not base64!!", "AAAAAAAAAAA", 5])
async def test_a_malformed_timestamp_is_fatal(raw: MakeClient, ts: object) -> None:
    client = raw()
    await client.open(hello=False)
    await client.hello(maxObservedTimestamp=ts)
    await client.until_closed()


VALID: list[dict[str, Any]] = [
    {"type": "Connect", "sessionId": "0adb56b5-8c7e-467c-bfe3-f8fda4e3d000", "connectionCount": 0, "lastCloseReason": None},
    {
        "type": "ModifyQuerySet",
        "baseVersion": 0,
        "newVersion": 1,
        "modifications": [
            {"type": "Add", "queryId": 0, "udfPath": "messages:page", "args": [{"channel": "fuzz", "paginationOpts": {"numItems": 1, "cursor": None}}]},
            {"type": "Remove", "queryId": 0},
        ],
    },
    {"type": "Mutation", "requestId": 0, "udfPath": "messages:append", "args": [{"channel": "fuzz", "body": "x"}]},
    {"type": "Action", "requestId": 1, "udfPath": "actions:echo", "args": [{"value": {"$integer": "AQAAAAAAAAA="}}]},
    {"type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": "x|y", "impersonating": {"subject": "s", "issuer": "i"}},
    {"type": "Event", "eventType": "ClientConnect", "event": {}},
]  # fmt: skip
ODD = [
    None,
    True,
    -1,
    0,
    2**32,
    2**64,
    1.5,
    1e308,
    "",
    "x",
    "messages:",
    ":",
    "é\u0000",
    [],
    {},
    [[]],
    {"$integer": 1},
    "A" * 10_000,
]


def _mutilate(dice: random.Random, value: Any) -> Any:
    """A copy with something in it replaced, dropped or added."""
    if isinstance(value, dict) and value and dice.random() < 0.8:
        key = dice.choice(list(value))
        if dice.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        if dice.random() < 0.1:
            return {**value, "extra": dice.choice(ODD)}
        return {**value, key: _mutilate(dice, value[key])}
    if isinstance(value, list) and value and dice.random() < 0.7:
        position = dice.randrange(len(value))
        return [*value[:position], _mutilate(dice, value[position]), *value[position + 1 :]]
    return dice.choice(ODD)


async def test_mutilated_messages_never_hurt_others(server: ReactorProcess, raw: MakeClient, channel: str) -> None:
    """Frames that are nearly right, by the hundred: each ends at most its own connection, and none is an internal error."""
    seed = int(os.environ.get("REACTOR_TEST_SEED", random.randrange(2**32)))
    print(f"REACTOR_TEST_SEED={seed}")
    dice = random.Random(seed)
    witness = raw()
    await witness.open()
    count = await witness.subscribe("messages:count", {"channel": channel})
    for number in range(1, 11):
        for _ in range(30):
            client = SyncClient(server.ws_url)
            await client.open(hello=False)
            sent = []
            with contextlib.suppress(Exception):  # closed meanwhile
                for message in VALID[: dice.randint(1, len(VALID))]:
                    sent.append(_mutilate(dice, message) if dice.random() < 0.3 else message)
                    await client.socket.send(json.dumps(sent[-1]))
                await client.socket.ping()
                await asyncio.sleep(0)
            await client.socket.close()
            await client._end()
            assert not (client.closed and client.closed[0] == 1011), f"an internal error: {sent}"
        server.mutation("messages:send", {"channel": channel, "body": "x"})
        await witness.until_value(count, lambda value, number=number: value == number)
