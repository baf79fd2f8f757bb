"""(r) An index added to a table with 1,000,000 documents while clients write: documents a second, and what the clients feel.

In one process, on the engine, on a real disk: four clients write one document after the other, first alone, then beside the
backfill of an index of each kind (vectors have eight dimensions).

    python benchmarks/backfill.py [--documents 1000000] [--kinds database,search,vector] [--beside]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from search import text, vocabulary

from reactor.clock import SystemClock
from reactor.engine.backfill import fill_index
from reactor.engine.database import Database
from reactor.engine.deploy import WantedIndex, WantedTable, deploy
from reactor.engine.write_transaction import WriteTransaction
from reactor.limits import DEFAULT_LIMITS
from reactor.store.sqlite.store import SqliteStore

CLIENTS = 4
ALONE_S = 5.0
AT_ONCE = 2_000


async def write_until(database: Database, stop: asyncio.Event, pause_s: float) -> list[float]:
    """Clients that write one after the other; returns how long each mutation took, in order of size."""
    took: list[float] = []
    dice = random.Random(5)

    async def client(number: int) -> None:
        while not stop.is_set():
            began = time.perf_counter()
            await database.write(lambda tx: tx.insert("notes", {"n": dice.random(), "body": "live"}), lane=f"c{number}")
            took.append(time.perf_counter() - began)
            await asyncio.sleep(pause_s)

    await asyncio.gather(*(client(n) for n in range(CLIENTS)))
    return sorted(took)


def told(took: list[float]) -> str:
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    return f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, longest {took[-1] * 1000:.0f} ms ({len(took):,} writes)"


INDEXES = {
    "database": WantedIndex("by_n", ("n",), staged=True),
    "search": WantedIndex("search_body", ("body",), staged=True, kind="search"),
    "vector": WantedIndex("by_v", ("v",), staged=True, kind="vector", dimensions=8),
}


async def main(documents: int, kinds: list[str], ways: tuple[bool, ...]) -> None:
    dice = random.Random(7)
    words = vocabulary(dice)
    bodies = [text(dice, words) for _ in range(20_000)]
    with tempfile.TemporaryDirectory() as directory:
        database = Database(SqliteStore(Path(directory), clock=SystemClock()), SystemClock(), DEFAULT_LIMITS)
        await database.open()
        await deploy(database, [WantedTable("notes", (), None, {})])

        def batch(tx: WriteTransaction) -> None:
            for _ in range(AT_ONCE):
                vector = {"v": [dice.random() for _ in range(8)]} if "vector" in kinds else {}
                tx.insert("notes", {"n": dice.random(), "body": dice.choice(bodies), **vector})

        for _ in range(documents // AT_ONCE):
            await database.write(batch)
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(ALONE_S, stop.set)
        print(f"clients alone:          {told(await write_until(database, stop, 0.005))}")
        for kind in kinds:
            wanted = INDEXES[kind]
            for beside in ways:
                await deploy(database, [WantedTable("notes", (), None, {})])
                await deploy(database, [WantedTable("notes", (wanted,), None, {})])
                [index] = [i for i in database.catalogue.tables["notes"].all_indexes if i.name == wanted.name]
                stop = asyncio.Event()
                clients = asyncio.create_task(write_until(database, stop, 0.005)) if beside else None
                began = time.perf_counter()
                await fill_index(database, index)
                seconds = time.perf_counter() - began
                stop.set()
                how = "with clients" if beside else "alone"
                print(f"{kind} index, {how}: {documents / seconds:,.0f} documents a second", flush=True)
                if clients is not None:
                    print(f"clients beside it:      {told(await clients)}", flush=True)
        await database.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--kinds", default=",".join(INDEXES), help="which kinds of index, with commas")
    parser.add_argument("--beside", action="store_true", help="only beside clients, not alone")
    options = parser.parse_args()
    sys.setswitchinterval(0.0001)  # as `reactor serve` does
    asyncio.run(main(options.documents, options.kinds.split(","), (True,) if options.beside else (False, True)))
