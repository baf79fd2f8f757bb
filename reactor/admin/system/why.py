"""Why live queries ran again, for `reactor why`. An action, because what it tells is in memory and no query could follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from reactor.admin.system.declare import system_action
from reactor.errors import ApplicationError
from reactor.runtime.actions import ActionCtx
from reactor.runtime.references import parse_path
from reactor.runtime.reruns import KEPT
from reactor.schema import v

if TYPE_CHECKING:
    from reactor.runtime.backend import LiveBackend

__all__: list[str] = []

DEFAULT_LIMIT = 20


@system_action("reactor/why:default", {"function": v.optional(v.string()), "limit": v.optional(v.number())})
async def why(ctx: ActionCtx, function: str | None = None, limit: float = DEFAULT_LIMIT) -> list[dict[str, Any]]:
    """The last runs of live queries with their causes, newest first; see `runtime.reruns.described`."""
    if not 1 <= limit <= KEPT:
        raise ApplicationError(f"`limit` must be from 1 to {KEPT}, not {limit:g}.")
    backend = cast("LiveBackend", ctx._running.runner)
    return backend.why(None if function is None else parse_path(function), int(limit))
