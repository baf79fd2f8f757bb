"""(a) Transfers between 100,000 accounts: read two by index, patch two.

Over HTTP (64 keep-alive connections, `POST /api/mutation`), against a constant answer of the bare ASGI server; uniform and
Zipf 1.5; and once with a CPU-bound query beside. In process, against a loop of raw sqlite3 statements on the same tables
that commits in groups.

    python benchmarks/transfers.py [--seconds 5] [--accounts 100000]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sqlite3
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop
from load import HERE, Load, constant_server, numbers, post, reactor_server, run, two_of

CONNECTIONS = 64


def transfer_request(draw) -> bytes:
    a, b = two_of(draw)
    body = b'{"path":"accounts:transfer","args":{"amount":1,"source":%d,"target":%d},"format":"json"}' % (a, b)
    return post("/api/mutation?format=json", body)


def fill(port: int, accounts: int) -> None:
    step = 5000
    for start in range(0, accounts, step):
        args = {"start": start, "count": min(step, accounts - start)}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/mutation",
            json.dumps({"path": "accounts:fill", "args": args}).encode(),
            {"Content-Type": "application/json"},
        )
        answer = json.load(urllib.request.urlopen(request, timeout=60))
        assert answer["status"] == "success", answer


@contextmanager
def busy_beside(port: int) -> Iterator[None]:
    """Keep one query running that only computes, about half a second at a time, each with arguments of its own."""
    is_over = threading.Event()

    def ask() -> None:
        seed = 0
        while not is_over.is_set():
            seed += 1
            body = json.dumps({"path": "accounts:busy", "args": {"seed": seed, "rounds": 5_000_000}}).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}/api/query", body, headers)
            answer = json.load(urllib.request.urlopen(request, timeout=60))
            assert answer["status"] == "success", answer

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        is_over.set()
        asking.join()


def over_http(seconds: float, accounts: int) -> None:
    with constant_server() as port:
        draw = numbers("uniform", accounts)
        constant, *_ = run(Load(lambda: transfer_request(draw), seconds, b"success"), port, CONNECTIONS)
    print(f"constant answer                 {constant:9,.0f} /s")
    with reactor_server("transfers") as (port, _):
        fill(port, accounts)
        rates = {}
        for distribution in ("uniform", "zipf", "uniform", "zipf"):
            draw = numbers(distribution, accounts)
            rate, median, p99 = run(
                Load(lambda draw=draw: transfer_request(draw), seconds, b"success"), port, CONNECTIONS
            )
            rates[distribution] = max(rate, rates.get(distribution, 0))
            print(
                f"transfers, {distribution:7}              {rate:9,.0f} /s   median {median * 1e3:5.1f} ms   p99 {p99 * 1e3:6.1f} ms"
            )
        draw = numbers("uniform", accounts)
        with busy_beside(port):
            rate, median, p99 = run(Load(lambda: transfer_request(draw), seconds, b"success"), port, CONNECTIONS)
        print(
            f"  with one CPU-bound query beside{rate:8,.0f} /s   median {median * 1e3:5.1f} ms   p99 {p99 * 1e3:6.1f} ms"
        )
        print(f"  uniform / constant answer      {rates['uniform'] / constant:8.2f}    (wanted: at least 0.2)")
        print(f"  zipf / uniform                 {rates['zipf'] / rates['uniform']:8.2f}    (wanted: at least 0.95)")


async def in_process(seconds: float, accounts: int) -> float:
    from reactor.auth.identity import ANONYMOUS
    from reactor.server import Reactor

    # As `reactor serve` sets its process up.
    gc.set_threshold(10_000, 20, 20)
    sys.setswitchinterval(0.0001)
    with tempfile.TemporaryDirectory() as data:
        async with Reactor(HERE / "apps" / "transfers", data=data, dev=False) as reactor:
            backend = reactor.backend
            loop = asyncio.get_running_loop()

            async def mutation(path: str, args: bytes) -> None:
                done = loop.create_future()
                backend.mutation(path, args, ANONYMOUS, done.set_result)
                outcome = await done
                assert hasattr(outcome, "value"), outcome

            for start in range(0, accounts, 5000):
                await mutation("accounts:fill", json.dumps({"start": start, "count": 5000}).encode())
            draw = numbers("uniform", accounts)
            finished = loop.create_future()
            count = 0
            until = 0.0
            waiting = 0

            def submit() -> None:
                nonlocal waiting
                a, b = two_of(draw)
                waiting += 1
                backend.mutation("accounts:transfer", b'{"amount":1,"source":%d,"target":%d}' % (a, b), ANONYMOUS, done)

            def done(outcome) -> None:
                nonlocal count, waiting
                assert hasattr(outcome, "value"), outcome
                count += 1
                waiting -= 1
                if time.perf_counter() < until:
                    submit()
                elif waiting == 0:
                    finished.set_result(None)

            began = time.perf_counter()
            until = began + seconds
            for _ in range(CONNECTIONS):
                submit()
            await finished
            return count / (time.perf_counter() - began)


def raw_loop(seconds: float, accounts: int) -> float:
    """The same work by hand: two index reads, two updates, a log row, a savepoint each; a commit per 64.

    Cache and checkpoints are as reactor has them; JSON is the standard library's, as one writes it by hand.
    """
    with tempfile.TemporaryDirectory() as data:
        db = sqlite3.connect(Path(data) / "raw.sqlite3", isolation_level=None, cached_statements=1000)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA wal_autocheckpoint=0")
        db.execute("PRAGMA cache_size=-32768")
        db.execute("CREATE TABLE d (id TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID")
        db.execute("CREATE TABLE i (key BLOB PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID")
        db.execute("CREATE TABLE log (ts INTEGER PRIMARY KEY, kind INTEGER, record BLOB)")
        db.execute("BEGIN")
        for n in range(accounts):
            name = f"j57{n * 2654435761 % 2**61:029d}"
            body = b'{"_creationTime":1795217275542.3733,"_id":"%b","balance":1000,"number":%d}' % (name.encode(), n)
            db.execute("INSERT INTO d VALUES (?, ?)", (name, body))
            db.execute(
                "INSERT INTO i VALUES (?, ?)", (b"\x0d%018d" % n + b"\x0d12345678\x10" + name.encode() + b"\0", name)
            )
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        select = (
            "SELECT i.key, d.body FROM i JOIN d ON d.id = i.id WHERE i.key >= ? AND i.key < ? ORDER BY i.key LIMIT 2"
        )
        draw = numbers("uniform", accounts)
        record = b"x" * 330
        count = 0
        began = time.perf_counter()
        while (now := time.perf_counter()) - began < seconds:
            db.execute("BEGIN IMMEDIATE")
            for k in range(64):
                db.execute("SAVEPOINT s")
                for n in two_of(draw):
                    start = b"\x0d%018d" % n
                    ((_, body),) = db.execute(select, (start, start + b"\xff")).fetchall()
                    account = json.loads(body)
                    account["balance"] += 1
                    db.execute("UPDATE d SET body = ? WHERE id = ?", (json.dumps(account).encode(), account["_id"]))
                db.execute("INSERT INTO log VALUES (?, 1, ?)", (int(now * 1e9) + k, record))
                db.execute("RELEASE s")
            db.execute("COMMIT")
            count += 64
            if count % 6400 == 0:
                db.execute("PRAGMA wal_checkpoint(RESTART)")
        rate = count / (time.perf_counter() - began)
        db.close()
        return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--only", choices=["http", "process"])
    options = parser.parse_args()
    if options.only != "http":
        raw = raw_loop(options.seconds, options.accounts)
        own = uvloop.run(in_process(options.seconds, options.accounts))
        print(f"raw sqlite3 group-commit loop   {raw:9,.0f} /s")
        print(f"in process                      {own:9,.0f} /s")
        print(f"  in process / raw loop          {own / raw:8.2f}    (wanted: at least 0.6)")
    if options.only != "process":
        over_http(options.seconds, options.accounts)


if __name__ == "__main__":
    main()
