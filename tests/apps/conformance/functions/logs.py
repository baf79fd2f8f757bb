"""Log lines of every level."""

import logging

from reactor import ActionCtx, MutationCtx, QueryCtx, action, mutation, query
from schema import Counter

logger = logging.getLogger(__name__)


def _talk() -> None:
    print("a printed line", 3)
    logger.info("an info line")
    logger.warning("a warning of %s", "some kind")
    logger.error("an error line")


@query
async def from_query(ctx: QueryCtx) -> str:
    _talk()
    return "talked"


@query
async def about_counter(ctx: QueryCtx, name: str) -> str:
    """Same value always; its log line follows the counter."""
    row = await ctx.db.query(Counter).with_index("by_name", name=name).unique()
    print(f"the counter is at {row.value if row else 0}")
    return "same"


@mutation
async def from_mutation(ctx: MutationCtx) -> str:
    _talk()
    return "talked"


@action
async def from_action(ctx: ActionCtx) -> str:
    _talk()
    return "talked"


@query
async def many(ctx: QueryCtx, lines: int) -> None:
    for number in range(lines):
        print(f"line {number}")
