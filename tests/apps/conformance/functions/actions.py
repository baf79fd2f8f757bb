"""Actions: outside transactions, calling into them."""

import asyncio
from typing import Any

from functions import hidden, messages
from reactor import ActionCtx, Id, action
from schema import Message


@action
async def echo(ctx: ActionCtx, value: Any) -> Any:
    print("in action")
    return value


@action
async def send(ctx: ActionCtx, channel: str, body: str) -> Id[Message]:
    return await ctx.run_mutation(messages.send, channel=channel, body=body)


@action
async def send_later(ctx: ActionCtx, channel: str, body: str, seconds: float) -> str:
    """Waits, then sends. Goes on when its caller has gone."""
    await asyncio.sleep(seconds)
    await ctx.run_mutation(messages.send, channel=channel, body=body)
    return "sent"


@action
async def wait_for_message(ctx: ActionCtx, channel: str) -> int:
    """Ends once somebody sent a message to the channel."""
    while not (found := await ctx.run_query(messages.count, channel=channel)):
        await asyncio.sleep(0.01)
    return found


@action
async def ask_hidden(ctx: ActionCtx, label: str) -> str:
    await ctx.run_mutation(hidden.remember, label=label)
    return await ctx.run_query(hidden.recall, label=label)


@action
async def by_name(ctx: ActionCtx, path: str, args: dict[str, Any]) -> Any:
    """Calls a query by its path."""
    return await ctx.run_query(path, args)
