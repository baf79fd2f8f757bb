"""Filling indexes of a database that is in use: staged and not, resumed, with writers beside (server-semantics 1.3, 14)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reactor import faults
from reactor.engine import backfill, index_kinds, key_slices, pace
from reactor.engine.backfill import AFTER_STEP, fill_index, index_states
from reactor.engine.deploy import WantedIndex, deploy
from reactor.engine.index_keys import key_parts
from reactor.engine.key_slices import KeySlice
from reactor.engine.transaction import Transaction
from reactor.errors import SchemaError, StoreError
from reactor.store.catalogue import IndexInfo
from reactor.store.protocol import Backfill, SnapshotEnded
from reactor.store.sqlite.writer import SqliteWriter
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


async def test_a_deploy_goes_on_where_one_that_died_came_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_slices, "SLICE_ROWS", backfill.CHUNK_ROWS)
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


async def test_a_slice_that_was_not_entered_to_its_end_is_entered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is counted twice, of this slice or of those before it."""
    monkeypatch.setattr(key_slices, "SLICE_ROWS", 100)
    await die_after(tmp_path, table(BY_N), 6)
    second = await open_harness(tmp_path)
    left = await filled(second)
    assert left is not None
    assert left.entered == 164
    reported: list[int] = []

    await deploy(second.database, table(BY_N), progress=lambda what, count, total: reported.append(count))

    assert reported[0] == 100 + backfill.CHUNK_ROWS
    assert reported == sorted(reported)
    assert max(reported) == 500
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


async def test_dropping_the_flag_of_an_index_that_is_not_full_waits_for_the_rest(
    engine: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fills it already goes on: two at once would each take the other's slice for lost, and read it again, for ever."""
    await fill(engine, 500)
    await deploy(engine.database, table(STAGED))
    between = Between(monkeypatch, lambda _: asyncio.sleep(0))
    running = asyncio.ensure_future(fill_index(engine.database, by_n(engine)))
    while (state := await filled(engine)) is not None and not state.entered:
        await asyncio.sleep(0)

    await deploy(engine.database, table(BY_N))

    assert states(engine) == {"by_n": "ready"}
    assert await engine.database.read(entries) == 500
    await running
    assert len(between.slices) == 1


async def test_when_what_fills_an_index_is_stopped_who_waits_for_it_goes_on(engine: Harness) -> None:
    await fill(engine, 500)
    await deploy(engine.database, table(STAGED))
    running = asyncio.ensure_future(fill_index(engine.database, by_n(engine)))
    deploying = asyncio.ensure_future(deploy(engine.database, table(BY_N)))
    while (state := await filled(engine)) is not None and not state.entered:
        await asyncio.sleep(0)
    running.cancel()
    await deploying
    assert running.cancelled()
    assert states(engine) == {"by_n": "ready"}
    assert await engine.database.read(entries) == 500


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


@pytest.mark.parametrize("slice_rows", [50, 65_536])
async def test_with_writers_beside_the_index_is_what_a_fresh_scan_gives(
    engine: Harness, monkeypatch: pytest.MonkeyPatch, slice_rows: int
) -> None:
    monkeypatch.setattr(key_slices, "SLICE_ROWS", slice_rows)
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
    await assert_whole(engine)


async def assert_whole(engine: Harness) -> None:
    """The index has the keys of the documents that there are, and no others."""

    def compare(tx: Transaction) -> tuple[list[bytes], list[bytes]]:
        info = tx.catalogue.tables["rows"]
        documents: list[Any] = [decode(body) for body in bodies(tx)]
        index = info.indexes["by_n"]
        found = tx.reader.scan(index, b"", None, reverse=False, limit=100_000)
        return sorted(b"".join(key_parts(index, d)) for d in documents), [key for key, _ in found]

    expected, found = await engine.database.read(compare)
    assert found == expected
    assert await engine.database.read(entries) == len(expected)


class Between:
    """Calls `work` once, between the reading of a slice and its entering."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, work: Callable[[KeySlice], Awaitable[object]]) -> None:
        self.slices: list[KeySlice] = []
        read_slice = key_slices.read_slice

        async def reading(*args: Any) -> KeySlice:
            found = await read_slice(*args)
            self.slices.append(found)
            if len(self.slices) == 1:
                await work(found)
            return found

        monkeypatch.setattr(backfill, "read_slice", reading)


async def test_what_is_written_between_reading_and_entering_is_entered_as_it_is_then(
    engine: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a write left the index alone, because it changed another field or nothing."""
    await fill(engine, 300)
    ids = await engine.database.read(document_ids)
    await deploy(engine.database, table(STAGED))

    def change(tx: Any) -> None:
        info = tx.table("rows")
        for at, document_id in enumerate(ids):
            if at % 5 == 0:
                tx.patch(info, document_id, {"n": 1000 + at})
            elif at % 5 == 1:
                tx.delete(info, document_id)
            elif at % 5 == 2:
                tx.patch(info, document_id, {"other": at})
            elif at % 5 == 3:
                tx.patch(info, document_id, {})
        tx.insert("rows", {"n": 7})

    between = Between(monkeypatch, lambda _: engine.write(change))
    await fill_index(engine.database, by_n(engine))
    assert len(between.slices) == 1
    assert await filled(engine) is None
    await assert_whole(engine)


async def test_what_is_written_while_a_slice_is_read_is_not_left_for_the_writer_to_look_through(
    engine: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_slices, "READ_S", 0.0)
    await fill(engine, 1000)
    ids = await engine.database.read(document_ids)
    await deploy(engine.database, table(STAGED))
    reads, looked_through = 0, 0
    rest, log_after = pace.Pace.rest, SqliteWriter.log_after

    async def resting(*args: Any, **options: Any) -> None:
        nonlocal reads
        if not looked_through:
            reads += 1
            await engine.write(lambda tx: tx.patch(tx.table("rows"), ids[reads], {"n": 5000 + reads}))
        await rest(*args, **options)

    def looking(writer: SqliteWriter, ts: int, limit: int) -> Any:
        nonlocal looked_through
        rows = log_after(writer, ts, limit)
        looked_through += len(rows)
        return rows

    monkeypatch.setattr(pace.Pace, "rest", resting)
    monkeypatch.setattr(SqliteWriter, "log_after", looking)
    await fill_index(engine.database, by_n(engine))
    assert reads > 10
    assert looked_through == 2, "the last one that was seen, and one more"
    await assert_whole(engine)


async def test_a_slice_from_before_what_the_log_still_has_is_read_again(
    engine: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could tell what was written since."""
    await fill(engine, 300)
    ids = await engine.database.read(document_ids)
    await deploy(engine.database, table(STAGED))

    async def forget(_: KeySlice) -> None:
        await engine.write(lambda tx: [tx.delete(tx.table("rows"), document_id) for document_id in ids[:200]])
        await engine.write(lambda tx: tx.insert("rows", {"n": 7}))

        def prune(writer: Any) -> None:
            writer.begin()
            writer._raw.execute("DELETE FROM log WHERE ts < ?", (writer.ts,))
            writer.commit()

        await engine.database.store.write(prune)

    between = Between(monkeypatch, forget)
    await fill_index(engine.database, by_n(engine))
    assert len(between.slices) == 2
    await assert_whole(engine)


async def test_what_a_failing_disk_takes_back_of_a_slice_is_entered_again(engine: Harness) -> None:
    """A step is no durable commit: the file may be opened anew without the last ones, while the process goes on."""
    await fill(engine, 300)
    await deploy(engine.database, table(STAGED))
    steps = 0

    def lose(writer: Any) -> None:
        writer.begin()
        writer._raw.execute(f"DELETE FROM i_{by_n(engine).number}")
        writer.put_backfill(by_n(engine), Backfill())
        writer.commit()

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            losing.append(asyncio.ensure_future(engine.database.store.write(lose)))

    losing: list[asyncio.Future[None]] = []
    faults.arm(AFTER_STEP, step)
    await fill_index(engine.database, by_n(engine))
    faults.disarm_all()
    await losing[0]
    assert await filled(engine) is None
    await assert_whole(engine)


async def test_reading_that_is_broken_off_is_tried_again(engine: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the write-ahead log grows too long, the store ends snapshots; a deploy does not fail because of that."""
    monkeypatch.setattr(key_slices, "READ_S", 0.0)
    await fill(engine, 300)
    await deploy(engine.database, table(STAGED))
    read, reads = KeySlice._entry, 0

    def ended(keys: KeySlice, body: bytes) -> tuple[bytes, str]:
        nonlocal reads
        reads += 1
        if reads in (10, 100):
            raise SnapshotEnded("The read took too long.")
        return read(keys, body)

    monkeypatch.setattr(KeySlice, "_entry", ended)
    await fill_index(engine.database, by_n(engine))
    assert reads > 300
    await assert_whole(engine)


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


async def test_large_documents_come_into_a_search_index_one_by_one(
    engine: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 of 100 KB held the writer for 300 ms, and every mutation with it."""
    for text, most in (("a word", backfill.CHUNK_ROWS), ("a word " * 8_000, 1)):
        await engine.write(lambda tx, text=text: [tx.insert("rows", {"n": text}) for _ in range(40)])
        search = WantedIndex("by_text", ("n",), staged=True, kind="search")
        await deploy(engine.database, table(search))
        index = engine.database.catalogue.tables["rows"].search["by_text"]
        together: list[int] = []

        def filling(writer: Any, index: IndexInfo, documents: Any, together: list[int] = together) -> None:
            together.append(len(documents))
            index_kinds.fill(writer, index, documents)

        monkeypatch.setattr(backfill, "fill", filling)
        await fill_index(engine.database, index)
        assert (max(together), sum(together)) == (most, 40)
        ids = await engine.database.read(document_ids)
        await engine.write(lambda tx, ids=ids: [tx.delete(tx.catalogue.tables["rows"], id_) for id_ in ids])
        await deploy(engine.database, table())


@pytest.mark.parametrize("large", ["key", "document"])
async def test_large_keys_and_documents_end_a_step_sooner(
    engine: Harness, monkeypatch: pytest.MonkeyPatch, large: str
) -> None:
    """A document is read in the writer's time only if it was written since the slice was read."""
    text = "x" * 100_000
    fields = {"n": text} if large == "key" else {"n": 1, "other": text}
    await engine.write(lambda tx: [tx.insert("rows", fields) for _ in range(40)])
    ids = await engine.database.read(document_ids)
    await deploy(engine.database, table(STAGED))

    def touch(tx: Any) -> None:
        for document_id in ids if large == "document" else ():
            tx.patch(tx.table("rows"), document_id, {"n": 2})

    between = Between(monkeypatch, lambda _: engine.write(touch))
    entered = [0]
    faults.arm(AFTER_STEP, lambda: entered.append(between.slices[0].entered))
    await fill_index(engine.database, by_n(engine))
    faults.disarm_all()
    assert max(after - before for before, after in pairwise(entered)) == 3
    await assert_whole(engine)


async def test_the_worker_goes_on_some_time_after_a_failure(engine: Harness) -> None:
    await fill(engine, 100)
    await deploy(engine.database, table(STAGED))
    faults.arm(AFTER_STEP, no_room)
    worker = BackfillWorker(engine.database)
    worker.start()
    await worker.idle()
    faults.disarm_all()
    assert await filled(engine) is not None

    while engine.clock.next_wakeup() is None:
        await asyncio.sleep(0)
    engine.clock.advance(60 * 10**9)
    async with asyncio.timeout(20):
        while await filled(engine) is not None:
            await asyncio.sleep(0)
    await worker.idle()
    await worker.close()
    await assert_whole(engine)


async def test_an_index_that_a_deploy_has_left_unfinished_is_of_no_use_either_once_an_import_has_copied_it(
    tmp_path: Path,
) -> None:
    """Queries would find what happens to be in it."""
    await die_after(tmp_path, table(BY_N), 2)
    second = await open_harness(tmp_path)
    database = second.database
    live = database.catalogue.tables["rows"]
    loader = Loader(database, tmp_path / "staging", lambda table, done: None)
    await loader.create([("rows", live.number)], database.catalogue.tables)
    await loader.copy(live, loader.tables[0])
    await database.replace_tables(loader.tables)
    assert states(second) == {"by_n": "backfilling"}

    await deploy(database, table(BY_N))

    assert states(second) == {"by_n": "ready"}
    await assert_whole(second)
    await database.close()
