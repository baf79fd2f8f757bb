"""uvicorn's WebSocket protocol, made to offer each application the `Link` of its socket.

ASGI alone can't say when a socket's buffer has drained (uvicorn's `send` returns once the bytes are buffered), send a
message in several frames, or tell of pongs. Pass `SyncWebSocketProtocol` as uvicorn's `ws=`; it stays a complete WebSocket
implementation for all other applications.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, MutableMapping
from typing import Any, cast

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from reactor.sync.link import EXTENSION, Message, monotonic, whole

__all__ = ["SyncWebSocketProtocol", "TransportLink"]

FRAGMENT_BYTES = 2 * 1024 * 1024
"""Larger messages go in frames of at most this. The Rust client takes frames of 16 MiB and messages of 64 MiB."""
HIGH_WATER_BYTES = 32 * 1024
"""With more than this unsent a socket is not writable until all of it is gone."""
JOIN_BYTES = 64 * 1024
"""Up to here one copy is cheaper than handing the transport several buffers."""
CLOSE_REASON_MAX_BYTES = 123

_TEXT, _CONTINUATION, _FIN = 0x1, 0x0, 0x80
_HEADER_16, _HEADER_64 = struct.Struct("!BBH").pack, struct.Struct("!BBQ").pack


class SyncWebSocketProtocol(WebSocketsSansIOProtocol):
    """The protocol of one connection. Its application finds a `TransportLink` in `scope["extensions"]`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.link = TransportLink(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=0)
        # Event loops do this only for sockets made with an explicit protocol number. Without it the transition that follows
        # a response waits for the client's delayed acknowledgement, 40 ms.
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.link.heard_at = monotonic()

    def data_received(self, data: bytes) -> None:
        self.link.heard_at = monotonic()
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.link.writable = False
        if self.link.on_full is not None:
            self.link.on_full()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # Nothing will ever drain; whoever waits for that must go on to hear of the disconnect.
        self._is_writable()

    def _is_writable(self) -> None:
        self.link.writable = True
        if self.link.on_writable is not None:
            self.link.on_writable()

    def shutdown(self) -> None:
        super().shutdown()
        self.abort_later()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # Or uvicorn takes the refused handshake for one that the application forgot, and logs an error.
            self.handshake_complete = True

    async def run_asgi(self) -> None:
        cast("dict[str, Any]", self.scope)["extensions"][EXTENSION] = self.link
        await super().run_asgi()
        if self.transport.is_closing():
            self.abort_later()

    def abort_later(self) -> None:
        """Give up on a closing connection in a while: closing waits for the buffer, and a client that never reads keeps it full."""
        self.loop.call_later(self.close_timeout, self.transport.abort)


class TransportLink:
    """A `Link` that writes its frames straight to the transport."""

    __slots__ = ("_closed", "_protocol", "_written_bytes", "heard_at", "on_full", "on_writable", "writable")

    fragments = True

    def __init__(self, protocol: SyncWebSocketProtocol) -> None:
        self.on_writable: Callable[[], None] | None = None
        self.on_full: Callable[[], None] | None = None
        self.writable = True
        self.heard_at: float | None = None
        self._protocol = protocol
        self._written_bytes = 0
        self._closed = False

    @property
    def sent_bytes(self) -> int:
        return self._written_bytes - self._protocol.transport.get_write_buffer_size()

    def send(self, messages: Collection[Message]) -> None:
        protocol = self._protocol
        transport = protocol.transport
        # Whatever else ends the connection closes the transport at once.
        if self._closed or transport.is_closing():
            return
        if protocol.conn.extensions:
            buffers: list[bytes | memoryview] = list(self._compressed(messages))
            size = sum(map(len, buffers))
        elif len(messages) == 1 and 126 <= (size := sum(map(len, pieces := _pieces(*messages)))) < JOIN_BYTES:
            # What follows a commit, to each of many: the general way, written out.
            self._written_bytes += size + 4
            transport.write(b"".join((_HEADER_16(_FIN | _TEXT, 126, size), *pieces)))
            return
        else:
            buffers, size = [], 0
            for message in messages:
                size += _add_frames(buffers, _pieces(message))
        self._written_bytes += size
        if size <= JOIN_BYTES:
            transport.write(b"".join(buffers))
        else:
            # The last one apart: `writelines` of Python before 3.12.9 and 3.13.2 never tells that the buffer is full.
            transport.writelines(buffers[:-1])
            transport.write(buffers[-1])

    def _compressed(self, messages: Iterable[Message]) -> Iterator[bytes]:
        conn = self._protocol.conn
        for message in messages:
            text = whole(message)
            first, *rest = [text[i : i + FRAGMENT_BYTES] for i in range(0, len(text), FRAGMENT_BYTES)]
            conn.send_text(first, fin=not rest)
            for number, piece in enumerate(rest, 1):
                conn.send_continuation(piece, fin=number == len(rest))
            yield from conn.data_to_send()

    def ping(self) -> None:
        protocol = self._protocol
        if protocol.conn.state is State.OPEN and not protocol.transport.is_closing():
            protocol.conn.send_ping(b"")
            protocol.transport.write(b"".join(protocol.conn.data_to_send()))

    async def receive(self) -> MutableMapping[str, Any]:
        return cast("MutableMapping[str, Any]", await self._protocol.receive())

    def close(self, code: int | None, reason: str) -> None:
        protocol = self._protocol
        if protocol.close_sent or protocol.disconnected or protocol.conn.state is not State.OPEN:
            return
        reason = reason.encode("utf-8", "replace")[:CLOSE_REASON_MAX_BYTES].decode("utf-8", "ignore")
        protocol.conn.send_close(code, reason if code is not None else "")
        protocol.transport.write(b"".join(protocol.conn.data_to_send()))
        protocol.close_sent = self._closed = True
        protocol.queue.put_nowait({"type": "websocket.disconnect", "code": code or 1005, "reason": reason})
        # Read on, or the client's half of the closing handshake is never seen.
        if protocol.read_paused:
            protocol.read_paused = False
            protocol.transport.resume_reading()
        protocol.close_timer = protocol.loop.call_later(protocol.close_timeout, protocol.transport.abort)

    async def finish(self) -> None:
        return


def _pieces(message: Message) -> tuple[bytes, ...]:
    return (message,) if isinstance(message, bytes) else message


def _add_frames(buffers: list[bytes | memoryview], pieces: tuple[bytes, ...]) -> int:
    """Append a text message as unmasked frames; returns how many bytes they have, or nearly."""
    size = sum(map(len, pieces))
    if size <= FRAGMENT_BYTES:
        buffers.append(_header(_FIN | _TEXT, size))
        buffers += pieces
        return size + 4
    total = size
    # Slices of the pieces, not copies: a thousand slow clients may be waiting for the same large result.
    opcode, left, room = _TEXT, size, 0
    for piece in pieces:
        view = memoryview(piece)
        while len(view):
            if not room:
                room = min(left, FRAGMENT_BYTES)
                left -= room
                buffers.append(_header(opcode if left else opcode | _FIN, room))
                opcode = _CONTINUATION
            buffers.append(view[:room])
            taken = min(room, len(view))
            room -= taken
            view = view[taken:]
    return total


def _header(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return _HEADER_16(first, 126, size)
    return _HEADER_64(first, 127, size)
