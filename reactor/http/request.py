"""One HTTP request over bare ASGI: its headers picked once, its body read within a limit, its answer sent in one go."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from reactor.http.body_budget import (
    LARGE_BODY_BYTES,
    LARGE_BODY_DIGITS,
    RETRY_AFTER_S,
    BodiesBusy,
    BodyBudget,
    BodyShare,
)
from reactor.http.cors import cors_headers
from reactor.http.pace import Pace, TooSlow

__all__ = [
    "OWN_PACE",
    "Answer",
    "DirectHandler",
    "Handler",
    "Head",
    "HttpError",
    "Receive",
    "Request",
    "Scope",
    "Send",
    "error_body",
    "internal_error",
    "single_slashes",
    "too_large",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OWN_PACE: Final = "reactor.own_pace"
"""In the scope of a request: who reads its body sees to it that it comes, so nobody else does."""

_SLASHES = re.compile("//+")
_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")


def single_slashes(path: str) -> str:
    """Clients join URLs by plain concatenation: doubled slashes count as one."""
    return _SLASHES.sub("/", path) if "//" in path else path


class HttpError(Exception):
    """Answer with this status and `{"code", "message"}`. `retry_after_s` says when it may go better."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after_s = status, code, message, retry_after_s


Answer = Callable[[bytes | HttpError], None]
"""Takes the JSON of an answer, or the error to answer with."""


Handler = Callable[["Request"], Awaitable[None]]
"""Answers a request. May raise HttpError."""

DirectHandler = Callable[["Head", bytes, Answer], None]
"""Handles a request whose body is complete, within a loop step; `answer` is called once, then or later. May raise HttpError."""


class ClientGone(Exception):
    """The client went away before its request was complete: there is nobody to answer."""


class Head:
    """What we look at of a request's headers. Values are bytes, None when absent."""

    __slots__ = ("_id", "authorization", "client", "content_length", "content_type", "origin")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.origin: bytes | None = None
        self.authorization: bytes | None = None
        self.content_type: bytes | None = None
        self.client: bytes | None = None
        self.content_length: bytes | None = None
        self._id: str | None = None
        for name, value in headers:
            if name == b"content-type":
                self.content_type = value
            elif name == b"content-length":
                self.content_length = value
            elif name == b"origin":
                self.origin = value
            elif name == b"authorization":
                self.authorization = value
            elif name == b"convex-client":
                self.client = value
            elif name == b"convex-request-id":
                self._id = value.decode("latin-1")[:64]

    def has_small_body(self) -> bool:
        """Whether the body is known to be smaller than `LARGE_BODY_BYTES`."""
        return self.content_length is not None and len(self.content_length) < LARGE_BODY_DIGITS

    @property
    def known_id(self) -> str:
        """The request id if it is the client's, or was asked for before; else empty."""
        return self._id or ""

    @property
    def id(self) -> str:
        """The request id: the client's, or 16 random hex digits."""
        if self._id is None:
            self._id = f"{random.getrandbits(64):016x}"
        return self._id


class Request(Head):
    """A request and its answer."""

    __slots__ = ("bodies", "method", "path", "receive", "scope", "send", "share")

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, path: str, *, bodies: BodyBudget | None = None
    ) -> None:
        super().__init__(scope["headers"])
        self.scope, self.receive, self.send, self.path = scope, receive, send, path
        self.method: str = scope["method"]
        self.bodies = bodies
        self.share: BodyShare | None = None
        """What a large body holds of `bodies`, to be released once it is answered."""

    def query_parameters(self) -> dict[str, str]:
        """The URL's query string; of repeated names the last counts."""
        raw: bytes = self.scope.get("query_string") or b""
        return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)) if raw else {}

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises `HttpError` 413 when it has more than `limit` bytes, 503 when there are too many large ones."""
        event = await self.receive()
        if event["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = event.get("body", b"")
        if len(body) > limit:
            raise too_large(limit)
        more = event.get("more_body")
        if not more and len(body) < LARGE_BODY_BYTES:
            return body
        chunks, size = [body], len(body)
        if self.bodies is not None:
            self.share = BodyShare(self.bodies, self.content_length, limit)
            if self.share.declared is not None and self.share.declared > limit:
                raise too_large(limit)  # rather than wait for a share first
        while more:
            if self.share is None:
                event = await self.receive()
            else:
                await _or_503(self.share.take(size))
                event = await self._receive_at_pace(self.share.pace, size)
            if event["type"] == "http.disconnect":
                raise ClientGone
            chunk: bytes = event.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            chunks.append(chunk)
            more = event.get("more_body")
        if self.share is not None:
            await _or_503(self.share.complete(size))
        return b"".join(chunks)

    async def _receive_at_pace(self, pace: Pace, size: int) -> MutableMapping[str, Any]:
        try:
            return await pace.receive(self.receive, size)
        except TooSlow as error:
            raise HttpError(408, error.code, str(error)) from None

    async def answer(
        self,
        body: bytes,
        *,
        status: int = 200,
        is_json: bool = True,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        """Send the answer, with the CORS headers it needs."""
        all_headers = [_JSON if is_json else _TEXT, (b"content-length", b"%d" % len(body))]
        if headers is not None:
            all_headers += headers
        if self.origin is not None:
            all_headers += cors_headers(self.origin)
        await self.send({"type": "http.response.start", "status": status, "headers": all_headers})
        await self.send({"type": "http.response.body", "body": body})

    async def answer_raw(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Send bytes of whatever type `headers` says."""
        all_headers = [*headers, (b"content-length", b"%d" % len(body)), *cors_headers(self.origin)]
        await self.send({"type": "http.response.start", "status": 200, "headers": all_headers})
        await self.send({"type": "http.response.body", "body": body})

    async def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of an answer whose body the caller sends, piece by piece."""
        await self.send(
            {"type": "http.response.start", "status": status, "headers": [*headers, *cors_headers(self.origin)]}
        )

    async def answer_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send an answer without a body: to HEAD, or 304."""
        await self.begin(status, headers)
        await self.send({"type": "http.response.body", "body": b""})

    async def answer_preflight(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Answer an OPTIONS request."""
        all_headers = [*headers, (b"content-length", b"0")]
        await self.send({"type": "http.response.start", "status": 200, "headers": all_headers})
        await self.send({"type": "http.response.body", "body": b""})

    async def answer_text(self, text: str, *, status: int = 200) -> None:
        await self.answer(text.encode("utf-8", "replace"), status=status, is_json=False)

    async def answer_error(self, error: HttpError) -> None:
        wait = error.retry_after_s
        headers = None if wait is None else [(b"retry-after", b"%d" % wait)]
        await self.answer(error_body(error), status=error.status, headers=headers)


async def _or_503(wait: Awaitable[None]) -> None:
    try:
        await wait
    except BodiesBusy as error:
        raise HttpError(503, error.code, str(error), retry_after_s=RETRY_AFTER_S) from None


def error_body(error: HttpError) -> bytes:
    message = error.message.encode("utf-8", "replace").decode("utf-8")
    return msgspec.json.encode({"code": error.code, "message": message})


def internal_error() -> HttpError:
    return HttpError(500, "InternalServerError", "Your request couldn't be completed. Try again later.")


def too_large(limit: int) -> HttpError:
    return HttpError(413, "BodyTooLarge", f"The request body is too large (limit: {limit} bytes).")
