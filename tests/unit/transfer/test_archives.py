"""Archives from elsewhere, and hostile ones: what is refused changes nothing, leaves nothing and takes no memory."""

from __future__ import annotations

import asyncio
import io
import zipfile
from typing import Any

import pytest

from reactor.errors import ReactorError
from reactor.transfer.rows import ImportRefused
from reactor.values.ids import encode_id, new_id
from tests.unit.transfer.conftest import Deployment, make_zip

TABLES = '{"name":"messages","id":10077}\n{"name":"people","id":10005}\n'


async def test_a_snapshot_of_convex(deployment: Deployment) -> None:
    """Ids are kept, files too, whose table has a number of its own there; components and system tables are skipped."""
    file_id, message_id = encode_id(540, b"f" * 16), new_id(10077, 0)
    archive = make_zip(
        {
            "snapshot/README.md": "hello",
            "snapshot/_tables/documents.jsonl": TABLES,
            "snapshot/messages/documents.jsonl": f'{{"_id":"{message_id}","_creationTime":5.5,"n":1,"x":1.0,"file":"{file_id}"}}\n',
            "snapshot/messages/generated_schema.jsonl": '"uniform"\n',
            "snapshot/people/documents.jsonl": "",
            "snapshot/people/generated_schema.jsonl": '"uniform"\n',
            "snapshot/_scheduled_functions/documents.jsonl": '{"x":1}\n',
            "snapshot/_components/waitlist/things/documents.jsonl": '{"x":1}\n',
            "snapshot/_storage/documents.jsonl": f'{{"_id":"{file_id}","_creationTime":1.0,"sha256":'
            '"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=","size":5,"contentType":"text/plain",'
            '"internalId":"0ef1bb6f-1c4f-4b7e-8a4e-5b9a6f1c2d3e"}\n',
            f"snapshot/_storage/{file_id}.txt": "hello",
        }
    )
    assert await deployment.import_(archive, "zip") == 2
    [message] = await deployment.documents("messages")
    assert (message["_id"], message["_creationTime"], repr(message["n"]), message["x"]) == (
        message_id,
        5.5,
        "Int64(1)",
        1,
    )
    size, kind, url = await deployment.query("items:file", id=file_id)
    assert (size, kind) == (5, "text/plain")
    assert url.endswith("/0ef1bb6f-1c4f-4b7e-8a4e-5b9a6f1c2d3e")
    assert deployment.reactor.database.catalogue.tables["_storage"].number == 540
    # New files get ids that go with it.
    assert await deployment.query("items:file", id=await deployment.mutation("items:store", text="x"))


def bomb() -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("items/documents.jsonl", "w") as out,
    ):
        out.write(b'{"name": "')
        for _ in range(40):
            out.write(b"x" * 1024 * 1024)
    return buffer.getvalue()


GOOD = make_zip({"items/documents.jsonl": '{"name":"new"}\n' * 200})


def twice() -> bytes:
    return make_zip({"a/items/documents.jsonl": "{}", "b/items/documents.jsonl": "{}"})


def lzma() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("items/documents.jsonl", '{"name":"new"}\n' * 200)
    return buffer.getvalue()


def before_the_beginning(archive: bytes) -> bytes:
    """The place of the directory, in the last bytes, lies: entries seem to be before the file."""
    return archive[:-6] + (1_000_000).to_bytes(4, "little") + archive[-2:]


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"", "isn't a ZIP archive"),
        (b"PK\x03\x04 no more", "isn't a ZIP archive"),
        (GOOD[: len(GOOD) // 2], "isn't a ZIP archive"),
        (GOOD[:30] + b"\x00" * 20 + GOOD[50:], "isn't a ZIP archive"),
        (before_the_beginning(GOOD), "isn't a ZIP archive"),
        (lzma(), "in another way than by deflate"),
        (make_zip({"README.md": "x"}), "no table"),
        (make_zip({"../../../etc/passwd": "x", "/abs/path": "y"}), "no table"),
        (make_zip({"../../../no good/documents.jsonl": "{}"}), "can't be the name of a table"),
        (twice(), "is there twice"),
        (bomb(), "longer than 16 MiB"),
        (make_zip({"_tables/documents.jsonl": '{"name":"items"}', "items/documents.jsonl": ""}), "_tables"),
        (make_zip({"_tables/documents.jsonl": '{"name":"items","id":1e99}', "items/documents.jsonl": ""}), "_tables"),
        (make_zip({"_tables/documents.jsonl": '{"name":"items","id":3}', "items/documents.jsonl": ""}), "can't have number 3"),
        (make_zip({"_tables/documents.jsonl": TABLES.replace("10005", "10077"), "people/documents.jsonl": ""}), "again"),
        (make_zip({"items/documents.jsonl": '{"name":"\xff"}'.encode("latin-1")}), "UTF-8"),
        (make_zip({"items/documents.jsonl": '{"name":' + "[" * 70 + "]" * 70 + "}"}), "Row 1"),
        (make_zip({"items/documents.jsonl": '{"name":"a","n":9}', "items/generated_schema.jsonl": '"uniform"'}), "does not match"),
        (make_zip({"_storage/documents.jsonl": '{"_id":"../../x","sha256":"","size":1}'}), "_id that is none"),
        (make_zip({"_storage/documents.jsonl": f'{{"_id":"{encode_id(1, b"f" * 16)}","sha256":"","size":1}}'}), "does not have"),
    ],
    ids=lambda value: value if isinstance(value, str) else "zip",  # bytes differ by the time of day, and so would names
)  # fmt: skip
async def test_what_is_refused(deployment: Deployment, archive: bytes, message: str) -> None:
    await deployment.mutation("items:add", name="kept")
    with pytest.raises(ReactorError, match=message):
        await deployment.import_(archive, "zip", "replaceAll")
    assert await deployment.names() == ["kept"]
    assert deployment.left_over() == []


async def test_a_small_archive_that_unpacks_to_much_is_read_by_a_process_of_its_own(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15 KB of it took 430 MB of the server's memory for one row."""
    started: list[Any] = []
    start = asyncio.create_subprocess_exec

    async def starting(*command: Any, **options: Any) -> Any:
        started.append(command)
        return await start(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", starting)
    assert await deployment.import_(GOOD, "zip") == 200
    assert started == []
    archive = make_zip({"items/documents.jsonl": '{"name":"a"}' + "\n" * 1_000_000})
    assert len(archive) < 10_000
    assert await deployment.import_(archive, "zip", "replace") == 1
    assert len(started) == 1


async def test_contents_that_are_not_what_the_row_says(deployment: Deployment) -> None:
    file_id = encode_id(1, b"f" * 16)
    row = f'{{"_id":"{file_id}","sha256":"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=","size":5}}'
    before = await deployment.reactor.database.read(lambda tx: tx.catalogue.tables["_storage"])
    with pytest.raises(ImportRefused, match="is not the file"):
        await deployment.import_(
            make_zip({"_storage/documents.jsonl": row, f"_storage/{file_id}": "jello"}), "zip", "replace"
        )
    assert await deployment.reactor.database.read(lambda tx: tx.catalogue.tables["_storage"]) == before
    assert [names async for names in deployment.reactor.files.blobs.list()] == []


async def test_numbers_that_clash(deployment: Deployment) -> None:
    """A number that a table has which stays is refused; with replaceAll that table gives way."""
    users = deployment.reactor.database.catalogue.tables["users"].number
    await deployment.mutation("items:addAny", table="users", fields={"name": "ann"})
    entries: dict[str, Any] = {
        "_tables/documents.jsonl": f'{{"name":"items","id":{users}}}',
        "items/documents.jsonl": f'{{"_id":"{new_id(users, 0)}","name":"new"}}',
    }
    with pytest.raises(ImportRefused, match=f"number {users}") as caught:
        await deployment.import_(make_zip(entries), "zip", "replace")
    assert caught.value.code == "TableNumberConflict"
    assert len(await deployment.documents("users")) == 1
    assert await deployment.import_(make_zip(entries), "zip", "replaceAll") == 1
    assert await deployment.names() == ["new"]
    assert await deployment.documents("users") == []
    catalogue = deployment.reactor.database.catalogue
    assert catalogue.table_name(users) == "items"
    assert await deployment.mutation("items:addAny", table="users", fields={"name": "bob"})
    assert catalogue.tables["users"].number not in (users, catalogue.tables["things"].number)


async def test_much_is_done_in_a_process_apart(deployment: Deployment) -> None:
    lines = "".join(f'{{"name":"n{n:05}","n":{n}}}\n' for n in range(20_000))
    assert await deployment.import_(lines) == 20_000
    index = deployment.reactor.database.catalogue.tables["items"].indexes["by_n"]
    assert await deployment.reactor.database.store.read(lambda r: r.count(index, b"", None)) == 20_000
    with pytest.raises(ImportRefused, match="Row 20001 wasn't valid JSON"):
        await deployment.import_(lines + "{", mode="append")
    assert deployment.left_over() == []
