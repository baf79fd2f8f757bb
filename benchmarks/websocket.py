"""A lean WebSocket client for benchmarks: it says what it is told to say and counts the messages that come."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable


def frame(text: bytes) -> bytes:
    """A masked text frame. The mask is zero: legal, and free."""
    n = len(text)
    if n < 126:
        head = struct.pack("!BB", 0x81, 0x80 | n)
    elif n < 65536:
        head = struct.pack("!BBH", 0x81, 0xFE, n)
    else:
        head = struct.pack("!BBQ", 0x81, 0xFF, n)
    return head + b"\0\0\0\0" + text


class Socket(asyncio.Protocol):
    """`on_message(payload)` is called for every text message; control frames are answered."""

    def __init__(self, path: str, first: list[bytes], on_message: Callable[[bytes], None]) -> None:
        self.path, self.first, self.on_message = path, first, on_message
        self.buffer = b""
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        key = "AAAAAAAAAAAAAAAAAAAAAA=="
        self.transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def send(self, text: bytes) -> None:
        self.transport.write(frame(text))

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        if not self.open:
            head, separator, rest = buffer.partition(b"\r\n\r\n")
            if not separator:
                self.buffer = buffer
                return
            if b" 101 " not in head:
                raise SystemExit(f"no WebSocket: {head!r}")
            self.open = True
            buffer = rest
            for text in self.first:
                self.send(text)
        at = 0
        size = len(buffer)
        while size - at >= 2:
            n = buffer[at + 1] & 127
            start = at + 2
            if n == 126:
                if size - at < 4:
                    break
                n = struct.unpack_from("!H", buffer, at + 2)[0]
                start = at + 4
            elif n == 127:
                if size - at < 10:
                    break
                n = struct.unpack_from("!Q", buffer, at + 2)[0]
                start = at + 10
            if size < start + n:
                break
            opcode = buffer[at] & 15
            if opcode == 1:
                self.on_message(buffer[start : start + n])
            elif opcode == 9:
                self.transport.write(b"\x8a\x80\0\0\0\0")
            at = start + n
        self.buffer = buffer[at:]


async def connect(port: int, path: str, first: list[bytes], on_message: Callable[[bytes], None]) -> Socket:
    _, socket = await asyncio.get_running_loop().create_connection(
        lambda: Socket(path, first, on_message), "127.0.0.1", port
    )
    return socket


def session_id() -> str:
    h = os.urandom(16).hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
