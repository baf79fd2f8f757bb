"""Environment variables over HTTP: `npx convex env set|remove`, `reactor env`."""

from __future__ import annotations

from typing import Any

import msgspec

from reactor.errors import Unavailable
from reactor.http.access import WhoAsks, require_admin
from reactor.http.request import Handler, HttpError, Request
from reactor.model.environment import EnvironmentVariables, InvalidVariable

__all__ = ["EnvironmentApi"]

UPDATE_MAX_BYTES = 8 * 1024 * 1024
"""512 variables of 8 KiB, with room for escapes."""


class _Change(msgspec.Struct, frozen=True):
    name: str
    value: str | None = None


class _Update(msgspec.Struct, frozen=True):
    changes: list[_Change]


_update = msgspec.json.Decoder(_Update)


class EnvironmentApi:
    """Handlers for operators; everybody else is refused with 403."""

    def __init__(self, environment: EnvironmentVariables, who_asks: WhoAsks) -> None:
        self._environment, self._who_asks = environment, who_asks

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
        await require_admin(request, self._who_asks)
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
        await require_admin(request, self._who_asks)
        listed: dict[str, Any] = {"environmentVariables": dict(self._environment)}
        await request.answer(msgspec.json.encode(listed))
