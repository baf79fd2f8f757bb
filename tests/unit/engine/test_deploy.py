"""Schema changes on a database with documents in it (engine rules 8 and 25; server-semantics 12, 13, 14)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reactor import faults
from reactor.engine.backfill import AFTER_STEP, NEW, index_states
from reactor.engine.commit_record import CommitKind, CommitRecord
from reactor.engine.deploy import BEFORE_SWITCH, WantedIndex, WantedTable, deploy
from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import DocumentCheck, WriteTransaction
from reactor.errors import InvalidDocument, SchemaError
from reactor.store.protocol import IndexChange, Writer
from tests.unit.engine.conftest import Harness, open_harness

BY_N = WantedIndex("by_n", ("n",))


def table(*indexes: WantedIndex, check: DocumentCheck | None = None, version: int = 0) -> list[WantedTable]:
    return [WantedTable("rows", indexes, check, {"version": version})]


def must_have(name: str) -> DocumentCheck:
    def check(body: bytes, document: dict[str, Any]) -> None:
        if name not in document:
            raise InvalidDocument(f"… does not match the schema: the field {name} is missing")

    return check


def entries(tx: Transaction, name: str = "by_n") -> int:
    info = tx.table("rows")
    assert info is not None
    return tx.count(make_range(info.indexes[name]))


async def fill(engine: Harness, count: int) -> None:
    await engine.write(lambda tx: [tx.insert("rows", {"n": n}) for n in range(count)])


def states(engine: Harness) -> dict[str, str]:
    indexes = engine.database.catalogue.tables["rows"].indexes
    return {i.name: i.state for i in indexes.values() if i.name not in ("by_id", "by_creation_time")}


async def test_a_new_index_on_a_table_with_documents_has_them_all_at_once(engine: Harness) -> None:
    await fill(engine, 1000)

    await deploy(engine.database, table(BY_N))

    assert states(engine) == {"by_n": "ready"}
    assert await engine.database.read(entries) == 1000


async def test_documents_written_while_an_index_is_filled_are_in_it_too(engine: Harness) -> None:
    await fill(engine, 3000)
    running = asyncio.ensure_future(deploy(engine.database, table(BY_N)))
    written = 0
    while not running.done():
        await engine.write(lambda tx: tx.insert("rows", {"n": -1}))
        written += 1
    await running

    assert written > 1
    assert await engine.database.read(entries) == 3000 + written


async def test_an_index_that_left_the_schema_is_gone(engine: Harness) -> None:
    await deploy(engine.database, table(BY_N))
    await deploy(engine.database, table())

    assert states(engine) == {}


async def test_an_index_may_change_its_fields_under_its_name(engine: Harness) -> None:
    await deploy(engine.database, table(BY_N))
    await fill(engine, 10)

    await deploy(engine.database, table(WantedIndex("by_n", ("m", "n"))))

    assert engine.database.catalogue.tables["rows"].indexes["by_n"].fields == ("m", "n")
    assert states(engine) == {"by_n": "ready"}
    assert await engine.database.read(entries) == 10


async def test_indexes_of_every_kind_are_deployed_and_dropped(engine: Harness) -> None:
    await fill(engine, 3)
    search = WantedIndex("search_n", ("n", "m"), kind="search")
    vector = WantedIndex("by_v", ("v",), kind="vector", dimensions=3)

    await deploy(engine.database, table(BY_N, search, vector))
    made = engine.database.catalogue.tables["rows"]
    await fill(engine, 3)
    await deploy(engine.database, table(BY_N, WantedIndex("search_n", ("n",), kind="search")))
    changed = engine.database.catalogue.tables["rows"]

    assert [(i.name, i.kind, i.state, i.dimensions) for i in made.others] == [
        ("search_n", "search", "ready", None),
        ("by_v", "vector", "ready", 3),
    ]
    assert [(i.name, i.fields, i.state) for i in changed.others] == [("search_n", ("n",), "ready")]
    assert changed.indexes == made.indexes


async def test_documents_that_do_not_fit_are_named_and_everything_stays_as_it_was(engine: Harness) -> None:
    await deploy(engine.database, table(BY_N))
    ids = await engine.write(lambda tx: [tx.insert("rows", {"n": n}) for n in range(3)])
    catalogue = engine.database.catalogue

    with pytest.raises(SchemaError) as caught:
        await deploy(engine.database, table(WantedIndex("by_m", ("m",)), check=must_have("m"), version=1))

    assert all(f'Document with ID "{i}" in table "rows" does not match the schema: ' in str(caught.value) for i in ids)
    assert engine.database.catalogue.tables == catalogue.tables
    await fill(engine, 1)  # the old schema's checks are in force
    assert await engine.database.read(entries) == 4


async def test_only_the_first_offenders_are_listed(engine: Harness) -> None:
    await fill(engine, 500)

    with pytest.raises(SchemaError) as caught:
        await deploy(engine.database, table(check=must_have("m")))

    assert str(caught.value).count("Document with ID") == 10


async def test_a_schema_that_was_deployed_before_is_not_checked_again(engine: Harness) -> None:
    checked: list[str] = []

    def check(body: bytes, document: dict[str, Any]) -> None:
        checked.append(document["_id"])

    await deploy(engine.database, table(check=check))
    await fill(engine, 5)
    checked.clear()

    await deploy(engine.database, table(check=check))

    assert checked == []


async def test_a_write_that_fits_only_the_old_schema_fails_the_deploy_and_not_itself(engine: Harness) -> None:
    await engine.write(lambda tx: tx.insert("rows", {"n": 1, "m": 1}))
    loop = asyncio.get_running_loop()
    held: asyncio.Future[None] = loop.create_future()

    async def write_meanwhile() -> None:
        await engine.write(lambda tx: tx.insert("rows", {"n": 2}))
        held.set_result(None)

    writing: list[asyncio.Task[None]] = []

    def progress(what: str, count: int, total: int) -> None:
        if not writing:
            writing.append(loop.create_task(write_meanwhile()))

    # Ids are random: the check of what is there may meet the new document, too.
    with pytest.raises(SchemaError, match=r'ocument (with ID .+ )?in table "rows" does not match the schema'):
        await deploy_slowly(engine, progress, held)
    await held
    await fill(engine, 1)


async def deploy_slowly(engine: Harness, progress: Any, held: asyncio.Future[None]) -> None:
    """Deploy a stricter schema, with the switch behind the write that `held` tells of."""
    original = engine.database.commit_alone

    async def commit_alone(change: Any, *committed: Any) -> Any:
        if engine.database.pending_schema is not None and committed:  # the switch
            await held
        return await original(change, *committed)

    engine.database.commit_alone = commit_alone  # type: ignore[method-assign]
    try:
        await deploy(engine.database, table(check=must_have("m"), version=1), progress=progress)
    finally:
        engine.database.commit_alone = original  # type: ignore[method-assign]


async def test_a_write_that_had_begun_before_the_deploy_is_checked_too(engine: Harness) -> None:
    await deploy(engine.database, table())
    begun, release = threading.Event(), threading.Event()

    def slow(tx: WriteTransaction) -> None:
        begun.set()
        assert release.wait(10)
        tx.insert("rows", {"n": 1})

    job = engine.submit(slow)
    await asyncio.to_thread(begun.wait, 10)
    original = engine.database.store.write

    def write(work: Callable[[Writer], Any]) -> Any:
        release.set()  # whatever the deploy could do beside the writer is done
        return original(work)

    engine.database.store.write = write  # type: ignore[method-assign,assignment]
    with pytest.raises(SchemaError, match="the field m is missing"):
        await deploy(engine.database, table(check=must_have("m"), version=1))
    await job.done


async def test_what_an_import_fills_is_no_index_of_the_schema(engine: Harness) -> None:
    await fill(engine, 3)
    text = WantedIndex("by_text", ("text",), kind="search")
    await deploy(engine.database, table(text))
    change = IndexChange("rows", "by_text", ("text",), kind="search")

    def mirror(writer: Writer) -> None:
        writer.begin()
        writer.mirror(engine.database.catalogue.tables["rows"], writer.create_hidden("rows", [change]))
        writer.commit()

    await engine.database.store.write(mirror)
    await fill(engine, 1)
    assert [s.index.name for s in await engine.database.read(index_states)] == ["by_text"]
    await deploy(engine.database, table(WantedIndex("by_text", ("text", "n"), kind="search")))
    search = engine.database.catalogue.tables["rows"].search
    assert {name: index.fields for name, index in search.items()} == {"by_text": ("text", "n")}
    await fill(engine, 1)


async def test_what_a_deploy_that_died_had_begun_is_in_nobodys_way_after_an_import(engine: Harness) -> None:
    """An import fills what it finds, and so makes an index usable that no schema ever had."""
    await fill(engine, 3)
    await deploy(engine.database, table(BY_N))
    begun = IndexChange("rows", "by_n" + NEW, ("m",))

    def make(writer: Writer) -> CommitRecord:
        found = writer.change_indexes(add=[begun], drop=()).tables["rows"].indexes[begun.name]
        writer.change_indexes(add=(), drop=(), enable=[found])
        return CommitRecord(0, CommitKind.DEPLOY, [])

    await engine.database.commit_alone(make)
    await deploy(engine.database, table(WantedIndex("by_n", ("n", "m"))))

    assert states(engine) == {"by_n": "ready"}
    assert engine.database.catalogue.tables["rows"].indexes["by_n"].fields == ("n", "m")


async def test_a_staged_index_is_kept_and_not_ready_until_the_flag_goes(engine: Harness) -> None:
    await fill(engine, 10)

    await deploy(engine.database, table(WantedIndex("by_n", ("n",), staged=True)))
    staged = states(engine)
    await fill(engine, 5)
    await deploy(engine.database, table(BY_N))

    assert (staged, states(engine)) == ({"by_n": "staged"}, {"by_n": "ready"})
    assert await engine.database.read(entries) == 15


class Died(BaseException):
    pass


@pytest.mark.parametrize("point", [AFTER_STEP, BEFORE_SWITCH])
async def test_a_process_that_dies_in_a_deploy_leaves_nothing_that_hinders_the_next(tmp_path: Path, point: str) -> None:
    first = await open_harness(tmp_path)
    await fill(first, 200)

    def die() -> None:
        first.database.commit_alone = None  # type: ignore[method-assign,assignment]  # no cleaning up either
        raise Died

    faults.arm(point, die)
    try:
        with pytest.raises((Died, TypeError)):
            await deploy(first.database, table(BY_N))
    finally:
        faults.disarm_all()
    await first.database.close()

    second = await open_harness(tmp_path)
    assert states(second) == {"by_n": "backfilling"}
    await deploy(second.database, table(BY_N))
    assert states(second) == {"by_n": "ready"}
    assert await second.database.read(entries) == 200
    await second.database.close()
