"""An app with a little of everything that an operator looks at: tables, indexes, crons, routes, jobs, providers, files."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_app"]

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
from reactor import (
    ActionCtx, Int64, MutationCtx, QueryCtx, action, internal_action, internal_mutation, internal_query, mutation, query,
)
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


@internal_query
async def secret(ctx: QueryCtx, word: str) -> str:
    return word[::-1]


@internal_action
async def whisper(ctx: ActionCtx, word: str) -> str:
    return await ctx.run_query(secret, word=word)


@query
async def whoami(ctx: QueryCtx) -> list[str | None]:
    identity = await ctx.auth.get_user_identity()
    return [] if identity is None else [identity.subject, identity.issuer, identity.name, identity.email]


@query
async def variable(ctx: QueryCtx, name: str) -> str | None:
    return ctx.env.get(name)


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
