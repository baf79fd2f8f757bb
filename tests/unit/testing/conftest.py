"""A small app of the tests' own, loaded apart from the sample app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader
from reactor.testing import Backend
from reactor.testing import backend as make_backend

SCHEMA = """
from reactor import Document, define_schema, define_table


class Note(Document):
    owner: str
    text: str
    stars: int = 0


schema = define_schema(notes=define_table(Note).index("by_owner", "owner"))
"""

NOTES = """
from reactor import ActionCtx, ApplicationError, Id, MutationCtx, QueryCtx, action, internal_query, mutation, query
from schema import Note


@query
async def list_(ctx: QueryCtx, owner: str) -> list[Note]:
    return await ctx.db.query(Note).with_index("by_owner", owner=owner).collect()


@mutation
async def add(ctx: MutationCtx, owner: str, text: str, stars: int = 0) -> Id[Note]:
    return await ctx.db.insert(Note(owner=owner, text=text, stars=stars))


@mutation
async def fail(ctx: MutationCtx, data: str) -> None:
    await ctx.db.insert(Note(owner="fail", text=data))
    raise ApplicationError({"reason": data})


@mutation
async def crash(ctx: MutationCtx) -> float:
    return 1 / 0


@query
async def strict(ctx: QueryCtx, owner: str) -> int:
    notes = await ctx.db.query(Note).with_index("by_owner", owner=owner).collect()
    if len(notes) > 1:
        raise ApplicationError("too many")
    return len(notes)


@query
async def me(ctx: QueryCtx) -> dict[str, str]:
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        return {}
    return {"subject": identity.subject, "email": identity.email or "", "token": identity.token_identifier}


@internal_query
async def secret(ctx: QueryCtx) -> str:
    identity = await ctx.auth.get_user_identity()
    return "nobody" if identity is None else identity.subject


@query
async def now(ctx: QueryCtx) -> float:
    return ctx.now()


@action
async def add_two(ctx: ActionCtx, owner: str) -> int:
    await ctx.run_mutation(add, owner=owner, text="one")
    await ctx.run_mutation(add, owner=owner, text="two")
    return len(await ctx.run_query(list_, owner=owner))
"""


@pytest.fixture(scope="session")
def notes_app(tmp_path_factory: pytest.TempPathFactory) -> App:
    directory: Path = tmp_path_factory.mktemp("notes")
    (directory / "functions").mkdir()
    (directory / "schema.py").write_text(SCHEMA)
    (directory / "functions" / "notes.py").write_text(NOTES)
    return AppLoader(directory).load()


@pytest.fixture
async def notes(notes_app: App) -> AsyncIterator[Backend]:
    async with make_backend(notes_app) as running:
        yield running
