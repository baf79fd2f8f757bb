"""Functions that do what they must not."""

import asyncio
import os
import signal
from typing import Any

from reactor import MutationCtx, QueryCtx, mutation, query
from schema import Holder, Message


@query
async def sleeps(ctx: QueryCtx) -> None:
    await asyncio.sleep(0.01)


@mutation
async def sleeps_after_write(ctx: MutationCtx, channel: str) -> None:
    await ctx.db.insert(Message(channel=channel, body="must not stay"))
    await asyncio.sleep(0.01)


@mutation
async def swallows_sleep(ctx: MutationCtx, channel: str) -> str:
    """Catches the error of the foreign await: its transaction must not commit all the same."""
    await ctx.db.insert(Message(channel=channel, body="must not stay"))
    try:
        await asyncio.sleep(0.01)
    except BaseException:
        return "swallowed"
    return "slept"


@query
async def never_ends(ctx: QueryCtx, mark: int = 0) -> None:
    while True:
        pass


@mutation
async def never_ends_after_write(ctx: MutationCtx, channel: str) -> None:
    await ctx.db.insert(Message(channel=channel, body="must not stay"))
    while True:
        pass


@query
async def huge_result(ctx: QueryCtx, megabytes: int) -> Any:
    return ["x" * 1_000_000] * megabytes


@mutation
async def huge_document(ctx: MutationCtx, label: str, kilobytes: int) -> None:
    await ctx.db.insert(Holder(label=label, content="x" * (kilobytes * 1024)))


@mutation
async def deep_document(ctx: MutationCtx, label: str, depth: int) -> None:
    value: Any = []
    for _ in range(depth):
        value = [value]
    await ctx.db.insert(Holder(label=label, content=value))


@query
async def returns_a_set(ctx: QueryCtx) -> Any:
    return {1, 2, 3}


@query
async def returns_the_wrong_type(ctx: QueryCtx) -> int:
    return "not a number"  # type: ignore[return-value]


@query
async def recursive(ctx: QueryCtx) -> int:
    return await recursive(ctx) + 1


@mutation
async def dies(ctx: MutationCtx, channel: str) -> None:
    """Takes the whole process with it."""
    await ctx.db.insert(Message(channel=channel, body="must not stay"))
    os.kill(os.getpid(), signal.SIGKILL)


@mutation
async def hangs_in_c(ctx: MutationCtx) -> int:
    """A call that never gives up the interpreter lock."""
    return sum(range(10**13))
