"""Whatever clients, queries and mutations do in whatever order: the chain of versions holds and everybody gets an answer."""

from __future__ import annotations

import json
import uuid
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reactor.auth.identity import ANONYMOUS
from reactor.limits import Limits
from reactor.runtime.waist import Cut, Failure, QueryUpdate, Success, Version
from reactor.sync.link import whole
from reactor.sync.messages import decode_ts
from reactor.sync.session import Call, Close, Effect, Reply, Session, Update, Verify

START = 1_700_000_000_000_000_000


class Conversation(RuleBasedStateMachine):
    """A client that keeps what a real one keeps, a session, and a backend reduced to a clock and a table of results."""

    @initialize(chunks=st.booleans())
    def connect(self, chunks: bool) -> None:
        self.processed = START
        self.session = Session(
            limits=Limits(transition_chunk_bytes=200),
            now_ns=lambda: self.processed,
            processed_ts=lambda: self.processed,
            chunks=chunks,
        )
        # The client's side.
        self.version: dict[str, Any] = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
        self.query_set = self.identity = self.next_query = self.next_request = 0
        self.subscribed: set[int] = set()
        self.results: dict[int, Any] = {}
        self.asked: set[int] = set()
        self.waiting: dict[int, int] = {}  # request id → the ts its transition must reach
        # The backend's side.
        self.value = 0
        self.followed: dict[int, int | None] = {}  # query id → the value last told
        self.mutations: list[int] = []
        self.update: Update | None = None
        self.frozen: tuple[int, int] | None = None  # a cut under way: (ts, value)
        self.outbox: list[bytes] = []
        message = {"type": "Connect", "sessionId": str(uuid.uuid4()), "connectionCount": 0}
        self._perform(self.session.receive(json.dumps(message)))

    def _send(self, **message: Any) -> None:
        self._perform(self.session.receive(json.dumps(message)))

    def _perform(self, effects: Any) -> None:
        effect: Effect
        for effect in effects:
            assert not isinstance(effect, Close), effect
            if isinstance(effect, Reply):
                self.outbox.append(effect.data)
            elif isinstance(effect, Call):
                self.mutations.append(effect.request_id)
            elif isinstance(effect, Verify):
                self._perform(self.session.verified(ANONYMOUS))

    # --- the client

    @rule(adds=st.integers(0, 3), data=st.data())
    def modify(self, adds: int, data: st.DataObject) -> None:
        changes: list[dict[str, Any]] = []
        if self.subscribed and data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(sorted(self.subscribed)))
            self.subscribed.discard(gone)
            changes.append({"type": "Remove", "queryId": gone})
        for _ in range(adds):
            changes.append({"type": "Add", "queryId": self.next_query, "udfPath": "m:q", "args": [{}]})
            self.subscribed.add(self.next_query)
            self.next_query += 1
        base, self.query_set = self.query_set, self.query_set + 1
        self._send(type="ModifyQuerySet", baseVersion=base, newVersion=self.query_set, modifications=changes)

    @rule(token=st.sampled_from(["None", "User"]))
    def authenticate(self, token: str) -> None:
        base, self.identity = self.identity, self.identity + 1
        self._send(type="Authenticate", baseVersion=base, tokenType=token, value="t")

    @rule()
    def mutate(self) -> None:
        self.asked.add(self.next_request)
        self._send(type="Mutation", requestId=self.next_request, udfPath="m:f", args=[{}])
        self.next_request += 1

    # --- the backend

    @precondition(lambda self: self.mutations)
    @rule(fails=st.booleans())
    def finish_mutation(self, fails: bool) -> None:
        request_id = self.mutations.pop(0)
        ts = self.processed
        if fails:
            outcome: Success | Failure = Failure("no", data=b"1")
        else:
            self.value += 1
            ts = self.processed + 10
            outcome = Success(b"%d" % self.value, ts=ts)
        self._perform(self.session.mutation_done(request_id, outcome))
        self.processed = ts

    @rule()
    def commit_of_somebody_else(self) -> None:
        self.processed += 10
        self.value += 1

    @rule()
    def release_hold(self) -> None:
        self.session.release_hold()

    # --- the worker

    @rule()
    def flush(self) -> None:
        for data in self.outbox:
            self._client_takes(json.loads(data))
        self.outbox.clear()

    @precondition(lambda self: self.frozen is None and not self.session.wants_update and self.has_news())
    @rule()
    def news(self) -> None:
        """The pull that waits with the subscriber turns into a cut."""
        self.frozen = (self.processed, self.value)

    def has_news(self) -> bool:
        return any(told != self.value for told in self.followed.values())

    @precondition(lambda self: self.frozen is None and self.session.wants_update)
    @rule()
    def begin_update(self) -> None:
        update = self.session.begin_update()
        assert isinstance(update, Update)
        self.update = update
        for query_id in update.remove:
            del self.followed[query_id]
        for query_id, *_ in update.add:
            assert query_id not in self.followed
            self.followed[query_id] = None
        assert update.not_before <= self.processed
        self.frozen = (self.processed, self.value)

    @precondition(lambda self: self.frozen is not None)
    @rule()
    def finish_update(self) -> None:
        assert self.frozen is not None
        (ts, value), self.frozen = self.frozen, None
        updates = [
            QueryUpdate(query_id, Version(value, Success(b"%d" % value)))
            for query_id, told in self.followed.items()
            if told != value
        ]
        for update in updates:
            self.followed[update.query_id] = value
        messages = self.session.finish_update(Cut(ts, updates))
        assert not isinstance(messages, Close)
        if messages:
            self.flush()
            parsed = [json.loads(whole(message)) for message in messages]
            if parsed[0]["type"] == "TransitionChunk":
                parsed = [json.loads("".join(part["chunk"] for part in parsed))]
            assert len(parsed) == 1
            self._client_takes(parsed[0])

    def _client_takes(self, message: dict[str, Any]) -> None:
        if message["type"] == "MutationResponse":
            request_id = message["requestId"]
            assert request_id in self.asked, "an answer nobody asked for"
            self.asked.remove(request_id)
            self.waiting[request_id] = decode_ts(message["ts"]) if message["success"] else 0
            return
        assert message["startVersion"] == self.version
        end = message["endVersion"]
        for name in ("querySet", "identity"):
            assert end[name] >= self.version[name]
        assert decode_ts(end["ts"]) >= decode_ts(self.version["ts"])
        assert end["querySet"] <= self.query_set
        assert end["identity"] <= self.identity
        self.version = end
        for change in message["modifications"]:
            if change["type"] == "QueryRemoved":
                self.results.pop(change["queryId"], None)
            else:
                self.results[change["queryId"]] = change["value"]
        assert len(set(self.results.values())) <= 1, "results of two points in time"
        self.waiting = {rid: ts for rid, ts in self.waiting.items() if ts > decode_ts(end["ts"])}

    @invariant()
    def at_rest_everything_is_told(self) -> None:
        """Whoever keeps doing what the session wants ends up with a client that knows all and waits for nothing."""
        if not hasattr(self, "session") or self.mutations or self.outbox or self.frozen is not None:
            return
        if self.session.wants_update or self.has_news() or self.query_set == 0:
            return
        assert not self.waiting
        assert not self.asked
        assert (self.version["querySet"], self.version["identity"]) == (self.query_set, self.identity)
        assert set(self.results) == self.subscribed
        assert set(self.results.values()) <= {self.value}


Conversation.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestConversation = Conversation.TestCase
TestConversation.__doc__ = "client-protocol 3, 8, 11, 12, 14, 20."
