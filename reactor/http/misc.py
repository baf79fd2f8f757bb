"""Small routes for people, health checks and tools: `/`, `/version`, `/instance_name`, `/instance_version`, `/echo`, `/api/debug_event`."""

from __future__ import annotations

import asyncio
from functools import partial

from reactor.http.request import Handler, Request

__all__ = ["misc_routes"]

ECHO_MAX_BYTES = 128 * 1024 * 1024
ECHOES_AT_ONCE = 2
"""They are for trying the network, and each is in memory as a whole."""
DEBUG_EVENT_MAX_BYTES = 1024 * 1024
GREETING = "This Convex deployment is running. See https://docs.convex.dev/."


async def _text(text: str, request: Request) -> None:
    await request.answer_text(text)


async def _echo(slots: asyncio.Semaphore, request: Request) -> None:
    async with slots:
        body = await request.body(ECHO_MAX_BYTES)
        headers = [] if request.content_type is None else [(b"content-type", request.content_type)]
        await request.answer_raw(body, headers)


async def _debug_event(request: Request) -> None:
    await request.body(DEBUG_EVENT_MAX_BYTES)
    await request.answer(b"{}")


def misc_routes(*, version: str, instance_name: str) -> dict[tuple[str, str], Handler]:
    """Handlers by method and path."""
    return {
        ("GET", "/"): partial(_text, GREETING),
        ("GET", "/version"): partial(_text, version),
        ("GET", "/instance_name"): partial(_text, instance_name),
        ("GET", "/instance_version"): partial(_text, version),
        ("POST", "/echo"): partial(_echo, asyncio.Semaphore(ECHOES_AT_ONCE)),
        ("POST", "/api/debug_event"): _debug_event,
    }
