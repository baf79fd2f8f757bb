"""An import that is canceled while the writer is at work for it: what was under way comes to its end, and nothing is left."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from reactor.model import transfers
from reactor.model.files import blob_names
from reactor.store.sqlite.writer import SqliteWriter
from reactor.transfer.rows import ImportRefused
from reactor.values.ids import encode_id
from tests.unit.transfer.conftest import Deployment, make_zip

STEPS = 20
"""Of the event loop, after which a cancelled task has come to the next thing that it waits for."""


class Halt:
    """Stops the writer in one of its methods, once it has done what it does, until `go`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        method: Callable[..., Any] = getattr(SqliteWriter, name)

        def halting(*args: Any, **options: Any) -> Any:
            result = method(*args, **options)
            if not self.reached.is_set():
                self.reached.set()
                assert self.go.wait(30)
            return result

        monkeypatch.setattr(SqliteWriter, name, halting)


async def canceling_at(deployment: Deployment, halt: Halt, importing: asyncio.Future[int]) -> asyncio.Future[None]:
    """Cancel the import that is going on when the writer has come there. Returns the canceling, which may not be over."""
    own = deployment.reactor.importer
    await asyncio.get_running_loop().run_in_executor(None, halt.reached.wait, 30)
    [import_id] = own._imports
    canceling = [asyncio.ensure_future(own.cancel(import_id)) for _ in range(2)]
    for _ in range(STEPS):
        await asyncio.sleep(0)
    halt.go.set()
    await asyncio.wait([*canceling, importing])
    assert str(canceling[0].exception()) == str(canceling[1].exception())  # whoever asks is told the same
    return canceling[0]


@pytest.mark.parametrize("where", ["attach_staging", "create_hidden"])
async def test_what_the_writer_was_doing_is_undone(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The staging file is detached, the hidden tables are given up: the next import needs both."""
    await deployment.import_([{"name": "kept"}])
    halt = Halt(monkeypatch, where)
    importing = asyncio.ensure_future(deployment.import_([{"name": "a"}], mode="replace"))
    (await canceling_at(deployment, halt, importing)).result()
    with pytest.raises(ImportRefused, match="canceled") as caught:
        importing.result()
    assert caught.value.code == "ImportCanceled"

    hidden = await deployment.reactor.database.store.write(
        lambda writer: writer._raw.execute("SELECT name FROM hidden").fetchall()  # type: ignore[attr-defined]
    )
    assert hidden == []
    assert await deployment.names() == ["kept"]
    assert await deployment.import_([{"name": "b"}], mode="replace") == 1
    assert await deployment.names() == ["b"]
    assert deployment.left_over() == []


async def test_too_late_it_leaves_documents_and_files_whole(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit that puts them in their place is under way: rows without their files would be worse than either.

    Who waits for the import is told how many documents there are, who canceled it that it was too late.
    """
    file_id = encode_id(540, b"f" * 16)
    digest = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()
    row = f'{{"_id":"{file_id}","_creationTime":1.0,"sha256":"{digest}","size":5,"contentType":"text/plain"}}'
    archive = make_zip({"_storage/documents.jsonl": row, f"_storage/{file_id}.txt": "hello"})
    halt = Halt(monkeypatch, "reveal")
    importing = asyncio.ensure_future(deployment.import_(archive, "zip", "replace"))
    canceling = await canceling_at(deployment, halt, importing)
    assert importing.result() == 1
    with pytest.raises(ImportRefused, match="is completed, and has written 1 documents") as caught:
        canceling.result()
    assert caught.value.code == "ImportCompleted"

    [last] = await deployment.reactor.database.read(lambda tx: transfers.newest(tx, "_imports", 1))
    assert last["state"]["state"] == "completed"
    assert (await deployment.query("items:file", id=file_id))[:2] == [5, "text/plain"]
    [name] = await deployment.reactor.database.read(lambda tx: blob_names(tx.reader, tx.catalogue))
    assert b"".join([piece async for piece in deployment.reactor.files.blobs.get(name)]) == b"hello"
    assert deployment.left_over() == []


async def test_an_append_that_is_in_the_queue_is_told_as_what_it_becomes(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few rows come by an ordinary transaction, which runs although nobody waits for it any more."""
    await deployment.import_([{"name": "a"}])
    halt = Halt(monkeypatch, "begin")
    halt.reached.set()
    reached = asyncio.Event()
    write = deployment.reactor.database.write

    async def noticed(*args: Any, **options: Any) -> Any:
        if "usual_s" in options:  # the rows
            halt.reached.clear()
            reached.set()
        return await write(*args, **options)

    monkeypatch.setattr(deployment.reactor.database, "write", noticed)
    importing = asyncio.ensure_future(deployment.import_([{"name": "b"}, {"name": "c"}], mode="append"))
    await reached.wait()
    canceling = await canceling_at(deployment, halt, importing)
    assert importing.result() == 2
    with pytest.raises(ImportRefused, match="too late"):
        canceling.result()
    assert await deployment.names() == ["a", "b", "c"]
