"""One HTTP action's request and answer on the wire: both within the limits, whatever the handler does."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

from reactor.errors import LimitExceeded
from reactor.http.body_budget import BodyShare
from reactor.http.pace import Pace
from reactor.http.request import OWN_PACE, Receive, Scope, Send
from reactor.limits import Limits
from reactor.runtime.http_cors import Cors

__all__ = ["WITHOUT_BODY", "Event", "Exchange", "RequestTooLarge", "ResponseTooLarge", "request_too_large"]

WITHOUT_BODY: Final = ("GET", "HEAD", "OPTIONS")
"""Methods whose requests have none, whatever is sent."""

Event = MutableMapping[str, Any]


class RequestTooLarge(LimitExceeded):
    """The body is longer than `http_request_bytes`."""

    code = "HttpRequestTooLarge"


class ResponseTooLarge(LimitExceeded):
    """The answer is longer than `http_response_bytes`."""

    code = "HttpResponseTooLarge"


class Exchange:
    """One request and its answer on the wire: bodies counted, HEAD without one, a client that left ignored."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, limits: Limits, *, share: BodyShare | None = None
    ) -> None:
        self.started = False
        """Whether the head of the answer is out."""
        self.status = 0
        """Of the answer, once it has begun."""
        scope[OWN_PACE] = True  # actions have a time limit, and may stream both ways
        self._scope, self._receive, self._send, self._limits = scope, receive, send, limits
        self._is_head = scope["method"] == "HEAD"
        self._without_body = scope["method"] in WITHOUT_BODY
        self._share = share
        self.pace = share.pace if share is not None else Pace()
        """The client's, with its body."""
        self._received = 0
        self._body_ended = False
        self._sent = 0
        self._gone = False
        self._cors: tuple[Cors, bytes | None] | None = None

    def use_cors(self, cors: Cors, origin: bytes | None) -> None:
        """Put these headers on the answer, whatever it is."""
        self._cors = (cors, origin)

    async def receive(self) -> Event:
        """For the handler's request. Raises RequestTooLarge, BodiesBusy, TooSlow."""
        if self._without_body and not self._body_ended:
            self._body_ended = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while True:
            if self._body_ended:
                event = await self._receive()
            else:
                if self._share is not None and self._received:
                    await self._share.take(self._received)
                event = await self.pace.receive(self._receive, self._received)
            if event["type"] != "http.request":
                return event
            if self._body_ended:
                continue  # a body where there should be none
            self._received += len(event.get("body", b""))
            if self._received > self._limits.http_request_bytes:
                raise request_too_large(self._limits)
            self._body_ended = not event.get("more_body")
            if self._share is not None and self._body_ended:
                await self._share.complete(self._received)
            return event

    def release(self) -> None:
        """The request was answered: its body is of no use any more."""
        if self._share is not None:
            self._share.release()

    async def send(self, event: Event) -> None:
        """For the handler's response. Raises ResponseTooLarge."""
        if event["type"] == "http.response.start":
            event = self._checked_head(event)
            self.started = True
            self.status = event["status"]
            await self._pass_on(event)
        elif event["type"] == "http.response.body":
            body = bytes(event.get("body", b""))
            more = event.get("more_body", False)
            limit = self._limits.http_response_bytes
            room = limit - self._sent
            self._sent += len(body)
            if self._sent > limit:
                if room:
                    await self._pass_on({"type": "http.response.body", "body": body[:room], "more_body": True})
                raise _cut(limit)
            if self._is_head:
                if more:
                    return
                body = b""
            if body or not more:
                await self._pass_on({"type": "http.response.body", "body": body, "more_body": more})

    def _checked_head(self, event: Event) -> Event:
        headers: list[tuple[bytes, bytes]] = list(event.get("headers") or [])
        length = next((value for name, value in headers if name.lower() == b"content-length"), b"")
        if length.isdigit() and int(length) > self._limits.http_response_bytes and not self._is_head:
            raise _cut(self._limits.http_response_bytes)
        if self._cors is not None:
            cors, origin = self._cors
            there = {name.lower() for name, _ in headers}
            headers += [pair for pair in cors.answer_headers(origin) if pair[0] == b"vary" or pair[0] not in there]
        return {"type": "http.response.start", "status": event["status"], "headers": headers}

    async def _pass_on(self, event: Event) -> None:
        if self._gone:
            return
        try:
            await self._send(event)
        except OSError:  # how servers may say that the client has gone; the handler need not know
            self._gone = True

    async def answer_text(self, text: str, status: int) -> None:
        await self.answer(text.encode(), status, [(b"content-type", b"text/plain; charset=utf-8")])

    async def answer(self, body: bytes, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if status != 204:
            headers = [*headers, (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def request_too_large(limits: Limits) -> RequestTooLarge:
    """The error, with its text."""
    return RequestTooLarge(f"HTTP actions support requests up to {_mib(limits.http_request_bytes)}")


def _cut(limit: int) -> ResponseTooLarge:
    return ResponseTooLarge(f"HTTP actions support responses up to {_mib(limit)}")


def _mib(count: int) -> str:
    mib = count / 1024 / 1024
    return f"{mib:g} MiB" if mib >= 1 else f"{count} bytes"
