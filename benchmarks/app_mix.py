"""The sample app under its own mix: 200 users who watch their projects and messages while answers stream in.

Each user has an app open in `--tabs` places, and each place follows projects:list, messages:list of one project and
usage:getUsage. At a fixed rate, whatever the answers take: of 20 operations 12 are updates of a streaming message, 3 new
messages, 2 renamed projects and 3 reads over HTTP. An update has arrived when every place that follows it has been told,
counted from when it was due to be sent.

Against the same operations on the same data while nobody follows anything.

    python benchmarks/app_mix.py [--users 200] [--tabs 2] [--rate 200] [--seconds 8]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import re
import time
from collections import deque
from collections.abc import Callable

from connections import resident
from fan_out import CONNECT
from load import ADMIN_KEY, HERE, reactor_server
from websocket import Socket, connect, session_id

PROJECTS, MESSAGES = 3, 10  # of each user; the messages are those of the first project
MIX = ("stream",) * 12 + ("create",) * 3 + ("rename",) * 2 + ("read",) * 3
STREAMS, STREAM_LENGTH = 20, 30  # so many answers are being written at any time, in so many updates each
WARM_UP = 1.0
FOLLOWED = ("projects:list", "messages:list", "usage:getUsage")
MARK = re.compile(rb"~([mp])(\d+)~")
WORDS = "A page with a form, a table below it and a button that does what it says. "


class User:
    """One user with their places. The first one sends; all of them look out for the marks in what they follow.

    Marks are numbers that grow. The server runs the mutations of one client one after the other, so whoever sees a mark
    has all before it, those included that a quick successor has replaced.
    """

    def __init__(self, number: int, tabs: int) -> None:
        self.identity = {"subject": f"user_{number}", "issuer": "https://bench.example"}
        self.tabs = tabs
        self.sockets: list[Socket] = []
        self.seen = {kind: [0] * tabs for kind in "mp"}
        self.told = [set[int]() for _ in range(tabs)]
        self.waiting = {kind: deque[tuple[int, Callable[[], None]]]() for kind in "mp"}
        self.answers: dict[int, Callable[[object], None]] = {}
        self.requests = 0
        self.marks = 0
        self.streamed = ""

    async def open(self, port: int) -> None:
        sign_in = {"type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": ADMIN_KEY}
        for tab in range(self.tabs):
            first = [
                (CONNECT % session_id()).encode(),
                json.dumps({**sign_in, "impersonating": self.identity}).encode(),
                b'{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[]}',
            ]
            self.sockets.append(
                await connect(port, "/api/1.48.0/sync", first, lambda payload, tab=tab: self.on_message(tab, payload))
            )
        await until(lambda: all(socket.open for socket in self.sockets), 10)

    def on_message(self, tab: int, payload: bytes) -> None:
        if payload.startswith(b'{"type":"MutationResponse"'):
            answer = json.loads(payload)
            if not answer["success"]:
                raise_later(answer["result"])
            self.answers.pop(answer["requestId"])(answer["result"])
        elif payload.startswith(b'{"type":"Transition"'):
            if len(self.told[tab]) < len(FOLLOWED):
                self.told[tab].update(m["queryId"] for m in json.loads(payload)["modifications"])
            if b'"QueryFailed"' in payload:
                raise_later(payload.decode())
            for kind, mark in MARK.findall(payload):
                seen = self.seen[kind.decode()]
                seen[tab] = max(seen[tab], int(mark))
            for kind, waiting in self.waiting.items():
                everywhere = min(self.seen[kind])
                while waiting and waiting[0][0] <= everywhere:
                    waiting.popleft()[1]()
        elif not payload.startswith(b'{"type":"Ping"'):
            raise_later(payload.decode())

    def send(self, path: str, args: dict[str, object], on_answer: Callable[[object], None]) -> None:
        self.answers[self.requests] = on_answer
        message = {"type": "Mutation", "requestId": self.requests, "udfPath": path, "args": [args]}
        self.sockets[0].send(json.dumps(message).encode())
        self.requests += 1

    async def call(self, path: str, **args: object) -> str:
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.send(path, args, answer.set_result)
        return str(await answer)

    async def settle(self) -> None:
        """Make the user's projects and messages."""
        made = [self.call("projects:create", name=f"project {i}", framework="NEXTJS") for i in range(PROJECTS)]
        self.project, *_ = await asyncio.gather(*made)
        # The last message is the one that answers stream into.
        made = [self.call("messages:create", **self.message(WORDS * 3)) for _ in range(MESSAGES)]
        *_, self.answer = await asyncio.gather(*made)

    def message(self, content: str) -> dict[str, object]:
        return {"projectId": self.project, "content": content, "role": "ASSISTANT", "type": "RESULT"}

    def follow(self) -> None:
        args = ({}, {"projectId": self.project}, {})
        adds = [{"type": "Add", "queryId": i, "udfPath": path, "args": [args[i]]} for i, path in enumerate(FOLLOWED)]
        change = {"type": "ModifyQuerySet", "baseVersion": 1, "newVersion": 2, "modifications": adds}
        for socket in self.sockets:
            socket.send(json.dumps(change).encode())

    def has_all(self) -> bool:
        return all(len(told) == len(FOLLOWED) for told in self.told)

    def operate(self, operation: str, on_answer: Callable[[object], None], on_arrival: Callable[[], None]) -> None:
        self.marks += 1
        kind = "p" if operation == "rename" else "m"
        self.waiting[kind].append((self.marks, on_arrival))
        mark = f"~{kind}{self.marks}~"
        if operation == "stream":
            self.streamed += WORDS[:40]
            self.send("messages:updateMessage", {"messageId": self.answer, "content": self.streamed + mark}, on_answer)
        elif operation == "create":
            self.send("messages:create", self.message(WORDS * 2 + mark), on_answer)
        else:
            self.send("projects:update", {"projectId": self.project, "name": f"renamed {mark}"}, on_answer)

    def reads(self) -> list[bytes]:
        """The same three queries as requests."""
        acting = base64.b64encode(json.dumps(self.identity).encode()).decode()
        requests = []
        for path in FOLLOWED:
            args = {"projectId": self.project} if path == "messages:list" else {}
            body = json.dumps({"path": path, "args": args, "format": "json"})
            requests.append(
                f"POST /api/query HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Convex {ADMIN_KEY}:{acting}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
        return requests


class Reader(asyncio.Protocol):
    """A keep-alive connection: requests go out when they are due, and are answered in their order."""

    def __init__(self) -> None:
        self.buffer = b""
        self.waiting = deque[Callable[[], None]]()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def ask(self, request: bytes, on_answer: Callable[[], None]) -> None:
        self.waiting.append(on_answer)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, separator, rest = self.buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            length = int(re.search(rb"content-length: *(\d+)", head, re.I)[1])
            if len(rest) < length:
                return
            if b" 200 " not in head or not rest.startswith(b'{"status":"success"'):
                raise_later((head + rest).decode())
            self.buffer = rest[length:]
            self.waiting.popleft()()


failures: list[str] = []


def raise_later(what: object) -> None:
    """Protocols can't end the benchmark; whoever waits looks here."""
    failures.append(str(what))


async def until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.perf_counter() + seconds
    await asyncio.sleep(0)
    while not condition():
        if failures:
            raise SystemExit(f"something failed: {failures[0][:1000]}")
        if time.perf_counter() > end:
            raise SystemExit("the server did not keep up: something has not arrived")
        await asyncio.sleep(0.01)


class Figures:
    def __init__(self) -> None:
        self.answered: list[float] = []
        self.arrived: list[float] = []
        self.read: list[float] = []
        self.seconds = 0.0
        self.late = 0.0
        self.rest = self.connected = self.after = 0


async def measure(port: int, pid: int, options: argparse.Namespace, *, followers: bool) -> Figures:
    figures = Figures()
    figures.rest = resident(pid)
    users = [User(number, options.tabs) for number in range(options.users)]
    for start in range(0, len(users), 50):
        await asyncio.gather(*[user.open(port) for user in users[start : start + 50]])
    settling = asyncio.gather(*[user.settle() for user in users])
    await until(settling.done, 60)
    settling.result()
    if followers:
        for user in users:
            user.follow()
        await until(lambda: all(user.has_all() for user in users), 60)
    figures.connected = resident(pid)
    loop = asyncio.get_running_loop()
    readers = [(await loop.create_connection(Reader, "127.0.0.1", port))[1] for _ in range(8)]
    requests = [user.reads() for user in users]

    rng = random.Random(1)
    streams = [[rng.choice(users), rng.randrange(STREAM_LENGTH)] for _ in range(STREAMS)]
    left = 0

    def note(into: list[float], due: float) -> Callable[..., None]:
        nonlocal left
        left += 1

        def done(_: object = None) -> None:
            nonlocal left
            left -= 1
            if due >= count_from:
                into.append(time.perf_counter() - due)

        return done

    began = time.perf_counter() + 0.1
    count_from = began + WARM_UP
    for number in range(int(options.rate * (WARM_UP + options.seconds))):
        due = began + number / options.rate
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        figures.late = max(figures.late, time.perf_counter() - due)
        operation = rng.choice(MIX)
        if operation == "read":
            reader = readers[number % len(readers)]
            reader.ask(rng.choice(rng.choice(requests)), note(figures.read, due))
            continue
        user = rng.choice(users)
        if operation == "stream":
            stream = rng.choice(streams)
            if stream[1] == STREAM_LENGTH:
                stream[:] = rng.choice(users), 0
                stream[0].streamed = ""
            stream[1] += 1
            user = stream[0]
        arrived = note(figures.arrived, due) if followers else lambda: None
        user.operate(operation, note(figures.answered, due), arrived)
    await until(lambda: not left, 60)
    figures.seconds = time.perf_counter() - count_from
    figures.after = resident(pid)
    if failures:
        raise SystemExit(f"something failed: {failures[0][:1000]}")
    return figures


def row(name: str, times: list[float]) -> None:
    ordered = sorted(times)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000

    print(f"  {name:<28}{len(times):6}   median {at(0.5):7.1f} ms   p99 {at(0.99):7.1f} ms   max {at(1):7.1f} ms")


def report(name: str, figures: Figures) -> float:
    rate = len(figures.answered) / figures.seconds
    print(f"{name}: {rate:,.0f} mutations/s and {len(figures.read) / figures.seconds:,.0f} reads/s sustained")
    row("mutation answered", figures.answered)
    if figures.arrived:
        row("every follower has it", figures.arrived)
    row("read over HTTP", figures.read)
    memory = [f"{size / 2**20:.0f}" for size in (figures.rest, figures.connected, figures.after)]
    print(f"  server's memory             {memory[0]} MiB empty, {memory[1]} connected, {memory[2]} after the run")
    if figures.late > 0.05:
        print(f"  (the benchmark itself was up to {figures.late * 1000:.0f} ms late with sending)")
    return rate


def median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--tabs", type=int, default=2, help="connections of each user, all of which follow")
    parser.add_argument("--rate", type=float, default=200, help="operations per second, reads included")
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()

    def run(*, followers: bool) -> Figures:
        with reactor_server(str(HERE.parent), "--no-supervise") as (port, pid):
            return uvloop.run(measure(port, pid, options, followers=followers))

    bare = run(followers=False)
    followed = run(followers=True)
    sockets, queries = options.users * options.tabs, options.users * options.tabs * len(FOLLOWED)
    print(f"{options.users} users in {sockets} connections, {options.rate:.0f} operations/s offered")
    before = report("nobody follows", bare)
    after = report(f"{queries} subscriptions", followed)
    print(
        f"  followed / nobody           {after / before:.2f} of the mutations/s, "
        f"{median(followed.answered) / median(bare.answered):.1f} times the median answer, "
        f"{(followed.connected - bare.connected) / queries / 1024:.1f} KiB for each subscription"
    )


if __name__ == "__main__":
    main()
