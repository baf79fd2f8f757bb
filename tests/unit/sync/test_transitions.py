"""Shared bytes: what one session is sent never depends on what others were sent before it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.limits import Limits
from reactor.runtime.waist import Cut, Failure, QueryUpdate, Success, Version
from reactor.sync import transport
from reactor.sync.link import Message, whole
from reactor.sync.messages import encode_version, query_removed, query_result
from reactor.sync.session import Close, Session
from reactor.sync.transitions import JOIN_BYTES, SAME_TIME_NS, TransitionEncoder, closing

SERVER_TS = 1_700_000_000_000_000_000

# Few of each, so that examples often meet what is remembered, or nearly.
OUTCOMES = [
    Success(b"1"),
    Success(b"1", ("[LOG] 'x'",), journal="J"),
    Success(b'"%b"' % (b"x" * JOIN_BYTES)),
    Success(b'"%b"' % (b"y" * (JOIN_BYTES - 200))),
    Failure("no", data=b"null"),
    Failure("no " * JOIN_BYTES),
]
VERSIONS = [Version(number, outcome) for number, outcome in enumerate(OUTCOMES)]
updates = st.builds(QueryUpdate, st.integers(0, 1), st.sampled_from(VERSIONS))
points = st.tuples(st.integers(0, 1), st.just(0), st.sampled_from([0, SERVER_TS]))
told = st.tuples(
    points,
    points,
    st.lists(updates, max_size=1) | st.lists(updates, max_size=3),
    st.lists(st.integers(5, 7), max_size=1),
    st.none() | st.integers(-5, 5),
    st.sampled_from([SERVER_TS, SERVER_TS + SAME_TIME_NS, SERVER_TS - SAME_TIME_NS]),
)


def expected(start: Any, end: Any, changed: Sequence[QueryUpdate], removed: Any, skew: Any, now: int) -> bytes:
    """The message as the protocol has it, put together with nothing shared."""
    modifications = [query_result(u.query_id, u.version.outcome) for u in changed] + [query_removed(i) for i in removed]
    return (
        b'{"type":"Transition","startVersion":%b,"endVersion":%b,"modifications":[%b],"serverTs":%d,"clientClockSkew":%b}'
        % (
            encode_version(*start),
            encode_version(*end),
            b",".join(modifications),
            now,
            json.dumps(skew).encode(),
        )
    )


@given(st.lists(told, min_size=1, max_size=8))
def test_a_shared_encoder_gives_everybody_what_one_of_their_own_would(everybody: list[Any]) -> None:
    """client-protocol 3, 11: the way through what is remembered against the general one."""
    shared = TransitionEncoder()
    for start, end, *rest in everybody:
        changed, removed, skew, now = rest
        sent = shared.encode(encode_version(*start), encode_version(*end), changed, removed, now, closing(skew))
        message = whole(sent)
        assert message == expected(start, end, *rest)
        json.loads(message)


def test_small_messages_are_made_once_and_large_values_are_never_copied() -> None:
    encoder = TransitionEncoder()
    start, end = encode_version(1, 0, 0), encode_version(1, 0, SERVER_TS)
    for version, piece_of in ((VERSIONS[0], lambda m: m[0]), (VERSIONS[2], lambda m: m[1])):
        first, second = (
            encoder.encode(start, end, [QueryUpdate(0, version)], [], SERVER_TS, closing(n)) for n in (1, 2)
        )
        assert piece_of(first) is piece_of(second)
        assert first[-1] != second[-1]
    large = VERSIONS[2].outcome
    assert isinstance(large, Success)
    assert piece_of(first) is large.value


def test_the_time_in_shared_bytes_is_never_a_millisecond_off() -> None:
    """Nor later than now, after the clock was set back."""
    encoder = TransitionEncoder()
    start, end, tail = encode_version(1, 0, 0), encode_version(1, 0, SERVER_TS), closing(None)
    for step in (0, 1, SAME_TIME_NS - 1, SAME_TIME_NS, 60 * 1_000 * SAME_TIME_NS, 5, 4):
        sent = encoder.encode(start, end, [QueryUpdate(0, VERSIONS[0])], [], SERVER_TS + step, tail)
        assert 0 <= SERVER_TS + step - json.loads(whole(sent))["serverTs"] < SAME_TIME_NS


def test_sessions_that_share_an_encoder_are_told_their_own_versions() -> None:
    encoder = TransitionEncoder()
    sessions = [
        Session(limits=Limits(), now_ns=lambda: SERVER_TS, processed_ts=lambda: SERVER_TS, transitions=encoder)
        for _ in range(3)
    ]
    version = VERSIONS[0]
    told: list[list[dict[str, Any]]] = [[], [], []]
    for number, session in enumerate(sessions):
        session_id = f"0adb56b5-8c7e-467c-bfe3-f8fda4e3d00{number}"
        session.receive(json.dumps({"type": "Connect", "sessionId": session_id, "connectionCount": 0}))
        add = {"type": "Add", "queryId": number % 2, "udfPath": "m:q", "args": [{}]}
        session.receive(
            json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1 + number, "modifications": [add]})
        )
        session.begin_update()
    for ts in (10, 20):
        for number, session in enumerate(sessions):
            sent = session.finish_update(Cut(ts, [QueryUpdate(number % 2, version)]))
            assert not isinstance(sent, Close)
            told[number].append(json.loads(whole(sent[0])))
    for number, (first, second) in enumerate(told):
        assert first["endVersion"]["querySet"] == 1 + number
        assert second["startVersion"] == first["endVersion"]
        assert [change["queryId"] for change in second["modifications"]] == [number % 2]


def unframed(data: bytes) -> list[tuple[int, bool, bytes]]:
    """Opcode, FIN and payload of unmasked frames."""
    frames = []
    at = 0
    while at < len(data):
        size, start = data[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        elif size == 127:
            size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
        frames.append((data[at] & 15, bool(data[at] & 128), data[start : start + size]))
        at = start + size
    return frames


@pytest.mark.parametrize("limit", [1, 7, 125, 126, 200])
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4))
def test_frames_of_pieces_join_to_the_message(limit: int, pieces: list[bytes]) -> None:
    """client-protocol 56: fragments of at most the limit, the last one marked as such."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "FRAGMENT_BYTES", limit)
        messages: list[Message] = [tuple(pieces), b"".join(pieces)]
        for message in messages:
            buffers: list[bytes | memoryview] = []
            transport._add_frames(buffers, transport._pieces(message))
            frames = unframed(b"".join(buffers))
            assert b"".join(payload for _, _, payload in frames) == b"".join(pieces)
            assert all(0 < len(payload) <= limit for _, _, payload in frames)
            assert [opcode for opcode, _, _ in frames] == [1] + [0] * (len(frames) - 1)
            assert [fin for _, fin, _ in frames] == [False] * (len(frames) - 1) + [True]


def test_a_frame_of_64_kib_has_the_long_header() -> None:
    buffers: list[bytes | memoryview] = []
    transport._add_frames(buffers, (b"a" * 65535, b"b"))
    assert unframed(b"".join(buffers)) == [(1, True, b"a" * 65535 + b"b")]


class Wire:
    """As much of a connection as `TransportLink.send` looks at."""

    def __init__(self) -> None:
        self.transport, self.conn, self.extensions = self, self, []
        self.written = b""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | memoryview) -> None:
        self.written += data

    def writelines(self, buffers: list[bytes | memoryview]) -> None:
        self.written += b"".join(buffers)


@pytest.mark.parametrize("size", [1, 125, 126, 127, 65534, 65535, 65536, 65537])
@pytest.mark.parametrize("cut", [None, 0, 1])
def test_a_message_alone_has_the_frame_that_it_has_among_others(size: int, cut: int | None) -> None:
    """client-protocol 56: the way of most transitions against the general one, around the sizes where headers change."""
    message: Message = b"m" * size if cut is None else (b"m" * cut, b"m" * (size - cut))
    alone, among = Wire(), Wire()
    transport.TransportLink(cast("Any", alone)).send([message])
    transport.TransportLink(cast("Any", among)).send([message, message])

    assert unframed(alone.written) == [(1, True, b"m" * size)]
    assert among.written == alone.written * 2
