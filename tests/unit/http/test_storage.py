"""Files over HTTP, on a whole backend in this process: what section 7 of the server's semantics says of uploads and downloads."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.http.storage import parse_range
from reactor.store.blobs import PIECE_BYTES
from reactor.testing import Backend
from reactor.testing import backend as make_backend
from tests.support.files import Files, open_files
from tests.support.s3 import running_s3

TEXT = b"Grass grows, birds fly, sun shines"
DIGEST = base64.b64encode(hashlib.sha256(TEXT).digest()).decode()
ORIGIN = "https://app.example"


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    async with open_files() as files:
        yield files


# Uploads


async def test_an_upload_comes_back_as_it_was_sent(files: Files) -> None:
    """client-protocol 44, server-semantics 42: upload with a content type, download headers"""
    url = await files.upload_url()
    assert re.fullmatch(r"http://127\.0\.0\.1:3210/api/storage/upload\?token=[\w-]+", url)
    id = await files.upload(TEXT, content_type="text/plain; charset=utf-8")
    download = await files.url(id)
    assert download is not None
    assert re.fullmatch(r"http://127\.0\.0\.1:3210/api/storage/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", download)
    assert id not in download
    response = await files.get(id)
    assert response.status_code == 200
    assert response.content == TEXT
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["content-length"] == str(len(TEXT))
    assert response.headers["digest"] == f"sha-256={DIGEST}"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["cache-control"] == "private, max-age=2592000"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "content-range" not in response.headers


async def test_a_file_without_content_type_has_none(files: Files) -> None:
    """server-semantics 42 and 1.5: null in the document, no header at the download"""
    id = await files.upload(TEXT)
    document = await files.backend.query("files:document", id=id)
    assert (document.sha256, document.size, document.content_type) == (DIGEST, len(TEXT), None)
    assert "content-type" not in (await files.get(id)).headers


async def test_an_empty_file_is_a_file(files: Files) -> None:
    """server-semantics 42: a file of no bytes; with a range it is answered whole"""
    id = await files.upload(b"", content_type="application/x-nothing")
    for headers in ({}, {"range": "bytes=0-5"}):
        response = await files.get(id, **headers)
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["content-length"] == "0"


async def test_one_url_takes_several_uploads(files: Files) -> None:
    """server-semantics 42: two uploads with one URL; equal contents are still two files"""
    url = await files.upload_url()
    first, second = [(await files.post(TEXT, url=url)).json()["storageId"] for _ in range(2)]
    assert first != second
    await files.backend.mutation("files:delete", id=first)
    assert (await files.get(second)).content == TEXT


async def test_actions_make_upload_urls_too(files: Files) -> None:
    url = await files.backend.action("files:generateUploadUrlInAction")
    assert (await files.post(TEXT, url=url)).status_code == 200


async def test_the_right_digest_is_accepted_and_a_wrong_one_keeps_nothing(files: Files) -> None:
    """server-semantics 42: digest check"""
    await files.upload(TEXT, digest=f"sha-256={DIGEST}")
    await files.upload(TEXT, digest=f"md5=xyz, SHA-256={DIGEST}")
    actual = base64.b64encode(hashlib.sha256(b"else").digest()).decode()
    response = await files.post(b"else", digest=f"sha-256={DIGEST}")
    assert response.status_code == 400
    assert response.json() == {
        "code": "Sha256Mismatch",
        "message": f"Sha256 mismatch. Expected: {DIGEST} Actual: {actual}",
    }
    assert len(await files.backend.query("files:list")) == 2
    assert len(files.on_disk()) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"digest": "sha-256=short"},
        {"digest": "md5=1B2M2Y8AsgTpgAmY7PhCfg=="},
        {"digest": ""},
        {"content_type": "text/plain\x7f"},
        {"content_type": "t" * 1001},
    ],
)
async def test_headers_that_make_no_sense_are_refused(files: Files, headers: dict[str, str]) -> None:
    response = await files.post(TEXT, **headers)
    assert (response.status_code, response.json()["code"]) == (400, "BadHeader")
    assert files.on_disk() == []


async def test_an_upload_url_is_good_for_an_hour(files: Files) -> None:
    """server-semantics 42: token expiry"""
    url = await files.upload_url()
    await files.backend.advance(timedelta(minutes=59, seconds=59))
    assert (await files.post(TEXT, url=url)).status_code == 200
    await files.backend.advance(timedelta(seconds=1))
    response = await files.post(TEXT, url=url)
    assert response.status_code == 401
    assert response.json() == {"code": "StorageTokenExpired", "message": "Store File Authorization expired"}


async def test_a_token_can_t_be_made_up_or_changed(files: Files) -> None:
    url = await files.upload_url()
    base, _, token = url.partition("?token=")
    other = "A" if token[20] != "A" else "B"
    tampered = [token[:20] + other + token[21:], token[:-4], token + "AAAA", "", "x", "💥", "A" * 43]
    for bad in [*(f"{base}?token={text}" for text in tampered), base]:
        response = await files.post(TEXT, url=bad)
        assert response.status_code == 401, bad
        assert response.json() == {
            "code": "StorageTokenInvalid",
            "message": "Couldn't decode the StoreFileAuthorization token",
        }
    assert files.on_disk() == []


async def test_a_token_of_another_deployment_is_refused(files: Files) -> None:
    async with open_files() as other:
        path = urlsplit(await other.upload_url())
    assert (await files.post(TEXT, url=path.geturl())).json()["code"] == "StorageTokenInvalid"


async def test_a_file_beyond_the_limit_is_refused_and_leaves_nothing() -> None:
    async with open_files(limits={"file_bytes": 1000}) as files:

        async def unannounced() -> AsyncIterator[bytes]:
            for _ in range(11):
                yield bytes(100)

        for body in (bytes(1001), unannounced()):
            response = await files.post(body)
            assert (response.status_code, response.json()["code"]) == (413, "FileTooLarge")
        assert files.on_disk() == []
        assert list((files.blobs / "incoming").iterdir()) == []
        await files.upload(bytes(1000))


async def test_a_full_disk_is_told(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.backend.reactor.files.blobs, "_reserve", 2**60)
    response = await files.post(TEXT)
    assert (response.status_code, response.json()["code"]) == (507, "StorageFull")


async def test_an_upload_whose_sender_goes_away_leaves_nothing(files: Files) -> None:
    url = urlsplit(await files.upload_url())
    events = [
        {"type": "http.request", "body": bytes(1_000_000), "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return events.pop(0)

    async def send(event: object) -> None:
        sent.append(event)

    scope = {
        "type": "http", "method": "POST", "path": url.path, "query_string": url.query.encode(),
        "headers": [(b"content-length", b"2000000")],
    }  # fmt: skip
    await files.backend.reactor(scope, receive, send)  # type: ignore[arg-type]
    assert sent == []
    assert files.on_disk() == []
    assert list((files.blobs / "incoming").iterdir()) == []
    assert await files.backend.query("files:list") == []


async def test_browsers_of_other_origins_may_upload(files: Files) -> None:
    """section 7: CORS must allow browser uploads, errors included"""
    url = await files.upload_url()
    preflight = await files.http.options(
        url,
        headers={
            "origin": ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,digest",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "content-type,digest"
    for target in (url, url + "x"):
        response = await files.post(TEXT, url=target, origin=ORIGIN)
        assert response.headers["access-control-allow-origin"] == ORIGIN


# Downloads


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-3", 0, 3),
        ("bytes=10-12", 10, 12),
        ("bytes=30-", 30, 33),
        ("bytes=-4", 30, 33),
        ("bytes=5-999", 5, 33),
        ("bytes=-999", 0, 33),
        ("BYTES=0-0", 0, 0),
    ],
)
async def test_a_range_of_a_file(files: Files, asked: str, first: int, last: int) -> None:
    """client-protocol 44, server-semantics 42: range first, middle, suffix, beyond the end"""
    response = await files.get(await files.upload(TEXT, content_type="text/plain"), range=asked)
    assert response.status_code == 206
    assert response.content == TEXT[first : last + 1]
    assert response.headers["content-range"] == f"bytes {first}-{last}/{len(TEXT)}"
    assert response.headers["content-length"] == str(last + 1 - first)
    assert response.headers["content-type"] == "text/plain"
    assert "digest" not in response.headers


@pytest.mark.parametrize(
    "asked", ["bytes=34-", "bytes=99-100", "bytes=-0", "bytes=0-1,3-4", "bytes=" + "9" * 5000 + "-"]
)
async def test_a_range_that_can_t_be_had(files: Files, asked: str) -> None:
    """server-semantics 42: unsatisfiable, and several ranges"""
    response = await files.get(await files.upload(TEXT), range=asked, origin=ORIGIN)
    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{len(TEXT)}"
    assert response.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=-", "bytes=x-y", "items=0-1", "bytes", "bytes=1-2-3"])
async def test_what_is_no_range_is_ignored(files: Files, asked: str) -> None:
    response = await files.get(await files.upload(TEXT), range=asked)
    assert (response.status_code, response.content) == (200, TEXT)


@given(st.binary(max_size=40) | st.from_regex(rb"bytes=\d*-\d*", fullmatch=True), st.integers(1, 1000))
def test_a_range_is_never_outside_the_file(header: bytes, size: int) -> None:
    asked = parse_range(header, size)
    if isinstance(asked, tuple):
        assert 0 <= asked[0] < asked[1] <= size


async def test_what_a_cache_has_is_not_sent_again(files: Files) -> None:
    id = await files.upload(TEXT)
    etag = (await files.get(id)).headers["etag"]
    for value in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        response = await files.get(id, if_none_match=value)
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == etag
    assert (await files.get(id, if_none_match='"other"')).status_code == 200
    assert (await files.get(id, range="bytes=0-1", if_range=etag)).status_code == 206
    assert (await files.get(id, range="bytes=0-1", if_range='"other"')).status_code == 200


async def test_head_tells_all_but_the_contents(files: Files) -> None:
    id = await files.upload(TEXT, content_type="text/plain")
    whole, head = await files.get(id), await files.get(id, "HEAD", range="bytes=0-1")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == whole.headers


async def test_unknown_malformed_and_deleted_files(files: Files) -> None:
    base = "http://127.0.0.1:3210/api/storage/"
    unknown = "00000000-0000-4000-8000-000000000000"
    response = await files.http.get(base + unknown)
    assert response.status_code == 404
    assert response.json() == {"code": "FileNotFound", "message": f"File {unknown} not found"}
    id = await files.upload(TEXT)
    for bad in (id, "x", unknown[:-1], unknown + "0", "{" + unknown + "}", "%00", ""):
        response = await files.http.get(base + bad)
        assert (response.status_code, response.json()["code"]) == (400, "InvalidStoragePath"), bad
    url = await files.url(id)
    assert url is not None
    assert (
        await files.http.get(url.upper().replace("HTTP", "http").replace("API/STORAGE", "api/storage"))
    ).status_code == 200
    await files.backend.mutation("files:delete", id=id)
    for method in ("GET", "HEAD"):
        assert (await files.http.request(method, url)).status_code == 404
    assert (await files.http.delete(url)).status_code in (404, 405)


async def test_a_file_whose_blob_is_gone_is_a_404_not_a_crash(files: Files) -> None:
    """A download that found the row just before it was deleted."""
    id = await files.upload(TEXT)
    for path in files.blobs.glob("??/*"):
        path.unlink()
    assert (await files.get(id)).status_code == 404


async def test_scripts_of_other_origins_may_read_downloads(files: Files) -> None:
    id = await files.upload(TEXT)
    response = await files.get(id, origin=ORIGIN)
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "content-range" in response.headers["access-control-expose-headers"]
    # What an <img> put into the browser's cache, without these headers, must not be what a script then gets.
    for headers in ({}, {"origin": ORIGIN}):
        assert (await files.get(id, **headers)).headers["vary"] == "origin"


@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "TEXT/HTML", None, "x"]
)
async def test_contents_that_could_run_scripts_on_our_origin_can_t(files: Files, kind: str | None) -> None:
    id = await files.upload(b"<script>alert(1)</script>", **({} if kind is None else {"content_type": kind}))
    assert (await files.get(id)).headers["content-security-policy"] == "sandbox"


@pytest.mark.parametrize("kind", ["image/png", "application/pdf", "video/mp4", "text/plain; charset=utf-8"])
async def test_harmless_contents_are_shown_as_ever(files: Files, kind: str) -> None:
    assert "content-security-policy" not in (await files.get(await files.upload(TEXT, content_type=kind))).headers


async def test_a_large_body_goes_through_in_pieces(files: Files) -> None:
    data = os.urandom(5 * 1024 * 1024 + 3)

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 70_001):
            yield data[start : start + 70_001]

    id = await files.upload(body())
    assert (await files.get(id)).content == data
    assert (await files.get(id, range="bytes=1000000-3000000")).content == data[1_000_000:3_000_001]


async def test_the_address_in_urls_is_the_public_one() -> None:
    async with open_files(public_url="https://live.example/app/") as files:
        assert (await files.upload_url()).startswith("https://live.example/app/api/storage/upload?token=")


async def test_upload_urls_outlive_a_restart(files: Files, tmp_path: object) -> None:
    """The secret that signs them is kept."""
    url = await files.upload_url()
    reactor = files.backend.reactor
    await reactor.stop()
    await reactor.start()
    assert isinstance(files.backend, Backend)
    assert (await files.post(TEXT, url=url)).status_code == 200


# Who does not go on


async def test_an_upload_that_stalls_is_given_up() -> None:
    async with open_files(limits={"upload_stall_s": 0.05}) as files:

        async def stalling() -> AsyncIterator[bytes]:
            yield TEXT
            await asyncio.Event().wait()

        response = await files.post(stalling())
        assert (response.status_code, response.json()["code"]) == (408, "UploadTimeout")
        assert list((files.blobs / "incoming").iterdir()) == []


async def _download_by_hand(
    files: Files, receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[[Any], Awaitable[None]]
) -> None:
    url = await files.url(await files.upload(bytes(20 * PIECE_BYTES)))
    assert url is not None
    scope = {"type": "http", "method": "GET", "path": urlsplit(url).path, "query_string": b"", "headers": []}
    await files.backend.reactor(scope, receive, send)  # type: ignore[arg-type]


async def test_a_download_that_nobody_takes_is_given_up() -> None:
    async with open_files(limits={"send_stall_s": 0.05}) as files:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(event: Any) -> None:
            sent.append(event)
            if len(sent) == 4:
                await asyncio.Event().wait()

        await _download_by_hand(files, receive, send)
        assert len(sent) == 4


async def test_a_download_ends_when_the_client_has_gone(files: Files) -> None:
    """uvicorn takes what is sent to nobody without a word."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(event: Any) -> None:
        sent.append(event)
        await asyncio.sleep(0)

    await _download_by_hand(files, receive, send)
    assert 1 <= len(sent) < 20


async def test_files_in_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same flow with S3-compatible storage, named by a setting and the usual variables."""
    with running_s3() as s3:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        async with open_files(files=f"s3://{s3.bucket}/files") as files:
            data = os.urandom(3_000_000)
            id = await files.upload(data, content_type="image/png")
            assert [key.startswith("files/") for key in s3.stored()] == [True]
            assert (await files.get(id)).content == data
            assert (await files.get(id, range="bytes=5-9")).content == data[5:10]
            assert (await files.post(b"x", digest=f"sha-256={DIGEST}")).status_code == 400
            assert await files.backend.action("files:read", id=await files.upload(TEXT)) is not None
            await files.backend.mutation("files:delete", id=id)
            await files.backend.advance(timedelta(minutes=1))
            async with asyncio.timeout(30):
                while len(s3.stored()) > 1:
                    await asyncio.sleep(0.01)
            assert files.on_disk() == []


async def test_tests_of_a_project_never_touch_its_bucket(tmp_path: Path) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "pyproject.toml").write_text('[tool.reactor]\nfiles = "s3://production/files"\n')
    async with make_backend(tmp_path) as backend:
        assert backend.reactor.settings.files is None


async def test_more_transfers_than_allowed_wait_for_their_turn() -> None:
    async with open_files(limits={"concurrent_transfers": 1}) as files:
        id = await files.upload(TEXT)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield TEXT
            begun.set()
            await go_on.wait()

        upload = asyncio.create_task(files.upload(slow()))
        await begun.wait()
        download = asyncio.create_task(files.get(id))
        await files.backend.settle()
        assert not download.done()
        go_on.set()
        await upload
        assert (await download).content == TEXT
