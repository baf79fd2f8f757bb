"""Reads with their read sets, writes with their records, on a real store (server-semantics 5.2, 21, 22, 27, 32)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reactor.engine.deploy import WantedIndex, WantedTable, deploy
from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import DatabaseError, DocumentNotFound, InvalidDocument, LimitExceeded
from reactor.limits import Limits
from reactor.values.types import UNSET
from tests.unit.engine.conftest import Harness

ANY = {"type": "any"}


async def make_rows(engine: Harness, count: int) -> list[str]:
    await deploy(engine.database, [WantedTable("rows", (WantedIndex("by_n", ("n",)),), None, ANY)])
    return await engine.write(lambda tx: [tx.insert("rows", {"n": n}) for n in range(count)])


def by_n(tx: Transaction, **bounds: Any) -> Any:
    table = tx.table("rows")
    assert table is not None
    return make_range(table.indexes["by_n"], (), **bounds)


def numbers(tx: Transaction, most: int | None = None, *, reverse: bool = False, **bounds: Any) -> list[int]:
    scan = tx.scan(by_n(tx, **bounds), reverse=reverse)
    found: list[int] = []
    while (most is None or len(found) < most) and (row := scan.next()) is not None:
        found.append(msgspec.json.decode(row[1])["n"])
    return found


async def touches(engine: Harness, read: Any, change: Any) -> bool:
    """Whether what `read` reads is touched by what `change` commits afterwards."""
    read_set = await engine.database.read(lambda tx: (read(tx), tx.read_set())[1])
    records: list[Any] = []
    engine.database.listen(records.append, lambda: None)
    await engine.write(change)
    return any(read_set.touched_by(record) for record in records)


def table(tx: Transaction) -> Any:
    return tx.table("rows")


async def test_a_scan_in_either_direction_returns_all_rows_over_many_chunks(engine: Harness) -> None:
    await make_rows(engine, 700)

    assert await engine.database.read(numbers) == list(range(700))
    assert await engine.database.read(lambda tx: numbers(tx, reverse=True)) == list(range(699, -1, -1))


async def test_take_is_touched_by_an_insert_before_its_last_row_and_not_by_one_behind_it(engine: Harness) -> None:
    await make_rows(engine, 20)

    assert await touches(engine, lambda tx: numbers(tx, 10), lambda tx: tx.insert("rows", {"n": 8.5}))
    assert not await touches(engine, lambda tx: numbers(tx, 10), lambda tx: tx.insert("rows", {"n": 15.5}))


async def test_take_descending_is_touched_only_from_its_last_row_upwards(engine: Harness) -> None:
    await make_rows(engine, 20)

    def newest(tx: Transaction) -> list[int]:
        return numbers(tx, 3, reverse=True)

    assert await touches(engine, newest, lambda tx: tx.insert("rows", {"n": 18.5}))
    assert not await touches(engine, newest, lambda tx: tx.insert("rows", {"n": 3.5}))


async def test_a_scan_to_the_end_reads_the_whole_range(engine: Harness) -> None:
    await make_rows(engine, 5)

    assert await touches(engine, numbers, lambda tx: tx.insert("rows", {"n": 1e9}))


async def test_a_scan_that_was_never_pulled_read_nothing(engine: Harness) -> None:
    await make_rows(engine, 5)

    assert not await touches(engine, lambda tx: tx.scan(by_n(tx)), lambda tx: tx.insert("rows", {"n": 0.5}))


async def test_a_missing_id_is_read_too(engine: Harness) -> None:
    (row,) = await make_rows(engine, 1)
    await engine.write(lambda tx: tx.delete(table(tx), row))
    read_set = await engine.database.read(lambda tx: (tx.get(table(tx), row), tx.read_set())[1])

    assert read_set.points == {row}


async def test_a_missing_table_is_a_dependency_that_its_creation_touches(engine: Harness) -> None:
    assert await touches(engine, lambda tx: tx.table("later"), lambda tx: tx.insert("later", {}))


async def test_a_patch_of_an_unindexed_field_touches_the_ranges_the_document_lies_in(engine: Harness) -> None:
    ids = await make_rows(engine, 20)

    assert await touches(engine, numbers, lambda tx: tx.patch(table(tx), ids[3], {"seen": True}))
    assert not await touches(
        engine, lambda tx: numbers(tx, lower=(10, True)), lambda tx: tx.patch(table(tx), ids[3], {"seen": False})
    )


async def test_a_patch_that_changes_nothing_writes_nothing(engine: Harness) -> None:
    (row,) = await make_rows(engine, 1)
    before = engine.database.processed_ts

    await engine.write(lambda tx: tx.patch(table(tx), row, {"n": 0.0, "gone": UNSET}))

    assert engine.database.processed_ts == before


async def test_a_commit_record_names_the_fields_that_changed(engine: Harness) -> None:
    (row,) = await make_rows(engine, 1)
    records: list[Any] = []
    engine.database.listen(records.append, lambda: None)

    await engine.write(lambda tx: tx.patch(table(tx), row, {"a": 1, "n": 5}))
    await engine.write(lambda tx: tx.patch(table(tx), row, {"a": UNSET}))

    assert [sorted(r.writes[0].fields) for r in records] == [["a", "n"], ["a"]]


async def test_a_document_inserted_and_deleted_in_one_mutation_leaves_no_write(engine: Harness) -> None:
    await make_rows(engine, 1)
    records: list[Any] = []
    engine.database.listen(records.append, lambda: None)

    def change(tx: WriteTransaction) -> None:
        tx.delete(table(tx), tx.insert("rows", {"n": 9}))

    await engine.write(change)

    assert [r.writes for r in records] == [[]]
    assert await engine.database.read(numbers) == [0]


async def test_own_writes_are_seen_by_ids_ranges_and_counts(engine: Harness) -> None:
    ids = await make_rows(engine, 3)

    def change(tx: WriteTransaction) -> Any:
        tx.delete(table(tx), ids[0])
        tx.patch(table(tx), ids[1], {"n": 10})
        tx.insert("rows", {"n": 5})
        return numbers(tx), tx.count(by_n(tx)), tx.get(table(tx), ids[0])

    assert await engine.write(change) == ([2, 5, 10], 3, None)


async def test_deleting_behind_a_running_scan_skips_nothing(engine: Harness) -> None:
    await make_rows(engine, 100)

    def empty(tx: WriteTransaction) -> list[int]:
        scan = tx.scan(by_n(tx))
        seen: list[int] = []
        while (row := scan.next()) is not None:
            document = msgspec.json.decode(row[1])
            seen.append(document["n"])
            tx.delete(table(tx), document["_id"])
        return seen

    assert await engine.write(empty) == list(range(100))
    assert await engine.database.read(numbers) == []


async def test_a_rolled_back_savepoint_undoes_its_writes_and_only_those(engine: Harness) -> None:
    ids = await make_rows(engine, 3)
    records: list[Any] = []
    engine.database.listen(records.append, lambda: None)

    def change(tx: WriteTransaction) -> list[int]:
        tx.patch(table(tx), ids[0], {"n": 50})
        tx.savepoint()
        tx.patch(table(tx), ids[0], {"n": 60})
        tx.savepoint()
        tx.insert("rows", {"n": 70})
        tx.release()
        tx.delete(table(tx), ids[1])
        tx.rollback_to()
        return numbers(tx)

    assert await engine.write(change) == [1, 2, 50]
    assert await engine.database.read(numbers) == [1, 2, 50]
    assert [[w.id for w in r.writes] for r in records] == [[ids[0]]]


async def test_creation_times_rise_within_and_across_mutations_though_the_clock_stands_still(engine: Harness) -> None:
    await make_rows(engine, 3)
    await engine.write(lambda tx: tx.insert("rows", {"n": 3}))

    def creation_times(tx: Transaction) -> list[float]:
        index = table(tx).indexes["by_creation_time"]
        scan = tx.scan(make_range(index))
        return [msgspec.json.decode(row[1])["_creationTime"] for row in iter(scan.next, None)]

    times = await engine.database.read(creation_times)
    assert len(set(times)) == 4
    assert times == sorted(times)


@pytest.mark.parametrize("verb", ["patch", "replace", "delete"])
async def test_writing_a_document_that_is_gone_names_it(engine: Harness, verb: str) -> None:
    (row,) = await make_rows(engine, 1)
    await engine.write(lambda tx: tx.delete(table(tx), row))
    arguments: tuple[Any, ...] = () if verb == "delete" else ({},)

    with pytest.raises(DocumentNotFound, match=f"on nonexistent document ID {row}"):
        await engine.write(lambda tx: getattr(tx, verb)(table(tx), row, *arguments))


async def test_system_fields_can_not_be_changed_but_may_be_repeated(engine: Harness) -> None:
    (row,) = await make_rows(engine, 1)

    await engine.write(lambda tx: tx.patch(table(tx), row, {"_id": row, "n": 4}))
    with pytest.raises(InvalidDocument, match="_creationTime"):
        await engine.write(lambda tx: tx.replace(table(tx), row, {"_creationTime": 5.0}))


async def test_tables_with_impossible_names_are_refused(engine: Harness) -> None:
    for name in ("", "_mine", "a-b", "1st", "x" * 65, "é"):
        with pytest.raises(DatabaseError, match="can't be the name of a table"):
            await engine.write(lambda tx, name=name: tx.insert(name, {}))


async def test_limits_hold_at_the_limit_and_fail_one_above(engine: Harness) -> None:
    """server-semantics 30."""
    await make_rows(engine, 10)

    def read(most: int, tx: Transaction) -> list[int]:
        tx.usage.caps = tx.usage.limits = Limits(documents_read=5)
        return numbers(tx, most)

    assert await engine.database.read(lambda tx: read(5, tx)) == [0, 1, 2, 3, 4]
    with pytest.raises(LimitExceeded, match=r"Too many documents read .* \(limit: 5\)"):
        await engine.database.read(lambda tx: read(6, tx))


async def test_a_narrower_budget_is_relative_and_leaves_the_transaction_alive(engine: Harness) -> None:
    await make_rows(engine, 10)

    def change(tx: WriteTransaction) -> Any:
        tx.insert("rows", {"n": 10})
        caps = tx.usage.narrow({"documents_written": 1})
        tx.insert("rows", {"n": 11})
        with pytest.raises(LimitExceeded) as caught:
            tx.insert("rows", {"n": 12})
        tx.usage.caps = caps
        tx.insert("rows", {"n": 13})
        return caught.value.code, tx.usage.fatal

    assert await engine.write(change) == ("TooManyWrites", None)
