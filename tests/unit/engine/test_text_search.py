"""Full-text indexes against a naive scan, under random writes and rollbacks; and whom a write touches (server-semantics 10.1, 5.2)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reactor.engine.commit_record import CommitKind, CommitRecord
from reactor.engine.deploy import WantedIndex, WantedTable, deploy
from reactor.engine.index_kinds import fill
from reactor.engine.invalidation import InvalidationIndex
from reactor.engine.read_set import ReadSet
from reactor.engine.text_search import TextSearch, text_filter
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.search.text import make_query
from reactor.store.catalogue import TableInfo
from reactor.store.protocol import IndexChange, Writer
from reactor.values.types import UNSET
from reactor.values.wire import decode
from tests.unit.engine.conftest import Harness, open_harness
from tests.unit.search import naive

FIELDS = ("text", "owner", "meta.kind")
SEARCH = WantedIndex("search_text", FIELDS, kind="search")
VOCABULARY = [
    *("a", "ab", "abc", "abd", "abe", "b", "ba", "bab", "cat", "cats", "catalogue", "dog", "Don't", "é", "éa", "naïve"),
    *("x" * 31, "x" * 32, "1", "12", "日本", "Σοφός", "zebra", *(f"p{n}" for n in range(20))),
]
OWNERS: list[Any] = ["ann", "bob", None, UNSET, 1.0, -0.0]
TEXTS: list[Any] = [None, 5.0, UNSET, "!!!", ""]


def tables(*indexes: WantedIndex) -> list[WantedTable]:
    return [WantedTable("rows", indexes, None, {})]


def random_text(rng: random.Random) -> Any:
    if rng.random() < 0.1:
        return rng.choice(TEXTS)
    return " ".join(rng.choice(VOCABULARY) for _ in range(rng.randrange(1, 9)))


def random_fields(rng: random.Random) -> dict[str, Any]:
    fields = {
        "text": random_text(rng),
        "owner": rng.choice(OWNERS),
        "meta": rng.choice([UNSET, 1.0, {}, {"kind": "k"}, {"kind": None}]),
        "seen": rng.random(),
    }
    return {name: value for name, value in fields.items() if value is not UNSET}


def random_search(rng: random.Random) -> tuple[str, list[tuple[str, Any]]]:
    filters: list[tuple[str, Any]] = []
    if rng.random() < 0.6:
        filters.append(("owner", rng.choice(OWNERS)))
    if rng.random() < 0.3:
        filters.append(("meta.kind", rng.choice(["k", None, UNSET])))
    return " ".join(rng.choice([*VOCABULARY, "p", "c", "zzz"]) for _ in range(rng.choice([1, 1, 2, 3, 20]))), filters


def make(tx: Transaction, text: str, filters: Sequence[tuple[str, Any]]) -> TextSearch:
    table = tx.catalogue.tables["rows"]
    index = table.search["search_text"]
    found = tuple(text_filter(index.fields.index(path) - 1, value) for path, value in filters)
    return TextSearch(table, index, make_query(text, [token for _, token in found]), found)


def run(tx: Transaction, text: str, filters: Sequence[tuple[str, Any]] = ()) -> list[str]:
    scan = tx.search(make(tx, text, filters))
    found: list[str] = []
    while (row := scan.next()) is not None:
        document: Any = decode(row[1])
        found.append(document["_id"])
    return found


def documents(tx: Transaction) -> list[Any]:
    by_id = tx.catalogue.tables["rows"].indexes["by_id"]
    return [decode(body) for _, body in tx.reader.scan(by_id, b"", None, reverse=False, limit=100_000)]


def compare(tx: Transaction, rng: random.Random, times: int) -> None:
    everything = documents(tx)
    for _ in range(times):
        text, filters = random_search(rng)
        assert run(tx, text, filters) == naive.search(everything, FIELDS, text, filters), (text, filters)


def change_at_random(tx: WriteTransaction, rng: random.Random, ids: list[str], depth: int = 0) -> None:
    table = tx.table("rows")
    assert table is not None
    for _ in range(rng.randrange(1, 6)):
        kind = rng.randrange(10)
        if kind < 4 or not ids:
            ids.append(tx.insert("rows", random_fields(rng)))
        elif kind < 6:
            tx.patch(table, rng.choice(ids), {"text": random_text(rng)})
        elif kind == 6:
            tx.patch(table, rng.choice(ids), {"owner": rng.choice(OWNERS), "seen": rng.random()})
        elif kind == 7:
            tx.delete(table, ids.pop(rng.randrange(len(ids))))
        elif depth < 3:
            before = list(ids)
            tx.savepoint()
            change_at_random(tx, rng, ids, depth + 1)
            if rng.random() < 0.5:
                tx.release()
            else:
                tx.rollback_to()
                ids[:] = before
        if rng.random() < 0.1:
            compare(tx, rng, 2)  # own writes, not committed


@pytest.mark.parametrize("seed", range(4))
async def test_searches_find_and_rank_what_a_naive_scan_does(engine: Harness, seed: int) -> None:
    rng = random.Random(seed)
    ids: list[str] = []
    await deploy(engine.database, tables(SEARCH))

    for _ in range(40):
        kept = list(ids)

        def change(tx: WriteTransaction) -> None:
            change_at_random(tx, rng, ids)
            if rng.random() < 0.2:
                raise ZeroDivisionError

        try:
            await engine.write(change)
        except ZeroDivisionError:
            ids[:] = kept
        await engine.database.read(lambda tx: compare(tx, rng, 4))

    assert len(ids) > 10


@pytest.mark.parametrize("seed", range(3))
async def test_a_write_touches_the_searches_whose_result_it_may_change_and_no_others(
    engine: Harness, seed: int
) -> None:
    """5.2: old or new version has one of the words and all of the filters."""
    rng = random.Random(seed)
    ids: list[str] = []
    await deploy(engine.database, tables(SEARCH))
    records: list[CommitRecord] = []
    engine.database.listen(records.append, lambda: None)
    index: InvalidationIndex[int] = InvalidationIndex()
    searches = [random_search(rng) for _ in range(40)]
    reads: list[ReadSet] = []

    def watch(tx: Transaction, text: str, filters: list[tuple[str, Any]]) -> ReadSet:
        run(tx, text, filters)
        return tx.read_set()

    for number, (text, filters) in enumerate(searches):
        reads.append(await engine.database.read(lambda tx, t=text, f=filters: watch(tx, t, f)))
        index.register(number, reads[-1])
    touched_ever = 0
    for _ in range(60):
        before = {d["_id"]: d for d in await engine.database.read(documents)}
        records.clear()
        await engine.write(lambda tx: change_at_random(tx, rng, ids))
        after = {d["_id"]: d for d in await engine.database.read(documents)}
        written = [id for id in before.keys() | after.keys() if before.get(id) != after.get(id)]
        versions = [v[id] for v in (before, after) for id in written if id in v]
        expected = {n for n, (text, filters) in enumerate(searches) if any(matches(v, text, filters) for v in versions)}
        found = set().union(*(index.touched_by(record) for record in records))
        by_ring = {n for n, read in enumerate(reads) if any(read.touched_by(record) for record in records)}
        assert (found, by_ring) == (expected, expected)
        touched_ever += len(expected)
    assert 0 < touched_ever < 40 * 60

    for number in range(len(searches)):
        index.unregister(number)
    assert not index._texts._indexes


def matches(document: Any, text: str, filters: list[tuple[str, Any]]) -> bool:
    """Not bounded by how many words a prefix may stand for: a write of any such word touches."""
    asked = naive.words(text)[:16]
    content = naive.at(document, "text")
    found = naive.words(content) if isinstance(content, str) else []
    return any(w in asked or w.startswith(asked[-1]) for w in found if asked) and all(
        naive.values_equal(naive.at(document, path), value) for path, value in filters
    )


async def test_an_index_added_to_a_table_with_documents_finds_them_all(engine: Harness) -> None:
    rng = random.Random(9)
    await engine.write(lambda tx: [tx.insert("rows", random_fields(rng)) for _ in range(300)])

    await deploy(engine.database, tables(SEARCH))

    await engine.database.read(lambda tx: compare(tx, rng, 20))


async def test_documents_of_one_creation_time_are_all_found_and_ordered_by_id(engine: Harness) -> None:
    await deploy(engine.database, tables(SEARCH))
    ids = await engine.write(lambda tx: [tx.insert("rows", {"text": "word"}) for _ in range(4)])

    def same_time(tx: WriteTransaction) -> None:
        table = tx.catalogue.tables["rows"]
        for id in ids:
            tx.delete(table, id)
        for id in ids:
            tx.insert_existing(table, {"_id": id, "_creationTime": 5.0, "text": "word"})

    await engine.write(same_time)
    assert await engine.database.read(lambda tx: run(tx, "word")) == sorted(ids)
    await engine.write(lambda tx: tx.delete(tx.catalogue.tables["rows"], ids[0]))
    await engine.write(lambda tx: tx.patch(tx.catalogue.tables["rows"], ids[2], {"text": "other"}))
    assert await engine.database.read(lambda tx: run(tx, "word")) == sorted([ids[1], ids[3]])
    assert await engine.database.read(lambda tx: run(tx, "other")) == [ids[2]]


async def test_a_dropped_index_leaves_no_tables_behind(tmp_path: Path) -> None:
    engine = await open_harness(tmp_path)

    def names(writer: Any) -> list[str]:
        return [name for (name,) in writer._raw.execute("SELECT name FROM sqlite_schema ORDER BY name")]

    await deploy(engine.database, tables())
    before = await engine.database.store.write(names)
    await deploy(engine.database, tables(SEARCH))
    await engine.write(lambda tx: tx.insert("rows", {"text": "word"}))
    await deploy(engine.database, tables())

    assert await engine.database.store.write(names) == before
    await engine.database.close()


async def test_a_table_that_is_put_in_the_place_of_another_brings_its_search_index(engine: Harness) -> None:
    """What an import does: documents of before are not found any more, those of now are."""
    await deploy(engine.database, tables(SEARCH))
    [kept, gone] = await engine.write(lambda tx: [tx.insert("rows", {"text": f"word {n}"}) for n in range(2)])
    wanted = [IndexChange("rows", "search_text", FIELDS, kind="search")]

    def begin(writer: Writer) -> TableInfo:
        writer.begin()
        hidden = writer.create_hidden("rows", wanted)
        writer.mirror(engine.database.catalogue.tables["rows"], hidden)
        writer.commit()
        return hidden

    hidden = await engine.database.store.write(begin)
    await engine.write(lambda tx: tx.patch(tx.catalogue.tables["rows"], kept, {"text": "other word"}))

    def reveal(writer: Writer) -> CommitRecord:
        body = writer.get(hidden, kept)
        assert body is not None
        document: Any = decode(body)
        fill(writer, hidden.search["search_text"], [document])  # a writer has entered it already
        writer.reveal([hidden])
        return CommitRecord(0, CommitKind.DEPLOY, [], ("code",))

    await engine.database.commit_alone(reveal)

    assert await engine.database.read(lambda tx: run(tx, "word")) == [kept]
    assert await engine.database.read(lambda tx: run(tx, "other")) == [kept]
    new = await engine.write(lambda tx: tx.insert("rows", {"text": "word"}))
    assert await engine.database.read(lambda tx: set(run(tx, "word"))) == {kept, new}
    assert gone not in await engine.database.read(lambda tx: run(tx, "1"))
