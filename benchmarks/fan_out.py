"""(b) One mutation, 1,000 WebSocket subscribers of one query: how fast all of them have the new result.

Against a bare broadcast of a message of the same size to as many sockets on the same server stack. Both servers are up all
the time and take turns, and the same client process reads both, so that whatever else the machine does meets both. A
second ratio compares the processor time that the servers spent, which a busy machine distorts less.

    python benchmarks/fan_out.py [--subscribers 1000] [--rounds 60] [--text 40]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from pathlib import Path

from load import HERE, free_port, post, process, reactor_server
from websocket import Socket, connect, session_id

CONNECT = '{"type":"Connect","sessionId":"%s","connectionCount":0,"lastCloseReason":"InitialConnect","clientTs":%d}'
ADD = (
    b'{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":'
    b'[{"type":"Add","queryId":0,"udfPath":"notes:newest","args":[{"board":1}]}]}'
)
TURN = 5
"""Rounds that one server has before it is another's turn."""
WARM_UP = 2
"""Turns that are not counted; the query's result has its final size after them."""


def cpu_s(pid: int) -> float:
    """Processor time that a process has used so far, in all its threads (Linux)."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


class Audience:
    """Sockets that count the messages of a round, and what the rounds took."""

    def __init__(self, port: int, pid: int, size: int) -> None:
        self.port, self.pid, self.size = port, pid, size
        self.left = size
        self.done = asyncio.Event()
        self.bytes = 0
        self.sockets: list[Socket] = []
        self.turns: list[float] = []
        self.cpu: list[float] = []

    def expect(self) -> None:
        self.left = self.size
        self.done.clear()

    def on_message(self, payload: bytes) -> None:
        self.bytes = len(payload)
        self.left -= 1
        if self.left == 0:
            self.done.set()

    async def fill(self, path: str, first) -> None:
        for start in range(0, self.size, 100):
            self.sockets += await asyncio.gather(
                *[connect(self.port, path, first(), self.on_message) for _ in range(min(100, self.size - start))]
            )

    async def turn(self, request: bytes) -> None:
        """Have the request's consequence delivered a few times."""
        _, connection = await asyncio.get_running_loop().create_connection(_Request, "127.0.0.1", self.port)
        times = []
        before = cpu_s(self.pid)
        for _ in range(TURN):
            self.expect()
            connection.answered.clear()
            began = time.perf_counter()
            connection.transport.write(request)
            await asyncio.wait_for(self.done.wait(), 60)
            times.append(time.perf_counter() - began)
            await connection.answered.wait()
        connection.transport.close()
        self.turns.append(statistics.median(times))
        self.cpu.append((cpu_s(self.pid) - before) / TURN)

    @property
    def rate(self) -> float:
        """Deliveries per second."""
        return self.size / statistics.median(self.turns[WARM_UP:])

    @property
    def cpu_each(self) -> float:
        """Seconds of the server's processor time per delivery."""
        return statistics.median(self.cpu[WARM_UP:]) / self.size


class _Request(asyncio.Protocol):
    def __init__(self) -> None:
        self.answered = asyncio.Event()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.answered.set()


async def measure(own: tuple[int, int], bare: tuple[int, int], options: argparse.Namespace) -> list[Audience]:
    size = options.subscribers
    reactor, asgi, straight = Audience(*own, size), Audience(*bare, size), Audience(*bare, size)
    clock = itertools.count(time.time_ns() // 1_000_000)
    reactor.expect()
    await reactor.fill("/api/1.48.0/sync", lambda: [(CONNECT % (session_id(), next(clock))).encode(), ADD])
    await asyncio.wait_for(reactor.done.wait(), 60)
    await asgi.fill("/", list)
    for socket in asgi.sockets:
        socket.on_message = lambda payload: (asgi.on_message(payload), straight.on_message(payload))[0]
    await asyncio.sleep(0.5)
    mutation = json.dumps({"path": "notes:add", "args": {"board": 1, "text": "x" * options.text}}).encode()
    for _ in range(options.rounds // TURN + WARM_UP):
        await reactor.turn(post("/api/mutation", mutation))
        message = b"x" * reactor.bytes
        await asgi.turn(post("/", message))
        await straight.turn(post("/straight", message))
    return [reactor, asgi, straight]


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--text", type=int, default=40, help="characters of a note; a result has ten")
    options = parser.parse_args()
    port = free_port()
    with (
        reactor_server("board", "--no-supervise") as own,
        process(sys.executable, str(HERE / "broadcast.py"), str(port), port=port, path="/") as server,
    ):
        reactor, asgi, straight = uvloop.run(measure(own, (port, server.pid), options))
    print(f"{options.subscribers} subscribers, {reactor.bytes} bytes each")
    for name, a, note in (
        ("bare broadcast", asgi, ""),
        ("  straight to the transport", straight, ""),
        ("reactor", reactor, "  mutation, commit, one run, one encoding included"),
    ):
        print(f"{name:28}{a.rate:9,.0f} deliveries/s  {a.cpu_each * 1e6:5.1f} us of processor each{note}")
    print(f"  reactor / bare            {reactor.rate / asgi.rate:9.2f}    (wanted: at least 0.6)")
    print(f"  the same in processor time{asgi.cpu_each / reactor.cpu_each:9.2f}")


if __name__ == "__main__":
    main()
