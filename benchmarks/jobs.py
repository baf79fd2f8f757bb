"""10,000 scheduled functions due at once, while a subscribed client goes on seeing updates.

The client calls a mutation, waits until its own subscription shows the change, and does so again 5 ms later: before
anything is due, and from the moment that all jobs are due until the last has run.

    python benchmarks/jobs.py [--jobs 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

from fan_out import CONNECT, _Request
from load import post, reactor_server
from websocket import connect, session_id

ADD = (
    b'{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":['
    b'{"type":"Add","queryId":0,"udfPath":"work:newest","args":[{}]},'
    b'{"type":"Add","queryId":1,"udfPath":"work:done","args":[{}]}]}'
)


class Client:
    """One socket that follows the newest tick and how many jobs are done, and one connection to call mutations on."""

    def __init__(self) -> None:
        self.values = {0: 0.0, 1: 0.0}
        self.changed = asyncio.Event()
        self.number = 0

    async def open(self, port: int) -> None:
        await connect(port, "/api/1.48.0/sync", [(CONNECT % session_id()).encode(), ADD], self.on_message)
        _, self.request = await asyncio.get_running_loop().create_connection(_Request, "127.0.0.1", port)

    def on_message(self, payload: bytes) -> None:
        message = json.loads(payload)
        for change in message.get("modifications", ()):
            self.values[change["queryId"]] = change["value"]
        self.changed.set()

    async def until(self, query: int, least: float) -> None:
        while self.values[query] < least:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 60)

    async def call(self, path: str, **args: float) -> None:
        self.request.answered.clear()
        self.request.transport.write(post("/api/mutation", json.dumps({"path": path, "args": args}).encode()))
        await self.request.answered.wait()

    async def tick(self) -> float:
        """Seconds from sending a mutation to seeing it in the subscription."""
        self.number += 1
        began = time.perf_counter()
        calling = asyncio.create_task(self.call("work:tick", number=self.number))
        await self.until(0, self.number)
        took = time.perf_counter() - began
        await calling
        await asyncio.sleep(0.005)
        return took


async def measure(port: int, jobs: int) -> tuple[list[float], list[float], float]:
    client = Client()
    await client.open(port)
    due = time.time() + 4 + jobs / 4000
    for start in range(0, jobs, 500):
        await client.call("work:schedule", start=start, count=min(500, jobs - start), due=due * 1000)
    if time.time() > due - 1:
        raise SystemExit("scheduling took too long; the jobs were due before the measurement began")
    for _ in range(20):
        await client.tick()
    before = []
    while time.time() < due - 0.1:
        before.append(await client.tick())
    await asyncio.sleep(max(0.0, due - time.time()))
    began = time.perf_counter()
    during = []
    while client.values[1] < jobs:
        during.append(await client.tick())
    return before, during, time.perf_counter() - began


def row(name: str, times: list[float]) -> None:
    ordered = sorted(times)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000

    print(f"{name:<22}{len(times):6} updates  p50 {at(0.5):7.1f} ms  p99 {at(0.99):7.1f} ms  max {at(1):7.1f} ms")


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    options = parser.parse_args()
    with reactor_server("jobs") as (port, _):
        before, during, seconds = uvloop.run(measure(port, options.jobs))
    print(
        f"{options.jobs} jobs due at once: {seconds:.1f} s, {options.jobs / seconds:,.0f} jobs/s, one commit log row each"
    )
    row("nothing due", before)
    row("jobs running", during)
    print("  (wanted: p99 below 100 ms while the jobs run)")


if __name__ == "__main__":
    main()
