"""Who may use an admin endpoint: one check for all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from reactor.auth.identity import Caller
from reactor.http.request import HttpError, Request

__all__ = ["WhoAsks", "require_admin"]

WhoAsks = Callable[[Request], Awaitable[Caller]]
"""Tells who sent a request. Raises HttpError for credentials that prove nothing."""


async def require_admin(request: Request, who_asks: WhoAsks) -> Caller:
    """The operator who asks. Raises HttpError 403 for everybody else."""
    caller = await who_asks(request)
    if not caller.is_admin:
        raise HttpError(403, "BadDeployKey", "This endpoint needs an admin key: `Authorization: Convex <admin key>`.")
    return caller
