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

KEY = "dashboard|0123"

SCHEMA = """
from reactor import Document, Id, Int64, define_schema, define_table, v


class Note(Document):
    text: str
    rank: int = 0
    big: Int64 | None = None


class Reply(Document):
    note_id: Id[Note]


class Reminder(Document):
    text: str


schema = define_schema(
    reminders=define_table(Reminder),
    links=define_table({"to": v.union(v.null(), v.array(v.id("pages")))}),
    notes=define_table(Note).index("by_text", "text").index("by_rank", "rank", "text").index("later", "big", staged=True),
    replies=define_table(Reply).index("by_note", "note_id"),
)
"""

NOTES = """
from datetime import timedelta
from typing import Any
from reactor import ActionCtx, Int64, MutationCtx, QueryCtx, action, internal_mutation, mutation, query
from schema import Note, Reminder


@mutation
async def add(ctx: MutationCtx, text: str, rank: int = 0) -> str:
    return await ctx.db.insert(Note(text=text, rank=rank))


@mutation
async def add_loose(ctx: MutationCtx, table: str, content: Any) -> str:
    return await ctx.db.insert(table, {"content": content})


@internal_mutation
async def remind(ctx: MutationCtx, text: str, times: Int64) -> None:
    print("reminding", text)
    await ctx.db.insert(Reminder(text=text))


@mutation
async def later(ctx: MutationCtx, text: str, seconds: float) -> str:
    return await ctx.scheduler.run_after(timedelta(seconds=seconds), remind, text=text, times=Int64(2))


@query
async def count(ctx: QueryCtx) -> int:
    return await ctx.db.query(Note).count()


@query
async def count_of(ctx: QueryCtx, table: str) -> int:
    return await ctx.db.query(table).count()


@query
async def get(ctx: QueryCtx, id: str) -> Any:
    return await ctx.db.get(id)


@action
async def store(ctx: ActionCtx, data: bytes, content_type: str | None = None) -> str:
    return await ctx.storage.store(data, content_type=content_type)
"""

CRONS = """
from datetime import time, timedelta
from reactor import Crons, Int64
from functions import notes

crons = Crons()
crons.interval("often", timedelta(minutes=5), notes.remind, text="often", times=Int64(1))
crons.hourly("hourly", 7, notes.remind, text="hourly", times=Int64(1))
crons.daily("daily", time(9, 30), notes.remind, text="daily", times=Int64(1))
crons.weekly("weekly", ("monday", time(9, 30)), notes.remind, text="weekly", times=Int64(1))
crons.monthly("monthly", (2, time(9, 30)), notes.remind, text="monthly", times=Int64(1))
crons.cron("expression", "*/5 * * * *", notes.remind, text="expression", times=Int64(1))
"""

HTTP = """
from reactor import ActionCtx, HttpRouter
from starlette.requests import Request
from starlette.responses import Response

http = HttpRouter()


@http.route("/hook", methods=["POST", "GET"])
async def hook(ctx: ActionCtx, request: Request) -> Response:
    return Response("ok")


@http.route(prefix="/files/", methods=["GET"])
async def files(ctx: ActionCtx, request: Request) -> Response:
    return Response("ok")
"""

AUTH = """
from reactor import JwtProvider, OidcProvider

providers = [
    OidcProvider(domain="https://app.example.com", application_id="app"),
    JwtProvider(issuer="https://jwt.example.com", jwks="https://jwt.example.com/jwks", algorithm="ES256"),
]
"""


def write_app(directory: Path) -> Path:
    functions = directory / "functions"
    functions.mkdir(parents=True)
    (directory / "schema.py").write_text(SCHEMA)
    for name, text in (("notes", NOTES), ("crons", CRONS), ("http", HTTP), ("auth_config", AUTH)):
        (functions / f"{name}.py").write_text(text)
    return directory


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
