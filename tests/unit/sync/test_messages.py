from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.runtime.waist import Failure, Success
from reactor.sync import messages
from reactor.sync.messages import (
    Action,
    Add,
    Authenticate,
    Connect,
    Event,
    ModifyQuerySet,
    Mutation,
    ProtocolError,
    Remove,
    decode_client_message,
    decode_ts,
    encode_ts,
    split_transition,
)

SESSION = "0adb56b5-8c7e-467c-bfe3-f8fda4e3d000"


def test_timestamps_are_base64_of_eight_little_endian_bytes() -> None:
    """client-protocol 8, section 1.4."""
    assert [encode_ts(ts) for ts in (0, 1, 10)] == ["AAAAAAAAAAA=", "AQAAAAAAAAA=", "CgAAAAAAAAA="]
    assert len(encode_ts(1795206437000000000)) == 12
    assert decode_ts(encode_ts(2**64 - 1)) == 2**64 - 1


@pytest.mark.parametrize("text", ["", "AAAA", "AAAAAAAAAAA", "AAAAAAAAAAAA", "AAAAAAAAAA\xe4=", "!!!!!!!!!!!="])
def test_a_malformed_timestamp_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="timestamp"):
        decode_ts(text)


def test_every_client_message_of_the_transcripts_is_understood() -> None:
    """Section 7 of the protocol, both clients' spellings."""
    connect = decode_client_message(
        '{"connectionCount":0,"lastCloseReason":"InitialConnect","clientTs":1795206436626,"type":"Connect",'
        f'"sessionId":"{SESSION}"}}'
    )
    assert isinstance(connect, Connect)
    assert (str(connect.session_id), connect.client_ts, connect.max_observed_timestamp) == (
        SESSION,
        1795206436626,
        None,
    )
    again = decode_client_message(
        f'{{"type":"Connect","sessionId":"{SESSION}","connectionCount":1,"lastCloseReason":null,'
        '"maxObservedTimestamp":"WKX4KMva6Rg=","clientTs":0}'
    )
    assert isinstance(again, Connect)
    assert again.last_close_reason is None

    modify = decode_client_message(
        '{"modifications":[{"args":[{"a":1}],"type":"Add","queryId":0,"udfPath":"messages:list","journal":null},'
        '{"type":"Add","queryId":1,"udfPath":"m:x","journal":"J","componentPath":""},'
        '{"type":"Remove","queryId":3}],"type":"ModifyQuerySet","baseVersion":0,"newVersion":1}'
    )
    assert isinstance(modify, ModifyQuerySet)
    first, second, third = modify.modifications
    assert isinstance(first, Add)
    assert isinstance(second, Add)
    assert third == Remove(query_id=3)
    assert bytes(first.args[0]) == b'{"a":1}'
    assert (second.args, second.journal) == ([], "J")

    mutation = decode_client_message(
        '{"args":[{"b":"once?"}],"type":"Mutation","requestId":0,"udfPath":"messages:send"}'
    )
    assert isinstance(mutation, Mutation)
    assert isinstance(
        decode_client_message('{"type":"Action","requestId":1,"udfPath":"demo:act","args":[{"x":1}]}'), Action
    )
    assert isinstance(decode_client_message('{"type":"Event","eventType":"ClientConnect","event":{"x":[1,{}]}}'), Event)
    js = decode_client_message(
        '{"type":"Authenticate","baseVersion":0,"tokenType":"Admin","value":"k","impersonating":{"subject":"u1"}}'
    )
    rust = decode_client_message(
        '{"type":"Authenticate","baseVersion":0,"tokenType":"Admin","value":"k","acting_as":{"subject":"u1"}}'
    )
    assert isinstance(js, Authenticate)
    assert isinstance(rust, Authenticate)
    assert js.impersonating == rust.acting_as == {"subject": "u1"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"type":"Nope"}',
        '{"type":"Ping"}',
        '{"type":"Connect","sessionId":"not a uuid","connectionCount":0}',
        '{"type":"Mutation","requestId":0,"udfPath":"m:f"}',
        '{"type":"Mutation","requestId":-1,"udfPath":"m:f","args":[{}]}',
        '{"type":"Mutation","requestId":4294967296,"udfPath":"m:f","args":[{}]}',
        '{"type":"Mutation","requestId":1.5,"udfPath":"m:f","args":[{}]}',
        '{"type":"Mutation","requestId":0,"udfPath":null,"args":[{}]}',
        '{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[{"type":"Swap","queryId":0}]}',
        '{"type":"Authenticate","baseVersion":0,"tokenType":"Root"}',
        '{"type":"Mutation","requestId":0,"udfPath":"m:f","args":[{"x":"\\ud8"}]}',
        '{"type":"Event","event":' + "[" * 100_000 + "}",
        "\ud800",
    ],
)
def test_what_no_client_may_send_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_client_message(text)


def test_half_a_surrogate_pair_spoils_only_the_arguments_it_stands_in() -> None:
    """api.md, "Loading apps": a lone surrogate must be a clear error of the call, not the end of the connection."""
    text = r'{"type":"Mutation","requestId":7,"udfPath":"m:f","args":[{"bad":"a\ud800b","pair":"\ud83d\ude00","esc":"\\ud800"}]}'
    message = decode_client_message(text)
    assert isinstance(message, Mutation)
    assert message.request_id == 7
    # Still there for the decoder of values to refuse, while the pair and the escaped backslash are as they were.
    assert bytes(message.args[0]) == rb'{"bad":"a\ud800b","pair":"\ud83d\ude00","esc":"\\ud800"}'

    text = (
        r'{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[{"type":"Add","queryId":0,'
        r'"udfPath":"m:f","args":[{"s":"\udc00"}]},{"type":"Remove","queryId":1}]}'
    )
    message = decode_client_message(text)
    assert isinstance(message, ModifyQuerySet)
    add = message.modifications[0]
    assert isinstance(add, Add)
    assert bytes(add.args[0]) == rb'{"s":"\ud800"}'


def test_server_messages_are_compact_with_type_first_and_only_the_documented_keys() -> None:
    """client-protocol 10, sections 0.4 and 1.3."""
    ok = Success(b'{"a":1}', ("[LOG] 'x'",), ts=1, journal="J")
    plain = Failure("boom")
    rich = Failure("boom", data=b"null", log_lines=("[ERROR] y",))
    produced = [
        messages.query_result(3, ok),
        messages.query_result(3, plain),
        messages.query_result(3, rich),
        messages.query_removed(4),
        messages.mutation_response(5, ok),
        messages.mutation_response(5, plain),
        messages.mutation_response(5, rich),
        messages.action_response(6, ok),
        messages.action_response(6, rich),
        messages.auth_error("no", base_version=1, update_attempted=False),
        messages.fatal_error('say "what"'),
        messages.PING,
    ]
    parsed = [json.loads(message) for message in produced]
    for message, text in zip(parsed, produced, strict=True):
        assert next(iter(message)) == "type"
        assert text.decode() == json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    assert parsed[0] == {
        "type": "QueryUpdated",
        "queryId": 3,
        "value": {"a": 1},
        "logLines": ["[LOG] 'x'"],
        "journal": "J",
    }
    assert "errorData" not in parsed[1]
    assert parsed[2]["errorData"] is None
    assert parsed[4] == {
        "type": "MutationResponse",
        "requestId": 5,
        "success": True,
        "result": {"a": 1},
        "ts": "AQAAAAAAAAA=",
        "logLines": ["[LOG] 'x'"],
    }
    assert parsed[5] == {
        "type": "MutationResponse",
        "requestId": 5,
        "success": False,
        "result": "boom",
        "ts": None,
        "logLines": [],
    }
    assert "ts" not in parsed[7]


def test_texts_that_utf8_cannot_hold_do_not_break_a_message() -> None:
    message = messages.mutation_response(1, Failure("half \ud800 pair", log_lines=("[LOG] \udc00",)))
    assert json.loads(message)["result"] == "half ? pair"


@given(st.text(min_size=1, max_size=300), st.integers(4, 50))
def test_chunks_of_a_transition_join_to_it_and_respect_the_limit(text: str, limit: int) -> None:
    """client-protocol 56, section 1.9."""
    data = json.dumps({"type": "Transition", "x": text}, ensure_ascii=False).encode("utf-8", "replace")
    chunks = [json.loads(chunk) for chunk in split_transition(data, limit)]
    if len(data) <= limit:
        assert chunks == [json.loads(data)]
        return
    assert "".join(chunk["chunk"] for chunk in chunks).encode() == data
    assert [chunk["partNumber"] for chunk in chunks] == list(range(len(chunks)))
    assert {(chunk["totalParts"], chunk["transitionId"]) for chunk in chunks} == {(len(chunks), str(len(data)))}
    assert all(len(chunk["chunk"].encode()) <= limit for chunk in chunks)
