"""Blobs go when no file has them any more, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from reactor import ApplicationError
from reactor.errors import StoreError
from reactor.store.blobs import new_blob_name
from reactor.workers.file_collector import FileCollector
from tests.support.files import Files, open_files

TEXT = b"to be kept"


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    async with open_files() as files:
        yield files


@pytest.fixture
async def collector(files: Files) -> FileCollector:
    """Another one than the deployment's own; it sweeps when told."""
    reactor = files.backend.reactor
    return FileCollector(reactor.files, reactor.database, reactor.clock)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_deleted_file_s_blob_goes_a_minute_after_the_commit(files: Files) -> None:
    ids = [await files.upload(text) for text in (b"one", b"two", b"three")]
    assert len(files.on_disk()) == 3
    await files.backend.mutation("files:delete", id=ids[0])
    await files.backend.action("files:remove", id=ids[2])
    await files.backend.advance(timedelta(seconds=59))
    assert len(files.on_disk()) == 3
    await files.backend.advance(timedelta(seconds=1))
    await until(lambda: len(files.on_disk()) == 1)
    assert (await files.get(ids[1])).content == b"two"


async def test_an_undone_deletion_removes_nothing(files: Files, collector: FileCollector) -> None:
    id = await files.upload(TEXT)
    with pytest.raises(ApplicationError):
        await files.backend.mutation("files:deleteThenThrow", id=id)
    await files.backend.advance(timedelta(hours=48))
    assert await collector.sweep() == 0
    assert (await files.get(id)).content == TEXT


async def test_a_sweep_removes_what_has_no_row_and_nothing_else(files: Files, collector: FileCollector) -> None:
    kept = [await files.upload(str(number).encode()) for number in range(300)]
    blobs = files.backend.reactor.files.blobs
    before = files.on_disk()
    for _ in range(5):
        await blobs.put(new_blob_name(), _once(b"orphan"))
    assert await collector.sweep() == 5
    assert files.on_disk() == before
    assert (await files.get(kept[-1])).content == b"299"


async def test_a_sweep_leaves_what_is_still_being_uploaded(files: Files, collector: FileCollector) -> None:
    service = files.backend.reactor.files
    durable, go_on = asyncio.Event(), asyncio.Event()
    record = service._record

    async def slow_record(*args: object) -> str:
        durable.set()
        await go_on.wait()
        return await record(*args)  # type: ignore[arg-type]

    service._record = slow_record  # type: ignore[method-assign]
    upload = asyncio.create_task(files.upload(TEXT))
    await durable.wait()
    assert len(files.on_disk()) == 1
    assert await collector.sweep() == 0
    go_on.set()
    id = await upload
    assert await collector.sweep() == 0
    assert (await files.get(id)).content == TEXT


async def test_an_upload_whose_caller_was_cancelled_at_the_commit_is_whole_or_gone(
    files: Files, collector: FileCollector
) -> None:
    service = files.backend.reactor.files
    durable, go_on = asyncio.Event(), asyncio.Event()
    record = service._record

    async def slow_record(*args: object) -> str:
        durable.set()
        await go_on.wait()
        return await record(*args)  # type: ignore[arg-type]

    service._record = slow_record  # type: ignore[method-assign]
    storing = asyncio.create_task(service.store(_once(TEXT)))
    await durable.wait()
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    assert await collector.sweep() == 0
    go_on.set()
    async with asyncio.timeout(30):
        while not (found := await files.backend.query("files:list")):
            await asyncio.sleep(0.001)
    assert await collector.sweep() == 0
    assert (await files.get(found[0].id)).content == TEXT


async def test_what_a_mutation_stored_and_did_not_keep_goes_with_a_later_sweep(
    files: Files, collector: FileCollector
) -> None:
    with pytest.raises(ApplicationError):
        await files.backend.mutation("files:keepSmall", text="else", fail=True)
    kept = await files.backend.mutation("files:keepSmall", text="kept")
    assert await collector.sweep() == 0, "the mutation could still be under way"
    await files.backend.advance(timedelta(minutes=2))
    assert await collector.sweep() == 1
    assert (await files.get(kept)).content == b"kept"


async def test_nothing_goes_while_somebody_reads_an_older_state(files: Files) -> None:
    """engine: the blob goes when no snapshot needs it"""
    id = await files.upload(TEXT)
    with files.backend.reactor.files.hold():
        await files.backend.mutation("files:delete", id=id)
        await files.backend.advance(timedelta(minutes=5))
        await files.backend.settle()
        assert len(files.on_disk()) == 1
    await until(lambda: files.on_disk() == [])


async def test_a_blob_that_can_t_be_removed_now_is_removed_later(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = files.backend.reactor.files.blobs
    tried = asyncio.Event()

    async def fail(name: str) -> None:
        tried.set()
        raise StoreError("not now")

    with monkeypatch.context() as patched:
        patched.setattr(blobs, "delete", fail)
        await files.backend.mutation("files:delete", id=await files.upload(TEXT))
        await files.backend.advance(timedelta(minutes=1))
        await tried.wait()
    assert len(files.on_disk()) == 1
    await files.backend.advance(timedelta(days=1))
    await until(lambda: files.on_disk() == [])


async def test_the_first_sweep_is_at_the_start(files: Files) -> None:
    reactor = files.backend.reactor
    id = await files.upload(TEXT)
    await reactor.files.blobs.put(new_blob_name(), _once(b"orphan"))
    await reactor.stop()
    assert len(files.on_disk()) == 2
    await reactor.start()
    await until(lambda: len(files.on_disk()) == 1)
    assert (await files.get(id)).content == TEXT


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
