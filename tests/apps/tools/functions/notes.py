"""One function of each kind, with arguments of every type."""

from typing import Any, Literal

from reactor import (
    ActionCtx,
    ApplicationError,
    Id,
    Int64,
    MutationCtx,
    QueryCtx,
    action,
    internal_query,
    mutation,
    query,
    v,
)
from schema import Note


@query
async def list_all(ctx: QueryCtx, limit: int = 10) -> list[Note]:
    print("listing", limit)
    return await ctx.db.query(Note).order("desc").take(limit)


@query(name="list")
async def list_(ctx: QueryCtx) -> list[str]:
    return [note.text for note in await ctx.db.query(Note).take(3)]


@query
async def latest(ctx: QueryCtx) -> str | None:
    note = await ctx.db.query(Note).order("desc").first()
    return None if note is None else note.text


@mutation
async def add(ctx: MutationCtx, text: str, number: int = 0, big: Int64 | None = None) -> Id[Note]:
    return await ctx.db.insert(Note(text=text, number=number, big=big))


@mutation
async def fill(ctx: MutationCtx, start: int, count: int) -> None:
    for number in range(start, start + count):
        await ctx.db.insert(Note(text=f"note {number}", number=number))


@mutation
async def hold(ctx: MutationCtx, content: Any) -> None:
    await ctx.db.insert("holders", {"content": content})


@mutation
async def remind(ctx: MutationCtx) -> None:
    await ctx.scheduler.run_after(3_600_000, add, text="later")


@action
async def store(ctx: ActionCtx, text: str) -> None:
    await ctx.storage.store(text.encode())


@action
async def shout(ctx: ActionCtx, text: str) -> str:
    print("shouting")
    return text.upper()


@query(args={"value": v.any()}, returns=v.any())
async def echo(ctx: QueryCtx, value: Any) -> Any:
    return value


@query
async def settings(ctx: QueryCtx, name: str) -> str | None:
    return ctx.env.get(name)


@query
async def fail(ctx: QueryCtx, kind: Literal["app", "plain", 7]) -> None:
    print("about to fail")
    if kind == "app":
        raise ApplicationError({"code": "NO_WAY"})
    raise ValueError("a plain error")


@query
async def who(ctx: QueryCtx) -> Any:
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        return None
    return {
        "name": identity.name,
        "subject": identity.subject,
        "issuer": identity.issuer,
        "tokenIdentifier": identity.token_identifier,
    }


@internal_query
async def secret(ctx: QueryCtx, key: Literal["a"] | None = None) -> str:
    return "internal"


@internal_query
async def untyped(ctx, value):
    return value


@internal_query(args=v.any())
async def anything(ctx: QueryCtx, **args: Any) -> Any:
    return args


@internal_query(args={"kind": v.literal(Int64(7)), "ids": v.optional(v.record(v.string(), v.id("notes")))})
async def exact(ctx: QueryCtx, kind: Int64, ids: dict[str, Id[Note]] | None = None) -> bytes:
    return b""
