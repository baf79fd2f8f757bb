"""uvicorn's HTTP protocol, with a shorter way for the most frequent requests and an ear for doubled slashes.

A *direct* request goes from the parser to its handler and from there to the socket, without the task, scope, events and
dictionaries of ASGI [measured without sockets and backend: 8.5 µs a mutation instead of 21.5]. Only a plain POST goes that
way: no token, no upgrade, no pipelining, no large body (which may have to wait), a client that reads its answers. All else is
uvicorn's.

uvicorn waits for ever for the rest of a request, and for who does not read its answer. Here each connection is looked at
now and then, which costs a request nothing: one that stays in the same head for `request_stall_s`, or in a body of which
too little comes, is closed, and so is one that takes nothing of an answer for `send_stall_s`.

Clients that were given an address with a slash at its end ask for `//api/query`. That is how URLs without a scheme begin,
so uvicorn would take `api` for a host and tell the application `/query`. Pass `SyncHttpProtocol` as uvicorn's `http=`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from reactor.http.cors import cors_headers
from reactor.http.request import OWN_PACE, DirectHandler, Head, HttpError, error_body, internal_error, too_large
from reactor.limits import REQUEST_HEAD_MAX_BYTES, Limits

__all__ = ["SyncHttpProtocol"]

logger = logging.getLogger("reactor.http")

STALL_BYTES: Final = 64 * 1024
"""What must come of a body in `request_stall_s`. Less is a client that holds a connection, or a network that is down."""
LOOKS: Final = 3
"""How often a connection is looked at in that time."""
_HEAD_TOO_LARGE: Final = f"The request's URL and headers are too large (limit: {REQUEST_HEAD_MAX_BYTES} bytes). Send large arguments in a body."


class SyncHttpProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol. An application that has them is asked for its `direct` handlers by path."""

    def __init__(self, *args: Any, limits: Limits | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._direct: dict[bytes, DirectHandler] = {}
        if not self.root_path and self.limit_concurrency is None and not self.config.access_log:
            self._direct = getattr(self.app, "direct", self._direct)
        self._request: _DirectRequest | None = None
        """The direct request that is being read."""
        self._head_bytes = 0
        """How much of a head (or of the trailers behind a body) has come without its end."""
        self._limits = limits
        """None: connections are not watched."""
        self._watch: asyncio.TimerHandle | None = None
        self._stage = 0
        """Odd within a body; larger with each head and each body that was completed."""
        self._body_bytes = 0
        self._seen_at = 0.0
        self._seen: tuple[int, int] | None = None
        """Since when the client owes us something, and the stage and the bytes there were then."""
        self._sent_at, self._unsent, self._has_drained = 0.0, 0, False
        """When an answer was last seen to go on, the bytes of it that were left, and whether they were all taken since."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        # uvicorn starts this one after answers only.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        if self._limits is not None:
            self._watch = self.loop.call_later(self._limits.request_stall_s / LOOKS, self._look, self._limits)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        self._has_drained = True
        super().resume_writing()

    def handle_websocket_upgrade(self) -> None:
        self._unwatch()
        super().handle_websocket_upgrade()

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        # The parser keeps what it has of a head, however much that is.
        if self._head_bytes > REQUEST_HEAD_MAX_BYTES and not self.transport.is_closing():
            self._give_up(HttpError(431, "HeadersTooLarge", _HEAD_TOO_LARGE))

    def on_message_begin(self) -> None:
        self._request = None
        if self._direct:
            # The scope is made when it is known that somebody will look at it.
            self.url = b""
            self.headers = []
            self.expect_100_continue = False
        else:
            super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._stage += 1
        url = self.url
        if self._direct:
            handler = self._direct.get(url.partition(b"?")[0])
            if handler is not None and self._may_be_direct():
                head = Head(self.headers)
                if head.authorization is None and head.has_small_body():
                    self._request = self.cycle = _DirectRequest(self, handler, head)  # type: ignore[assignment]
                    return
            headers, expects = self.headers, self.expect_100_continue
            super().on_message_begin()
            self.headers += headers
            self.expect_100_continue = expects
        self.url = b"/" + url.lstrip(b"/") if url.startswith(b"//") else url
        super().on_headers_complete()

    def _may_be_direct(self) -> bool:
        parser: Any = self.parser
        cycle = self.cycle
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and (cycle is None or cycle.response_complete)
            and not (parser.should_upgrade() or self.expect_100_continue or self.flow.write_paused)
            and not self.server_state.default_headers
        )

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        self._body_bytes += len(body)
        if self._request is None:
            super().on_body(body)
        else:
            self._request.take(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._stage += 1
        request = self._request
        if request is None:
            super().on_message_complete()
        else:
            self._request = None
            request.run()

    def _look(self, limits: Limits) -> None:
        """Now and then: does the client go on with what it began, and take what we answer?"""
        now, stall_s = self.loop.time(), limits.request_stall_s
        if self._takes_nothing(now, limits.send_stall_s):
            self.transport.abort()
            return
        seen, self._seen = self._seen, None
        if not self.transport.is_closing() and self._is_clients_turn():
            if seen is None or self._stage != seen[0] or self._body_bytes - seen[1] >= STALL_BYTES:
                self._seen_at, seen = now, (self._stage, self._body_bytes)
            elif now - self._seen_at >= stall_s:
                what = f"less than {STALL_BYTES} bytes of its body" if self._stage % 2 else "not all of its head"
                text = f"The request is given up: {what} arrived in {stall_s:g} seconds. Send it again over a quicker connection."
                self._give_up(HttpError(408, "RequestTimeout", text))
            self._seen = seen
        self._watch = self.loop.call_later(stall_s / LOOKS, self._look, limits)

    def _takes_nothing(self, now: float, stall_s: float) -> bool:
        """Whether we wait for the client to read, and it hasn't for too long. (Closing waits for that as well.)"""
        unsent = self.transport.get_write_buffer_size()
        if not (unsent and (self.flow.write_paused or self.transport.is_closing())):
            self._unsent = 0
            return False
        if not self._unsent or unsent < self._unsent or self._has_drained:
            self._sent_at = now
        self._unsent, self._has_drained = unsent, False
        return now - self._sent_at >= stall_s

    def _is_clients_turn(self) -> bool:
        """Whether we wait for the client, and nobody else watches how long."""
        cycle: Any = self.cycle
        if self._stage % 2 == 0:
            return bool(self._head_bytes) and (cycle is None or cycle.response_complete)
        if self.flow.read_paused:
            return False
        if cycle.response_complete or isinstance(cycle, _DirectRequest):
            return True
        return not (cycle.waiting_for_100_continue or OWN_PACE in cycle.scope)

    def _give_up(self, error: HttpError) -> None:
        """Say why, if no answer has begun, and close."""
        cycle: Any = self.cycle
        may_tell = True
        if cycle is not None:
            is_body = self._stage % 2 == 1
            may_tell = cycle.response_complete != is_body
            if is_body:
                may_tell = may_tell and (isinstance(cycle, _DirectRequest) or not cycle.response_started)
                # Whoever is about to answer is not heard any more.
                cycle.disconnected = True
                cycle.message_event.set()
        if may_tell:
            body = error_body(error)
            self.transport.write(
                b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (STATUS_LINE[error.status], len(body), body)
            )
        self.transport.close()


class _Unheard:
    """The event that uvicorn sets for the application, which a direct request has none of."""

    def set(self) -> None:
        return


_UNHEARD = _Unheard()


class _DirectRequest:
    """Stands in for uvicorn's `RequestResponseCycle`, and has those of its attributes that the protocol looks at."""

    __slots__ = (
        "_chunks",
        "_handler",
        "_head",
        "_protocol",
        "_size",
        "disconnected",
        "keep_alive",
        "response_complete",
    )

    message_event = _UNHEARD

    def __init__(self, protocol: SyncHttpProtocol, handler: DirectHandler, head: Head) -> None:
        self._protocol, self._handler, self._head = protocol, handler, head
        self._chunks: list[bytes] = []
        self._size = 0
        parser: Any = protocol.parser
        self.keep_alive: bool = parser.should_keep_alive()
        self.disconnected = False
        self.response_complete = False

    def take(self, body: bytes) -> None:
        if self.response_complete:
            return
        self._chunks.append(body)
        self._size += len(body)
        limit: int = self._protocol.app.direct_body_limit  # type: ignore[union-attr]
        if self._size > limit:
            self._chunks = []
            self.answer(too_large(limit))

    def run(self) -> None:
        if self.response_complete:
            return
        try:
            self._handler(self._head, b"".join(self._chunks), self.answer)
        except HttpError as error:
            self.answer(error)
        except Exception:
            logger.exception("request %s failed", self._head.id)
            self.answer(internal_error())

    def answer(self, result: bytes | HttpError) -> None:
        """Write the whole response, and let the connection go on."""
        protocol = self._protocol
        if self.response_complete:
            return
        self.response_complete = True
        if self.disconnected:
            return
        if isinstance(result, HttpError):
            status, body = STATUS_LINE[result.status], error_body(result)
        else:
            status, body = STATUS_LINE[200], result
        more = b""
        if self._head.origin is not None:
            more = b"".join([b"%b: %b\r\n" % header for header in cors_headers(self._head.origin)])
        if not self.keep_alive:
            more += b"connection: close\r\n"
        protocol.transport.write(
            b"%bcontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b" % (status, len(body), more, body)
        )
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()
