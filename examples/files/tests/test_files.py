"""Both ways in, both ways out, and that nothing remains of what was removed."""

from __future__ import annotations

import base64
import hashlib

import pytest

from functions import files
from reactor import ApplicationError, Id, StoredFile
from reactor.testing import Backend

TEXT = "Grass grows, birds fly ☀".encode()


async def upload(backend: Backend, contents: bytes, content_type: str = "text/plain") -> Id[StoredFile]:
    """What a browser does, up to the id."""
    url = await backend.mutation(files.generate_upload_url)
    answer = await backend.fetch(url, "POST", content=contents, headers={"Content-Type": content_type})
    return answer.json()["storageId"]


async def test_an_uploaded_file_is_seen_once_it_is_saved(backend: Backend) -> None:
    async with backend.subscribe(files.list_) as updates:
        assert await updates.next() == []
        storage_id = await upload(backend, TEXT)
        await updates.assert_quiet()
        await backend.mutation(files.save_file, storage_id=storage_id, filename="grass.txt")
        [artifact] = await updates.next()
    assert (artifact.filename, artifact.content_type, artifact.size) == ("grass.txt", "text/plain", len(TEXT))
    assert artifact.sha256 == base64.b64encode(hashlib.sha256(TEXT).digest()).decode()
    assert artifact.url is not None
    assert artifact.url == await backend.query(files.get_file_url, storage_id=storage_id)
    assert (await backend.fetch(artifact.url)).content == TEXT


async def test_saving_twice_keeps_one_row(backend: Backend) -> None:
    storage_id = await upload(backend, TEXT)
    first = await backend.mutation(files.save_file, storage_id=storage_id, filename="a.txt")
    assert await backend.mutation(files.save_file, storage_id=storage_id, filename="b.txt") == first
    assert [artifact.filename for artifact in await backend.query(files.list_)] == ["a.txt"]


async def test_removing_takes_row_and_file(backend: Backend) -> None:
    storage_id = await upload(backend, TEXT)
    artifact_id = await backend.mutation(files.save_file, storage_id=storage_id, filename="grass.txt")
    await backend.mutation(files.remove, artifact_id=artifact_id)
    assert await backend.query(files.list_) == []
    assert await backend.query(files.get_file_url, storage_id=storage_id) is None
    assert (await backend.fetch(f"/download?storageId={storage_id}")).status_code == 404
    await backend.mutation(files.remove, artifact_id=artifact_id)  # again, and nothing happens
    with pytest.raises(ApplicationError, match="No such file"):
        await backend.mutation(files.save_file, storage_id=storage_id, filename="grass.txt")


async def test_the_routes_take_and_give_files(backend: Backend) -> None:
    page = {"Origin": "https://elsewhere.example"}
    path = "/upload?sessionId=s1&filename=gr%C3%BCn.html"
    answer = await backend.fetch(path, "POST", content=TEXT, headers={**page, "Content-Type": "text/html"})
    assert (answer.status_code, list(answer.json())) == (200, ["storageId"])
    storage_id = answer.json()["storageId"]
    assert [a.filename for a in await backend.query(files.list_, session_id="s1")] == ["grün.html"]
    assert await backend.query(files.list_, session_id="s2") == []

    answer = await backend.fetch(f"/download?storageId={storage_id}", headers=page)
    assert (answer.status_code, answer.content) == (200, TEXT)
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''gr%C3%BCn.html"
    assert answer.headers["access-control-allow-origin"] == "*"
    for nonsense in ("/download", "/download?storageId=nonsense"):
        answer = await backend.fetch(nonsense, headers=page)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (404, "*")
