"""Channels of messages: what most tests subscribe to and change."""

import time

from reactor import (
    ApplicationError,
    Id,
    MutationCtx,
    PaginationOptions,
    PaginationResult,
    QueryCtx,
    mutation,
    query,
)
from schema import Message


@query
async def list_(ctx: QueryCtx, channel: str) -> list[Message]:
    """All messages of a channel, oldest first."""
    return await ctx.db.query(Message).with_index("by_channel", channel=channel).collect()


@query
async def bodies(ctx: QueryCtx, channel: str) -> list[str]:
    return [message.body for message in await list_(ctx, channel)]


@query
async def newest(ctx: QueryCtx, channel: str) -> Message | None:
    return await ctx.db.query(Message).with_index("by_channel", channel=channel).order("desc").first()


@query
async def count(ctx: QueryCtx, channel: str) -> int:
    return await ctx.db.query(Message).with_index("by_channel", channel=channel).count()


@query
async def get(ctx: QueryCtx, id: Id[Message]) -> Message | None:
    return await ctx.db.get(id)


@query
async def page(
    ctx: QueryCtx, channel: str, pagination_opts: PaginationOptions, descending: bool = False
) -> PaginationResult[Message]:
    rows = ctx.db.query(Message).with_index("by_channel_number", channel=channel)
    return await rows.order("desc" if descending else "asc").paginate(pagination_opts)


@query
async def guarded(ctx: QueryCtx, channel: str) -> int:
    """How many messages there are; fails while the newest one says so."""
    last = await newest(ctx, channel)
    if last is not None and last.body == "plain trouble":
        raise ValueError("plain trouble")
    if last is not None and last.body == "application trouble":
        raise ApplicationError({"code": "TROUBLE", "channel": channel})
    return await count(ctx, channel)


@mutation
async def send(ctx: MutationCtx, channel: str, body: str, author: str = "anonymous", number: int = 0) -> Id[Message]:
    return await ctx.db.insert(Message(channel=channel, body=body, author=author, number=number))


@mutation
async def append(ctx: MutationCtx, channel: str, body: str) -> int:
    """Sends a message and tells which one of its channel it is: sees what came before it."""
    number = await ctx.db.query(Message).with_index("by_channel", channel=channel).count()
    await ctx.db.insert(Message(channel=channel, body=body, number=number))
    return number


@mutation
async def send_slowly(ctx: MutationCtx, channel: str, body: str, seconds: float) -> int:
    """Like `append`, holding the writer for a while (well below the limit of user time)."""
    time.sleep(seconds)
    return await append(ctx, channel, body)


@mutation
async def send_many(ctx: MutationCtx, channel: str, numbers: list[int]) -> int:
    for number in numbers:
        await ctx.db.insert(Message(channel=channel, body=f"message {number}", number=number))
    return len(numbers)


@mutation
async def update(ctx: MutationCtx, id: Id[Message], body: str) -> None:
    await ctx.db.patch(id, body=body)


@mutation
async def pin(ctx: MutationCtx, id: Id[Message], pinned: bool | None = None) -> None:
    await ctx.db.patch(id, pinned=pinned)


@mutation
async def remove(ctx: MutationCtx, id: Id[Message]) -> None:
    await ctx.db.delete(id)


@mutation
async def remove_numbers(ctx: MutationCtx, channel: str, numbers: list[int]) -> int:
    removed = 0
    async for message in ctx.db.query(Message).with_index("by_channel", channel=channel):
        if message.number in numbers:
            await ctx.db.delete(message)
            removed += 1
    return removed


@mutation
async def send_then_fail(ctx: MutationCtx, channel: str, body: str) -> None:
    """Writes, then fails: nothing may remain."""
    await ctx.db.insert(Message(channel=channel, body=body))
    raise ValueError("after the write")


@mutation
async def send_if_open(ctx: MutationCtx, channel: str, body: str) -> Id[Message]:
    """Fails unless somebody opened the channel with a message that says "open"."""
    if "open" not in await bodies(ctx, channel):
        raise ApplicationError({"code": "CLOSED", "channel": channel})
    return await ctx.db.insert(Message(channel=channel, body=body))


@mutation
async def only_reads(ctx: MutationCtx, channel: str) -> int:
    return await count(ctx, channel)
