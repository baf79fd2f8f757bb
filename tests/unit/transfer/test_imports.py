"""Imports: formats, modes, what is refused, and that each is one change or none."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from reactor import faults
from reactor.engine.backfill import fill_index
from reactor.engine.commit_record import CommitKind, CommitRecord
from reactor.engine.database import Database
from reactor.engine.pace import Pace
from reactor.errors import DocumentNotFound, Unavailable
from reactor.model import transfers
from reactor.store.protocol import IndexChange, OutcomeUnknown, Writer
from reactor.transfer.rows import ImportRefused
from reactor.values.ids import new_id
from reactor.workers import import_placement
from reactor.workers.import_placement import Placement
from reactor.workers.import_request import ImportRequest
from reactor.workers.loading import Loader
from tests.unit.transfer.conftest import Deployment


def rows(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "n": number} for number, name in enumerate(names)]


async def test_lines_become_documents_with_ids_and_times(deployment: Deployment) -> None:
    """checklist 32"""
    assert await deployment.import_('{"name": "a", "n": 1}\r\n\n  {"name": "b", "n": 2.5, "active": true}') == 2
    first, second = await deployment.documents("items")
    assert (first["name"], first["n"], second["n"], second["active"]) == ("a", 1, 2.5, True)
    assert first["_creationTime"] < second["_creationTime"]
    assert await deployment.query("items:get", id=first["_id"]) == first
    assert await deployment.query("items:byNumber") == [[1, "a"], [2.5, "b"]]
    assert deployment.left_over() == []


async def test_an_array_is_read_piece_by_piece(deployment: Deployment) -> None:
    """checklist 32"""
    many = [{"name": f"{n:04} ü {'x' * (n * 37 % 900)}", "n": n} for n in range(2000)]
    assert await deployment.import_(json.dumps(many, indent=1, ensure_ascii=False), "jsonArray") == 2000
    assert await deployment.names() == [row["name"] for row in many]
    assert await deployment.import_("[ ]", "jsonArray", "replace") == 0
    assert await deployment.names() == []


async def test_csv(deployment: Deployment) -> None:
    """checklist 32: numbers, quoted commas, empty optional cells; text that the schema wants as text stays text"""
    text = '\ufeffname, n ,active\r\n"a, b",1.50,\r\n007,-2e3,\r\n"two\nlines",3,\r\n'
    assert await deployment.import_(text, "csv") == 3
    found = {row["name"]: row for row in await deployment.documents("items")}
    assert {name: row["n"] for name, row in found.items()} == {"a, b": 1.5, "007": -2000, "two\nlines": 3}
    assert all("active" not in row for row in found.values())
    assert await deployment.import_("x,y\n1,\ninf,nan\n", "csv", table="loose") == 2
    loose = await deployment.documents("loose")
    assert [(row["x"], row["y"]) for row in loose] == [(1, ""), ("inf", "nan")]


@pytest.mark.parametrize(
    ("text", "format", "code", "message"),
    [
        ('{"name": "a"}\n{"name": }', "jsonLines", "JsonInvalidRow", "Row 2 wasn't valid JSON: "),
        ("[1]", "jsonLines", "NotAnObject", "Row 1 wasn't an object"),
        ('{"name": "a", "$x": 1}', "jsonLines", "SchemaEnforcementError", "$x"),
        ('{"name": "\\ud800"}', "jsonLines", "JsonInvalidRow", "Row 1 wasn't valid"),
        (
            '{"name": "a", "n": {"$integer": "AQAAAAAAAAA="}}',
            "jsonLines",
            "InvalidConvexValue|SchemaEnforcementError",
            "Row 1 ",
        ),
        (b'{"name": "\xff"}', "jsonLines", "JsonInvalidRow", "UTF-8"),
        ("[" * 100_000, "jsonLines", "JsonInvalidRow", "nested too deep"),
        ('{"name": "a", "n": ' + "[" * 60_000, "jsonArray", "NotJsonArray", "Not a JSON array"),
        ('[{"name": "a", "n": ' + "[" * 60_000, "jsonArray", "JsonInvalidRow", "Row 1 wasn't valid JSON"),
        ('[{"name": "a"}, 7]', "jsonArray", "NotAnObject", "Row 2 wasn't an object"),
        ('[{"name": "a"} {"name": "b"}]', "jsonArray", "NotJsonArray", "comma"),
        ('[{"name": "a"}', "jsonArray", "NotJsonArray", "Not a JSON array"),
        ('[{"name": "a"}]]', "jsonArray", "NotJsonArray", "behind the end"),
        ('{"name": "a"}', "jsonArray", "NotJsonArray", "Not a JSON array"),
        ('{"name": "a", "_id": "nonsense"}', "jsonLines", "InvalidId", "Row 1"),
        ('{"name": "a", "_creationTime": "now"}', "jsonLines", "InvalidConvexValue", "_creationTime"),
        ('{"name": "a", "_x": 1}', "jsonLines", "InvalidConvexValue", "underscore"),
        ('{"name": 7}', "jsonLines", "SchemaEnforcementError", 'Row 1 does not match the schema of table "items"'),
        ('{"n": 7}', "jsonLines", "SchemaEnforcementError", "name"),
        ("name,$x\na,b", "csv", "CsvInvalidHeader", 'CSV header "$x" isn\'t a valid field name'),
        ("name,name\na,b", "csv", "CsvInvalidHeader", "twice"),
        ("name,n\na,1\nb", "csv", "CsvRowMissingFields", "CSV row 2 doesn't have all of the fields in the header"),
        ("name,n\na,1,2", "csv", "CsvRowMissingFields", "CSV row 1 has more"),
        ('name\n"a', "csv", "CsvInvalidRow", "CSV row 1"),
        (b"name\n\xff", "csv", "CsvInvalidRow", "UTF-8"),
    ],
)
async def test_what_is_refused_says_why_and_changes_nothing(
    deployment: Deployment, text: Any, format: Any, code: str, message: str
) -> None:
    """checklist 37, 38"""
    await deployment.mutation("items:add", name="kept")
    with pytest.raises(ImportRefused) as caught:
        await deployment.import_(text, format, "replace")
    assert caught.value.code in code.split("|")
    assert message in str(caught.value)
    assert await deployment.names() == ["kept"]
    assert deployment.left_over() == []
    [last, *_] = await deployment.backend.reactor.database.read(lambda tx: transfers.newest(tx, "_imports", 1))
    assert last["state"]["state"] == "failed"
    assert last["state"]["error_message"].startswith("Hit an error while importing:\n")


async def test_modes(deployment: Deployment) -> None:
    """checklist 33, 34, 35"""
    await deployment.import_(rows("a"))
    await deployment.import_(rows("x"), table="others")
    with pytest.raises(ImportRefused, match="Table items already exists"):
        await deployment.import_(rows("b"))
    assert await deployment.import_(rows("b", "c"), mode="append") == 2
    assert await deployment.names() == ["a", "b", "c"]
    assert await deployment.import_(rows("d"), mode="replace") == 1
    assert await deployment.names() == ["d"]
    assert len(await deployment.documents("others")) == 1
    assert await deployment.import_("", mode="replace") == 0
    assert await deployment.names() == []
    assert await deployment.import_(rows("e"), mode="replaceAll") == 1
    assert await deployment.names() == ["e"]
    tables = deployment.reactor.database.catalogue.tables
    assert "others" not in tables
    assert "users" in tables  # the schema has it


async def test_ids_and_times_are_kept(deployment: Deployment) -> None:
    """checklist 39"""
    number = deployment.reactor.database.catalogue.tables["items"].number
    ids = [new_id(number, 0) for _ in range(3)]
    given = [{"_id": i, "_creationTime": 1000.5 + n, "name": f"r{n}", "n": n} for n, i in enumerate(ids)]
    await deployment.import_(given)
    assert await deployment.documents("items") == given
    with pytest.raises(ImportRefused, match="is there twice") as caught:
        await deployment.import_([given[0], given[0]], mode="replace")
    assert caught.value.code == "DuplicateId"
    for count in (1, import_placement.APPENDED_AT_ONCE + 1):
        more = [{"name": "new", "n": 1}] * (count - 1)
        with pytest.raises(ImportRefused, match=ids[0]) as caught:
            await deployment.import_([*more, given[0]], mode="append")
        assert caught.value.code == "DuplicateId"
    assert await deployment.documents("items") == given
    users = deployment.reactor.database.catalogue.tables["users"].number
    with pytest.raises(ImportRefused, match="table") as caught:
        await deployment.import_([{"_id": new_id(users, 0), "name": "x", "n": 1}], mode="append")


async def test_a_live_query_sees_one_change(deployment: Deployment) -> None:
    """checklist 40"""
    await deployment.import_(rows("a", "b"))
    async with (
        deployment.backend.subscribe("items:names") as names,
        deployment.backend.subscribe("items:dump", table="users") as users,
    ):
        assert await names.next() == ["a", "b"]
        assert await users.next() == []
        await deployment.import_(rows("x", "y", "z"), mode="replace")
        assert await names.next() == ["x", "y", "z"]
        many = rows(*[f"m{n:05}" for n in range(import_placement.APPENDED_AT_ONCE + 10)])
        await deployment.import_(many, mode="append")
        assert len(await names.next()) == len(many) + 3
        await names.assert_quiet()
        await users.assert_quiet()


@pytest.mark.parametrize("mode", ["append", "replace"])
async def test_clients_write_while_it_runs(deployment: Deployment, mode: Any) -> None:
    """What they write to the table stays with append, all of it; with replace it gives way."""
    kept = [await deployment.mutation("items:add", name=f"kept{n}", n=n) for n in range(60)]
    many = rows(*[f"m{n:05}" for n in range(import_placement.APPENDED_AT_ONCE + 3000)])
    running = asyncio.create_task(deployment.import_(many, mode=mode))
    changes = 0
    while not running.done() and changes < 50:
        try:
            await deployment.mutation("items:rename", id=kept[changes], name=f"renamed{changes:03}")
            await deployment.mutation("items:add", name=f"added{changes:03}")
            if changes % 3 == 0:
                await deployment.mutation("items:remove", id=kept[changes])
        except DocumentNotFound:
            assert mode == "replace"  # and has just happened
            break
        changes += 1
    assert await running == len(many)
    names = await deployment.names()
    assert changes
    if mode == "replace":
        # The last thing added may have come right behind the swap; all from before it is gone.
        assert set(names) - {f"added{changes:03}", f"added{changes - 1:03}"} == {row["name"] for row in many}
        return
    expected = {f"m{n:05}" for n in range(len(many))} | {f"added{n:03}" for n in range(changes)}
    expected |= {f"renamed{n:03}" for n in range(changes) if n % 3} | {f"kept{n}" for n in range(changes, 60)}
    assert set(names) == expected
    assert len(names) == len(expected)
    assert [name for _, name in await deployment.query("items:byNumber")].count("m00007") == 1


async def test_aggregates_are_right_afterwards(deployment: Deployment) -> None:
    await deployment.import_(rows("a", "b", "c", "d"))
    await deployment.backend.advance(timedelta(seconds=1))
    assert await deployment.query("items:totals") == [4, 6]
    await deployment.import_([{"name": "x", "n": 10}], mode="append")
    assert await deployment.query("items:totals") == [5, 16]
    await deployment.import_([{"name": "x", "n": 10}] * (import_placement.APPENDED_AT_ONCE + 1), mode="append")
    for _ in range(30):
        await deployment.backend.advance(timedelta(seconds=1))
    assert await deployment.query("items:totals") == [
        import_placement.APPENDED_AT_ONCE + 6,
        10 * import_placement.APPENDED_AT_ONCE + 26,
    ]
    await deployment.import_("", mode="replace")
    assert await deployment.query("items:totals") == [0, 0]


async def test_a_table_that_fills_meanwhile_is_not_overwritten(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = asyncio.Event()

    async def add() -> None:
        await deployment.mutation("items:add", name="first")
        written.set()

    reveal = Placement._reveal

    async def late(*args: Any) -> None:
        if not written.is_set():
            await add()
        await reveal(*args)

    monkeypatch.setattr(Placement, "_reveal", late)
    with pytest.raises(ImportRefused, match="already exists"):
        await deployment.import_(rows("a"))
    assert await deployment.names() == ["first"]


async def test_an_index_that_comes_meanwhile_is_filled(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema changed between staging and the end: it is staged again."""
    database = deployment.reactor.database
    reveal = Placement._reveal
    attempts = 0

    def add_index(writer: Writer) -> Any:
        catalogue = writer.change_indexes(add=[IndexChange("items", "by_late", ("n",))], drop=())
        writer.change_indexes(add=(), drop=(), enable=[catalogue.tables["items"].indexes["by_late"]])
        return CommitRecord(0, CommitKind.DEPLOY, [])

    async def late(*args: Any) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await database.commit_alone(add_index)
        await reveal(*args)

    monkeypatch.setattr(Placement, "_reveal", late)
    await deployment.import_(rows("a", "b"))
    assert attempts == 2
    index = database.catalogue.tables["items"].indexes["by_late"]
    assert await database.store.read(lambda r: r.count(index, b"", None)) == 2
    assert await deployment.names() == ["a", "b"]


async def test_what_changes_again_and_again_is_told(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the schema here, but that there are documents, which a client adds and removes."""
    await deployment.import_(rows("old"))
    ids = [document["_id"] for document in await deployment.documents("items")]
    append = Placement._append

    async def late(*args: Any) -> None:
        if ids:
            await deployment.mutation("items:remove", id=ids.pop())
        else:
            ids.append(await deployment.mutation("items:add", name="again"))
        await append(*args)

    monkeypatch.setattr(Placement, "_append", late)
    with pytest.raises(Unavailable) as caught:
        await deployment.import_(rows("a"), mode="append")
    assert str(caught.value) == (
        'What the import was prepared for changed 5 times while it was going on: The table "items" is empty now. '
        'The table "items" is not empty any more. Nothing was imported; try again later.'
    )
    assert await deployment.names() == []
    assert deployment.left_over() == []


async def drop_table(database: Database, name: str) -> None:
    """And have what it leaves deleted."""

    def change(writer: Writer) -> CommitRecord:
        writer.drop_tables([name])
        return CommitRecord(0, CommitKind.DEPLOY, [])

    await database.commit_alone(change)
    pace = Pace(database)
    while await pace.step(lambda writer: writer.reap(500)):
        pass


@pytest.mark.parametrize("dropped", ["index", "table"])
@pytest.mark.parametrize("steps_before", [0, 1, 2])
async def test_what_is_dropped_while_it_is_being_copied_is_not_missed(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, dropped: str, steps_before: int
) -> None:
    """Appending copies the table with its indexes; when a deploy drops one meanwhile, the import begins anew."""
    database = deployment.reactor.database
    name = "items" if dropped == "index" else "loose"
    await deployment.import_(rows("old"), table=name)
    monkeypatch.setattr(import_placement, "APPENDED_AT_ONCE", 10)
    copy, step, steps = Loader.copy, Loader._step, -1

    async def drop() -> None:
        if dropped == "table":
            await drop_table(database, name)
            return

        def change(writer: Writer) -> CommitRecord:
            writer.change_indexes(add=(), drop=[database.catalogue.tables[name].indexes["by_n"]])
            return CommitRecord(0, CommitKind.DEPLOY, [])

        await database.commit_alone(change)

    async def begin(loader: Loader, *args: Any) -> None:
        nonlocal steps
        if steps < 0:
            steps = 0
            if not steps_before:
                await drop()
        await copy(loader, *args)

    async def one(loader: Loader, *args: Any, **options: Any) -> Any:
        nonlocal steps
        result = await step(loader, *args, **options)
        if steps >= 0:
            steps += 1
            if steps == steps_before:
                await drop()
        return result

    monkeypatch.setattr(Loader, "copy", begin)
    monkeypatch.setattr(Loader, "_step", one)
    many = rows(*[f"m{n:03}" for n in range(200)])
    assert await deployment.import_(many, mode="append", table=name) == 200

    kept = [] if dropped == "table" else ["old"]
    names = [row["name"] for row in await deployment.documents(name)]
    assert sorted(names) == sorted(kept + [row["name"] for row in many])
    assert "by_n" not in database.catalogue.tables[name].indexes
    assert deployment.left_over() == []


async def test_an_index_that_goes_and_comes_back_once_it_is_copied_is_not_missed(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two deploys in the middle of an import: what was written between them is in no index that could have been copied."""
    database = deployment.reactor.database
    await deployment.import_(rows("old", "gone"))
    ids = {document["name"]: document["_id"] for document in await deployment.documents("items")}
    monkeypatch.setattr(import_placement, "APPENDED_AT_ONCE", 10)
    reveal, attempts = Placement._reveal, 0

    def drop(writer: Writer) -> CommitRecord:
        writer.change_indexes(add=(), drop=[database.catalogue.tables["items"].indexes["by_n"]])
        return CommitRecord(0, CommitKind.DEPLOY, [])

    def add(writer: Writer) -> CommitRecord:
        writer.change_indexes(add=[IndexChange("items", "by_n", ("n", "name"))], drop=())
        return CommitRecord(0, CommitKind.DEPLOY, [])

    def enable(writer: Writer) -> CommitRecord:
        index = database.catalogue.tables["items"].indexes["by_n"]
        writer.change_indexes(add=(), drop=(), enable=[dataclasses.replace(index, state="ready")])
        return CommitRecord(0, CommitKind.DEPLOY, [])

    async def late(*args: Any) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await database.commit_alone(drop)
            await deployment.mutation("items:add", name="new", n=-1)
            await deployment.mutation("items:rename", id=ids["old"], name="renamed")
            await deployment.mutation("items:remove", id=ids["gone"])
            await database.commit_alone(add)
            await fill_index(database, database.catalogue.tables["items"].indexes["by_n"])
            await database.commit_alone(enable)
        await reveal(*args)

    monkeypatch.setattr(Placement, "_reveal", late)
    many = [{"name": f"m{n:03}", "n": n + 1} for n in range(200)]
    assert await deployment.import_(many, mode="append") == 200
    found = await deployment.query("items:byNumber")
    assert found == [[-1, "new"], [0, "renamed"], *([row["n"], row["name"]] for row in many)]
    index = database.catalogue.tables["items"].indexes["by_n"]
    assert await database.store.read(lambda reader: reader.count(index, b"", None)) == 202
    assert attempts == 2


async def test_a_table_that_is_dropped_while_ids_are_compared_is_not_missed(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = deployment.reactor.database
    await deployment.import_(rows("old"), table="loose")
    number = database.catalogue.tables["loose"].number
    monkeypatch.setattr(import_placement, "APPENDED_AT_ONCE", 10)
    check_new, attempts = Loader.check_new, 0

    async def late(loader: Loader, *args: Any) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await drop_table(database, "loose")
        await check_new(loader, *args)

    monkeypatch.setattr(Loader, "check_new", late)
    many = [{"_id": new_id(number, 0), **row} for row in rows(*[f"m{n:03}" for n in range(200)])]
    assert await deployment.import_(many, mode="append", table="loose") == 200
    assert [row["name"] for row in await deployment.documents("loose")] == [row["name"] for row in many]


async def test_a_part_that_is_named_twice_is_refused(deployment: Deployment) -> None:
    """Its rows would be there twice. The upload stays: the right list may follow."""
    own = deployment.reactor.importer
    token = await own.uploads.begin()

    async def body(text: str) -> AsyncIterator[bytes]:
        yield text.encode()

    first = await own.uploads.add_part(token, 1, body('{"name": "a", "n": 1}\n'))
    second = await own.uploads.add_part(token, 2, body('{"name": "b", "n": 2}\n'))
    request = ImportRequest(mode="append", format="jsonLines", table_name="items")
    with pytest.raises(ImportRefused, match="named twice") as caught:
        await own.begin(request, token, [first, second, first])
    assert caught.value.code == "InvalidPartToken"
    assert own._imports == {}
    import_id = await own.begin(request, token, [first, second])
    task = own._imports[import_id].task
    assert task is not None
    own._imports[import_id].confirmed.set()
    assert await task == 2
    assert await deployment.names() == ["a", "b"]


async def test_it_can_be_canceled(deployment: Deployment) -> None:
    await deployment.import_(rows("kept"))
    own = deployment.reactor.importer
    token = await own.uploads.begin()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"name": "new"}'

    part = await own.uploads.add_part(token, 1, body())
    import_id = await own.begin(ImportRequest(mode="replace", format="jsonLines", table_name="items"), token, [part])

    async def state() -> str:
        found = await deployment.reactor.database.read(lambda tx: transfers.read(tx, "_imports", import_id))
        assert found is not None
        return found["state"]["state"]

    async with asyncio.timeout(20):
        while await state() != "waiting_for_confirmation":
            await asyncio.sleep(0.01)
    await own.cancel(import_id)
    assert await state() == "failed"
    with pytest.raises(ImportRefused, match="does not wait"):
        await own.perform(import_id)
    assert await deployment.names() == ["kept"]
    assert deployment.left_over() == []
    with pytest.raises(ImportRefused, match="no upload with this token"):
        own.uploads.find(token)


async def test_a_failure_at_the_very_end_leaves_everything_as_it_was(deployment: Deployment) -> None:
    await deployment.import_(rows("kept"))
    before = deployment.reactor.database.catalogue.tables["items"]

    def fail() -> None:
        raise OSError("now")

    faults.arm("store.before_commit", fail)
    replace_tables = deployment.reactor.database.replace_tables

    async def armed(*args: Any, **options: Any) -> Any:
        faults.arm("store.before_commit", fail)
        try:
            return await replace_tables(*args, **options)
        finally:
            faults.disarm_all()

    faults.disarm_all()
    deployment.reactor.database.replace_tables = armed
    with pytest.raises(Exception, match="now"):
        await deployment.import_(rows("a"), mode="replace")
    assert await deployment.names() == ["kept"]
    assert deployment.reactor.database.catalogue.tables["items"] == before
    await deployment.mutation("items:add", name="more")
    assert await deployment.names() == ["kept", "more"]


async def test_a_disk_that_fails_at_the_very_end_is_told_as_such(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is opened anew, on which the staging file is not attached any more; the next import goes well."""
    database = deployment.reactor.database
    replace_tables = database.replace_tables

    def fail() -> None:
        raise OSError("fault injected")

    async def armed(*args: Any, **options: Any) -> Any:
        faults.arm("store.after_commit", fail)
        try:
            return await replace_tables(*args, **options)
        finally:
            faults.disarm_all()

    monkeypatch.setattr(database, "replace_tables", armed)
    with pytest.raises(OutcomeUnknown):
        await deployment.import_(rows("a"))
    monkeypatch.setattr(database, "replace_tables", replace_tables)
    assert await deployment.import_(rows("b"), mode="replace") == 1
    assert await deployment.names() == ["b"]
    assert deployment.left_over() == []


async def test_what_it_needs_is_bounded(deployment: Deployment) -> None:
    own = deployment.reactor.importer
    tokens = [await own.uploads.begin() for _ in range(deployment.reactor.settings.limits.concurrent_uploads)]
    with pytest.raises(Exception, match="unfinished uploads"):
        await own.uploads.begin()
    for token in tokens:
        await own.uploads.forget(own.uploads.take(token, [])[0])
    with pytest.raises(ImportRefused, match="components"):
        ImportRequest(mode="append", format="zip", component_path="a").check()
    with pytest.raises(ImportRefused, match="can't be the name of a table"):
        await deployment.import_(rows("a"), table="_storage")


async def test_search_and_vector_indexes_are_right_afterwards(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replaced, appended to in one transaction, appended to by a copy while clients write."""

    async def found(word: str, x: float, y: float) -> tuple[list[str], list[str]]:
        text = await deployment.query("items:search", text=word)
        return text, await deployment.backend.action("items:nearest", vector=[x, y])

    old = await deployment.mutation("items:addNote", text="old apple", vector=[1, 0])
    assert await found("apple", 1, 0) == (["old apple"], ["old apple"])
    async with deployment.backend.subscribe("items:search", text="apple") as apples:
        assert await apples.next() == ["old apple"]
        await deployment.import_([{"text": "new apple", "kind": "a", "vector": [0, 1]}], mode="replace", table="notes")
        assert await apples.next() == ["new apple"]
        assert await found("apple", 1, 0) == (["new apple"], ["new apple"])
        assert await found("old", 1, 0) == ([], ["new apple"])
        await deployment.import_([{"text": "third apple", "kind": "a", "vector": [1, 0]}], mode="append", table="notes")
        assert await apples.next() == ["new apple", "third apple"]
    assert await found("apple", 1, 0) == (["new apple", "third apple"], ["third apple", "new apple"])
    monkeypatch.setattr(import_placement, "APPENDED_AT_ONCE", 10)
    many = [{"text": f"pear {n}", "kind": "p", "vector": [0.5, 1 + n / 100]} for n in range(200)]
    running = asyncio.create_task(deployment.import_(many, mode="append", table="notes"))
    written = 0
    while not running.done() and written < 20:
        await deployment.mutation("items:addNote", text=f"plum {written}", vector=[-1, written / 100])
        written += 1
    await running
    assert len(await deployment.query("items:search", text="pear")) == 200
    assert len(await deployment.query("items:search", text="plum")) == written
    assert (await found("apple", -1, 0))[0] == ["new apple", "third apple"]
    assert (await found("apple", -1, 0))[1][0] == "plum 0"
    assert (await found("apple", 1, 0))[1][0] == "third apple"
    assert await deployment.query("items:get", id=old) is None
