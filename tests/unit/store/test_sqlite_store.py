"""Every method of the store's protocol, on the real store."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reactor.clock import ManualClock
from reactor.errors import StoreError, Unavailable
from reactor.store.catalogue import BY_CREATION_TIME, BY_ID, FIRST_USER_TABLE, TableInfo
from reactor.store.protocol import Backfill, IndexChange, LogRow, Reader, RequestRecord, SnapshotEnded, Writer
from reactor.store.sqlite.store import SqliteStore

T0 = 1_700_000_000_000_000_000
"""The clock's start: rows with much smaller timestamps would be pruned at once."""


def committed(job: Callable[[Writer], object]) -> Callable[[Writer], None]:
    """`job` in a transaction of its own."""

    def run(writer: Writer) -> None:
        writer.begin()
        job(writer)
        writer.commit()

    return run


def rolled_back(job: Callable[[Writer], object]) -> Callable[[Writer], None]:
    def run(writer: Writer) -> None:
        writer.begin()
        job(writer)
        writer.rollback()

    return run


async def make_table(store: SqliteStore, name: str = "messages") -> TableInfo:
    await store.write(committed(lambda w: w.create_tables([name])))
    return store.catalogue.tables[name]


def log(ts: int) -> Callable[[Writer], None]:
    return committed(lambda w: w.append_log(LogRow(T0 + ts, 1, b"record %d" % ts)))


async def test_a_new_store_has_the_system_tables_with_their_fixed_numbers(store: SqliteStore) -> None:
    catalogue = store.catalogue
    assert {name: table.number for name, table in catalogue.tables.items()} == {
        "_storage": 1,
        "_scheduled_functions": 2,
    }
    storage = catalogue.tables["_storage"]
    assert storage.is_system
    assert set(storage.indexes) == {BY_ID, BY_CREATION_TIME}
    assert [index.name for index in storage.kept] == [BY_CREATION_TIME]
    assert catalogue.table_name(2) == "_scheduled_functions"
    assert catalogue.table_name(77) is None


async def test_user_tables_are_numbered_from_10001_and_keep_their_numbers(store: SqliteStore) -> None:
    version = store.catalogue.version
    await store.write(committed(lambda w: w.create_tables(["a", "b", "a"])))
    await store.write(committed(lambda w: w.create_tables(["b", "c", "_extra"])))
    assert [store.catalogue.tables[name].number for name in "abc"] == [10_001, 10_002, 10_003]
    assert store.catalogue.tables["_extra"].number < FIRST_USER_TABLE
    assert store.catalogue.version == version + 2
    await store.write(committed(lambda w: w.create_tables(["a"])))
    assert store.catalogue.version == version + 2


async def test_the_catalogue_is_published_at_commit_and_forgotten_at_rollback(store: SqliteStore) -> None:
    def abandoned(writer: Writer) -> None:
        writer.begin()
        assert "a" in writer.create_tables(["a"]).tables
        assert "a" not in store.catalogue.tables
        assert "b" in writer.create_tables(["b"]).tables
        writer.rollback()

    await store.write(abandoned)
    assert "a" not in store.catalogue.tables
    await make_table(store, "b")
    assert set(store.catalogue.tables) == {"_storage", "_scheduled_functions", "b"}


async def test_a_rolled_back_savepoint_takes_its_tables_and_timestamps_with_it(store: SqliteStore) -> None:
    def job(writer: Writer) -> None:
        writer.begin()
        writer.append_log(LogRow(T0 + 5, 1, b""))
        writer.savepoint()
        writer.create_tables(["gone"])
        writer.savepoint()
        writer.append_log(LogRow(T0 + 9, 1, b""))
        writer.release()
        assert writer.ts == T0 + 9
        writer.rollback_to()
        assert writer.ts == T0 + 5
        writer.create_tables(["kept"])
        writer.append_log(LogRow(T0 + 6, 1, b""))
        writer.commit()

    await store.write(job)
    assert "gone" not in store.catalogue.tables
    assert "kept" in store.catalogue.tables
    assert await store.read(lambda r: [row.ts for row in r.log_after(0, 10)]) == [T0 + 5, T0 + 6]


async def test_documents_are_inserted_updated_deleted(store: SqliteStore) -> None:
    table = await make_table(store)

    def job(writer: Writer) -> None:
        writer.begin()
        writer.insert(table, "k1", b"one")
        writer.insert(table, "k2", b"two")
        assert writer.get(table, "k1") == b"one"
        writer.update(table, "k1", b"ONE")
        writer.delete(table, "k2")
        writer.commit()

    await store.write(job)
    assert await store.read(lambda r: (r.get(table, "k1"), r.get(table, "k2"))) == (b"ONE", None)


async def test_new_bodies_are_seen_before_they_are_in_the_file_and_undone_with_their_savepoint(
    store: SqliteStore,
) -> None:
    """engine rules 5 and 7: bodies wait in memory for the commit; to readers of the transaction they are there."""
    table = await make_table(store)
    index, by_id = table.indexes[BY_CREATION_TIME], table.indexes[BY_ID]
    names = ["a1", "b2", "c3", "d4"]

    def key(name: str) -> bytes:
        return b"\x0d%b\x10%b\x00" % (name[1].encode(), name.encode())

    def fill(writer: Writer) -> None:
        for name in names:
            writer.insert(table, name, b"old")
            writer.add_key(index, key(name), name)

    await store.write(committed(fill))

    def see(writer: Writer) -> list[bytes | None]:
        bodies = [writer.get(table, name) for name in names]
        there = [body for body in bodies if body is not None]
        for one in (index, by_id):
            assert [body for _, body in writer.scan(one, b"", None, reverse=False, limit=9)] == there
            assert [body for _, body in writer.scan(one, b"", None, reverse=True, limit=9)] == there[::-1]
        return bodies

    def job(writer: Writer) -> None:
        writer.begin()
        writer.savepoint()
        writer.update(table, "a1", b"new")
        writer.release()
        writer.savepoint()
        writer.update(table, "a1", b"newer")
        writer.update(table, "b2", b"new")
        writer.savepoint()
        writer.update(table, "b2", b"newer")
        writer.delete(table, "a1")
        writer.remove_key(index, key("a1"))
        writer.savepoint()
        writer.update(table, "c3", b"new")
        writer.release()
        assert see(writer) == [None, b"newer", b"new", b"old"]
        writer.rollback_to()
        assert see(writer) == [b"newer", b"new", b"old", b"old"]
        writer.rollback_to()
        assert see(writer) == [b"new", b"old", b"old", b"old"]
        writer.savepoint()
        writer.update(table, "d4", b"new")
        writer.delete(table, "d4")
        writer.remove_key(index, key("d4"))
        writer.insert(table, "d4", b"again")
        writer.add_key(index, key("d4"), "d4")
        writer.update(table, "d4", b"and again")
        writer.release()
        assert see(writer) == [b"new", b"old", b"old", b"and again"]
        writer.commit()

    await store.write(job)
    assert await store.read(lambda r: [r.get(table, name) for name in names]) == [b"new", b"old", b"old", b"and again"]
    await store.write(lambda writer: (writer.begin(), writer.update(table, "a1", b"lost"), writer.rollback()))
    assert await store.write(lambda w: w.get(table, "a1")) == b"new"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda w, t: w.update(t, "nobody", b""),
        lambda w, t: w.delete(t, "nobody"),
        lambda w, t: (w.insert(t, "k", b"1"), w.insert(t, "k", b"2")),
    ],
)
async def test_changes_that_hit_no_document_or_one_too_many_are_errors(
    store: SqliteStore, wrong: Callable[[Writer, TableInfo], object]
) -> None:
    table = await make_table(store)
    with pytest.raises(StoreError):
        await store.write(committed(lambda w: wrong(w, table)))
    assert await store.read(lambda r: r.get(table, "k")) is None


async def test_indexes_are_added_filled_enabled_and_dropped(store: SqliteStore) -> None:
    await make_table(store)
    change = IndexChange("messages", "by_author", ("author", "meta.rank"))
    await store.write(committed(lambda w: w.change_indexes(add=[change], drop=[])))
    index = store.catalogue.tables["messages"].indexes["by_author"]
    assert (index.fields, index.state, index.table) == (("author", "meta.rank"), "backfilling", "messages")
    assert index in store.catalogue.tables["messages"].kept

    await store.write(committed(lambda w: w.change_indexes(add=[], drop=[], enable=[index])))
    ready = store.catalogue.tables["messages"].indexes["by_author"]
    assert (ready.state, ready.number) == ("ready", index.number)

    staged = IndexChange("messages", "by_author", ("author",), staged=True)
    await store.write(committed(lambda w: w.change_indexes(add=[staged], drop=[ready])))
    replaced = store.catalogue.tables["messages"].indexes["by_author"]
    assert (replaced.fields, replaced.state) == (("author",), "staged")
    assert replaced.number > ready.number

    await store.write(committed(lambda w: w.change_indexes(add=[], drop=[replaced])))
    assert "by_author" not in store.catalogue.tables["messages"].indexes
    with pytest.raises(SnapshotEnded):
        await store.read(lambda r: r.scan(replaced, b"", None, reverse=False, limit=1))


async def test_an_index_has_a_kind_and_a_name_belongs_to_one_kind(store: SqliteStore) -> None:
    await make_table(store)
    changes = [
        IndexChange("messages", "search_text", ("text", "author"), kind="search"),
        IndexChange("messages", "by_embedding", ("embedding", "author"), kind="vector", dimensions=3),
    ]
    await store.write(committed(lambda w: w.change_indexes(add=changes, drop=[])))

    table = store.catalogue.tables["messages"]
    assert set(table.indexes) == {BY_ID, BY_CREATION_TIME}  # what walks these meets keys only
    search, vector = table.search["search_text"], table.vector["by_embedding"]
    assert (search.kind, search.fields, search.state) == ("search", ("text", "author"), "backfilling")
    assert (vector.kind, vector.dimensions) == ("vector", 3)
    assert table.others == (search, vector)
    assert {i.name for i in table.all_indexes} == {BY_ID, BY_CREATION_TIME, "search_text", "by_embedding"}
    again = [IndexChange("messages", "search_text", ("author",))]
    with pytest.raises(StoreError, match="has an index search_text already"):
        await store.write(committed(lambda w: w.change_indexes(add=again, drop=[])))


async def test_how_far_an_index_is_filled_is_kept_until_it_is_full(store: SqliteStore) -> None:
    await make_table(store)
    change = IndexChange("messages", "by_author", ("author",))
    await store.write(committed(lambda w: w.change_indexes(add=[change], drop=[])))
    index = store.catalogue.tables["messages"].indexes["by_author"]
    assert await store.read(lambda r: r.get_backfill(index)) == Backfill(b"", 0)

    await store.write(committed(lambda w: w.put_backfill(index, Backfill(b"k", 7))))
    assert await store.read(lambda r: r.get_backfill(index)) == Backfill(b"k", 7)

    await store.write(committed(lambda w: w.put_backfill(index, None)))
    assert await store.read(lambda r: r.get_backfill(index)) is None


_FORMAT_1 = """
PRAGMA journal_mode = WAL;
CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE tables (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE indexes (number INTEGER PRIMARY KEY AUTOINCREMENT, table_number INTEGER NOT NULL, name TEXT NOT NULL,
    fields TEXT NOT NULL, state TEXT NOT NULL, UNIQUE (table_number, name));
CREATE TABLE log (ts INTEGER PRIMARY KEY, kind INTEGER NOT NULL, record BLOB NOT NULL);
CREATE TABLE requests (session TEXT NOT NULL, request INTEGER NOT NULL, ts INTEGER NOT NULL,
    payload BLOB NOT NULL, PRIMARY KEY (session, request)) WITHOUT ROWID;
INSERT INTO tables VALUES (1, '_storage'), (2, '_scheduled_functions'), (10001, 'messages');
CREATE TABLE d_1 (id TEXT PRIMARY KEY NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE d_2 (id TEXT PRIMARY KEY NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE d_10001 (id TEXT PRIMARY KEY NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO indexes VALUES (1, 1, 'by_id', '[]', 'ready'), (2, 1, 'by_creation_time', '[]', 'ready'),
    (3, 2, 'by_id', '[]', 'ready'), (4, 2, 'by_creation_time', '[]', 'ready'),
    (5, 10001, 'by_id', '[]', 'ready'), (6, 10001, 'by_creation_time', '[]', 'ready'),
    (7, 10001, 'by_author', '["author"]', 'ready'), (8, 10001, 'by_text', '["text"]', 'staged'),
    (9, 10001, 'by_rank', '["rank"]', 'backfilling');
CREATE TABLE i_2 (key BLOB PRIMARY KEY NOT NULL, id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE i_4 (key BLOB PRIMARY KEY NOT NULL, id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE i_6 (key BLOB PRIMARY KEY NOT NULL, id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE i_7 (key BLOB PRIMARY KEY NOT NULL, id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE i_8 (key BLOB PRIMARY KEY NOT NULL, id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE i_9 (key BLOB PRIMARY KEY NOT NULL, id TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO d_10001 VALUES ('k', x'7b7d');
INSERT INTO i_7 VALUES (x'10', 'k');
INSERT INTO log VALUES (5, 2, x'929090');
PRAGMA application_id = 1919120498;
PRAGMA user_version = 1;
"""
"""What the first format's code made of a file with one table."""


async def test_a_file_of_the_first_format_is_migrated_at_open(tmp_path: Path, clock: ManualClock) -> None:
    raw = sqlite3.connect(tmp_path / "data.sqlite3")
    raw.executescript(_FORMAT_1)
    raw.close()

    for _ in range(2):  # the second time it is of the newest format
        store = SqliteStore(tmp_path, clock=clock, synchronous="OFF")
        await store.open()
        try:
            table = store.catalogue.tables["messages"]
            assert {i.name: (i.kind, i.state) for i in table.all_indexes if i.fields} == {
                "by_author": ("database", "ready"),
                "by_text": ("database", "staged"),
                "by_rank": ("database", "backfilling"),
            }
            backfills = {
                name: await store.read(lambda r, i=i: r.get_backfill(i))
                for name, i in table.indexes.items()
                if i.fields
            }
            assert backfills == {"by_author": None, "by_text": None, "by_rank": Backfill(b"", 0)}
            rows = await store.read(
                lambda r, t=table: r.scan(t.indexes["by_author"], b"", None, reverse=False, limit=2)
            )
            assert rows == [(b"\x10", b"{}")]
            change = IndexChange("messages", "search", ("text",), kind="search")
            await store.write(rolled_back(lambda w, change=change: w.change_indexes(add=[change], drop=[])))
        finally:
            await store.close()


async def test_the_built_in_indexes_cant_be_dropped(store: SqliteStore) -> None:
    table = await make_table(store)
    for name in (BY_ID, BY_CREATION_TIME):
        with pytest.raises(StoreError, match=name):
            await store.write(committed(lambda w, name=name: w.change_indexes(add=[], drop=[table.indexes[name]])))


async def test_index_scans_give_keys_and_bodies_in_range_in_order(store: SqliteStore) -> None:
    table = await make_table(store)
    index = table.indexes[BY_CREATION_TIME]

    def fill(writer: Writer) -> None:
        for n in (3, 1, 2, 5, 4):
            writer.insert(table, f"k{n}", b"body %d" % n)
            writer.add_key(index, bytes([n]), f"k{n}")
        writer.add_key(index, bytes([4]), "k4")  # insert-or-ignore, as a backfill does
        writer.remove_key(index, bytes([5]))

    await store.write(committed(fill))

    def scan(start: bytes, end: bytes | None, reverse: bool, limit: int) -> Callable[[Reader], list[int]]:
        def job(reader: Reader) -> list[int]:
            rows = reader.scan(index, start, end, reverse=reverse, limit=limit)
            assert all(body == b"body %d" % key[0] for key, body in rows)
            return [key[0] for key, _ in rows]

        return job

    assert await store.read(scan(b"", None, False, 10)) == [1, 2, 3, 4]
    assert await store.read(scan(b"\x02", b"\x04", False, 10)) == [2, 3]
    assert await store.read(scan(b"\x02", None, False, 2)) == [2, 3]
    assert await store.read(scan(b"\x02", None, True, 2)) == [4, 3]
    assert await store.read(scan(b"", b"\x03", True, 10)) == [2, 1]
    assert await store.read(scan(b"\x03", b"\x03", False, 10)) == []
    assert await store.read(lambda r: (r.count(index, b"\x02", None), r.count(index, b"\x02", b"\x04"))) == (3, 2)


async def test_a_scan_of_large_documents_gives_fewer_at_a_time_and_leaves_no_statement_open(store: SqliteStore) -> None:
    """engine rules 10 and 26: a chunk of 256 documents of a megabyte would be 256 MB."""
    table = await make_table(store)
    index = table.indexes[BY_CREATION_TIME]

    def fill(writer: Writer) -> None:
        for n in range(100):
            writer.insert(table, f"k{n:02}", bytes(200_000))
            writer.add_key(index, b"%02d" % n, f"k{n:02}")

    await store.write(committed(fill))

    def sizes(reader: Reader) -> list[int]:
        found, start = [], b""
        for one in (index, table.indexes[BY_ID]):
            start = b""
            while rows := reader.scan(one, start, None, reverse=False, limit=256):
                found.append(len(rows))
                start = rows[-1][0] + b"\x00"
        return found

    assert await store.read(sizes) == [32, 32, 32, 4] * 2
    for ts in range(1, 6):
        await store.write(log(ts))
        assert await store.read(lambda r: (sizes(r), r.ts)[1]) == T0 + ts


async def test_request_records_are_found_exactly_and_large_ones_survive_packing(store: SqliteStore) -> None:
    large = b"abc" * 10_000

    def job(writer: Writer) -> None:
        writer.put_request("s", 1, RequestRecord(T0 + 10, b""))
        writer.put_request("s", 2, RequestRecord(T0 + 11, large))
        writer.put_request("s", 3, RequestRecord(T0 + 12, b"\x01x"))
        writer.put_request("t", 1, RequestRecord(T0 + 13, b"t"))

    await store.write(committed(job))

    def look(reader: Reader) -> list[RequestRecord | None]:
        return [reader.get_request(*key) for key in (("s", 1), ("s", 2), ("s", 3), ("t", 1), ("t", 2))]

    assert await store.read(look) == [
        RequestRecord(T0 + 10, b""),
        RequestRecord(T0 + 11, large),
        RequestRecord(T0 + 12, b"\x01x"),
        RequestRecord(T0 + 13, b"t"),
        None,
    ]
    await store.write(committed(lambda w: w.delete_requests_before("s", 3)))
    assert [record is None for record in await store.read(look)] == [True, True, False, False, True]


async def test_request_records_are_seen_at_once_and_undone_with_their_savepoint(store: SqliteStore) -> None:
    """engine rule 22"""

    def job(writer: Writer) -> None:
        writer.begin()
        writer.savepoint()
        writer.put_request("s", 1, RequestRecord(T0, b"kept"))
        writer.release()
        writer.savepoint()
        writer.put_request("s", 2, RequestRecord(T0, b"lost"))
        assert writer.get_request("s", 2) == RequestRecord(T0, b"lost")
        writer.rollback_to()
        assert writer.get_request("s", 2) is None
        assert writer.get_request("s", 1) == RequestRecord(T0, b"kept")
        with pytest.raises(StoreError):
            writer.put_request("s", 1, RequestRecord(T0, b"twice"))
        writer.commit()

    await store.write(job)
    assert await store.read(lambda r: [r.get_request("s", n) for n in (1, 2)]) == [RequestRecord(T0, b"kept"), None]
    with pytest.raises(StoreError):
        await store.write(committed(lambda w: w.put_request("s", 1, RequestRecord(T0, b"twice"))))
    assert await store.read(lambda r: r.get_request("s", 1)) == RequestRecord(T0, b"kept")


async def test_meta_values_are_kept_and_replaced(store: SqliteStore) -> None:
    assert await store.read(lambda r: r.get_meta("schema")) is None
    await store.write(committed(lambda w: w.put_meta("schema", b"1")))
    await store.write(committed(lambda w: w.put_meta("schema", b"2")))
    assert await store.write(lambda w: w.get_meta("schema")) == b"2"
    assert await store.read(lambda r: r.get_meta("schema")) == b"2"


async def test_the_log_is_read_in_order_after_a_timestamp(store: SqliteStore) -> None:
    assert await store.read(lambda r: (r.ts, r.log_after(0, 5))) == (0, [])
    for ts in (10, 20, 30):
        await store.write(log(ts))
    assert await store.read(lambda r: r.ts) == T0 + 30
    assert await store.read(lambda r: [row.ts for row in r.log_after(T0 + 10, 5)]) == [T0 + 20, T0 + 30]
    assert await store.read(lambda r: r.log_after(0, 1)) == [LogRow(T0 + 10, 1, b"record 10")]
    assert await store.write(lambda w: w.ts) == T0 + 30


async def test_timestamps_that_do_not_rise_are_refused(store: SqliteStore) -> None:
    await store.write(log(10))
    with pytest.raises(StoreError, match="must rise"):
        await store.write(log(10))


async def test_a_job_that_leaves_its_transaction_open_is_rolled_back_and_told(store: SqliteStore) -> None:
    table = await make_table(store)

    def careless(writer: Writer) -> None:
        writer.begin()
        writer.insert(table, "k", b"")

    with pytest.raises(StoreError, match="without committing"):
        await store.write(careless)
    assert await store.read(lambda r: r.get(table, "k")) is None


async def test_a_job_that_raises_is_rolled_back_and_its_error_comes_through(store: SqliteStore) -> None:
    table = await make_table(store)

    def failing(writer: Writer) -> None:
        writer.begin()
        writer.insert(table, "k", b"")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await store.write(failing)
    assert await store.read(lambda r: r.get(table, "k")) is None
    assert not await store.write(lambda w: w.in_transaction)


async def test_changes_outside_of_a_transaction_are_refused(store: SqliteStore) -> None:
    table = await make_table(store)
    for job in (lambda w: w.insert(table, "k", b""), lambda w: w.commit(), lambda w: w.create_tables(["x"])):
        with pytest.raises(StoreError, match="No transaction"):
            await store.write(job)


async def test_a_job_that_raises_stop_iteration_does_not_hang_its_caller(store: SqliteStore) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await store.write(lambda w: next(iter(())))


async def test_write_jobs_of_several_callers_queue_in_order(store: SqliteStore) -> None:
    order: list[int] = []
    await asyncio.gather(*(store.write(lambda w, n=n: order.append(n)) for n in range(20)))
    assert order == list(range(20))


async def test_thread_init_runs_once_on_each_store_thread(tmp_path: Path, clock: ManualClock) -> None:
    seen: list[str] = []
    store = SqliteStore(
        tmp_path, clock=clock, readers=2, thread_init=lambda: seen.append(threading.current_thread().name)
    )
    await store.open()
    try:
        assert sorted(seen) == ["reactor-reader-1", "reactor-reader-2", "reactor-writer"]
        assert await store.write(lambda w: threading.current_thread().name) == "reactor-writer"
        assert (await store.read(lambda r: threading.current_thread().name)).startswith("reactor-reader-")
    finally:
        await store.close()


async def test_everything_is_there_after_closing_and_opening(tmp_path: Path, clock: ManualClock) -> None:
    first = SqliteStore(tmp_path, clock=clock)
    await first.open()
    table = await make_table(first)
    await first.write(committed(lambda w: w.insert(table, "k", b"body")))
    await first.write(committed(lambda w: w.change_indexes(add=[IndexChange("messages", "x", ("f",))], drop=[])))
    await first.write(log(7))
    await first.close()
    assert first.wal_bytes() == 0
    with pytest.raises(Unavailable):
        await first.write(lambda w: None)
    with pytest.raises(Unavailable):
        await first.read(lambda r: None)

    second = SqliteStore(tmp_path, clock=clock)
    await second.open()
    try:
        assert second.catalogue == first.catalogue
        assert await second.read(lambda r: (r.ts, r.get(table, "k"))) == (T0 + 7, b"body")
        assert await second.write(lambda w: w.ts) == T0 + 7
        assert second.data_bytes() > 0
    finally:
        await second.close()


async def test_two_stores_in_one_process_share_nothing(tmp_path: Path, clock: ManualClock) -> None:
    stores = [SqliteStore(tmp_path / name, clock=clock) for name in "ab"]
    for store in stores:
        await store.open()
    try:
        await make_table(stores[0], "only_a")
        assert "only_a" not in stores[1].catalogue.tables
    finally:
        for store in stores:
            await store.close()
