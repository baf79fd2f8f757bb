"""A deployment in this process with a few tables, an aggregate and files; imports and exports as the endpoints make them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import anyio
import pytest

from reactor import faults
from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader
from reactor.testing import Backend
from reactor.testing import backend as make_backend
from reactor.transfer.convert import Format, Mode
from reactor.workers.import_request import ImportRequest
from tests.unit.runtime.harness import write_files

FILES = {
    "schema.py": """
        from typing import Any

        from reactor import Document, Id, Int64, define_schema, define_table, v

        class User(Document):
            name: str

        class Item(Document):
            name: str
            n: float = 0
            active: bool | None = None
            owner: Id[User] | None = None

        class Note(Document):
            text: str
            kind: str = "note"
            vector: list[float]

        schema = define_schema(
            notes=define_table(Note)
            .search_index("by_text", "text", filter_fields=["kind"])
            .vector_index("by_vector", "vector", dimensions=2),
            users=define_table(User),
            items=define_table(Item).index("by_name", "name").index("by_n", "n", "name"),
            things=define_table({"content": v.any()}),
        )
    """,
    "functions/items.py": """
        from typing import Any

        from reactor import ActionCtx, Id, MutationCtx, QueryCtx, StoredFile, action, mutation, query
        from reactor.kit import Aggregate
        from schema import Item, Note, User

        by_n = Aggregate(Item, "n", sum="n")

        @mutation
        async def add(ctx: MutationCtx, name: str, n: float = 0) -> Id[Item]:
            return await ctx.db.insert(Item(name=name, n=n))

        @mutation
        async def rename(ctx: MutationCtx, id: Id[Item], name: str) -> None:
            await ctx.db.patch(id, name=name)

        @mutation
        async def remove(ctx: MutationCtx, id: Id[Item]) -> None:
            await ctx.db.delete(id)

        @mutation
        async def add_any(ctx: MutationCtx, table: str, fields: Any) -> str:
            return await ctx.db.insert(table, fields)

        @query
        async def names(ctx: QueryCtx) -> list[str]:
            return [item.name for item in await ctx.db.query(Item).with_index("by_name").collect()]

        @query
        async def by_number(ctx: QueryCtx) -> list[Any]:
            return [[item.n, item.name] for item in await ctx.db.query(Item).with_index("by_n").collect()]

        @query
        async def dump(ctx: QueryCtx, table: str) -> list[Any]:
            return await ctx.db.query(table).collect()

        @query
        async def get(ctx: QueryCtx, id: str) -> Any:
            return await ctx.db.get(id)

        @query
        async def totals(ctx: QueryCtx) -> list[float]:
            return [await by_n.count(ctx), await by_n.sum(ctx)]

        @mutation
        async def add_note(ctx: MutationCtx, text: str, vector: list[float]) -> Id[Note]:
            return await ctx.db.insert(Note(text=text, vector=vector))

        @query
        async def search(ctx: QueryCtx, text: str) -> list[str]:
            found = await ctx.db.query(Note).with_search_index("by_text", lambda q: q.search("text", text)).collect()
            return sorted(note.text for note in found)

        @action
        async def nearest(ctx: ActionCtx, vector: list[float]) -> list[str]:
            hits = await ctx.vector_search(Note, "by_vector", vector, limit=3, documents=True)
            return [hit.document.text for hit in hits]

        @mutation
        async def store(ctx: MutationCtx, text: str) -> Id[StoredFile]:
            return await ctx.storage.store(text.encode(), content_type="text/plain")

        @query
        async def file(ctx: QueryCtx, id: Id[StoredFile]) -> Any:
            found = await ctx.storage.get_metadata(id)
            return None if found is None else [found.size, found.content_type, await ctx.storage.get_url(id)]
    """,
}


@pytest.fixture(scope="session")
def transfer_app(tmp_path_factory: pytest.TempPathFactory) -> App:
    return AppLoader(write_files(tmp_path_factory.mktemp("transfer"), FILES)).load()


class Deployment:
    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.reactor = backend.reactor
        self.query, self.mutation = backend.query, backend.mutation

    async def import_(
        self, data: str | bytes | Sequence[Mapping[str, Any]], format: Format = "jsonLines", mode: Mode = "requireEmpty",
        table: str | None = "items",
    ) -> int:  # fmt: skip
        """Import at once; rows are given as text, bytes or a list of objects. Returns the number of documents."""
        if not isinstance(data, str | bytes):
            data = "\n".join(json.dumps(row) for row in data)
        content = data.encode() if isinstance(data, str) else data

        async def body() -> AsyncIterator[bytes]:
            for at in range(0, len(content), 10_000):
                yield content[at : at + 10_000]

        request = ImportRequest(mode=mode, format=format, table_name=None if format == "zip" else table)
        return await self.reactor.importer.import_at_once(request, body())

    async def export(self, *, storage: bool = False) -> bytes:
        export_id = await self.reactor.exporter.request(include_storage=storage)
        running = self.reactor.exporter._running
        if running is not None:
            await running[1]
        path, document = await self.reactor.exporter.find(export_id)
        content = await anyio.Path(path).read_bytes()
        assert len(content) == document["size"]
        return content

    async def documents(self, table: str) -> list[dict[str, Any]]:
        return await self.query("items:dump", table=table)

    async def names(self) -> list[str]:
        return await self.query("items:names")

    def left_over(self) -> list[str]:
        """Files of imports and exports that are still there, archives aside."""
        found = (self.reactor.settings.data / "transfer").rglob("*")
        return [path.name for path in found if path.is_file() and path.suffix != ".zip"]


@pytest.fixture
async def deployment(transfer_app: App) -> AsyncIterator[Deployment]:
    async with make_backend(app=transfer_app) as backend:
        yield Deployment(backend)
        faults.disarm_all()


@pytest.fixture
async def second(transfer_app: App) -> AsyncIterator[Deployment]:
    """A fresh deployment of the same app."""
    async with make_backend(app=transfer_app) as backend:
        yield Deployment(backend)


def make_zip(entries: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def entries_of(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {info.filename: opened.read(info) for info in opened.infolist()}
