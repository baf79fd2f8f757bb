"""What the benchmarks share: servers in processes of their own, a lean HTTP/1.1 client, account numbers by distribution."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import itertools
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
ADMIN_KEY = "bench|0123456789"
# Else servers of scripts that are run by themselves would make keys, and keep them below the home directory.
os.environ.setdefault("REACTOR_ADMIN_KEY", ADMIN_KEY)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until_up(port: int, process: subprocess.Popen[bytes], path: str = "/version", pause: float = 0.05) -> None:
    for _ in range(int(30 / pause)):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).read()
            return
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode}")
        time.sleep(pause)
    raise SystemExit("the server did not come up")


@contextlib.contextmanager
def process(
    *command: str, port: int, path: str = "/version", cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, up when the block begins and gone when it ends."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    # A line for each call, while serving: it goes where the figures are not, and is there when a server does not come up.
    log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
    server = subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=log)
    try:
        try:
            wait_until_up(port, server, path)
        except SystemExit:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        yield server
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextlib.contextmanager
def reactor_server(app: str, *options: str) -> Iterator[tuple[int, int]]:
    """`reactor serve` on a benchmark app and a fresh data directory; yields its port and process id."""
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        command = (
            sys.executable, "-m", "reactor.cli", "serve", str(HERE / "apps" / app), "--port", str(port),
            "--site-port", str(free_port()), "--data", data, "--admin-key", ADMIN_KEY, *options,
        )  # fmt: skip
        with process(*command, port=port, cwd=HERE / "apps" / app) as server:
            yield port, server.pid


@contextlib.contextmanager
def constant_server() -> Iterator[int]:
    """The baseline: uvicorn, set up as reactor sets it up, and a bare ASGI application with a constant answer."""
    port = free_port()
    with process(sys.executable, str(HERE / "constant.py"), str(port), port=port):
        yield port


class _Connection(asyncio.Protocol):
    """One keep-alive connection that sends the next request as soon as it has its answer."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send()

    def send(self) -> None:
        request = self.load.next_request()
        if request is None:
            self.transport.close()
            return
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        at = lower.index(b"content-length:") + 15
        end = lower.find(b"\r\n", at)
        length = int(lower[at : end if end >= 0 else None])
        if len(rest) < length:
            return
        self.buffer = b""
        self.load.answered(head, rest, time.perf_counter() - self.sent_at)
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.lost(exc)


class Load:
    """`connections` clients in a closed loop for `seconds`, after a warm-up."""

    def __init__(self, make_request: Callable[[], bytes], seconds: float, expect: bytes) -> None:
        self.make_request = make_request
        self.seconds = seconds
        self.expect = expect
        self.latencies: list[float] = []
        self.stop_at = 0.0
        self.count_from = 0.0
        self.open = 0
        self.failed: str | None = None

    def next_request(self) -> bytes | None:
        return self.make_request() if time.perf_counter() < self.stop_at and self.failed is None else None

    def answered(self, head: bytes, body: bytes, latency: float) -> None:
        if not head.startswith(b"HTTP/1.1 200") or self.expect not in body:
            self.failed = (head + b"\n\n" + body).decode()
        if time.perf_counter() >= self.count_from:
            self.latencies.append(latency)

    def lost(self, error: Exception | None) -> None:
        self.open -= 1
        if error is not None:
            self.failed = repr(error)
        if self.open == 0:
            self.done.set()

    async def run(self, port: int, connections: int) -> tuple[float, float, float]:
        """Returns requests per second, median and 99th percentile latency in seconds."""
        loop = asyncio.get_running_loop()
        self.done = asyncio.Event()
        now = time.perf_counter()
        self.count_from, self.stop_at = now + self.seconds * 0.2, now + self.seconds * 1.2
        self.open = connections
        for _ in range(connections):
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", port)
        await self.done.wait()
        if self.failed is not None:
            raise SystemExit(f"a request failed: {self.failed}")
        self.latencies.sort()
        n = len(self.latencies)
        return n / self.seconds, self.latencies[n // 2], self.latencies[int(n * 0.99)]


def post(path: str, body: bytes) -> bytes:
    """An HTTP/1.1 request as bytes."""
    return b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        path.encode(),
        len(body),
        body,
    )


def run(load: Load, port: int, connections: int) -> tuple[float, float, float]:
    import uvloop

    return uvloop.run(load.run(port, connections))


def numbers(distribution: str, count: int, seed: int = 1) -> Callable[[], int]:
    """Account numbers: `uniform`, or `zipf` with exponent 1.5 (the most wanted account is in every second transfer)."""
    rng = random.Random(seed)
    if distribution == "uniform":
        return lambda: rng.randrange(count)
    cumulative = list(itertools.accumulate((n + 1) ** -1.5 for n in range(count)))
    total = cumulative[-1]
    return lambda: bisect.bisect_left(cumulative, rng.random() * total)


def two_of(draw: Callable[[], int]) -> tuple[int, int]:
    a = b = draw()
    while b == a:
        b = draw()
    return a, b
