"""`ctx.storage` in queries, mutations and actions."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from reactor import ApplicationError, DocumentNotFound, FunctionError, InvalidValue, LimitExceeded, MutationCtx
from reactor.errors import DatabaseError
from tests.support.files import Files, open_files

TEXT = b"to be kept"
SHA256 = hashlib.sha256(TEXT)


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    async with open_files() as files:
        yield files


async def test_metadata_has_the_digest_in_hexadecimal_and_the_document_in_base64(files: Files) -> None:
    """server-semantics 42: metadata encodings; section 1.5"""
    backend = files.backend
    id = await files.upload(TEXT, content_type="text/plain")
    metadata = await backend.query("files:metadata", id=id)
    assert metadata is not None
    assert (metadata.storage_id, metadata.sha256) == (id, SHA256.hexdigest())
    assert (metadata.size, metadata.content_type) == (len(TEXT), "text/plain")
    document = await backend.query("files:document", id=id)
    assert (document.id, document.sha256) == (id, base64.b64encode(SHA256.digest()).decode())
    assert document.creation_time > 0
    wire = await files.http.post(
        f"{backend.reactor.url}/api/query", json={"path": "files:metadata", "args": {"id": id}}
    )
    assert wire.json()["value"] == {
        "storageId": id, "sha256": SHA256.hexdigest(), "size": len(TEXT), "contentType": "text/plain",
    }  # fmt: skip


async def test_deleting_takes_effect_in_the_same_mutation(files: Files) -> None:
    """section 7: delete, then getUrl in the same mutation"""
    id = await files.upload(TEXT)
    before, *after = await files.backend.mutation("files:deleteThenLook", id=id)
    assert before is not None
    assert after == [None, None, None]
    assert await files.url(id) is None


async def test_a_deletion_is_undone_with_its_mutation(files: Files) -> None:
    """section 7: delete rolled back by a throw"""
    id = await files.upload(TEXT)
    with pytest.raises(ApplicationError, match="changed my mind"):
        await files.backend.mutation("files:deleteThenThrow", id=id)
    await files.backend.advance(timedelta(hours=1))
    assert (await files.get(id)).content == TEXT


async def test_queries_follow_the_files_they_looked_at(files: Files) -> None:
    """section 7: metadata reactive; getUrl, getMetadata, get and db.system alike"""
    backend = files.backend
    id = await files.upload(TEXT)
    async with (
        backend.subscribe("files:url", id=id) as url,
        backend.subscribe("files:metadata", id=id) as metadata,
        backend.subscribe("files:document", id=id) as document,
        backend.subscribe("files:list") as listed,
    ):
        for updates in (url, metadata, document):
            assert await updates.next() is not None
        assert len(await listed.next()) == 1
        other = await files.upload(TEXT)
        assert len(await listed.next()) == 2
        for updates in (url, metadata, document):
            await updates.assert_quiet()
        await backend.mutation("files:delete", id=id)
        for updates in (url, metadata, document):
            assert await updates.next() is None
        assert [file.id for file in await listed.next()] == [other]


async def test_a_query_for_a_deleted_file_is_not_bothered_by_others(files: Files) -> None:
    backend = files.backend
    id = await files.upload(TEXT)
    await backend.mutation("files:delete", id=id)
    async with backend.subscribe("files:url", id=id) as url:
        assert await url.next() is None
        await files.upload(b"another")
        await url.assert_quiet()


async def test_ids_that_are_none_say_so(files: Files) -> None:
    backend = files.backend

    async def insert(ctx: MutationCtx) -> str:
        return await ctx.db.insert("messages", {"channel": "c", "body": "b"})

    message = await backend.run(insert)
    for path in ("files:url", "files:metadata"):
        with pytest.raises(DatabaseError, match=r"cannot be an ID on any table other than '_storage'"):
            await backend.query(path, id=message)
        with pytest.raises(DatabaseError, match=r'Invalid storage ID: "nonsense"\. Storage ID should be an Id of'):
            await backend.query(path, id="nonsense")
    id = await files.upload(TEXT)
    await backend.mutation("files:delete", id=id)
    with pytest.raises(DocumentNotFound, match=f"storage id {id} not found") as caught:
        await backend.mutation("files:delete", id=id)
    assert caught.value.code == "StorageIdNotFound"


async def test_the_uuid_of_a_url_does_for_an_id(files: Files) -> None:
    """section 7: legacy UUID strings are accepted as input"""
    id = await files.upload(TEXT)
    url = await files.url(id)
    assert url is not None
    key = url.rpartition("/")[2]
    assert await files.url(key) == url
    assert await files.url(key.upper()) == url
    await files.backend.mutation("files:delete", id=key)
    assert await files.url(key) is None


async def test_an_action_stores_reads_and_deletes(files: Files) -> None:
    backend = files.backend
    id = await backend.action("files:keep", pieces=["to be", "", " kept"])
    assert await backend.action("files:read", id=id) == {
        "text": "to be kept", "size": 10, "contentType": "text/plain", "sha256": SHA256.hexdigest(),
    }  # fmt: skip
    assert (await files.get(id)).content == TEXT
    assert await backend.action("files:remove", id=id) == [True, None, None]
    assert await backend.action("files:read", id=id) is None


async def test_what_an_action_stores_is_checked_against_its_digest(files: Files) -> None:
    backend = files.backend
    encoded = base64.b64encode(SHA256.digest()).decode()
    for digest in (SHA256.hexdigest(), encoded):
        await backend.action("files:keep", pieces=["to be kept"], sha256=digest)
        with pytest.raises(InvalidValue, match="Sha256 mismatch") as caught:
            await backend.action("files:keep", pieces=["else"], sha256=digest)
        assert caught.value.code == "Sha256Mismatch"
    with pytest.raises(InvalidValue, match="not a SHA-256 digest"):
        await backend.action("files:keep", pieces=["to be kept"], sha256="x")
    assert len(files.on_disk()) == 2


async def test_a_mutation_keeps_small_files_if_it_commits(files: Files) -> None:
    """section 7: store and get in mutations, from 1.48 on"""
    backend = files.backend
    id = await backend.mutation("files:keepSmall", text="to be kept")
    assert (await files.get(id)).content == TEXT
    with pytest.raises(ApplicationError, match="not kept"):
        await backend.mutation("files:keepSmall", text="else", fail=True)
    assert [file.id for file in await backend.query("files:list")] == [id]


async def test_what_a_mutation_stores_counts_against_its_limits() -> None:
    async with open_files(limits={"bytes_written": 1000}) as files:
        with pytest.raises(LimitExceeded):
            await files.backend.mutation("files:keepSmall", text="x" * 1001)
        assert files.on_disk() == []


async def test_what_is_no_bytes_can_t_be_stored(files: Files) -> None:
    async def in_mutation(ctx: MutationCtx) -> None:
        with pytest.raises(FunctionError, match=r"store\(\) expects bytes, in a mutation\. Got: str"):
            await ctx.storage.store("text")  # type: ignore[arg-type]
        with pytest.raises(FunctionError, match="content type"):
            await ctx.storage.store(b"x", content_type="text/plain\r\nset-cookie: x")
        with pytest.raises(DatabaseError, match="Must provide arg 1 `storageId` to `get_url`"):
            await ctx.storage.get_url(None)  # type: ignore[arg-type]

    await files.backend.run(in_mutation)
    assert files.on_disk() == []


async def test_a_large_file_in_an_action_is_streamed(files: Files) -> None:
    data = os.urandom(3_000_000)
    id = await files.upload(data)
    entry = await files.backend.action("files:size", id=id)
    assert entry == {"size": len(data), "pieces": 12, "largest": 262_144}


async def test_user_code_can_t_write_system_rows_of_files(files: Files) -> None:
    id = await files.upload(TEXT)

    async def tamper(ctx: MutationCtx) -> None:
        await ctx.db.patch(id, {"size": 5})

    with pytest.raises(DatabaseError, match="read-only"):
        await files.backend.run(tamper)
