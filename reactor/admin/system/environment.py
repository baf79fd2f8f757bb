"""Environment variables, as `npx convex env list|get` follows them."""

from __future__ import annotations

from typing import Any

from reactor.admin.system.declare import system_query
from reactor.admin.system.frontend import frontend_query
from reactor.model.environment import all_variables
from reactor.runtime.call import perform
from reactor.runtime.contexts import QueryCtx
from reactor.schema import v

__all__: list[str] = []


@system_query("cli/queryEnvironmentVariables:default")
@frontend_query("listEnvironmentVariables:default")
async def list_variables(ctx: QueryCtx) -> list[Any]:
    root = ctx._call.root
    return perform(root, all_variables, (root.tx,))


@system_query("cli/queryEnvironmentVariables:get", {"name": v.string()})
async def get_variable(ctx: QueryCtx, name: str) -> dict[str, str] | None:
    value = ctx.env.get(name)
    return None if value is None else {"name": name, "value": value}
