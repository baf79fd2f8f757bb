"""Hidden tables: filled unseen, revealed at once, gone with the process; what they replaced is emptied in steps."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from reactor.clock import ManualClock
from reactor.errors import StoreError, Unavailable
from reactor.store.catalogue import BY_CREATION_TIME, BY_ID, TableInfo
from reactor.store.protocol import IndexChange, LogRow, Reader, Writer
from reactor.store.sqlite.layout import DATA_FILE, FORMAT
from reactor.store.sqlite.staging import StagingFile
from reactor.store.sqlite.store import SqliteStore


def in_transaction(writer: Writer, work):
    writer.begin()
    result = work()
    writer.append_log(LogRow(writer.ts + 1, 1, b""))
    writer.commit()
    return result


async def make(store: SqliteStore, *names: str) -> None:
    await store.write(lambda w: in_transaction(w, lambda: w.create_tables(names)))


def fill(writer: Writer, table: TableInfo, first: int, count: int) -> None:
    for number in range(first, first + count):
        writer.insert(table, f"k{number:05}", b"%d" % number)
        writer.add_key(table.indexes[BY_CREATION_TIME], b"%05d" % number, f"k{number:05}")


def bodies(reader: Reader, table: TableInfo) -> list[bytes]:
    by_time = reader.scan(table.indexes[BY_CREATION_TIME], b"", None, reverse=False, limit=10_000)
    by_id = reader.scan(table.indexes[BY_ID], b"", None, reverse=False, limit=10_000)
    assert [body for _, body in by_time] == [body for _, body in by_id]
    assert reader.count(table.indexes[BY_ID], b"", None) == len(by_id)
    return [body for _, body in by_id]


async def test_a_hidden_table_takes_the_place_of_one_at_once(store: SqliteStore) -> None:
    await make(store, "t")
    table = store.catalogue.tables["t"]
    await store.write(lambda w: in_transaction(w, lambda: fill(w, table, 0, 3)))
    changes = [IndexChange("t", "by_x", ("x",))]
    hidden = await store.write(lambda w: in_transaction(w, lambda: w.create_hidden("t", changes)))
    assert hidden.number == table.number
    assert [*hidden.indexes] == [BY_ID, BY_CREATION_TIME, "by_x"]
    await store.write(lambda w: in_transaction(w, lambda: fill(w, hidden, 10, 2)))
    assert store.catalogue.tables == {**store.catalogue.tables, "t": table}
    assert await store.read(lambda r: bodies(r, table)) == [b"0", b"1", b"2"]

    [old] = await store.open_snapshots(1)
    await store.write(lambda w: in_transaction(w, lambda: w.reveal([hidden])))
    assert store.catalogue.tables["t"] == hidden
    assert store.catalogue.by_number[table.number] == hidden
    # A snapshot from before reads by the catalogue of its time.
    assert store.catalogue_at(old.ts).tables["t"] == table
    assert await old.run(lambda r: bodies(r, store.catalogue_at(r.ts).tables["t"])) == [b"0", b"1", b"2"]
    await old.close()
    assert await store.read(lambda r: bodies(r, store.catalogue_at(r.ts).tables["t"])) == [b"10", b"11"]


async def test_what_was_replaced_is_emptied_in_steps_and_dropped(store: SqliteStore, tmp_path: Path) -> None:
    await make(store, "t", "u")
    table = store.catalogue.tables["t"]
    await store.write(lambda w: in_transaction(w, lambda: fill(w, table, 0, 100)))
    await store.write(lambda w: in_transaction(w, lambda: w.drop_tables(["t", "u", "unknown"])))
    assert "t" not in store.catalogue.tables
    assert table.number not in store.catalogue.by_number
    steps = 0

    def reap(w: Writer) -> bool:
        w.begin()
        more = w.reap(30)
        w.commit()
        return more

    while await store.write(reap):
        steps += 1
    assert steps == 2 * 4 + 2
    raw = sqlite3.connect(tmp_path / "data" / DATA_FILE)
    assert not raw.execute("SELECT name FROM sqlite_schema WHERE name = 'd_10001'").fetchall()
    raw.close()
    await make(store, "t")
    assert await store.read(lambda r: bodies(r, store.catalogue.tables["t"])) == []


async def test_hidden_tables_end_with_the_process(tmp_path: Path, clock: ManualClock) -> None:
    store = SqliteStore(tmp_path, clock=clock, synchronous="OFF")
    await store.open()
    await make(store, "t")
    table = store.catalogue.tables["t"]
    hidden = await store.write(lambda w: in_transaction(w, lambda: w.create_hidden("t", ())))
    await store.write(lambda w: in_transaction(w, lambda: w.mirror(table, hidden)))
    await store.write(lambda w: in_transaction(w, lambda: fill(w, table, 0, 3)))
    assert await store.read(lambda r: bodies(r, hidden)) == [b"0", b"1", b"2"]
    await store.close()
    await store.open()
    assert store.catalogue.tables["t"] == table
    await store.write(lambda w: in_transaction(w, lambda: w.delete(table, "k00001")))  # no trigger is left
    with pytest.raises(StoreError, match="is gone"):
        await store.write(lambda w: in_transaction(w, lambda: w.reveal([hidden])))

    def reap(w: Writer) -> bool:
        w.begin()
        more = w.reap(1000)
        w.commit()
        return more

    while await store.write(reap):
        pass
    await store.close()
    raw = sqlite3.connect(tmp_path / DATA_FILE)
    left = {
        name for (name,) in raw.execute("SELECT name FROM sqlite_schema WHERE name GLOB 'd_4*' OR type = 'trigger'")
    }
    raw.close()
    assert not left


async def test_numbers(store: SqliteStore) -> None:
    """A hidden table's number is kept for its name; another one may be asked for; one that is taken is refused."""
    await make(store, "a", "b")
    number = store.catalogue.tables["b"].number
    hidden = await store.write(lambda w: in_transaction(w, lambda: w.create_hidden("new", ())))
    assert hidden.number == number + 1
    await make(store, "other", "new")
    assert store.catalogue.tables["new"].number == hidden.number
    assert store.catalogue.tables["other"].number == hidden.number + 1
    # a and b change numbers
    a, b = (store.catalogue.tables[name].number for name in "ab")
    swapped = await store.write(
        lambda w: in_transaction(w, lambda: [w.create_hidden("a", (), number=b), w.create_hidden("b", (), number=a)])
    )
    await store.write(lambda w: in_transaction(w, lambda: w.reveal(swapped)))
    assert [store.catalogue.table_name(n) for n in (a, b)] == ["b", "a"]
    clash = await store.write(lambda w: in_transaction(w, lambda: w.create_hidden("c", (), number=a)))
    with pytest.raises(StoreError, match="can't have number"):
        await store.write(lambda w: in_transaction(w, lambda: w.reveal([clash])))
    assert store.catalogue.table_name(a) == "b"


async def test_a_mirror_and_steps_make_a_copy_under_writes(store: SqliteStore) -> None:
    await make(store, "t")
    table = store.catalogue.tables["t"]
    await store.write(lambda w: in_transaction(w, lambda: fill(w, table, 0, 100)))
    hidden = await store.write(lambda w: in_transaction(w, lambda: w.create_hidden("t", ())))
    await store.write(lambda w: in_transaction(w, lambda: w.mirror(table, hidden)))
    pairs = [(table, hidden), (table.indexes[BY_CREATION_TIME], hidden.indexes[BY_CREATION_TIME])]
    at = 0
    for source, target in pairs:
        key = None
        while True:
            key = await store.write(
                lambda w, s=source, t=target, k=key: in_transaction(w, lambda: w.copy_step(s, t, k, 9))
            )
            if key is None:
                break

            def disturb(w: Writer, n: int = at) -> None:
                w.delete(table, f"k{n:05}")
                w.remove_key(table.indexes[BY_CREATION_TIME], b"%05d" % n)
                w.update(table, f"k{n + 40:05}", b"updated %d" % n)
                fill(w, table, 1000 + n, 1)

            await store.write(lambda w: in_transaction(w, lambda: disturb(w)))
            at += 1
    wanted = await store.read(lambda r: bodies(r, table))
    assert len(wanted) == 100
    assert await store.read(lambda r: bodies(r, hidden)) == wanted
    await store.write(lambda w: in_transaction(w, lambda: w.reveal([hidden])))
    assert await store.read(lambda r: bodies(r, store.catalogue.tables["t"])) == wanted


def test_a_full_disk_under_a_staging_file_is_told_as_such(tmp_path: Path) -> None:
    staging = StagingFile(tmp_path / "full")
    staging._raw.execute("PRAGMA max_page_count = 50")
    staging.create("t0", keys=False)
    for number in range(499):  # they wait in memory
        staging.add("t0", f"k{number:05}", b"x" * 500)
    with pytest.raises(Unavailable, match=r"SQLITE_FULL.*disk is full"):
        staging.add("t0", "k00499", b"x" * 500)
    staging.close()


async def test_rows_from_a_staging_file(store: SqliteStore, tmp_path: Path) -> None:
    path = tmp_path / "odd name?#.staging"
    staging = StagingFile(path)
    staging.create("t0", keys=False)
    staging.create("t0_k1", keys=True)
    for number in reversed(range(50)):
        staging.add("t0", f"k{number:05}", b"%d" % number)
        staging.add("t0_k1", b"%05d" % number, f"k{number:05}")
    assert (staging.sort("t0"), staging.sort("t0_k1")) == (50, 50)
    assert staging.duplicate("t0") is None
    staging.finish()
    assert [len(ids) for ids in StagingFile.read_ids(path, "t0")] == [50]
    hidden = await store.write(lambda w: in_transaction(w, lambda: w.create_hidden("t", ())))

    def load(w: Writer) -> None:
        w.attach_staging(path)
        for start in range(0, 50, 20):
            in_transaction(w, lambda start=start: w.load_staged("t0", hidden, start, start + 20))
        in_transaction(w, lambda: w.load_staged("t0_k1", hidden.indexes[BY_CREATION_TIME], 0, 50))
        w.detach_staging()

    await store.write(load)
    assert await store.read(lambda r: bodies(r, hidden)) == [b"%d" % n for n in range(50)]


def test_a_duplicate_is_found(tmp_path: Path) -> None:
    staging = StagingFile(tmp_path / "s")
    staging.create("t", keys=False)
    for name in ("b", "a", "b"):
        staging.add("t", name, b"")
    assert staging.sort("t") == 3
    assert staging.duplicate("t") == "b"


async def test_a_file_of_the_first_format_is_brought_up_to_date(tmp_path: Path, clock: ManualClock) -> None:
    store = SqliteStore(tmp_path, clock=clock, synchronous="OFF")
    await store.open()
    await make(store, "t")
    table = store.catalogue.tables["t"]
    await store.write(lambda w: in_transaction(w, lambda: fill(w, table, 0, 3)))
    await store.close()
    raw = sqlite3.connect(tmp_path / DATA_FILE, isolation_level=None)
    for statement in FORMAT_1:
        raw.execute(statement)
    raw.close()
    await store.open()
    assert await store.read(lambda r: bodies(r, store.catalogue.tables["t"])) == [b"0", b"1", b"2"]
    assert await store.write(lambda w: in_transaction(w, lambda: w.create_hidden("t", ()).storage)) >= 2**32
    await store.close()
    raw = sqlite3.connect(tmp_path / DATA_FILE)
    assert raw.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    raw.close()


FORMAT_1 = (
    "CREATE TABLE old_tables (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "INSERT INTO old_tables SELECT number, name FROM tables",
    "DROP TABLE tables",
    "ALTER TABLE old_tables RENAME TO tables",
    "DROP TABLE hidden",
    "DROP TABLE dropped",
    "DROP TABLE backfills",
    "ALTER TABLE indexes DROP COLUMN kind",
    "ALTER TABLE indexes DROP COLUMN dimensions",
    "PRAGMA user_version = 1",
)
