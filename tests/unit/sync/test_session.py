"""The session as a pure state machine: nothing here touches a socket or an event loop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from reactor.auth.identity import ANONYMOUS, UserIdentity, make_caller
from reactor.limits import Limits
from reactor.runtime.waist import Cut, Failure, Outcome, QueryUpdate, Success, Version
from reactor.sync.link import whole
from reactor.sync.messages import decode_ts, encode_ts
from reactor.sync.session import Call, Close, Effect, Hold, Reply, Session, Update, Verify

SESSION_ID = "0adb56b5-8c7e-467c-bfe3-f8fda4e3d000"
NOW = 1_700_000_000_000_000_000


class Client:
    """A session with its clock, and shorthand for what a client sends."""

    def __init__(self, *, connect: bool = True, **options: Any) -> None:
        self.now = NOW
        self.processed_ts = NOW - 1000
        self.session = Session(
            limits=options.pop("limits", Limits()),
            now_ns=lambda: self.now,
            processed_ts=lambda: self.processed_ts,
            **options,
        )
        self.query_set = self.identity = 0
        if connect:
            assert self.send(type="Connect", sessionId=SESSION_ID, connectionCount=0, clientTs=NOW // 10**6 + 5) == ()

    def send(self, **message: Any) -> Sequence[Effect]:
        return self.session.receive(json.dumps(message))

    def modify(self, *changes: dict[str, Any]) -> Sequence[Effect]:
        base, self.query_set = self.query_set, self.query_set + 1
        return self.send(
            type="ModifyQuerySet", baseVersion=base, newVersion=self.query_set, modifications=list(changes)
        )

    def authenticate(self, **what: Any) -> Sequence[Effect]:
        base, self.identity = self.identity, self.identity + 1
        return self.send(type="Authenticate", baseVersion=base, **what)

    def mutate(self, request_id: int = 0, **args: Any) -> Sequence[Effect]:
        return self.send(type="Mutation", requestId=request_id, udfPath="m:f", args=[args])

    def begin(self) -> Update:
        assert self.session.wants_update
        update = self.session.begin_update()
        assert isinstance(update, Update)
        return update

    def finish(self, ts: int, **outcomes: Outcome) -> dict[str, Any] | None:
        """Finish the update with `q0=…` as the result of query 0 and so on; the transition sent, if any."""
        updates = [QueryUpdate(int(name[1:]), Version(1, outcome)) for name, outcome in outcomes.items()]
        sent = self.session.finish_update(Cut(ts, updates))
        assert not isinstance(sent, Close)
        return json.loads(whole(sent[0])) if sent else None


def add(query_id: int, **extra: Any) -> dict[str, Any]:
    return {"type": "Add", "queryId": query_id, "udfPath": "m:q", "args": [{}], **extra}


def remove(query_id: int) -> dict[str, Any]:
    return {"type": "Remove", "queryId": query_id}


def only_close(effects: Sequence[Effect]) -> Close:
    (effect,) = effects
    assert isinstance(effect, Close)
    return effect


def fatal(effects: Sequence[Effect]) -> str:
    close = only_close(effects)
    assert close.code is None
    assert close.last is not None
    message = json.loads(close.last)
    assert message["type"] == "FatalError"
    return message["error"]


ONE = Success(b"1")


def test_the_first_transition_starts_at_zero_and_the_next_where_it_ended() -> None:
    """client-protocol 3."""
    client = Client()
    client.modify(add(0))
    assert client.begin() == Update(None, [], [(0, "m:q", b"{}", None)], 0)
    first = client.finish(NOW, q0=ONE)
    assert first is not None
    assert first["startVersion"] == {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
    assert first["endVersion"] == {"querySet": 1, "identity": 0, "ts": encode_ts(NOW)}
    assert first["clientClockSkew"] == 5
    assert first["serverTs"] == NOW
    second = client.finish(NOW + 1, q0=Success(b"2"))
    assert second is not None
    assert second["startVersion"] == first["endVersion"]


def test_several_adds_come_back_in_one_transition() -> None:
    """client-protocol 11."""
    client = Client()
    client.modify(add(0), add(1))
    client.modify(add(2, journal="J"))
    assert [query[0] for query in client.begin().add] == [0, 1, 2]
    transition = client.finish(NOW, q0=ONE, q1=Failure("no"), q2=ONE)
    assert transition is not None
    assert transition["endVersion"]["querySet"] == 2
    assert [change["type"] for change in transition["modifications"]] == ["QueryUpdated", "QueryFailed", "QueryUpdated"]


def test_nothing_is_sent_when_nothing_changed_and_nothing_waits() -> None:
    """client-protocol 13."""
    client = Client()
    client.modify(add(0))
    client.begin()
    client.finish(NOW, q0=ONE)
    assert client.finish(NOW + 5) is None
    assert not client.session.wants_update


def test_a_removed_query_is_reported_and_the_subscriber_told() -> None:
    """client-protocol 12."""
    client = Client()
    client.modify(add(0), add(1))
    client.begin()
    client.finish(NOW, q0=ONE, q1=ONE)
    client.modify(remove(0))
    assert client.begin().remove == [0]
    transition = client.finish(NOW)
    assert transition is not None
    assert transition["modifications"] == [{"type": "QueryRemoved", "queryId": 0}]


def test_a_query_added_and_removed_before_an_update_is_only_reported_as_removed() -> None:
    """Section 1.5."""
    client = Client()
    client.modify(add(0))
    client.modify(remove(0))
    update = client.begin()
    assert (update.add, update.remove) == ([], [])
    transition = client.finish(NOW)
    assert transition is not None
    assert transition["modifications"] == [{"type": "QueryRemoved", "queryId": 0}]


def test_an_id_taken_again_before_an_update_is_a_new_query() -> None:
    client = Client()
    client.modify(add(0))
    client.begin()
    client.finish(NOW, q0=ONE)
    client.modify(remove(0))
    client.modify(add(0))
    update = client.begin()
    assert (update.remove, [query[0] for query in update.add]) == ([0], [0])
    transition = client.finish(NOW, q0=ONE)
    assert transition is not None
    assert [change["type"] for change in transition["modifications"]] == ["QueryUpdated"]


def test_what_arrives_during_an_update_waits_for_the_next() -> None:
    client = Client()
    client.modify(add(0))
    client.begin()
    client.modify(add(1))
    assert not client.session.wants_update
    first = client.finish(NOW, q0=ONE)
    assert first is not None
    assert first["endVersion"]["querySet"] == 1
    assert [query[0] for query in client.begin().add] == [1]
    second = client.finish(NOW, q1=ONE)
    assert second is not None
    assert second["endVersion"]["querySet"] == 2


def test_nothing_is_told_before_the_first_query_set() -> None:
    """client-protocol 4: Connect, Authenticate and ModifyQuerySet give exactly one transition."""
    client = Client()
    effects = client.authenticate(tokenType="None")
    assert [type(effect) for effect in effects] == [Hold]
    assert not client.session.wants_update
    client.modify()
    client.begin()
    transition = client.finish(NOW)
    assert transition is not None
    assert (transition["endVersion"]["querySet"], transition["endVersion"]["identity"]) == (1, 1)
    assert not client.session.wants_update


def test_the_hold_ends_by_its_timer_for_clients_that_follow_nothing() -> None:
    client = Client(hold_s=0.1)
    (hold,) = client.authenticate(tokenType="None")
    assert hold == Hold(0.1)
    assert client.authenticate(tokenType="None") == (), "one timer is enough"
    client.session.release_hold()
    client.begin()
    transition = client.finish(NOW)
    assert transition is not None
    assert transition["endVersion"]["identity"] == 2


@pytest.mark.parametrize("outcome", [Success(b"1", ts=NOW + 7), Failure("no"), Failure("no", data=b"1")])
def test_a_mutation_gets_its_response_and_then_a_transition_even_without_queries(outcome: Outcome) -> None:
    """client-protocol 5 and 20."""
    client = Client()
    (call,) = client.mutate(3, x=1)
    assert isinstance(call, Call)
    assert (call.is_action, call.request_id, call.path, json.loads(call.args), call.caller) == (
        False,
        3,
        "m:f",
        {"x": 1},
        ANONYMOUS,
    )
    assert not client.session.wants_update
    (reply,) = client.session.mutation_done(3, outcome)
    assert isinstance(reply, Reply)
    assert json.loads(reply.data)["requestId"] == 3
    assert client.begin().not_before == (outcome.ts if isinstance(outcome, Success) else 0)
    transition = client.finish(NOW + 7)
    assert transition is not None
    assert transition["modifications"] == []
    assert not client.session.wants_update


def test_a_transition_older_than_a_response_does_not_pay_for_it() -> None:
    """Section 0.2: the promise resolves on a transition at the response's timestamp or later only."""
    client = Client()
    client.modify(add(0))
    client.begin()
    client.mutate(0)
    client.session.mutation_done(0, Success(b"1", ts=NOW + 50))
    assert client.finish(NOW, q0=ONE) is not None
    assert client.begin().not_before == NOW + 50
    paying = client.finish(NOW + 50)
    assert paying is not None
    assert decode_ts(paying["endVersion"]["ts"]) >= NOW + 50


def test_an_empty_cut_that_is_too_old_is_not_sent_but_tried_again() -> None:
    client = Client()
    client.modify()
    client.begin()
    client.finish(NOW)
    client.modify(add(0))
    client.begin()
    client.finish(NOW, q0=ONE)
    client.mutate(0)
    client.session.mutation_done(0, Success(b"1", ts=NOW + 50))
    assert client.finish(NOW + 1) is None
    assert client.begin().not_before == NOW + 50


def test_timestamps_never_go_back() -> None:
    """client-protocol 8."""
    client = Client()
    client.modify(add(0))
    client.begin()
    client.finish(NOW + 100, q0=ONE)
    transition = client.finish(NOW, q0=Success(b"2"))
    assert transition is not None
    assert decode_ts(transition["endVersion"]["ts"]) == NOW + 100


def test_a_client_that_saw_more_than_a_restored_database_keeps_its_clock() -> None:
    client = Client(connect=False)
    client.send(type="Connect", sessionId=SESSION_ID, connectionCount=1, maxObservedTimestamp=encode_ts(NOW - 10))
    client.modify(add(0))
    client.begin()
    transition = client.finish(NOW - 1000, q0=ONE)
    assert transition is not None
    assert decode_ts(transition["endVersion"]["ts"]) == NOW - 10
    assert transition["clientClockSkew"] is None


def test_a_client_from_the_future_is_sent_away_to_come_back() -> None:
    client = Client(connect=False)
    close = only_close(
        client.send(
            type="Connect", sessionId=SESSION_ID, connectionCount=1, maxObservedTimestamp=encode_ts(NOW + 10**9)
        )
    )
    assert close == Close(1011, "InternalServerError")


def test_a_wrong_base_version_is_fatal() -> None:
    """client-protocol 18."""
    client = Client()
    client.modify()
    effects = client.send(type="ModifyQuerySet", baseVersion=0, newVersion=1, modifications=[])
    assert fatal(effects) == "Base version 0 passed up doesn't match the current version 1"
    assert client.session.receive('{"type":"Event"}') == ()


@pytest.mark.parametrize(
    "message",
    [
        "{}",
        "nonsense",
        json.dumps({"type": "Connect", "sessionId": SESSION_ID, "connectionCount": 0}),
        json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 0, "modifications": []}),
        json.dumps({"type": "Mutation", "requestId": 0, "udfPath": "m:f", "args": []}),
        json.dumps({"type": "Mutation", "requestId": 0, "udfPath": "m:f", "args": [{}, {}]}),
        json.dumps({"type": "Authenticate", "baseVersion": 0, "tokenType": "User"}),
    ],
)
def test_misuse_of_the_protocol_is_fatal(message: str) -> None:
    fatal(Client().session.receive(message))


@pytest.mark.parametrize(
    "message",
    [
        {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": []},
        {"type": "Mutation", "requestId": 0, "udfPath": "m:f", "args": [{}]},
        {"type": "Action", "requestId": 0, "udfPath": "m:f", "args": [{}]},
        {"type": "Authenticate", "baseVersion": 0, "tokenType": "None"},
    ],
)
def test_connect_comes_first(message: dict[str, Any]) -> None:
    assert "before Connect" in fatal(Client(connect=False).send(**message))


def test_a_malformed_timestamp_in_connect_is_fatal() -> None:
    client = Client(connect=False)
    assert "timestamp" in fatal(
        client.send(type="Connect", sessionId=SESSION_ID, connectionCount=1, maxObservedTimestamp="AAAA")
    )


def test_adding_twice_or_removing_nothing_closes_the_connection() -> None:
    """Section 1.5: internal errors of the official server, which clients come back from."""
    client = Client()
    assert only_close(client.modify(add(0), add(0))).code == 1011
    client = Client()
    assert only_close(client.modify(remove(7))).code == 1011


def test_the_1001st_queued_mutation_closes_the_connection() -> None:
    """client-protocol 29."""
    client = Client()
    for request_id in range(1000):
        assert isinstance(client.mutate(request_id)[0], Call)
    assert only_close(client.mutate(1000)) == Close(1013, "TooManyConcurrentMutations")


def test_answered_mutations_leave_the_queue() -> None:
    client = Client()
    for request_id in range(3000):
        assert isinstance(client.mutate(request_id, text="x" * 100)[0], Call)
        client.session.mutation_done(request_id, ONE)
    assert client.session.pending_bytes == 0


def test_too_many_actions_close_the_connection() -> None:
    client = Client(limits=Limits(inflight_actions=2))
    for request_id in range(2):
        (call,) = client.send(type="Action", requestId=request_id, udfPath="m:a", args=[{}])
        assert isinstance(call, Call)
        assert call.is_action
    close = only_close(client.send(type="Action", requestId=2, udfPath="m:a", args=[{}]))
    assert close == Close(1013, "TooManyInflightActionsForSingleClient")
    assert client.session.action_done(0, ONE) == ()


def test_too_many_queries_are_refused() -> None:
    client = Client(limits=Limits(queries_per_connection=2))
    assert "Too many queries" in fatal(client.modify(add(0), add(1), add(2)))


def test_an_overloaded_server_closes_with_the_reason_that_makes_clients_wait() -> None:
    """Section 1.11."""
    overloaded = Failure("later", code="Overloaded", overloaded=True)
    client = Client()
    client.mutate(0)
    assert only_close(client.session.mutation_done(0, overloaded)) == Close(1013, "TooManyConcurrentRequests")
    client = Client()
    client.modify(add(0))
    client.begin()
    cut = Cut(NOW, [QueryUpdate(0, Version(1, overloaded))])
    assert client.session.finish_update(cut) == Close(1013, "TooManyConcurrentRequests")


def test_the_log_id_of_a_mutation_is_the_same_for_each_attempt() -> None:
    """Section 2.7: the first 16 hex digits of sha256("{sessionId}|{requestId}")."""
    (first,), (second,) = Client().mutate(5), Client().mutate(5)
    assert isinstance(first, Call)
    assert isinstance(second, Call)
    assert first.log_id == second.log_id == "9e71504276dfa381"


ANN = make_caller(UserIdentity("ann", "https://i", "https://i|ann"))


def test_a_verified_identity_raises_the_version_and_applies_from_then_on() -> None:
    """client-protocol 30 and 33, without the provider."""
    client = Client()
    client.modify(add(0))
    client.begin()
    client.finish(NOW, q0=ONE)
    (verify,) = client.authenticate(tokenType="User", value="token")
    assert isinstance(verify, Verify)
    assert client.session.verified(ANN) == ()
    (call,) = client.mutate(0)
    assert isinstance(call, Call)
    assert call.caller == ANN
    assert client.begin().caller == ANN
    transition = client.finish(NOW)
    assert transition is not None
    assert transition["endVersion"]["identity"] == 1

    assert client.authenticate(tokenType="None") == ()
    assert client.begin().caller == ANONYMOUS
    transition = client.finish(NOW, q0=Success(b"null"))
    assert transition is not None
    assert transition["endVersion"]["identity"] == 2


def test_a_rejected_token_is_an_auth_error_that_the_client_will_heed() -> None:
    """client-protocol 31."""
    client = Client()
    client.authenticate(tokenType="None")
    client.authenticate(tokenType="User", value="bad")
    close = only_close(client.session.rejected("no providers configured"))
    assert close.last is not None
    assert json.loads(close.last) == {
        "type": "AuthError",
        "error": "no providers configured",
        "baseVersion": 1,
        "authUpdateAttempted": True,
    }


def test_an_authenticate_with_the_wrong_base_version_closes_without_fatal_error() -> None:
    client = Client()
    close = only_close(client.send(type="Authenticate", baseVersion=3, tokenType="None"))
    assert (close.code, close.last) == (1002, None)


@pytest.mark.parametrize("how", ["mutation", "update"])
def test_an_expired_token_is_noticed_at_the_next_use(how: str) -> None:
    """client-protocol 32, section 6.2."""
    client = Client()
    client.modify(add(0))
    client.authenticate(tokenType="User", value="token")
    client.session.verified(make_caller(ANN.user, expires_ns=NOW + 10))
    client.begin()
    client.finish(NOW, q0=ONE)
    client.now = NOW + 10
    if how == "mutation":
        close = only_close(client.mutate(0))
    else:
        step = client.session.finish_update(Cut(NOW + 10, []))
        assert isinstance(step, Close)
        close = step
    assert close.last is not None
    assert json.loads(close.last) == {
        "type": "AuthError",
        "error": "Convex token identity expired",
        "baseVersion": 1,
        "authUpdateAttempted": False,
    }


def test_results_too_large_for_one_message_become_failures_of_the_largest() -> None:
    """client-protocol 56, section 1.9."""
    client = Client(max_transition_bytes=10_000)
    client.modify(add(0), add(1), add(2))
    client.begin()
    big = Success(b'"%b"' % (b"x" * 6_000))
    transition = client.finish(NOW, q0=big, q1=ONE, q2=big)
    assert transition is not None
    kinds = [change["type"] for change in transition["modifications"]]
    assert sorted(kinds) == ["QueryFailed", "QueryUpdated", "QueryUpdated"]
    assert kinds[1] == "QueryUpdated"


def test_a_component_is_never_found() -> None:
    client = Client()
    client.modify(add(0, componentPath="agent"))
    assert client.begin().add == [(0, "agent/m:q", b"{}", None)]
