"""Mutations that write in three places at once, for the crash tests: all of it or nothing."""

import json
from typing import Any

from functions.counters import add
from reactor import MutationCtx, QueryCtx, mutation, query
from schema import Counter, Holder, Message


@mutation
async def record(ctx: MutationCtx, ledger: str, entry: str) -> int:
    """Notes an entry in two tables, and counts it. Gives the count."""
    await ctx.db.insert(Message(channel=ledger, body=entry))
    count = await add(ctx, ledger, 1)
    await ctx.db.insert(Holder(label=ledger, content={"entry": entry, "count": count}))
    return count


@query
async def state(ctx: QueryCtx, ledger: str) -> dict[str, Any]:
    messages = await ctx.db.query(Message).with_index("by_channel", channel=ledger).collect()
    holders = await ctx.db.query(Holder).with_index("by_label", label=ledger).collect()
    counter = await ctx.db.query(Counter).with_index("by_name", name=ledger).unique()
    return {
        # As text: a list in a result has at most 8,192 elements, and fast machines write more.
        "entries": json.dumps([message.body for message in messages]),
        "twins": json.dumps([[holder.content["entry"], holder.content["count"]] for holder in holders]),
        "count": counter.value if counter is not None else 0,
    }
