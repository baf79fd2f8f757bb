"""A deployment as a dashboard sees it: an app with a little of everything, and calls of `_system/frontend/…`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from reactor.runtime.loader import AppLoader
from reactor.testing import Backend
from reactor.testing import backend as make_backend
from tests.support.dashboard_app import write_app

KEY = "dashboard|0123"


@pytest.fixture(scope="session")
def dashboard_app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_app(tmp_path_factory.mktemp("dashboard"))


class Dashboard:
    """Calls the functions of a dashboard by their names, with `componentId` as dashboards send it."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def query(self, name: str, /, **args: Any) -> Any:
        return await self.backend.query(f"_system/frontend/{name}", {"componentId": None, **args})

    async def mutation(self, name: str, /, **args: Any) -> Any:
        return await self.backend.mutation(f"_system/frontend/{name}", {"componentId": None, **args})

    def subscribe(self, name: str, /, **args: Any) -> Any:
        return self.backend.subscribe(f"_system/frontend/{name}", {"componentId": None, **args})

    async def add(self, table: str, *documents: Mapping[str, Any]) -> None:
        assert await self.mutation("addDocument", table=table, documents=list(documents)) == {"success": True}

    async def http(self, method: str, path: str, body: Any = None, *, key: str | None = KEY) -> httpx.Response:
        transport = httpx.ASGITransport(self.backend.reactor)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = {} if key is None else {"authorization": f"Convex {key}"}
            return await client.request(method, path, json=body, headers=headers)

    async def newest(self, table: str, limit: int = 100) -> list[dict[str, Any]]:
        return await self.query("listTableScan", table=table, limit=limit)


@pytest.fixture
async def dashboard(dashboard_app: Path) -> AsyncIterator[Dashboard]:
    async with make_backend(AppLoader(dashboard_app, private=True).load(), admin_keys=(KEY,)) as running:
        yield Dashboard(running)
