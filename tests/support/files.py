"""The official way to upload and download a file, over a backend of the tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from reactor.testing import Backend
from reactor.testing import backend as make_backend
from tests.support.server import CONFORMANCE_APP


class Files:
    def __init__(self, backend: Backend, http: httpx.AsyncClient) -> None:
        self.backend, self.http = backend, http

    @property
    def blobs(self) -> Path:
        return self.backend.reactor.settings.data / "files"

    def on_disk(self) -> list[str]:
        """The names of all complete blobs."""
        return sorted(path.name for path in self.blobs.glob("??/*"))

    async def upload_url(self) -> str:
        return await self.backend.mutation("files:generateUploadUrl")

    async def post(self, data: Any, *, url: str | None = None, **headers: str) -> httpx.Response:
        return await self.http.post(
            url or await self.upload_url(),
            content=data,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    async def upload(self, data: Any, **headers: str) -> str:
        """Its storage id."""
        response = await self.post(data, **headers)
        assert response.status_code == 200, response.text
        assert list(response.json()) == ["storageId"]
        return response.json()["storageId"]

    async def url(self, id: str) -> str | None:
        return await self.backend.query("files:url", id=id)

    async def get(self, id: str, method: str = "GET", **headers: str) -> httpx.Response:
        url = await self.url(id)
        assert url is not None
        return await self.http.request(
            method, url, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )


@contextlib.asynccontextmanager
async def open_files(**options: Any) -> AsyncIterator[Files]:
    """`options` are settings."""
    async with make_backend(CONFORMANCE_APP, **options) as backend:
        transport = httpx.ASGITransport(backend.reactor)
        async with httpx.AsyncClient(transport=transport) as http:
            yield Files(backend, http)
