"""No message makes a session raise: whatever clients send, the answer is effects."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reactor.limits import Limits
from reactor.sync.session import Call, Close, Hold, Session, Verify

NOW = 1_700_000_000_000_000_000
NAMES = [
    "type", "sessionId", "connectionCount", "lastCloseReason", "maxObservedTimestamp", "clientTs", "baseVersion",
    "newVersion", "modifications", "queryId", "udfPath", "args", "journal", "componentPath", "requestId", "tokenType",
    "value", "impersonating", "acting_as",
]  # fmt: skip
TYPES = ["Connect", "ModifyQuerySet", "Mutation", "Action", "Authenticate", "Event", "Add", "Remove"]

numbers = st.integers() | st.floats() | st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**64, 1e400, -1e400])
texts = st.text() | st.sampled_from([*TYPES, "User", "Admin", "None", "AAAAAAAAAAA=", "\ud800", "a:b"])
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=8)
)
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)}, optional={name: values for name in NAMES if name != "type"}
)
plausible = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("ModifyQuerySet"),
            "baseVersion": st.integers(0, 2),
            "newVersion": st.integers(0, 3),
            "modifications": st.lists(
                st.fixed_dictionaries(
                    {"type": st.sampled_from(["Add", "Remove"]), "queryId": st.integers(0, 3), "udfPath": texts},
                    optional={"args": st.lists(values, max_size=2), "journal": values, "componentPath": values},
                ),
                max_size=3,
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Mutation", "Action"]),
            "requestId": st.integers(0, 3),
            "udfPath": texts,
            "args": st.lists(values, max_size=2),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("Authenticate"),
            "baseVersion": st.integers(0, 2),
            "tokenType": st.sampled_from(["User", "Admin", "None"]),
        },
        optional={"value": values, "impersonating": values, "acting_as": values},
    ),
)


def session() -> Session:
    return Session(limits=Limits(), now_ns=lambda: NOW, processed_ts=lambda: NOW)


def take(session: Session, text: str) -> None:
    for effect in session.receive(text):
        assert isinstance(effect, Call | Verify | Hold | Close)
        if isinstance(effect, Verify):
            take_effects = session.rejected("no") if effect.message.base_version else ()
            assert all(isinstance(effect, Close) for effect in take_effects)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), values), st.lists(messages | plausible, max_size=6))
def test_no_conversation_makes_a_session_raise(hello: dict[str, Any], rest: list[dict[str, Any]]) -> None:
    connected = session()
    first = {"type": "Connect", "sessionId": "0adb56b5-8c7e-467c-bfe3-f8fda4e3d000", "connectionCount": 0}
    take(connected, json.dumps({**hello, **first}))
    for message in rest:
        take(connected, json.dumps(message))
    if not connected.closed and connected.wants_update:
        connected.begin_update()


@settings(max_examples=100, deadline=None)
@given(st.text() | st.binary())
def test_no_text_makes_a_session_raise(text: str | bytes) -> None:
    (effect,) = session().receive(text)
    assert isinstance(effect, Close)
