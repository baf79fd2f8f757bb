"""(q) Full-text search over 100,000 documents of 30 words: searches against a plain scan, and what the index costs an insert.

In one process, on the engine: the scan decodes every document and looks for the word, as a query without the index would.

    python benchmarks/search.py [--documents 100000]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reactor.clock import SystemClock
from reactor.engine.database import Database
from reactor.engine.deploy import WantedIndex, WantedTable, deploy
from reactor.engine.text_search import TextSearch, text_filter
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.limits import DEFAULT_LIMITS
from reactor.search.text import make_query
from reactor.search.tokens import words_of
from reactor.store.sqlite.store import SqliteStore
from reactor.values.wire import decode

INDEX = WantedIndex("search_body", ("body", "project"), kind="search")
WORDS = 30_000
PROJECTS = 1_000
AT_ONCE = 500
SINGLE = 2_000


def vocabulary(dice: random.Random) -> list[str]:
    return ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(3, 9))) for _ in range(WORDS)]


def text(dice: random.Random, words: Sequence[str]) -> str:
    # Roughly Zipf's law: the n-th word is about 1/n as frequent as the first.
    return " ".join(words[min(WORDS - 1, int(WORDS ** dice.random()) - 1)] for _ in range(30))


async def open_database(directory: str, *indexes: WantedIndex) -> Database:
    database = Database(SqliteStore(Path(directory), clock=SystemClock()), SystemClock(), DEFAULT_LIMITS)
    await database.open()
    await deploy(database, [WantedTable("notes", indexes, None, {})])
    return database


async def insert(database: Database, dice: random.Random, words: Sequence[str], count: int, at_once: int) -> float:
    """Returns seconds of processor time a document."""

    def batch(tx: WriteTransaction) -> None:
        for _ in range(at_once):
            tx.insert("notes", {"body": text(dice, words), "project": f"p{dice.randrange(PROJECTS)}"})

    began = time.process_time()
    for _ in range(count // at_once):
        await database.write(batch)
    return (time.process_time() - began) / count


async def timed(database: Database, read: Callable[[Transaction], int], times: int) -> tuple[float, int]:
    """Returns the median of seconds, and what was found."""
    seconds, found = [], 0
    for _ in range(times):
        began = time.perf_counter()
        found = await database.read(read)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), found


def search(query: str, project: str | None) -> Callable[[Transaction], int]:
    def read(tx: Transaction) -> int:
        table = tx.catalogue.tables["notes"]
        filters = () if project is None else (text_filter(0, project),)
        wanted = make_query(query, [token for _, token in filters])
        scan = tx.search(TextSearch(table, table.search["search_body"], wanted, filters))
        found = 0
        while found < 20 and scan.next() is not None:
            found += 1
        return found

    return read


def scan(query: str, project: str | None) -> Callable[[Transaction], int]:
    *words, last = words_of(query)

    def read(tx: Transaction) -> int:
        by_id = tx.catalogue.tables["notes"].indexes["by_id"]
        start, found = b"", 0
        while rows := tx.reader.scan(by_id, start, None, reverse=False, limit=256):
            for key, body in rows:
                document: Any = decode(body)
                if project is None or document["project"] == project:
                    found += any(w in words or w.startswith(last) for w in words_of(document["body"]))
                start = key + b"\x00"
        return found

    return read


async def main(documents: int) -> None:
    dice = random.Random(7)
    words = vocabulary(dice)
    with tempfile.TemporaryDirectory() as plain, tempfile.TemporaryDirectory() as indexed:
        database = await open_database(plain)
        without = await insert(database, dice, words, documents // 5, AT_ONCE)
        alone_without = await insert(database, dice, words, SINGLE, 1)
        await database.close()
        database = await open_database(indexed, INDEX)
        with_index = await insert(database, dice, words, documents, AT_ONCE)
        alone = await insert(database, dice, words, SINGLE, 1)
        print(
            f"insert, {AT_ONCE} a mutation: {with_index * 1e6:.0f} us a document; {without * 1e6:.0f} us without the index"
        )
        print(f"insert, 1 a mutation: {alone * 1e6:.0f} us; {alone_without * 1e6:.0f} us without the index")
        queries = [
            ("a rare word", words[20_000], None),
            ("a common word", words[0], None),
            ("three words, one common", f"{words[0]} {words[100]} {words[5_000]}", None),
            ("a prefix of one letter", "a", None),
            ("a common word, filtered", words[0], "p7"),
        ]
        for name, query, project in queries:
            seconds, _ = await timed(database, search(query, project), 9)
            baseline, matches = await timed(database, scan(query, project), 1)
            print(
                f"{name:26} {seconds * 1000:8.2f} ms for the best 20 of {matches:,}; "
                f"plain scan {baseline * 1000:,.0f} ms, {baseline / seconds:,.0f} times"
            )
        await database.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    asyncio.run(main(parser.parse_args().documents))
