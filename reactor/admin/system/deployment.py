"""Where the deployment is reached, how it is, and what it has none of: components, log sinks."""

from __future__ import annotations

from typing import Any, Final

from reactor.admin.system.declare import system_query
from reactor.admin.system.frontend import frontend_query
from reactor.auth.config_module import read_providers
from reactor.auth.providers import JwtProvider, Provider
from reactor.runtime.contexts import QueryCtx

__all__: list[str] = []

CLIENT_VERSION: Final = "1.48.0"
"""The npm client that this server was made for: dashboards compare it with the newest one."""


@system_query("cli/convexUrl:cloudUrl")
@frontend_query("convexCloudUrl:default")
async def cloud_url(ctx: QueryCtx) -> str | None:
    return ctx.env.get("CONVEX_CLOUD_URL")


@system_query("cli/convexUrl:siteUrl")
@frontend_query("convexSiteUrl:default")
async def site_url(ctx: QueryCtx) -> str | None:
    return ctx.env.get("CONVEX_SITE_URL")


@system_query("frontend/components:list")
async def list_components(ctx: QueryCtx) -> list[Any]:
    return []


@frontend_query("getVersion:default")
async def client_version(ctx: QueryCtx) -> str:
    return CLIENT_VERSION


@frontend_query("backendState:backendState")
async def backend_state(ctx: QueryCtx) -> dict[str, str]:
    """Why it may be stopped, by who stopped it: nobody did, or nobody would be told this."""
    return {"system": "none", "usage_limit": "none", "user": "none"}


@frontend_query("deploymentState:deploymentState")
async def deployment_state(ctx: QueryCtx) -> dict[str, str]:
    return {"state": "running"}


@frontend_query("listConfiguredSinks:default")
async def list_sinks(ctx: QueryCtx) -> list[Any]:
    return []


@frontend_query("listAuthProviders:default")
async def list_auth_providers(ctx: QueryCtx) -> list[dict[str, Any]]:
    """The providers of `functions/auth_config.py`, in their order."""
    providers = read_providers(ctx._call.root.app.modules)
    return [
        {"_id": f"provider{number}", "_creationTime": 0, **_provider(one)} for number, one in enumerate(providers, 1)
    ]


def _provider(provider: Provider) -> dict[str, Any]:
    if isinstance(provider, JwtProvider):
        return {
            "type": "customJwt",
            "applicationID": provider.application_id,
            "issuer": provider.issuer,
            "jwks": provider.jwks,
            "algorithm": f'"{provider.algorithm}"',  # as JSON text
        }
    return {"applicationID": provider.application_id, "domain": provider.domain}
