"""A TCP proxy that misbehaves on demand: it resets, refuses, and holds back what either side said."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator


class BreakingProxy:
    """Forwards bytes between clients and `target_port` on loopback.

    `hold_answers()` / `hold_requests()` keep what the server or the client says from the other side until `flow()`, or
    for ever when `cut()` resets the connections first. `refuse = True` resets new connections at once.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.refuse = False
        self.connections = 0  # accepted since the start
        self.held_answer_bytes = 0
        self.held_request_bytes = 0
        self._answers_flow = asyncio.Event()
        self._requests_flow = asyncio.Event()
        self._answers_flow.set()
        self._requests_flow.set()
        self._held = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        return len(self._writers) // 2

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        self.port = port

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold_answers(self) -> None:
        self._answers_flow.clear()

    def hold_requests(self) -> None:
        self._requests_flow.clear()

    def flow(self) -> None:
        """Let both directions through again."""
        self.held_answer_bytes = self.held_request_bytes = 0
        self._answers_flow.set()
        self._requests_flow.set()

    async def wait_held_answer(self) -> None:
        """Until the server has said something that is being held back."""
        async with self._held:
            await self._held.wait_for(lambda: self.held_answer_bytes > 0)

    async def wait_held_request(self) -> None:
        async with self._held:
            await self._held.wait_for(lambda: self.held_request_bytes > 0)

    def cut(self) -> None:
        """Reset every connection on both sides (RST, no goodbye); what was held back is lost."""
        for writer in list(self._writers):
            _reset(writer)
        self._writers.clear()
        for task in list(self._tasks):
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuse:
            _reset(writer)
            return
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            _reset(writer)
            return
        self._writers |= {writer, upstream_writer}
        pair = (writer, upstream_writer)
        for source, sink, answers in ((reader, upstream_writer, False), (upstream_reader, writer, True)):
            task = asyncio.create_task(self._pump(source, sink, answers, pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        answers: bool,
        pair: tuple[asyncio.StreamWriter, ...],
    ) -> None:
        gate = self._answers_flow if answers else self._requests_flow
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await source.read(65536):
                if not gate.is_set():
                    if answers:
                        self.held_answer_bytes += len(data)
                    else:
                        self.held_request_bytes += len(data)
                    async with self._held:
                        self._held.notify_all()
                    await gate.wait()
                sink.write(data)
                await sink.drain()
        self._writers.difference_update(pair)
        for writer in pair:
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket | None = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def breaking_proxy(target_port: int) -> AsyncIterator[BreakingProxy]:
    from tests.support.server import free_port

    proxy = BreakingProxy(target_port)
    await proxy.start(free_port())
    try:
        yield proxy
    finally:
        await proxy.close()
