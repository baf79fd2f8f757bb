"""Where the deployment is reached, and its components: there are none."""

from __future__ import annotations

from typing import Any

from reactor.admin.system.declare import system_query
from reactor.runtime.contexts import QueryCtx

__all__: list[str] = []


@system_query("cli/convexUrl:cloudUrl")
async def cloud_url(ctx: QueryCtx) -> str | None:
    return ctx.env.get("CONVEX_CLOUD_URL")


@system_query("cli/convexUrl:siteUrl")
async def site_url(ctx: QueryCtx) -> str | None:
    return ctx.env.get("CONVEX_SITE_URL")


@system_query("frontend/components:list")
async def list_components(ctx: QueryCtx) -> list[Any]:
    return []
