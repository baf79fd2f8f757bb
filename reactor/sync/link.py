"""A WebSocket as the sync worker needs it, over plain ASGI: works in any server, knows only what ASGI tells.

`sync.transport` has the better one for our own server: it sees the transport's buffer, fragments, and writes bytes as they
are. Both send without waiting; `writable` says whether what was sent is on its way.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Protocol

import msgspec

__all__ = ["EXTENSION", "AsgiLink", "Link", "Message", "Receive", "Scope", "Send", "refuse"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Message = bytes | tuple[bytes, ...]
"""One text message; in pieces where these are shared with other messages, so that they need not be copied into it."""

EXTENSION = "reactor.link"
"""Under this name in `scope["extensions"]` our own server offers a `Link`."""


class Link(Protocol):
    """One accepted WebSocket. All of it is called on the event loop's thread."""

    on_writable: Callable[[], None] | None
    """Called whenever `writable` turns true again."""
    on_full: Callable[[], None] | None
    """Called whenever it turns false."""

    @property
    def fragments(self) -> bool:
        """Whether large messages are sent in several frames."""
        ...

    @property
    def writable(self) -> bool:
        """What was sent before has left our buffers, or nearly."""
        ...

    @property
    def sent_bytes(self) -> int:
        """How much has left our buffers so far. When it stands still while not `writable`, the client does not read."""
        ...

    @property
    def heard_at(self) -> float | None:
        """When the client was last heard of, a pong included (`time.monotonic`), or None where that can't be known."""
        ...

    def send(self, messages: Collection[Message]) -> None:
        """Send text messages, in this order."""
        ...

    def ping(self) -> None:
        """Ask the client's WebSocket for a sign of life, where possible."""
        ...

    async def receive(self) -> MutableMapping[str, Any]:
        """The next ASGI event."""
        ...

    def close(self, code: int | None, reason: str) -> None:
        """Close after what was sent. `receive` then returns a disconnect. Code None: without a status, where possible."""
        ...

    async def finish(self) -> None:
        """Wait until the close is under way, a few seconds at most."""
        ...


class AsgiLink:
    """A `Link` on nothing but ASGI's `receive` and `send`."""

    fragments = False
    heard_at: float | None = None  # pings belong to the server, which does not tell of pongs

    def __init__(self, receive: Receive, send: Send) -> None:
        self.on_writable: Callable[[], None] | None = None
        self.on_full: Callable[[], None] | None = None
        self.sent_bytes = 0
        self._send = send
        self._receive = receive
        self._outbox: deque[MutableMapping[str, Any]] = deque()
        self._sending = False
        self._failed = False
        self._closing = False
        self._wake = asyncio.Event()
        # At most one event waits here: then the server's own back-pressure takes over.
        self._inbox: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue(maxsize=1)
        self._closed_by_us = asyncio.Event()
        self._tasks = [asyncio.create_task(self._write_all()), asyncio.create_task(self._read_all())]

    @property
    def writable(self) -> bool:
        return not self._outbox and not self._sending

    def send(self, messages: Collection[Message]) -> None:
        if self._failed or self._closing:
            return
        self._outbox.extend({"type": "websocket.send", "text": whole(message).decode("utf-8")} for message in messages)
        self._wake.set()
        if self.on_full is not None:
            self.on_full()

    def ping(self) -> None:
        """Left to the server, which pings by its own rules."""

    def close(self, code: int | None, reason: str) -> None:
        if self._closing:
            return
        self._closing = True
        self._outbox.append({"type": "websocket.close", "code": 1000 if code is None else code, "reason": reason})
        self._wake.set()
        self._closed_by_us.set()

    async def receive(self) -> MutableMapping[str, Any]:
        if self._closing and self._inbox.empty():
            return {"type": "websocket.disconnect", "code": 1005}
        event = asyncio.ensure_future(self._inbox.get())
        closed = asyncio.ensure_future(self._closed_by_us.wait())
        try:
            await asyncio.wait((event, closed), return_when=asyncio.FIRST_COMPLETED)
            return event.result() if event.done() else {"type": "websocket.disconnect", "code": 1005}
        finally:
            event.cancel()
            closed.cancel()

    async def finish(self) -> None:
        writer, reader = self._tasks
        reader.cancel()
        if self._closing and not self._failed:
            await asyncio.wait((writer,), timeout=5)
        writer.cancel()
        await asyncio.gather(writer, reader, return_exceptions=True)

    async def _read_all(self) -> None:
        while True:
            event = await self._receive()
            await self._inbox.put(event)
            if event["type"] == "websocket.disconnect":
                return

    async def _write_all(self) -> None:
        try:
            while True:
                while self._outbox:
                    event = self._outbox.popleft()
                    self._sending = True
                    await self._send(event)
                    self._sending = False
                    if event["type"] == "websocket.close":
                        return
                    self.sent_bytes += len(event["text"])
                if self.on_writable is not None and self.writable:
                    self.on_writable()
                self._wake.clear()
                if not self._outbox:
                    await self._wake.wait()
        except Exception:
            # The client is gone, which servers tell in several ways; `receive` says so too.
            self._failed = True
            self._outbox.clear()


def whole(message: Message) -> bytes:
    """The bytes of a message in one piece."""
    return message if isinstance(message, bytes) else b"".join(message)


async def refuse(scope: Scope, send: Send, status: int, code: str, message: str) -> None:
    """Answer a WebSocket's opening handshake with an HTTP error."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1000, "reason": code})
        return
    body = msgspec.json.encode({"code": code, "message": message})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


monotonic = time.monotonic
"""The clock of `Link.heard_at`."""
