"""What tools ask of a deployment as a whole: whether a key is good, where it is reached, what it is; and what they may not do.

Refusals are 400, never 404: of a 404 the official command line believes that it will go away, and tries for half a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from reactor.http.access import WhoAsks, require_admin
from reactor.http.request import Handler, HttpError, Request

__all__ = ["DeploymentApi"]

_OPERATIONS: Final = (
    "ViewEnvironmentVariables",
    "WriteEnvironmentVariables",
    "ViewLogs",
    "ViewMetrics",
    "ViewData",
    "WriteData",
    "ViewBackups",
    "CreateBackups",
    "DownloadBackups",
    "DeleteBackups",
    "ImportBackups",
    "ActAsUser",
    "RunInternalQueries",
    "RunInternalMutations",
    "RunInternalActions",
)
"""What an admin key opens here, by the names that dashboards know. Source: deployment-api 9."""

_PUSH: Final = (
    "PushNotSupported",
    "This deployment runs Python functions; they are loaded from the server's functions package. Nothing to push from "
    "npm: save the files where `reactor dev` runs, or start the server again with the new code. TypeScript types come from "
    "`reactor codegen`.",
)
_INLINE: Final = (
    "InlineQueryNotSupported",
    "This deployment runs Python functions and can't run a query that is written in JavaScript. Read tables with "
    "`npx convex data TABLE`, or write a query in the functions package and `npx convex run` it.",
)
_PAUSE: Final = (
    "PauseNotSupported",
    "This deployment can't be paused while it runs. To keep clients out, stop the server.",
)
_CANONICAL: Final = (
    "CanonicalUrlNotSupported",
    "Where this deployment is reached is a setting: start the server with REACTOR_PUBLIC_URL and REACTOR_PUBLIC_SITE_URL, "
    "or with `public_url` and `public_site_url` in pyproject.toml.",
)

_REFUSED: Final[dict[tuple[str, str], tuple[str, str]]] = {
    **{
        ("POST", f"/api/{name}"): _PUSH
        for name in ("get_config", "get_config_hashes", "push_config", "prepare_schema", "evaluate_push")
    },
    ("GET", "/api/get_config"): _PUSH,
    ("POST", "/api/run_test_function"): _INLINE,
    ("POST", "/api/v1/pause_deployment"): _PAUSE,
    ("POST", "/api/v1/unpause_deployment"): _PAUSE,
    ("POST", "/api/v1/update_canonical_url"): _CANONICAL,
}


class DeploymentApi:
    """Handlers for operators; everybody else is refused with 403. `urls` gives the two addresses of the deployment."""

    def __init__(self, urls: Callable[[], tuple[str, str]], who_asks: WhoAsks) -> None:
        self._urls, self._who_asks = urls, who_asks

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {
            ("GET", "/api/check_admin_key"): self.check_admin_key,
            ("GET", "/api/v1/get_canonical_urls"): self.canonical_urls,
            ("GET", "/api/v1/deployment_info"): self.deployment_info,
            **{route: self._refuse(*why) for route, why in _REFUSED.items()},
        }

    def routes_below(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and the path that they are right below."""
        return {(method, "/api/deploy2/"): self._refuse(*_PUSH) for method in ("GET", "POST")}

    async def check_admin_key(self, request: Request) -> None:
        """GET /api/check_admin_key: what the key that comes along may do."""
        await require_admin(request, self._who_asks)
        await _answer(request, {"success": True, "allowedOps": _OPERATIONS, "isReadOnly": False})

    async def canonical_urls(self, request: Request) -> None:
        """GET /api/v1/get_canonical_urls: `npx convex dev` writes them to a front end's .env.local."""
        await require_admin(request, self._who_asks)
        url, site_url = self._urls()
        await _answer(request, {"convexCloudUrl": url, "convexSiteUrl": site_url})

    async def deployment_info(self, request: Request) -> None:
        """GET /api/v1/deployment_info"""
        await require_admin(request, self._who_asks)
        await _answer(request, {"kind": "selfHosted"})

    def _refuse(self, code: str, message: str) -> Handler:
        async def refuse(request: Request) -> None:
            await require_admin(request, self._who_asks)
            raise HttpError(400, code, message)

        return refuse


async def _answer(request: Request, answer: object) -> None:
    await request.answer(msgspec.json.encode(answer))
