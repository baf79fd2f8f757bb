"""Functions that no client may call."""

from reactor import (
    ActionCtx,
    MutationCtx,
    QueryCtx,
    internal_action,
    internal_mutation,
    internal_query,
)
from schema import Holder


@internal_query
async def recall(ctx: QueryCtx, label: str) -> str:
    rows = await ctx.db.query(Holder).with_index("by_label", label=label).collect()
    return f"{len(rows)} remembered"


@internal_mutation
async def remember(ctx: MutationCtx, label: str) -> None:
    await ctx.db.insert(Holder(label=label, content=None))


@internal_action
async def whisper(ctx: ActionCtx, text: str) -> str:
    return f"({text})"
