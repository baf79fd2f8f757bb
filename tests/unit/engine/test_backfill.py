"""Filling indexes of a database that is in use: staged and not, resumed, with writers beside (server-semantics 1.3, 14)."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reactor import faults
from reactor.engine import backfill, pace
from reactor.engine.backfill import AFTER_STEP, fill_index, index_states
from reactor.engine.deploy import WantedIndex, deploy
from reactor.engine.index_keys import key_parts
from reactor.engine.transaction import Transaction
from reactor.errors import SchemaError, StoreError
from reactor.store.catalogue import IndexInfo
from reactor.store.protocol import Backfill
from reactor.values.wire import decode
from reactor.workers.backfill import BackfillWorker
from reactor.workers.loading import Loader
from tests.unit.engine.conftest import Harness, open_harness
from tests.unit.engine.test_deploy import BY_N, entries, fill, must_have, states, table

STAGED = WantedIndex("by_n", ("n",), staged=True)


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "STEP_S", 0.0)


def by_n(engine: Harness) -> IndexInfo:
    return engine.database.catalogue.tables["rows"].indexes["by_n"]


async def filled(engine: Harness) -> Backfill | None:
    return await engine.database.store.read(lambda reader: reader.get_backfill(by_n(engine)))


async def die_after(path: Path, wanted: Any, steps: int) -> None:
    """Put 500 documents and this schema into a database, and leave it as a process that dies in the backfill does."""
    first = await open_harness(path)
    await fill(first, 500)
    left = steps

    def stop() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise asyncio.CancelledError

    faults.arm(AFTER_STEP, stop)
    try:
        with pytest.raises(asyncio.CancelledError):
            await deploy(first.database, wanted)
    finally:
        faults.disarm_all()
    await first.database.close()


async def test_a_deploy_goes_on_where_one_that_died_came_to(tmp_path: Path) -> None:
    await die_after(tmp_path, table(BY_N), 3)
    second = await open_harness(tmp_path)
    assert await filled(second) is not None
    reported: list[int] = []

    await deploy(second.database, table(BY_N), progress=lambda what, count, total: reported.append(count))

    assert reported[0] == 4 * backfill.CHUNK_ROWS
    assert states(second) == {"by_n": "ready"}
    assert await filled(second) is None
    assert await second.database.read(entries) == 500
    await second.database.close()


async def test_what_a_deploy_that_died_has_begun_and_nobody_wants_is_dropped(tmp_path: Path) -> None:
    await die_after(tmp_path, table(BY_N), 2)
    second = await open_harness(tmp_path)

    await deploy(second.database, table(WantedIndex("by_n", ("m",))))

    assert by_n(second).fields == ("m",)
    assert states(second) == {"by_n": "ready"}
    assert await second.database.read(entries) == 500
    await second.database.close()


async def test_a_staged_index_may_take_over_what_is_filled(tmp_path: Path) -> None:
    await die_after(tmp_path, table(BY_N), 2)
    second = await open_harness(tmp_path)

    await deploy(second.database, table(STAGED))

    assert states(second) == {"by_n": "staged"}
    state = await filled(second)
    assert state is not None
    assert state.entered == 2 * backfill.CHUNK_ROWS
    await second.database.close()


async def test_a_deploy_that_fails_drops_what_it_has_begun(engine: Harness) -> None:
    await engine.write(lambda tx: [tx.insert("rows", {"n": n, "m": 0}) for n in range(100)])

    def spoil() -> None:
        engine.submit(lambda tx: tx.insert("rows", {"n": 0}))

    faults.arm(AFTER_STEP, spoil)
    try:
        with pytest.raises(SchemaError, match="New document"):
            await deploy(engine.database, table(BY_N, check=must_have("m"), version=1))
    finally:
        faults.disarm_all()

    assert states(engine) == {}


async def test_a_deploy_does_not_wait_for_a_staged_index(engine: Harness) -> None:
    await fill(engine, 500)

    await deploy(engine.database, table(STAGED))

    assert states(engine) == {"by_n": "staged"}
    assert await filled(engine) == Backfill()


async def test_the_worker_fills_staged_indexes_and_dropping_the_flag_enables_at_once(engine: Harness) -> None:
    await fill(engine, 500)
    worker = BackfillWorker(engine.database)
    worker.start()
    await deploy(engine.database, table(STAGED))
    await worker.idle()
    await fill(engine, 5)
    assert await filled(engine) is None
    assert await engine.database.read(entries) == 505
    steps: list[int] = []

    faults.arm(AFTER_STEP, lambda: steps.append(1))
    await deploy(engine.database, table(BY_N))
    faults.disarm_all()

    assert (states(engine), steps) == ({"by_n": "ready"}, [])
    await worker.close()


async def test_dropping_the_flag_of_an_index_that_is_not_full_waits_for_the_rest(engine: Harness) -> None:
    await fill(engine, 500)
    await deploy(engine.database, table(STAGED))
    running = asyncio.ensure_future(fill_index(engine.database, by_n(engine)))
    while (state := await filled(engine)) is not None and not state.entered:
        await asyncio.sleep(0)

    await deploy(engine.database, table(BY_N))  # both fill it, in turns

    assert states(engine) == {"by_n": "ready"}
    assert await engine.database.read(entries) == 500
    await running


async def test_a_usable_index_may_be_staged_again(engine: Harness) -> None:
    await fill(engine, 10)
    await deploy(engine.database, table(BY_N))
    await deploy(engine.database, table(STAGED))
    assert states(engine) == {"by_n": "staged"}

    await deploy(engine.database, table(BY_N))
    assert states(engine) == {"by_n": "ready"}
    assert await engine.database.read(entries) == 10


async def test_an_index_that_is_dropped_while_it_is_filled_ends_the_filling(engine: Harness) -> None:
    await fill(engine, 500)
    await deploy(engine.database, table(STAGED))
    index = by_n(engine)
    dropped: list[asyncio.Future[Any]] = []

    def drop() -> None:
        if not dropped:
            dropped.append(asyncio.ensure_future(deploy(engine.database, table())))

    faults.arm(AFTER_STEP, drop)
    await fill_index(engine.database, index)
    faults.disarm_all()
    await dropped[0]

    assert states(engine) == {}


async def test_queries_see_how_far_an_index_is_filled_and_are_told_of_more(
    engine: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "TELL_S", 0.0)
    await fill(engine, 100)
    await deploy(engine.database, table(STAGED))
    number = by_n(engine).number

    def look(tx: Transaction) -> tuple[list[tuple[str, str, int | None, int | None]], frozenset[str]]:
        return [(s.index.name, s.state, s.entered, s.total) for s in index_states(tx)], tx.read_set().names

    seen, names = await engine.database.read(look)
    assert seen == [("by_n", "staged", 0, 100)]
    assert f"backfill:{number}" in names
    told: list[tuple[str, ...]] = []
    engine.database.listen(lambda record: told.append(record.names), lambda: None)

    await fill_index(engine.database, by_n(engine))

    assert (f"backfill:{number}",) in told
    seen, _ = await engine.database.read(look)
    assert seen == [("by_n", "staged", None, None)]


async def test_with_writers_beside_the_index_is_what_a_fresh_scan_gives(engine: Harness) -> None:
    rng = random.Random(6)
    await fill(engine, 2000)
    ids = await engine.database.read(document_ids)
    running = asyncio.ensure_future(deploy(engine.database, table(BY_N)))
    changes = 0

    def change(tx: Any) -> None:
        info = tx.table("rows")
        for _ in range(20):
            kind = rng.randrange(3)
            if kind == 0:
                ids.append(tx.insert("rows", {"n": rng.randrange(50)}))
            elif kind == 1:
                tx.patch(info, rng.choice(ids), {"n": rng.randrange(50)})
            else:
                tx.delete(info, ids.pop(rng.randrange(len(ids))))

    while not running.done():
        await engine.write(change)
        changes += 1
    await running

    assert changes > 5

    def compare(tx: Transaction) -> tuple[list[bytes], list[bytes]]:
        info = tx.catalogue.tables["rows"]
        documents: list[Any] = [decode(body) for body in bodies(tx)]
        index = info.indexes["by_n"]
        found = tx.reader.scan(index, b"", None, reverse=False, limit=100_000)
        return sorted(b"".join(key_parts(index, d)) for d in documents), [key for key, _ in found]

    expected, found = await engine.database.read(compare)
    assert found == expected
    assert await engine.database.read(entries) == len(expected)


async def test_what_is_entered_while_clients_write_is_brought_to_its_place_bit_by_bit(
    engine: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that their commits don't wait for the disk behind much of it; while nobody writes, nothing holds it up."""
    database = engine.database
    await fill(engine, 500)
    await deploy(database, table(STAGED))
    asked: list[Backfill | None] = []
    rested: list[float] = []

    async def checkpoint() -> None:
        asked.append(await filled(engine))

    async def sleep(seconds: float) -> None:
        rested.append(seconds)

    monkeypatch.setattr(database.store, "checkpoint", checkpoint)
    monkeypatch.setattr(pace, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(pace, "CHECKPOINT_AFTER_S", 0.0)
    steps = 0

    def write_for_a_while() -> None:
        nonlocal steps
        steps += 1
        if 3 <= steps <= 5:
            engine.submit(lambda tx: tx.insert("rows", {"n": 1}))

    faults.arm(AFTER_STEP, write_for_a_while)
    await fill_index(database, by_n(engine))
    faults.disarm_all()

    assert steps > 10
    after = [state.entered for state in asked if state is not None]
    assert after[:3] == [n * backfill.CHUNK_ROWS for n in (3, 4, 5)]
    assert len(asked) == len(rested) <= 6, "at most once more after each commit"
    assert all(seconds > 0 for seconds in rested[:3])


def bodies(tx: Transaction) -> list[bytes]:
    by_id = tx.catalogue.tables["rows"].indexes["by_id"]
    return [body for _, body in tx.reader.scan(by_id, b"", None, reverse=False, limit=100_000)]


def document_ids(tx: Transaction) -> list[str]:
    documents: list[Any] = [decode(body) for body in bodies(tx)]
    return [document["_id"] for document in documents]


def no_room() -> None:
    raise StoreError("no room")


async def test_an_index_that_is_not_full_when_an_import_replaces_its_table_is_filled_all_the_same(
    engine: Harness, tmp_path: Path
) -> None:
    database = engine.database
    await fill(engine, 100)
    await deploy(database, table(STAGED))
    faults.arm(AFTER_STEP, no_room)
    worker = BackfillWorker(database)
    worker.start()
    await worker.idle()
    faults.disarm_all()
    assert await filled(engine) is not None, "it has given up"
    live = database.catalogue.tables["rows"]
    loader = Loader(database, tmp_path / "staging", lambda table, done: None)
    await loader.create([("rows", live.number)], database.catalogue.tables)
    await loader.copy(live, loader.tables[0])
    await database.replace_tables(loader.tables)
    assert by_n(engine).number != live.indexes["by_n"].number

    await worker.idle()
    assert await filled(engine) is None
    await worker.close()
    await deploy(database, table(BY_N))

    assert await database.read(entries) == 100
