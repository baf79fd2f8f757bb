"""The outermost ASGI application: sends the hot paths and the sync socket where they are handled, before any framework.

It works under any mount: paths are taken without the scope's `root_path`, and doubled slashes count as one.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from reactor.http.api import FunctionApi
from reactor.http.body_budget import BodyBudget
from reactor.http.cors import cors_headers, preflight_headers
from reactor.http.misc import misc_routes
from reactor.http.request import (
    ClientGone,
    DirectHandler,
    Handler,
    HttpError,
    Receive,
    Request,
    Scope,
    Send,
    internal_error,
    single_slashes,
)
from reactor.sync.link import refuse
from reactor.sync.server import SyncServer

__all__ = ["Router", "route_path"]

logger = logging.getLogger("reactor.http")

AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

SiteApp = Callable[[Scope, Receive, Send, str], Awaitable[None]]
"""Serves HTTP actions, given the path that their routes are matched with."""

SITE_PREFIX = "/http/"
_OWN_PREFIXES = ("/api/", "/version", "/instance_", "/echo")


def route_path(scope: Scope) -> str:
    """The path below the mount, with single slashes."""
    path: str = scope["path"]
    root: str = scope.get("root_path") or ""
    if root and path.startswith(root):
        rest = path[len(root) :]
        # "/live" is not a mount of "/liveness".
        if not rest or rest.startswith("/") or root.endswith("/"):
            path = rest if rest.startswith("/") else "/" + rest
    return single_slashes(path)


class Router:
    """`/api/query` and its like, the sync WebSocket and the small routes; all else goes to `fallback`.

    `fallback` gets its scopes untouched, lifespan included; its answers below `/api/` get the CORS headers as well. `site`
    serves what is below `/http/`; `routes` adds or replaces handlers by method and path,
    `routes_below` those for whatever is right below a path (which ends in a slash). `bodies` is what large bodies share.
    """

    def __init__(
        self,
        functions: FunctionApi,
        sync: SyncServer,
        *,
        version: str,
        instance_name: str,
        fallback: AsgiApp | None = None,
        site: SiteApp | None = None,
        routes: Mapping[tuple[str, str], Handler] | None = None,
        routes_below: Mapping[tuple[str, str], Handler] | None = None,
        on_traceparent: Callable[[str, bytes], None] | None = None,
        bodies: BodyBudget | None = None,
    ) -> None:
        self._sync = sync
        self._on_traceparent = on_traceparent
        self._bodies = bodies
        self._fallback = fallback
        self._site = site
        self._run = functions.run
        self._routes: dict[tuple[str, str], Handler] = {
            **misc_routes(version=version, instance_name=instance_name),
            ("POST", "/api/query"): functions.query,
            ("GET", "/api/query"): functions.query_by_url,
            ("POST", "/api/mutation"): functions.mutation,
            ("POST", "/api/action"): functions.action,
            ("POST", "/api/query_ts"): functions.query_ts,
            ("POST", "/api/query_at_ts"): functions.query_at_ts,
            ("POST", "/api/query_batch"): functions.query_batch,
            ("POST", "/api/function"): functions.function,
            **(routes or {}),
        }
        self._below = dict(routes_below or {})
        self.direct: Mapping[bytes, DirectHandler] = {}
        """By the path of a POST: what `http.transport` need not come here with. Nothing where requests may belong to a trace."""
        if on_traceparent is None:
            self.direct = {b"/api/mutation": functions.mutation_now}
        self.direct_body_limit = functions.body_limit
        self._paths = {path for _, path in self._routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            path = route_path(scope)
            handler = self._routes.get((scope["method"], path))
            if handler is not None:
                request = Request(scope, receive, send, path, bodies=self._bodies)
                if self._on_traceparent is not None:
                    for name, value in scope["headers"]:
                        if name == b"traceparent":
                            self._on_traceparent(request.id, value)
                await self._handle(handler, request)
            else:
                await self._rest(path, scope, receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)
        elif self._fallback is not None:
            await self._fallback(scope, receive, send)
        else:
            await _idle_lifespan(receive, send)

    async def _handle(self, handler: Handler, request: Request) -> None:
        try:
            await handler(request)
        except HttpError as error:
            await request.answer_error(error)
        except ClientGone:
            return
        except Exception:
            logger.exception("request %s to %s failed", request.id, request.path)
            await request.answer_error(internal_error())
        finally:
            if request.share is not None:
                request.share.release()

    async def _rest(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send, path, bodies=self._bodies)
        method = request.method
        if method == "OPTIONS" and (path in self._paths or path.startswith(_OWN_PREFIXES)):
            await request.answer_preflight(preflight_headers(scope["headers"]))
        elif path.startswith("/api/run/") and method == "POST":
            await self._handle(self._run, request)
        elif method == "HEAD" and (handler := self._routes.get(("GET", path))) is not None:
            await self._handle(handler, request)
        elif path in self._paths or path.startswith("/api/run/"):
            await request.answer_error(HttpError(405, "MethodNotAllowed", f"{method} is not a method of {path}."))
        elif (handler := self._below.get((method, path[: path.rfind("/") + 1]))) is not None:
            await self._handle(handler, request)
        elif self._site is not None and path.startswith(SITE_PREFIX):
            await self._site(scope, receive, send, path[len(SITE_PREFIX) - 1 :])
        elif self._fallback is not None:
            if request.origin is not None and path.startswith(_OWN_PREFIXES):
                send = _with_cors(send, request.origin)
            await self._fallback(scope, receive, send)
        elif any(path.startswith(below) for _, below in self._below):
            await request.answer_error(HttpError(405, "MethodNotAllowed", f"{method} is not a method of {path}."))
        elif path.startswith("/api/"):
            # Not 404: Convex's tools take that for a passing trouble, and try again for half a minute.
            await request.answer_error(
                HttpError(400, "UnknownEndpoint", f"This server has no {path}. It may be of a newer version of Convex.")
            )
        else:
            await request.answer_error(HttpError(404, "NotFound", f"There is nothing at {path}."))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope)
        if self._sync.matches(path):
            await self._sync(scope, receive, send, path)
        elif self._fallback is not None:
            await self._fallback(scope, receive, send)
        else:
            await receive()
            await refuse(scope, send, 404, "NotFound", f"There is no WebSocket at {path}.")


def _with_cors(send: Send, origin: bytes) -> Send:
    async def send_with_cors(event: MutableMapping[str, Any]) -> None:
        if event["type"] == "http.response.start":
            headers = list(event.get("headers") or [])
            if not any(name.lower() == b"access-control-allow-origin" for name, _ in headers):
                event = {**event, "headers": headers + cors_headers(origin)}
        await send(event)

    return send_with_cors


async def _idle_lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": event["type"] + ".complete"})
        if event["type"] == "lifespan.shutdown":
            return
