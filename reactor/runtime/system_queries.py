"""Queries that Convex's command line subscribes to with an admin key; to everybody else there are no such functions.

So far: environment variables (`npx convex env list|get`). Source: deployment-api section 3.
"""

from __future__ import annotations

from typing import Any

from reactor.model.environment import all_variables
from reactor.runtime.builtin import SYSTEM_PREFIX, builtin
from reactor.runtime.call import perform
from reactor.runtime.contexts import QueryCtx
from reactor.runtime.registry import internal_query
from reactor.schema import v

__all__: list[str] = []


async def _list_variables(ctx: QueryCtx) -> list[Any]:
    root = ctx._call.root
    return perform(root, all_variables, (root.tx,))


async def _get_variable(ctx: QueryCtx, name: str) -> dict[str, str] | None:
    value = ctx.env.get(name)
    return None if value is None else {"name": name, "value": value}


builtin(
    internal_query(args={}, returns=v.any())(_list_variables),
    "cli/queryEnvironmentVariables:default",
    SYSTEM_PREFIX,
)
builtin(
    internal_query(args={"name": v.string()}, returns=v.any())(_get_variable),
    "cli/queryEnvironmentVariables:get",
    SYSTEM_PREFIX,
)
