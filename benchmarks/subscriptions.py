"""(c, e) N live queries on disjoint index ranges in one process: the cost of a write that touches one of them, from the
mutation's submission to the new result at its subscriber, and the memory that one idle subscription takes.

    python benchmarks/subscriptions.py [--most 100000]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

from load import HERE

ROUNDS = 300


def resident_bytes() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


async def measure(counts: list[int]) -> None:
    from reactor.auth.identity import ANONYMOUS
    from reactor.runtime.waist import next_cut
    from reactor.server import Reactor

    with tempfile.TemporaryDirectory() as data:
        async with Reactor(HERE / "apps" / "board", data=data, dev=False) as reactor:
            backend = reactor.backend
            loop = asyncio.get_running_loop()
            subscribers = []
            base = 0.0
            before = resident_bytes()
            for count in counts:
                while len(subscribers) < count:
                    batch = []
                    for _ in range(min(500, count - len(subscribers))):
                        subscriber = backend.subscriber(ANONYMOUS)
                        subscriber.add(0, "notes:newest", b'{"board":%d}' % len(subscribers))
                        subscribers.append(subscriber)
                        batch.append(next_cut(subscriber, 0))
                    await asyncio.gather(*batch)
                memory = (resident_bytes() - before) / count
                rng = random.Random(1)
                times = []
                runs = backend.live.runs
                for _ in range(ROUNDS):
                    n = rng.randrange(count)
                    done = loop.create_future()
                    began = time.perf_counter()
                    backend.mutation("notes:add", b'{"board":%d,"text":"x"}' % n, ANONYMOUS, done.set_result)
                    outcome = await done
                    cut = await next_cut(subscribers[n], outcome.ts)
                    times.append(time.perf_counter() - began)
                    assert len(cut.updates) == 1
                assert backend.live.runs - runs == ROUNDS, "one run for each write"
                cost = statistics.median(times)
                base = base or cost
                print(
                    f"{count:8,} live queries   {cost * 1e6:7.0f} us write to result   {cost / base:5.2f} x"
                    f"   {memory:7,.0f} bytes a live query"
                )


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=100_000)
    options = parser.parse_args()
    uvloop.run(measure([n for n in (100, 1_000, 10_000, 100_000) if n <= options.most]))


if __name__ == "__main__":
    main()
