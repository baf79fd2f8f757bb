"""(b) One mutation, 1,000 WebSocket subscribers of one query: how fast all of them have the new result.

Against a bare broadcast of a message of the same size to as many sockets on the same server stack.

    python benchmarks/fan_out.py [--subscribers 1000] [--rounds 60]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time

from load import HERE, free_port, post, process, reactor_server
from websocket import Socket, connect, session_id

CONNECT = '{"type":"Connect","sessionId":"%s","connectionCount":0,"lastCloseReason":"InitialConnect","clientTs":0}'
ADD = (
    b'{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":'
    b'[{"type":"Add","queryId":0,"udfPath":"notes:newest","args":[{"board":1}]}]}'
)


class Audience:
    """Sockets that count the messages of a round."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = size
        self.done = asyncio.Event()
        self.bytes = 0
        self.sockets: list[Socket] = []

    def expect(self) -> None:
        self.left = self.size
        self.done.clear()

    def on_message(self, payload: bytes) -> None:
        self.bytes = len(payload)
        self.left -= 1
        if self.left == 0:
            self.done.set()

    async def fill(self, port: int, path: str, first) -> None:
        for start in range(0, self.size, 100):
            self.sockets += await asyncio.gather(
                *[connect(port, path, first(), self.on_message) for _ in range(min(100, self.size - start))]
            )


class _Request(asyncio.Protocol):
    def __init__(self) -> None:
        self.answered = asyncio.Event()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.answered.set()


async def rounds(port: int, audience: Audience, requests: list[bytes]) -> list[float]:
    _, request = await asyncio.get_running_loop().create_connection(_Request, "127.0.0.1", port)
    times = []
    for body in requests:
        audience.expect()
        request.answered.clear()
        began = time.perf_counter()
        request.transport.write(body)
        await asyncio.wait_for(audience.done.wait(), 30)
        times.append(time.perf_counter() - began)
        await request.answered.wait()
    request.transport.close()
    return times


async def of_reactor(port: int, size: int, count: int) -> tuple[float, int]:
    audience = Audience(size)
    audience.expect()
    await audience.fill(port, "/api/1.48.0/sync", lambda: [(CONNECT % session_id()).encode(), ADD])
    await asyncio.wait_for(audience.done.wait(), 60)
    mutation = json.dumps({"path": "notes:add", "args": {"board": 1, "text": "x" * 40}}).encode()
    times = await rounds(port, audience, [post("/api/mutation", mutation)] * (count + 12))
    return size / statistics.median(times[12:]), audience.bytes


async def of_broadcast(port: int, size: int, count: int, message: int) -> float:
    audience = Audience(size)
    await audience.fill(port, "/", list)
    await asyncio.sleep(0.5)
    times = await rounds(port, audience, [post("/", b"x" * message)] * (count + 12))
    return size / statistics.median(times[12:])


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    with reactor_server("board") as (port, _):
        own, size = uvloop.run(of_reactor(port, options.subscribers, options.rounds))
    port = free_port()
    with process(sys.executable, str(HERE / "broadcast.py"), str(port), port=port, path="/"):
        bare = uvloop.run(of_broadcast(port, options.subscribers, options.rounds, size))
    print(f"{options.subscribers} subscribers, {size} bytes each")
    print(f"bare broadcast      {bare:9,.0f} deliveries/s")
    print(f"reactor             {own:9,.0f} deliveries/s  (mutation, commit, one run, one encoding included)")
    print(f"  reactor / bare    {own / bare:9.2f}    (wanted: at least 0.6)")


if __name__ == "__main__":
    main()
