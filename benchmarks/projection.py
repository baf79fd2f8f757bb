"""(n) Lists that don't show a counter, and a job that counts: how often the lists run, with whole documents and with `.select`.

Every list is followed, in one process, while 16 writers add to the counters of random articles; at the end one title
changes, which every way of reading has to show. Also: seconds of processor time a write, and how many writes a second.

    python benchmarks/projection.py [--lists 200] [--writes 4000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time

from load import HERE

ARTICLES = 20
WRITERS = 16


async def measure(path: str | None, lists: int, writes: int) -> tuple[int, float, float]:
    """Returns how often queries ran, writes a second, and seconds of processor time a write."""
    from reactor.auth.identity import ANONYMOUS
    from reactor.runtime.waist import next_cut
    from reactor.server import Reactor

    with tempfile.TemporaryDirectory() as data:
        async with Reactor(HERE / "apps" / "counters", data=data, dev=False) as reactor:
            backend = reactor.backend
            loop = asyncio.get_running_loop()

            async def mutation(name: str, **args: object) -> bytes:
                done = loop.create_future()
                backend.mutation(f"articles:{name}", json.dumps(args).encode(), ANONYMOUS, done.set_result)
                return (await done).value

            ids = [json.loads(await mutation("fill", section=n, count=ARTICLES)) for n in range(lists)]
            shown = {}
            subscribers = []

            async def follow(number: int) -> None:
                subscriber = backend.subscriber(ANONYMOUS)
                subscribers.append(subscriber)
                subscriber.add(0, path, json.dumps({"section": number}).encode())
                while True:
                    for update in (await next_cut(subscriber)).updates:
                        shown[number] = json.loads(update.version.outcome.value)

            following = [asyncio.create_task(follow(n)) for n in range(lists)] if path else []
            while path and len(shown) < lists:
                await asyncio.sleep(0.01)
            runs = backend.live.runs
            dice = random.Random(1)

            async def write() -> None:
                for _ in range(writes // WRITERS):
                    await mutation("view", id=dice.choice(dice.choice(ids)))

            began, cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*[write() for _ in range(WRITERS)])
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            runs = backend.live.runs - runs
            await mutation("rename", id=ids[lists // 2][3], title="another title")
            while path and shown[lists // 2][3] != "another title":
                await asyncio.sleep(0.01)
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            return runs, writes / seconds, cpu / writes


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=int, default=200)
    parser.add_argument("--writes", type=int, default=4000)
    options = parser.parse_args()
    print(f"{options.lists} lists of {ARTICLES} articles, {options.writes} patches of counters")
    ways = (("nobody follows", None), ("whole documents", "articles:whole"), (".select", "articles:selected"))
    base = 0.0
    for what, path in ways:
        runs, rate, cpu = uvloop.run(measure(path, options.lists, options.writes))
        base = base or cpu
        print(
            f"  {what:16} {runs:7,} runs   {rate:7,.0f} writes/s   {cpu * 1e6:6.0f} us of processor a write   {cpu / base:5.2f} x"
        )


if __name__ == "__main__":
    main()
