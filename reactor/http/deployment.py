"""The deployment API: what operators and Convex's own tools ask of a deployment, with an admin key.

So far: environment variables (`npx convex env set|remove`, `reactor env`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from reactor.auth.identity import Caller
from reactor.errors import Unavailable
from reactor.http.request import HttpError, Request
from reactor.model.environment import EnvironmentVariables, InvalidVariable

__all__ = ["DeploymentApi"]

UPDATE_MAX_BYTES = 8 * 1024 * 1024
"""512 variables of 8 KiB, with room for escapes."""

Handler = Callable[[Request], Awaitable[None]]


class _Change(msgspec.Struct, frozen=True):
    name: str
    value: str | None = None


class _Update(msgspec.Struct, frozen=True):
    changes: list[_Change]


_update = msgspec.json.Decoder(_Update)


class DeploymentApi:
    """Handlers for operators; everybody else is refused with 403."""

    def __init__(self, environment: EnvironmentVariables, caller: Callable[[Request], Awaitable[Caller]]) -> None:
        """`caller` tells who asks. Raises HttpError for credentials that prove nothing."""
        self._environment, self._caller = environment, caller

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {
            (method, prefix + name): handler
            for prefix in ("/api/", "/api/v1/")
            for method, name, handler in (
                ("POST", "update_environment_variables", self.update_environment),
                ("GET", "list_environment_variables", self.list_environment),
            )
        }

    async def update_environment(self, request: Request) -> None:
        """POST /api/update_environment_variables {"changes": [{"name", "value": text or null}]}: all or none."""
        await self._check_admin(request)
        body = await request.body(UPDATE_MAX_BYTES)
        try:
            update = _update.decode(body)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise HttpError(
                400, "BadJsonBody", f'Expected {{"changes": [{{"name": …, "value": … or null}}]}}: {error}'
            ) from None
        try:
            await self._environment.update([(change.name, change.value) for change in update.changes])
        except InvalidVariable as error:
            raise HttpError(400, error.code, str(error)) from None
        except Unavailable as error:
            raise HttpError(503, error.code, str(error)) from None
        await request.answer(b"", is_json=False)

    async def list_environment(self, request: Request) -> None:
        """GET /api/list_environment_variables: names and values."""
        await self._check_admin(request)
        listed: dict[str, Any] = {"environmentVariables": dict(self._environment)}
        await request.answer(msgspec.json.encode(listed))

    async def _check_admin(self, request: Request) -> None:
        caller = await self._caller(request)
        if not caller.is_admin:
            raise HttpError(
                403, "BadDeployKey", "This endpoint needs an admin key: `Authorization: Convex <admin key>`."
            )
