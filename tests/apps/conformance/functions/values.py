"""Values of every kind, there and back."""

from typing import Any, Literal

from reactor import Id, Int64, MutationCtx, QueryCtx, Struct, mutation, query
from schema import Holder, Message


class Point(Struct):
    x: float
    y: float
    label: str | None = None


class Typed(Struct):
    number: float
    whole: int
    big: Int64
    data: bytes
    text: str
    flag: bool
    nothing: None
    numbers: list[float]
    by_name: dict[str, float]
    choice: Literal["left", "right"]
    point: Point
    either: float | str
    anything: Any
    maybe: str | None = None


@query
async def echo(ctx: QueryCtx, value: Any) -> Any:
    return value


@query
async def echo_typed(ctx: QueryCtx, value: Typed) -> Typed:
    return value


@query
async def kinds(ctx: QueryCtx, value: dict[str, Any]) -> dict[str, str]:
    """The Python type that each value arrived as."""
    return {name: type(item).__name__ for name, item in value.items()}


@mutation
async def store(ctx: MutationCtx, label: str, content: Any) -> Id[Holder]:
    return await ctx.db.insert(Holder(label=label, content=content))


@query
async def load(ctx: QueryCtx, id: Id[Holder]) -> Any:
    holder = await ctx.db.get(id)
    return holder.content if holder is not None else None


@query
async def message_body(ctx: QueryCtx, id: Id[Message]) -> str | None:
    """Takes ids of messages only."""
    message = await ctx.db.get(id)
    return message.body if message is not None else None


@query
async def big(ctx: QueryCtx, megabytes: float, mark: str = "") -> dict[str, Any]:
    """About so many million bytes of text, most of its characters longer than a byte."""
    unit = "aé€😀"
    size = int(megabytes * 1_000_000)
    rows = [unit * 10_000] * (size // (10_000 * len(unit.encode())))
    return {"mark": mark, "rows": rows}


@query
async def big_live(ctx: QueryCtx, megabytes: float, label: str) -> dict[str, Any]:
    """Like `big`, and follows the number of holders with that label."""
    count = await ctx.db.query(Holder).with_index("by_label", label=label).count()
    return await big(ctx, megabytes=megabytes, mark=str(count))


@query
async def bad_keys(ctx: QueryCtx, kind: str) -> Any:
    return {"non-ascii": {"ключ": 1}, "dollar": {"$x": 1}, "control": {"a\nb": 1}}[kind]


@query
async def nested(ctx: QueryCtx, depth: int) -> Any:
    """An array in an array in an array …"""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@query
async def long_array(ctx: QueryCtx, length: int) -> Any:
    return [0] * length


@query
async def length_of(ctx: QueryCtx, text: str) -> int:
    return len(text)
