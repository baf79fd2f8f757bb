"""What becomes of a session whose token can't be verified now, or has just ended: client-protocol 31, 32, 36."""

from __future__ import annotations

import json

import pytest

from reactor.auth.identity import ADMIN, Caller, UserIdentity, make_caller
from reactor.limits import DEFAULT_LIMITS
from reactor.sync.session import Call, Close, Session, Verify

NOW = 1_700_000_000_000_000_000


@pytest.fixture
def session() -> Session:
    made = Session(limits=DEFAULT_LIMITS, now_ns=lambda: NOW, processed_ts=lambda: NOW)
    hello = {"type": "Connect", "sessionId": "0135d859-8650-4f88-95b1-000000000000", "connectionCount": 0}
    assert made.receive(json.dumps({**hello, "lastCloseReason": None})) == ()
    asked = made.receive('{"type":"Authenticate","baseVersion":0,"tokenType":"User","value":"x"}')
    assert isinstance(asked[0], Verify)
    return made


def ending(in_ns: int) -> Caller:
    return make_caller(UserIdentity("ann", "https://i", "https://i|ann"), expires_ns=NOW + in_ns)


@pytest.mark.parametrize("in_ns", [0, -3_000_000_000])
def test_a_token_that_has_just_ended_is_rejected_as_such(session: Session, in_ns: int) -> None:
    (close,) = session.verified(ending(in_ns))
    assert isinstance(close, Close)
    assert close.last is not None
    assert json.loads(close.last) == {
        "type": "AuthError",
        "error": "Convex token identity expired",
        "baseVersion": 0,
        "authUpdateAttempted": True,
    }
    assert session.closed


def test_a_token_that_has_not_ended_is_taken(session: Session) -> None:
    session.verified(ending(1))
    assert not session.closed
    assert session.caller.user is not None


def test_a_key_that_was_replaced_lets_nothing_through(session: Session) -> None:
    refusals: list[str | None] = [None]
    session.verified(ADMIN, lambda: refusals[0])
    call = '{"type":"Mutation","requestId":0,"udfPath":"a:b","args":[{}]}'
    assert isinstance(session.receive(call)[0], Call)
    refusals[0] = "another key"
    (close,) = session.receive(call)
    assert isinstance(close, Close)
    assert close.last is not None
    assert json.loads(close.last)["error"] == "another key"
    assert session.closed


def test_the_next_identity_does_not_depend_on_the_key_before(session: Session) -> None:
    session.verified(ADMIN, lambda: "another key")
    assert session.receive('{"type":"Authenticate","baseVersion":1,"tokenType":"None"}') == ()
    assert not isinstance(session.receive('{"type":"Action","requestId":0,"udfPath":"a:b","args":[{}]}')[0], Close)


def test_without_a_verdict_the_client_is_asked_to_come_back(session: Session) -> None:
    (close,) = session.unverifiable("AuthProviderUnavailable")
    assert close == Close(1013, "AuthProviderUnavailable")
    assert session.closed


def test_nothing_is_said_to_a_client_that_has_gone(session: Session) -> None:
    session.closed = True
    assert session.unverifiable("x") == ()
    assert session.verified(ending(-1)) == ()
