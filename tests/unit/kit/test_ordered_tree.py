"""The tree behind aggregates: right for any range, with few reads, and readers disturbed only by what they counted."""

from __future__ import annotations

import bisect
import random
from collections.abc import AsyncIterator

import pytest

from reactor.engine.commit_record import CommitRecord
from reactor.engine.database import Database
from reactor.engine.read_set import ReadSet
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.kit.ordered_tree import OrderedTree
from reactor.model.scheduled_functions import off_the_books
from tests.unit.kit.conftest import Project

KEYS = 3000


def key(number: int) -> bytes:
    return number.to_bytes(3, "big")  # zero bytes, and bytes over 127, too


@pytest.fixture
async def database(project: Project) -> AsyncIterator[Database]:
    async with project("") as backend:
        yield backend.reactor.database


async def fill(database: Database, numbers: dict[int, int]) -> None:
    names = list(numbers)
    for start in range(0, len(names), 300):

        def put(tx: WriteTransaction, chosen: list[int]) -> None:
            tree = OrderedTree(tx, "t", b"\x00\xff")
            with off_the_books(tx):
                for name in chosen:
                    tree.put(key(name), numbers[name])

        await database.write(lambda tx, at=start: put(tx, names[at : at + 300]))


async def test_any_range_is_counted_with_few_reads(database: Database) -> None:
    rng = random.Random(5)
    numbers = {name: rng.randrange(1000) for name in rng.sample(range(2**24), KEYS)}
    await fill(database, numbers)
    gone = rng.sample(list(numbers), KEYS // 3)

    def remove(tx: WriteTransaction) -> None:
        tree = OrderedTree(tx, "t", b"\x00\xff")
        with off_the_books(tx):
            for name in gone:
                tree.remove(key(name))
                tree.remove(key(name))

    await database.write(remove)
    for name in gone:
        del numbers[name]
    ordered = sorted(numbers)

    def look(tx: Transaction) -> None:
        tree = OrderedTree(tx, "t", b"\x00\xff")
        for _ in range(50):
            low, high = sorted(rng.sample(range(2**24), 2))
            before = tx.usage.documents_read
            total = tree.total(key(low), key(high))
            assert tx.usage.documents_read - before < 250
            within = ordered[bisect.bisect_left(ordered, low) : bisect.bisect_left(ordered, high)]
            assert (total.count, total.sum) == (len(within), sum(numbers[name] for name in within))
            place = rng.randrange(len(ordered))
            assert tree.at(place) == key(ordered[place])
        assert tree.total().count == len(ordered)
        assert tree.at(len(ordered)) is None
        assert tree.first() == key(ordered[0])
        assert tree.first(reverse=True) == key(ordered[-1])

    await database.read(look)


async def test_all_keys_can_come_and_go_again(database: Database) -> None:
    numbers = dict.fromkeys(range(0, 2000, 2), 1)
    for _ in range(2):
        await fill(database, numbers)

        def remove(tx: WriteTransaction) -> None:
            tree = OrderedTree(tx, "t", b"\x00\xff")
            with off_the_books(tx):
                for name in numbers:
                    tree.remove(key(name))
            assert (tree.total().count, tree.total().sum, tree.first()) == (0, 0, None)

        await database.write(remove)


async def test_a_reader_depends_on_little_but_the_range_it_counted(database: Database) -> None:
    """engine rule 16: what was read is what is matched against later writes."""
    await fill(database, dict.fromkeys(range(0, 20_000, 10), 1))

    records: list[CommitRecord] = []
    database.listen(records.append, lambda: None)

    def look(tx: Transaction) -> tuple[int, ReadSet]:
        count = OrderedTree(tx, "t", b"\x00\xff").total(key(5_000), key(6_000)).count
        return count, tx.read_set()

    count, read_set = await database.read(look)
    assert count == 100
    inside, outside = [], []
    for name in range(5, 20_000, 100):
        await database.write(lambda tx, name=name: OrderedTree(tx, "t", b"\x00\xff").put(key(name), 1))
        (inside if 5_000 <= name < 6_000 else outside).append(read_set.touched_by(records[-1]))
    assert all(inside)
    assert sum(outside) < len(outside) / 4
