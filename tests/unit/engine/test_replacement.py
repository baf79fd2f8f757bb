"""Tables replaced and dropped as a whole: one commit, which touches all that was read of them and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.engine.commit_record import CommitRecord, decode_record
from reactor.engine.ranges import make_range
from reactor.engine.read_set import ReadSet
from reactor.engine.transaction import Transaction
from reactor.store.catalogue import BY_CREATION_TIME, TableInfo
from reactor.store.protocol import IndexChange, Writer
from reactor.values.ids import new_id
from reactor.values.wire import encode
from tests.unit.engine.conftest import Harness


async def hidden_copy(engine: Harness, name: str, documents: list[dict[str, Any]], *indexes: IndexChange) -> TableInfo:
    def make(writer: Writer) -> TableInfo:
        writer.begin()
        table = writer.create_hidden(name, indexes)
        for fields in documents:
            id_ = new_id(table.number, 0)
            writer.insert(table, id_, encode({**fields, "_id": id_, "_creationTime": 1.5}))
        writer.commit()
        return table

    return await engine.database.store.write(make)


def read_of(tx: Transaction, name: str) -> ReadSet:
    table = tx.table(name)
    if table is not None:
        scan = tx.scan(make_range(table.indexes[BY_CREATION_TIME]))
        while scan.next() is not None:
            pass
    return tx.read_set()


async def test_everything_that_was_read_of_a_replaced_table_is_touched(engine: Harness) -> None:
    id_ = await engine.write(lambda tx: tx.insert("a", {"n": 1}))
    await engine.write(lambda tx: tx.insert("b", {"n": 1}))
    database = engine.database
    of_a, of_b, of_none = [await database.read(lambda tx, n=n: read_of(tx, n)) for n in ("a", "b", "none")]

    def look_up(tx: Transaction) -> ReadSet:
        tx.get(tx.catalogue.tables["a"], id_)
        return tx.read_set()

    point = await database.read(look_up)
    hidden = await hidden_copy(engine, "a", [{"n": 2}])
    seen: list[CommitRecord] = []
    database.listen(seen.append, lambda: None)
    record = await database.replace_tables([hidden], after=lambda tx: tx.names.add("done"))
    assert seen == [record]
    assert [s.touched_by(record) for s in (of_a, point, of_b, of_none)] == [True, True, False, False]
    assert "done" in record.names
    [row] = await database.store.read(lambda r: r.log_after(record.ts - 1, 1))
    assert decode_record(row.record).replaced == record.replaced
    again = await database.read(lambda tx: read_of(tx, "a"))
    assert again != of_a
    # New writers meet the new documents only.
    await engine.write(lambda tx: tx.insert("a", {"n": 3}))
    assert await database.read(lambda tx: tx.count(make_range(tx.catalogue.tables["a"].indexes["by_id"]))) == 2


async def test_a_check_that_fails_changes_nothing(engine: Harness) -> None:
    await engine.write(lambda tx: tx.insert("a", {"n": 1}))
    hidden = await hidden_copy(engine, "a", [])

    def refuse(tx: Transaction) -> None:
        raise ValueError("not now")

    with pytest.raises(ValueError, match="not now"):
        await engine.database.replace_tables([hidden], before=refuse)
    assert await engine.database.read(lambda tx: tx.count(make_range(tx.catalogue.tables["a"].indexes["by_id"]))) == 1
    await engine.database.replace_tables([hidden])
    assert await engine.database.read(lambda tx: tx.count(make_range(tx.catalogue.tables["a"].indexes["by_id"]))) == 0


async def test_dropped_tables_are_gone_for_those_who_read_them(engine: Harness) -> None:
    await engine.write(lambda tx: tx.insert("a", {"n": 1}))
    of_a = await engine.database.read(lambda tx: read_of(tx, "a"))
    record = await engine.database.replace_tables(drop=["a"])
    assert of_a.touched_by(record)
    of_none = await engine.database.read(lambda tx: read_of(tx, "a"))
    assert of_none.names == {"table:a"}
    await engine.write(lambda tx: tx.insert("a", {"n": 2}))
    assert await engine.database.read(lambda tx: tx.count(make_range(tx.catalogue.tables["a"].indexes["by_id"]))) == 1
