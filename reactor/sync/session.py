"""One client's session as a pure state machine over versions: messages and events go in, effects come out.

It promises the chain of versions, that a response stands before the transition that includes its commit, that such a
transition always follows, and that nothing is answered that was not asked. It does no I/O: `sync.worker` runs the effects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from reactor.auth.identity import ANONYMOUS, Caller
from reactor.limits import Limits
from reactor.runtime.waist import Cut, Failure, Outcome, QueryUpdate, Version
from reactor.sync import messages
from reactor.sync.link import Message
from reactor.sync.messages import (
    Action,
    Add,
    Authenticate,
    Connect,
    ModifyQuerySet,
    Mutation,
    ProtocolError,
    Remove,
)
from reactor.sync.transitions import TransitionEncoder, closing, result_parts

__all__ = ["Call", "Close", "Effect", "Hold", "Reply", "Session", "Update", "Verify"]

TOKEN_EXPIRED = "Convex token identity expired"
MAX_SKEW_MS = 2**53
CLOSE_REASON_MAX_CHARS = 120
QUERY_ARGS_MAX_BYTES = 64 * 1024 * 1024
"""Arguments of all the queries that one connection follows."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """Send this response. It can't be dropped. `ts`: of the commit it tells of."""

    data: bytes
    ts: int = 0


class Call(msgspec.Struct, frozen=True):
    """Run a mutation or an action, and report its outcome with `mutation_done` or `action_done`."""

    is_action: bool
    request_id: int
    path: str
    args: bytes
    caller: Caller
    log_id: str
    """The request id in log lines and error messages: the same for each attempt."""


class Verify(msgspec.Struct, frozen=True):
    """Find out who this is, then call `verified` or `rejected`, before the next message is looked at."""

    message: Authenticate


class Hold(msgspec.Struct, frozen=True, gc=False):
    """Call `release_hold` after this many seconds."""

    seconds: float


class Close(msgspec.Struct, frozen=True, gc=False):
    """Send `last`, if there is one, and close the socket. `code` None means a close frame without a status."""

    code: int | None
    reason: str = ""
    last: bytes | None = None


Effect = Reply | Call | Verify | Hold | Close


class Update(msgspec.Struct, frozen=True):
    """Bring the subscriber up to date, in the order of these fields, compute a cut, and pass it to `finish_update`."""

    caller: Caller | None
    remove: Sequence[int]
    add: Sequence[tuple[int, str, bytes, str | None]]
    """Query id, path, encoded arguments, journal."""
    not_before: int


class Session:
    """The state of one connection.

    `chunks`: the client understands `TransitionChunk`. `max_transition_bytes`: what a client without them can take in one
    message; results that don't fit become failures. `hold_s`: how long the first transition waits for the first
    `ModifyQuerySet` at most, once there is something to tell. `transitions`: shared with the other sessions of the server.
    """

    __slots__ = (
        "_actions", "_adds", "_chunks", "_closing", "_floor_ts", "_hold_s", "_hold_started", "_holding", "_identity",
        "_limits", "_max_transition_bytes", "_mutation_bytes", "_mutations", "_new_caller", "_now_ns", "_owed_ts",
        "_pending_bytes", "_processed_ts", "_queries", "_query_bytes", "_query_set", "_removes", "_reported_removes",
        "_revoked", "_sent", "_sent_bytes", "_target", "_transitions", "_updating", "_verifying", "caller", "closed",
        "session_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        limits: Limits,
        now_ns: Callable[[], int],
        processed_ts: Callable[[], int],
        chunks: bool = False,
        max_transition_bytes: int | None = None,
        hold_s: float = 0.1,
        transitions: TransitionEncoder | None = None,
    ) -> None:
        self._limits = limits
        self._now_ns = now_ns
        self._processed_ts = processed_ts
        self._chunks = chunks
        self._max_transition_bytes = max_transition_bytes
        self._hold_s = hold_s
        self._transitions = transitions or TransitionEncoder()

        self.session_id: str | None = None
        self.caller: Caller = ANONYMOUS
        self._revoked: Callable[[], str | None] | None = None
        self.closed = False

        # What the client asked for, and what it was told last.
        self._query_set = 0
        self._identity = 0
        self._sent = (0, 0)
        self._sent_bytes = messages.encode_version(0, 0, 0)
        self._target = (0, 0)
        self._floor_ts = 0
        """What it was told or saw elsewhere: no transition ends before it."""
        self._closing = closing(None)

        self._queries: dict[int, int] = {}  # id → bytes of its arguments
        self._query_bytes = 0
        # Changes the subscriber has not been told. For a removed query: whether the subscriber knows it.
        self._adds: dict[int, tuple[int, str, bytes, str | None]] = {}
        self._removes: dict[int, bool] = {}
        self._new_caller: Caller | None = None
        self._reported_removes: list[int] = []

        self._holding = True
        self._hold_started = False
        self._updating = False
        self._owed_ts: int | None = None
        """A response went out: a transition at this timestamp or later must follow it."""
        self._verifying: Authenticate | None = None
        self._mutations = 0
        self._mutation_bytes: dict[int, int] = {}  # by request id
        self._pending_bytes = 0
        self._actions = 0

    # ---------------------------------------------------------------------------------------------- what clients send

    def receive(self, text: str | bytes) -> Sequence[Effect]:
        """Take one message. Never raises: what a client does wrong comes out as a `Close`."""
        if self.closed:
            return ()
        try:
            message = messages.decode_client_message(text)
            if isinstance(message, Mutation | Action):
                return self._call(message)
            if isinstance(message, ModifyQuerySet):
                return self._modify_query_set(message)
            if isinstance(message, Authenticate):
                return self._authenticate(message)
            if isinstance(message, Connect):
                return self._connect(message)
            return ()
        except ProtocolError as error:
            return self._fatal(str(error))

    def _connect(self, message: Connect) -> Sequence[Effect]:
        if self.session_id is not None:
            return self._fatal("Received a second Connect message on one connection")
        self.session_id = str(message.session_id)
        now = self._now_ns()
        if message.client_ts is not None:
            # Only echoed, and read by some clients as 64 bits.
            skew = int(message.client_ts) - now // 1_000_000
            self._closing = closing(max(-MAX_SKEW_MS, min(MAX_SKEW_MS, skew)))
        if message.max_observed_timestamp is not None:
            observed = messages.decode_ts(message.max_observed_timestamp)
            if observed > max(now, self._processed_ts()):
                # It has seen a future that we can't show.
                return self._close(1011, "InternalServerError")
            # When the data is older than what it saw (a restored backup), its completed mutations still resolve.
            self._floor_ts = observed
        return ()

    def _modify_query_set(self, message: ModifyQuerySet) -> Sequence[Effect]:
        if self.session_id is None:
            return self._fatal("Received ModifyQuerySet before Connect")
        if message.base_version != self._query_set:
            return self._fatal(
                f"Base version {message.base_version} passed up doesn't match the current version {self._query_set}"
            )
        if message.new_version <= message.base_version:
            return self._fatal(
                f"New version {message.new_version} must be greater than base version {message.base_version}"
            )
        for change in message.modifications:
            if isinstance(change, Remove):
                if change.query_id not in self._queries:
                    return self._close(1011, "InternalServerError")
                self._query_bytes -= self._queries.pop(change.query_id)
                unknown = self._adds.pop(change.query_id, None) is not None
                self._removes.setdefault(change.query_id, not unknown)
            else:
                if change.query_id in self._queries:
                    return self._close(1011, "InternalServerError")
                self._add(change)
        if len(self._queries) > self._limits.queries_per_connection or self._query_bytes > QUERY_ARGS_MAX_BYTES:
            return self._fatal(
                f"Too many queries on one connection: at most {self._limits.queries_per_connection}, "
                f"with at most {QUERY_ARGS_MAX_BYTES} bytes of arguments together"
            )
        self._query_set = message.new_version
        self._holding = False
        return ()

    def _add(self, change: Add) -> None:
        args = messages.one_argument(change.args)
        self._queries[change.query_id] = len(args)
        self._query_bytes += len(args)
        path = _in_component(change.udf_path, change.component_path)
        self._adds[change.query_id] = (change.query_id, path, args, change.journal)

    def _call(self, message: Mutation | Action) -> Sequence[Effect]:
        is_action = isinstance(message, Action)
        if self.session_id is None:
            return self._fatal(f"Received {'Action' if is_action else 'Mutation'} before Connect")
        if (expired := self._expired()) is not None:
            return (expired,)
        if not message.args:
            return self._fatal("Received an invalid message: `args` must hold exactly one object")
        args = messages.one_argument(message.args)
        if is_action:
            if self._actions >= self._limits.inflight_actions:
                return self._close(1013, "TooManyInflightActionsForSingleClient")
            self._actions += 1
        else:
            if self._mutations >= self._limits.queued_mutations:
                return self._close(1013, "TooManyConcurrentMutations")
            self._mutations += 1
            self._mutation_bytes[message.request_id] = self._mutation_bytes.get(message.request_id, 0) + len(args)
            self._pending_bytes += len(args)
        path = _in_component(message.udf_path, message.component_path)
        log_id = hashlib.sha256(f"{self.session_id}|{message.request_id}".encode()).hexdigest()[:16]
        return (Call(is_action, message.request_id, path, args, self.caller, log_id),)

    def _authenticate(self, message: Authenticate) -> Sequence[Effect]:
        if self.session_id is None:
            return self._fatal("Received Authenticate before Connect")
        if message.base_version != self._identity:
            return self._close(1002, "Authenticate has the wrong baseVersion")
        if message.token_type == "None":
            return self._identified(ANONYMOUS)
        if message.value is None:
            return self._fatal(f"Received an invalid message: {message.token_type} tokens need a `value`")
        self._verifying = message
        return (Verify(message),)

    def verified(self, caller: Caller, revoked: Callable[[], str | None] | None = None) -> Sequence[Effect]:
        """The answer to `Verify`: it is `caller`. `revoked` tells why what proved it counts no more; None while it does."""
        if caller.expires_ns is not None and self._now_ns() >= caller.expires_ns:
            # Let through only because clocks may differ. Here it would be thrown out with the next message: said now,
            # the client knows that it is this token that it must replace.
            return self.rejected(TOKEN_EXPIRED)
        self._verifying = None
        return () if self.closed else self._identified(caller, revoked)

    def rejected(self, message: str) -> Sequence[Effect]:
        """The answer to `Verify`: no."""
        refused, self._verifying = self._verifying, None
        if self.closed or refused is None:
            return ()
        last = messages.auth_error(message, base_version=refused.base_version, update_attempted=True)
        if refused.token_type == "Admin":
            # Tools that were given a wrong key come back for ever when they are closed. They stay, as nobody in
            # particular, and are refused query by query, which ends them.
            return (Reply(last),)
        return self._close(None, last=last)

    def unverifiable(self, message: str) -> Sequence[Effect]:
        """The answer to `Verify`: nobody can say now. The client comes back with the same token."""
        self._verifying = None
        return () if self.closed else self._close(1013, message[:CLOSE_REASON_MAX_CHARS])

    def _identified(self, caller: Caller, revoked: Callable[[], str | None] | None = None) -> Sequence[Effect]:
        self._identity += 1
        self._revoked = revoked
        self.caller = self._new_caller = caller
        if self._holding and not self._hold_started:
            self._hold_started = True
            return (Hold(self._hold_s),)
        return ()

    # ---------------------------------------------------------------------------------------------------- what happens

    def release_hold(self) -> None:
        """The first `ModifyQuerySet` was waited for long enough."""
        self._holding = False

    def mutation_done(self, request_id: int, outcome: Outcome) -> Sequence[Effect]:
        """A mutation ended."""
        self._mutations -= 1
        self._pending_bytes -= self._mutation_bytes.pop(request_id, 0)
        if self.closed:
            return ()
        if isinstance(outcome, Failure):
            if outcome.overloaded:
                # The client sends it again when it is back.
                return self._close(1013, "TooManyConcurrentRequests")
            if outcome.code == "OutcomeUnknown":
                # It may have been committed: no answer is right. The client sends it again, and its record decides.
                return self._close(1011, "InternalServerError")
            self._owe(0)
        else:
            self._owe(outcome.ts)
            return (Reply(messages.mutation_response(request_id, outcome), outcome.ts),)
        return (Reply(messages.mutation_response(request_id, outcome)),)

    def action_done(self, request_id: int, outcome: Outcome) -> Sequence[Effect]:
        """An action ended."""
        self._actions -= 1
        if self.closed:
            return ()
        self._owe(0)
        return (Reply(messages.action_response(request_id, outcome)),)

    def _owe(self, ts: int) -> None:
        self._owed_ts = max(self._owed_ts or 0, ts)
        self._holding = False

    @property
    def pending_bytes(self) -> int:
        """Arguments of mutations that have not ended."""
        return self._pending_bytes

    @property
    def pending_removals(self) -> int:
        """Queries that the client gave up since the last update began."""
        return len(self._removes)

    # --------------------------------------------------------------------------------------------------------- updates

    @property
    def wants_update(self) -> bool:
        """Whether a cut is wanted at once, changed or not. Ask again after each message, response and update.

        While it is not, `finish_update` takes whatever cuts the subscriber has to offer.
        """
        if self._updating or self._holding or self.closed:
            return False
        query_set, identity = self._sent
        return self._owed_ts is not None or self._query_set != query_set or self._identity != identity

    def begin_update(self) -> Update | Close:
        """Start the one update there can be at a time. Takes everything the client asked for so far."""
        if (expired := self._expired()) is not None:
            return expired
        self._updating = True
        self._target = (self._query_set, self._identity)
        self._reported_removes = [query_id for query_id in self._removes if query_id not in self._adds]
        update = Update(
            self._new_caller,
            [query_id for query_id, is_known in self._removes.items() if is_known],
            list(self._adds.values()),
            self._owed_ts or 0,
        )
        self._adds, self._removes, self._new_caller = {}, {}, None
        return update

    def finish_update(self, cut: Cut) -> Sequence[Message] | Close:
        """The messages to send for a cut, in one go, after every `Reply` it includes and, best, before all others. None at
        all if nothing waits for them.
        """
        self._updating = False
        if self.closed:
            return ()
        perishable = self.caller.expires_ns is not None or self._revoked is not None
        if perishable and (expired := self._expired()) is not None:
            return expired
        updates, removed = cut.updates, self._reported_removes
        for update in updates:
            outcome = update.version.outcome
            if type(outcome) is Failure and outcome.overloaded:
                return self._close(1013, "TooManyConcurrentRequests")[0]

        pays = self._owed_ts is not None and cut.ts >= self._owed_ts
        if not updates and not removed and not pays and self._target == self._sent:
            return ()
        if pays:
            self._owed_ts = None
        if removed:
            self._reported_removes = []
        if self._max_transition_bytes is not None:
            updates = _shrunk(updates, removed, self._max_transition_bytes)

        start = self._sent_bytes
        self._sent = query_set, identity = self._target
        if cut.ts > self._floor_ts:
            self._floor_ts = cut.ts
        self._sent_bytes = messages.encode_version(query_set, identity, self._floor_ts)
        message = self._transitions.encode(start, self._sent_bytes, updates, removed, self._now_ns(), self._closing)
        if self._chunks and sum(map(len, message)) > self._limits.transition_chunk_bytes:
            return messages.split_transition(b"".join(message), self._limits.transition_chunk_bytes)
        return (message,)

    # ---------------------------------------------------------------------------------------------------------- closing

    def _expired(self) -> Close | None:
        expires, reason = self.caller.expires_ns, None
        if expires is not None and self._now_ns() >= expires:
            reason = TOKEN_EXPIRED
        elif self._revoked is not None:
            reason = self._revoked()
        if reason is None:
            return None
        last = messages.auth_error(reason, base_version=self._identity, update_attempted=False)
        return self._close(None, last=last)[0]

    def _fatal(self, message: str) -> Sequence[Close]:
        return self._close(None, last=messages.fatal_error(message))

    def _close(self, code: int | None, reason: str = "", last: bytes | None = None) -> Sequence[Close]:
        self.closed = True
        return (Close(code, reason, last),)


def _in_component(path: str, component: str | None) -> str:
    # There are no components here, so that whatever is asked of one must not be found.
    return f"{component}/{path}" if component else path


def _shrunk(updates: Sequence[QueryUpdate], removed: Sequence[int], limit: int) -> Sequence[QueryUpdate]:
    """The updates, the largest replaced by failures until the sum fits what the client can take in one message."""
    room = limit - 1000 - sum(len(messages.query_removed(query_id)) + 1 for query_id in removed)  # and the rest of it
    sizes = [sum(map(len, result_parts(update.query_id, update.version.outcome))) + 1 for update in updates]
    total = sum(sizes)
    if total <= room:
        return updates
    failure = Failure(
        f"The results of this client's queries are too large to be sent together (limit: {limit} bytes).",
        code="TransitionTooLarge",
    )
    shrunk = list(updates)
    while total > room:
        largest = max(range(len(sizes)), key=sizes.__getitem__)
        update = QueryUpdate(updates[largest].query_id, Version(0, failure))
        size = len(messages.query_result(update.query_id, failure)) + 1
        if size >= sizes[largest]:
            break
        total += size - sizes[largest]
        shrunk[largest], sizes[largest] = update, size
    return shrunk
