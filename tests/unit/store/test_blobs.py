"""Blob storage: one contract, kept on disk and in S3-compatible storage (a local server that speaks its protocol)."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from reactor import faults
from reactor.errors import StoreError
from reactor.store import blob_files
from reactor.store.blob_files import FileBlobs
from reactor.store.blob_objects import ObjectBlobs
from reactor.store.blobs import PIECE_BYTES, BlobMissing, BlobStore, StorageFull, new_blob_name
from tests.support.s3 import S3, running_s3


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with running_s3() as s3:
        yield s3


@pytest.fixture(params=["files", "objects"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "files":
        store: BlobStore = FileBlobs(tmp_path / "files", reserve_bytes=0)
    else:
        store = in_bucket(request.getfixturevalue("s3"))
    await store.open()
    return store


def in_bucket(s3: S3) -> ObjectBlobs:
    """Below a prefix of its own."""
    return ObjectBlobs(f"s3://{s3.bucket}/{uuid.uuid4().hex}", **s3.options)


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def read(blobs: BlobStore, name: str, *bounds: Any) -> bytes:
    return b"".join([piece async for piece in blobs.get(name, *bounds)])


async def listed(blobs: BlobStore) -> set[str]:
    return {name async for names in blobs.list() for name in names}


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, 3 * 1024 * 1024 + 1, 20 * 1024 * 1024])
async def test_a_blob_comes_back_as_it_went_in(blobs: BlobStore, size: int) -> None:
    """server-semantics 42: a file of no bytes, too"""
    name, data = new_blob_name(), os.urandom(size)
    stored = await blobs.put(name, pieces(*[data[i : i + 700_000] for i in range(0, size, 700_000)]))
    assert stored == size == await blobs.size(name)
    assert await read(blobs, name) == data
    assert await listed(blobs) == {name}


async def test_any_range_of_a_blob_can_be_read(blobs: BlobStore) -> None:
    name, data = new_blob_name(), os.urandom(2 * PIECE_BYTES + 17)
    await blobs.put(name, pieces(data))
    for start, end in [(0, 1), (5, 5), (PIECE_BYTES - 1, PIECE_BYTES + 1), (len(data) - 1, len(data)), (9, None)]:
        assert await read(blobs, name, start, end) == data[start:end], (start, end)


async def test_data_that_fails_leaves_nothing_and_its_error_comes_through(blobs: BlobStore) -> None:
    class Broken(Exception): ...

    async def data(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield bytes(PIECE_BYTES)
        raise Broken

    for count in (0, 1, 50):
        name = new_blob_name()
        with pytest.raises(Broken):
            await blobs.put(name, data(count))
        with pytest.raises(BlobMissing):
            await blobs.size(name)
    assert await listed(blobs) == set()


async def test_a_cancelled_upload_leaves_nothing(blobs: BlobStore) -> None:
    under_way = asyncio.Event()

    async def data() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(PIECE_BYTES)
        under_way.set()
        await asyncio.Event().wait()

    name = new_blob_name()
    upload = asyncio.create_task(blobs.put(name, data()))
    await under_way.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert await listed(blobs) == set()


async def test_what_is_not_there_is_missing_and_can_be_deleted_again(blobs: BlobStore) -> None:
    name = new_blob_name()
    await blobs.put(name, pieces(b"x"))
    await blobs.delete(name)
    await blobs.delete(name)
    with pytest.raises(BlobMissing):
        await read(blobs, name)
    with pytest.raises(BlobMissing):
        await blobs.size(name)


async def test_only_our_own_names_become_paths(blobs: BlobStore) -> None:
    """No path or name from a client reaches the file system, even if something above forgets to check."""
    for name in ["../../etc/passwd", "a" * 31, "A" * 32, "0" * 32 + "\n", "", "incoming"]:
        with pytest.raises(ValueError, match="not the name of a blob"):
            await blobs.put(name, pieces(b"x"))
        with pytest.raises(ValueError, match="not the name of a blob"):
            await read(blobs, name)
        with pytest.raises(ValueError, match="not the name of a blob"):
            await blobs.delete(name)


async def test_many_blobs_are_listed_in_batches(blobs: BlobStore) -> None:
    names = {new_blob_name() for _ in range(300)}
    for name in names:
        await blobs.put(name, pieces(b""))
    batches = [batch async for batch in blobs.list()]
    assert {name for batch in batches for name in batch} == names
    assert len(batches) > 1


async def test_a_download_goes_on_when_the_blob_is_deleted(blobs: BlobStore) -> None:
    name, data = new_blob_name(), os.urandom(8 * PIECE_BYTES)
    await blobs.put(name, pieces(data))
    async with aclosing(blobs.get(name)) as download:  # type: ignore[type-var]
        got = await anext(download)
        await blobs.delete(name)
        assert got + b"".join([piece async for piece in download]) == data


# On disk


async def test_what_died_with_an_earlier_process_is_cleared_at_the_start(tmp_path: Path) -> None:
    incoming = tmp_path / "files" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / new_blob_name()).write_bytes(b"half")
    blobs = FileBlobs(tmp_path / "files")
    await blobs.open()
    assert list(incoming.iterdir()) == []


async def test_files_are_for_the_server_s_user_only(tmp_path: Path) -> None:
    blobs, name = FileBlobs(tmp_path / "files", reserve_bytes=0), new_blob_name()
    await blobs.open()
    await blobs.put(name, pieces(b"secret"))
    path = tmp_path / "files" / name[:2] / name
    assert path.read_bytes() == b"secret"
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_a_disk_that_is_nearly_full_takes_no_files(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path / "files", reserve_bytes=2**60)
    await blobs.open()
    with pytest.raises(StorageFull):
        await blobs.put(new_blob_name(), pieces(b"x"))
    assert list((tmp_path / "files" / "incoming").iterdir()) == []


async def test_a_disk_that_fails_while_syncing_keeps_nothing(tmp_path: Path) -> None:
    blobs, name = FileBlobs(tmp_path / "files", reserve_bytes=0), new_blob_name()
    await blobs.open()

    def fail() -> None:
        raise OSError(5, "Input/output error")

    faults.arm(blob_files.BEFORE_RENAME, fail)
    try:
        with pytest.raises(StoreError, match="Input/output error"):
            await blobs.put(name, pieces(b"x"))
    finally:
        faults.disarm_all()
    assert await listed(blobs) == set()
    assert list((tmp_path / "files" / "incoming").iterdir()) == []


# In S3-compatible storage


async def test_uploads_that_fail_leave_no_parts_in_the_bucket(s3: S3) -> None:
    blobs = in_bucket(s3)
    await test_data_that_fails_leaves_nothing_and_its_error_comes_through(blobs)
    await test_a_cancelled_upload_leaves_nothing(blobs)
    assert s3.client.list_multipart_uploads(Bucket=s3.bucket).get("Uploads", []) == []


async def test_a_bucket_that_is_not_there_is_told_at_the_start(s3: S3) -> None:
    with pytest.raises(StoreError, match="s3://no-such-bucket"):
        await ObjectBlobs("s3://no-such-bucket/x", **s3.options).open()


async def test_deployments_share_a_bucket_under_prefixes_of_their_own(s3: S3) -> None:
    one, other = in_bucket(s3), in_bucket(s3)
    name = new_blob_name()
    await one.put(name, pieces(b"mine"))
    assert await listed(one) == {name}
    assert await listed(other) == set()
