"""Runs the sync protocol on one WebSocket: performs the effects of its `Session`, and never lets a slow client cost more than a little.

Responses go out in order as soon as the socket takes them; those of commits wait a little for a cut that is being computed, which
may be of an earlier moment. A cut is asked for only when all that was sent before has left, one at a time; while there is
nothing to tell, the pull waits with the subscriber. A client that stops reading is closed; one
that is silent is pinged, and closed when it stays silent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial

from reactor.auth.authenticator import AuthenticationError
from reactor.auth.headers import Gatekeeper
from reactor.auth.identity import ANONYMOUS, Caller
from reactor.clock import Clock
from reactor.limits import Limits
from reactor.runtime.waist import Backend, Cut, Failure, Outcome, Subscriber
from reactor.sync.link import Link, monotonic
from reactor.sync.messages import PING, Authenticate
from reactor.sync.session import Call, Close, Effect, Hold, Reply, Session, Update, Verify
from reactor.sync.transitions import TransitionEncoder

__all__ = ["ClientKind", "Worker"]

logger = logging.getLogger("reactor.sync")

PENDING_ARGUMENTS_MAX_BYTES = 64 * 1024 * 1024
"""Arguments of mutations in the queue, beyond which a connection is not read from."""
BACKEND_MAX_MUTATIONS = 256
"""Mutations of one connection that the backend has at a time. More wait here, until the socket has taken responses."""
MESSAGE_MAX_BYTES = (64 * 1024 * 1024, 16 * 1024 * 1024)
"""The largest message that clients without chunks take: in fragments, and in one frame."""


REPLIES_WAIT_S = 0.05
"""How long responses wait for a cut that is being computed. Clients of Rust and Python take the next transition after a
response for one that includes its commit; others could do without. Source: client-protocol 1.6."""


class ClientKind:
    """What a client understands. `is_npm`: it came through `/api/{version}/sync`; `chunks`: it knows `TransitionChunk`."""

    __slots__ = ("chunks", "is_npm")

    def __init__(self, *, is_npm: bool, chunks: bool) -> None:
        self.is_npm, self.chunks = is_npm, chunks


class Worker:
    """One accepted socket, until it closes.

    `actions` keeps running actions from being forgotten, and outlives the worker; `transitions` is shared with other workers.
    """

    __slots__ = (
        "_actions", "_backend", "_backend_mutations", "_closed", "_flush_scheduled", "_gatekeeper", "_last_sent",
        "_limits", "_link", "_loop", "_may_read", "_outbox", "_outbox_bytes", "_progress_at", "_progress_bytes", "_replies_wait",
        "_session", "_started", "_subscriber", "_tick_s", "_timers", "_waiting_calls",
    )  # fmt: skip

    def __init__(
        self,
        link: Link,
        kind: ClientKind,
        *,
        backend: Backend,
        gatekeeper: Gatekeeper,
        limits: Limits,
        clock: Clock,
        actions: set[asyncio.Task[None]],
        transitions: TransitionEncoder | None = None,
    ) -> None:
        self._link = link
        self._backend = backend
        self._gatekeeper = gatekeeper
        self._limits = limits
        self._actions = actions
        self._loop = asyncio.get_running_loop()
        self._session = Session(
            limits=limits,
            now_ns=clock.now_ns,
            processed_ts=lambda: backend.processed_ts,
            chunks=kind.chunks,
            max_transition_bytes=None if kind.is_npm else MESSAGE_MAX_BYTES[not link.fragments],
            # npm clients always send a ModifyQuerySet; others only when they follow something.
            hold_s=1.0 if kind.is_npm else 0.1,
            transitions=transitions,
        )
        self._closed = False
        self._outbox: deque[Reply] = deque()
        self._outbox_bytes = 0
        self._replies_wait: asyncio.TimerHandle | None = None
        self._flush_scheduled = False
        self._waiting_calls: deque[Call] = deque()
        self._backend_mutations = 0
        self._may_read: asyncio.Future[None] | None = None
        self._subscriber: Subscriber | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._last_sent = self._progress_at = self._started = monotonic()
        self._progress_bytes = 0
        self._tick_s = min(limits.ping_interval_s, limits.send_stall_s, limits.client_silence_s) / 3

    async def run(self) -> None:
        """Serve the socket to its end."""
        link = self._link
        link.on_writable = self._pump
        link.on_full = self._hold_back
        tick = self._loop.call_later(self._tick_s, self._tick)
        self._timers.append(tick)
        try:
            while not self._closed:
                event = await link.receive()
                if event["type"] == "websocket.disconnect":
                    break
                text = event.get("text")
                if text is None:
                    self.close(1003, "Messages must be text")
                    break
                for effect in self._session.receive(text):
                    if type(effect) is Verify:
                        await self._verify(effect.message)
                    else:
                        self._perform(effect)
                if self._session.wants_update:
                    self._schedule_flush()
                if self._is_full():
                    await self._wait_for_room()
        except Exception:
            logger.exception("sync connection failed")
            self.close(1011, "InternalServerError")
        finally:
            self._end()
            await link.finish()

    def close(self, code: int | None, reason: str = "", last: bytes | None = None) -> None:
        """Close the socket after what has been sent, and `last`."""
        if self._closed:
            return
        self._closed = self._session.closed = True
        if last is not None:
            self._send_replies()
            self._link.send((last,))
        self._link.close(code, reason)
        if self._may_read is not None and not self._may_read.done():
            self._may_read.set_result(None)

    def _end(self) -> None:
        self._closed = self._session.closed = True
        self._link.on_writable = self._link.on_full = None
        for timer in self._timers:
            timer.cancel()
        if self._replies_wait is not None:
            self._replies_wait.cancel()
        if self._subscriber is not None:
            self._subscriber.close()
        self._outbox.clear()
        self._waiting_calls.clear()

    # -------------------------------------------------------------------------------------------------------- effects

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Reply):
            self._outbox.append(effect)
            self._outbox_bytes += len(effect.data)
            self._schedule_flush()
        elif isinstance(effect, Call):
            if effect.is_action:
                task = self._loop.create_task(self._act(effect))
                self._actions.add(task)
                task.add_done_callback(self._actions.discard)
            else:
                self._waiting_calls.append(effect)
                self._mutate()
        elif isinstance(effect, Close):
            self.close(effect.code, effect.reason, effect.last)
        elif isinstance(effect, Hold):
            self._timers.append(self._loop.call_later(effect.seconds, self._release_hold))

    def _perform_all(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self._perform(effect)

    async def _verify(self, message: Authenticate) -> None:
        """Find out who it is. The connection is not read meanwhile: what comes next may depend on it."""
        try:
            caller = await self._identify(message)
        except AuthenticationError as error:
            if error.status == 503:
                # Saying no would sign out everybody while an auth provider is down.
                effects = self._session.unverifiable(error.code)
            else:
                effects = self._session.rejected(error.message)
        else:
            is_key = message.token_type != "User"
            effects = self._session.verified(caller, partial(self._refusal, message) if is_key else None)
        self._perform_all(effects)

    async def _identify(self, message: Authenticate) -> Caller:
        if message.token_type == "User":
            return await self._gatekeeper.user(message.value or "")
        return self._operator(message)

    def _operator(self, message: Authenticate) -> Caller:
        attributes = message.impersonating if message.impersonating is not None else message.acting_as
        return self._gatekeeper.admin(message.value or "", attributes)

    def _refusal(self, message: Authenticate) -> str | None:
        """Why an admin key that was let in would be refused now: another one was made meanwhile."""
        try:
            self._operator(message)
        except AuthenticationError as error:
            return error.message
        return None

    def _mutate(self) -> None:
        """Pass on what mutations the backend may have."""
        session_id = self._session.session_id
        assert session_id is not None
        while self._waiting_calls and self._backend_mutations < BACKEND_MAX_MUTATIONS:
            call = self._waiting_calls.popleft()
            self._backend_mutations += 1
            self._backend.mutation(
                call.path,
                call.args,
                call.caller,
                partial(self._mutation_done, call.request_id),
                session=(session_id, call.request_id),
                request_id=call.log_id,
            )

    def _mutation_done(self, request_id: int, outcome: Outcome) -> None:
        self._backend_mutations -= 1
        self._perform_all(self._session.mutation_done(request_id, outcome))

    async def _act(self, call: Call) -> None:
        # Whatever becomes of the socket, the action runs to its end.
        try:
            outcome = await self._backend.action(
                call.path, call.args, call.caller, request_id=call.log_id, door="SyncWorker"
            )
        except Exception:
            logger.exception("an action failed outside of its function")
            outcome = Failure("Your request couldn't be completed. Try again later.", code="InternalServerError")
        self._perform_all(self._session.action_done(call.request_id, outcome))

    def _release_hold(self) -> None:
        self._session.release_hold()
        self._pump()

    # -------------------------------------------------------------------------------------------------------- sending

    def _schedule_flush(self) -> None:
        # Soon, not now: several responses of one batch leave together, after the callback that published it.
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Do what the socket now allows: send responses, then ask for a cut."""
        self._flush_scheduled = False
        if self._closed or not self._link.writable:
            return
        if self._subscriber is None or not self._subscriber.busy:
            self._send_replies()
        else:
            self._send_replies(up_to=0)
            if self._outbox and self._replies_wait is None:
                self._replies_wait = self._loop.call_later(REPLIES_WAIT_S, self._stop_waiting)
        self._pull()

    def _stop_waiting(self) -> None:
        """The cut takes too long: send what waits for it."""
        self._replies_wait = None
        if self._link.writable and not self._closed:
            self._send_replies()

    def _send_replies(self, up_to: int | None = None) -> None:
        """Send the responses in the outbox, up to the first one of a commit after the timestamp `up_to`."""
        outbox = self._outbox
        if outbox:
            sent: list[bytes] = []
            while outbox and (up_to is None or outbox[0].ts <= up_to):
                sent.append(outbox.popleft().data)
            if sent:
                self._link.send(sent)
                self._outbox_bytes -= sum(map(len, sent))
                self._last_sent = monotonic()
            if not outbox and self._replies_wait is not None:
                self._replies_wait.cancel()
                self._replies_wait = None
        if self._waiting_calls and not self._closed:
            self._mutate()
        if self._may_read is not None and not self._may_read.done() and not self._is_full():
            self._may_read.set_result(None)

    def _is_full(self) -> bool:
        return (
            self._outbox_bytes > self._limits.unsent_response_bytes
            or len(self._outbox) > self._limits.unsent_responses
            or self._session.pending_bytes > PENDING_ARGUMENTS_MAX_BYTES
            or self._session.pending_removals > self._limits.queries_per_connection
        )

    async def _wait_for_room(self) -> None:
        while self._is_full() and not self._closed:
            self._may_read = self._loop.create_future()
            await self._may_read
        self._may_read = None

    # -------------------------------------------------------------------------------------------------------- updates

    def _pull(self) -> None:
        """Ask for the next cut: soon if there is something to tell, else when there will be."""
        subscriber = self._subscriber
        if not self._link.writable or (subscriber is not None and subscriber.busy):
            return  # what ends that calls this again
        try:
            if self._session.wants_update:
                step = self._session.begin_update()
                if isinstance(step, Close):
                    self._perform(step)
                    return
                self._tell(step).pull(self._take, step.not_before)
            elif subscriber is not None:
                subscriber.pull(self._take)
        except Exception as error:
            self._take(error)

    def _hold_back(self) -> None:
        """The socket is full: nothing is computed for it until it has drained, but for what was begun."""
        if self._subscriber is not None and not self._subscriber.busy:
            self._subscriber.withdraw()

    def _take(self, cut: Cut | BaseException) -> bool:
        """Send what a cut changes. Returns whether news is waited for with the same pull; otherwise there is another one."""
        if self._closed:
            return False
        link, session = self._link, self._session
        try:
            if not isinstance(cut, Cut):
                raise cut
            result = session.finish_update(cut)
            if isinstance(result, Close):
                self._perform(result)
                return False
            if result:
                if self._outbox or self._may_read is not None:
                    self._send_replies(up_to=cut.ts)
                link.send(result)
                self._last_sent = monotonic()
            if self._outbox and link.writable:
                self._send_replies()
        except asyncio.CancelledError:
            return False  # the backend stops, and closes the sockets itself
        except Exception:
            logger.exception("computing a transition failed")
            self.close(1011, "InternalServerError")
            return False
        if not session.wants_update:
            return link.writable
        self._pull()
        return False

    def _tell(self, step: Update) -> Subscriber:
        subscriber = self._subscriber
        if subscriber is None:
            subscriber = self._subscriber = self._backend.subscriber(step.caller or ANONYMOUS)
        elif step.caller is not None:
            subscriber.set_caller(step.caller)
        for query_id in step.remove:
            subscriber.remove(query_id)
        for query in step.add:
            subscriber.add(*query)
        return subscriber

    # ----------------------------------------------------------------------------------------------------------- timing

    def _tick(self) -> None:
        """Look after a connection on which nothing happens."""
        if self._closed:
            return
        now = monotonic()
        limits, link = self._limits, self._link
        if link.writable:
            self._progress_at = now
            if now - self._last_sent >= limits.ping_interval_s - self._tick_s:
                link.send((PING,))
                self._last_sent = now
        elif link.sent_bytes != self._progress_bytes:
            self._progress_bytes, self._progress_at = link.sent_bytes, now
        elif now - self._progress_at >= limits.send_stall_s:
            self.close(1013, "The client does not read")
            return
        if link.heard_at is not None and (silence := now - link.heard_at) >= limits.ping_interval_s:
            if silence >= limits.client_silence_s:
                self.close(1000, "The client is silent")
                return
            # Clients answer this below their own code; to our Ping messages they don't answer at all.
            link.ping()
        self._timers[0] = self._loop.call_later(self._tick_s, self._tick)
