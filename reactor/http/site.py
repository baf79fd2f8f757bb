"""Serves HTTP actions: at the root of the site port, and below `/http/` of the main one.

A request becomes Starlette's, with the URL that clients used; a handler's answer is streamed as it is produced, within the
limits. The handler runs in a task of its own: a client that goes away does not stop it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable
from typing import Any, Final, Protocol

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as UserRequest
from starlette.responses import Response

from reactor.auth.authenticator import AuthenticationError
from reactor.auth.headers import Gatekeeper
from reactor.auth.identity import ANONYMOUS, Caller, unverified
from reactor.errors import InvalidValue, ReactorError, StoreError
from reactor.http.body_budget import BodyBudget, BodyShare
from reactor.http.exchange import WITHOUT_BODY, Event, Exchange, ResponseTooLarge, request_too_large
from reactor.http.pace import SlowClients
from reactor.http.request import Receive, Scope, Send
from reactor.http.site_errors import BadBody, error_response
from reactor.limits import Limits
from reactor.runtime.app import App
from reactor.runtime.host import Host, Runner
from reactor.runtime.http_action import HttpAction
from reactor.runtime.http_router import BoundRoute
from reactor.runtime.reports import Reports
from reactor.schema.structs import Struct
from reactor.sync.messages import has_lone_surrogate
from reactor.values.formats import clean_json

__all__ = ["Site"]

logger = logging.getLogger("reactor.functions")

NOT_ENABLED: Final = "This Convex deployment does not have HTTP actions enabled."
NO_ROUTE: Final = "No matching routes found"

LARGE_BODY_BYTES: Final = 256 * 1024
"""A larger JSON body is read on a thread: it takes milliseconds, which are everybody's on the event loop."""

_OVERLOADED: Final = (
    b'{"code":"TooManyConcurrentRequests","message":"Too many HTTP actions are running and waiting. Try again later."}'
)
_FORWARDED_PROTO: Final = re.compile(r'(?:^|[;,\s])proto="?(https?)\b', re.IGNORECASE)
_ROUTED_HEADERS: Final = (
    b"authorization",
    b"origin",
    b"x-forwarded-proto",
    b"forwarded",
    b"convex-request-id",
    b"content-length",
    b"traceparent",
)


class SiteBackend(Runner, Protocol):
    """What HTTP actions need of the backend."""

    app: App
    host: Host
    reports: Reports


class Site:
    """The application that serves one deployment's HTTP actions."""

    def __init__(
        self, backend: SiteBackend, gatekeeper: Gatekeeper, *, limits: Limits, bodies: BodyBudget | None = None
    ) -> None:
        self._backend, self._gatekeeper, self._limits, self._bodies = backend, gatekeeper, limits, bodies
        self.on_traceparent: Callable[[str, bytes], None] | None = None
        """Told of requests that are part of a trace: their id, and that header."""
        self._slots = asyncio.Semaphore(limits.concurrent_http_actions)
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._slow = SlowClients(lambda: self._waiting)
        self._stopping_since: float | None = None

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, path: str | None = None, *, caller: Caller | None = None
    ) -> None:
        """Answer an HTTP request. `path` is the one that routes are matched with, when it is not the scope's.

        `caller` asks, instead of the one that the request's headers prove.
        """
        path = str(scope["path"]) if path is None else path
        method: str = scope["method"]
        headers = _headers(scope)
        share = None
        if self._bodies is not None:
            share = BodyShare(self._bodies, headers.get(b"content-length"), self._limits.http_request_bytes)
        exchange = Exchange(scope, receive, send, self._limits, share=share)
        app = self._backend.app
        if app.http is None:
            await exchange.answer_text(NOT_ENABLED, 404)
            return
        route = app.http.match(method, path)
        allowed = None
        if route is None or method == "OPTIONS":
            asked = dict(scope["headers"]).get(b"access-control-request-method")
            allowed = app.http.router.preflight(None if asked is None else asked.decode("latin-1"), path)
        if route is None:
            if method == "OPTIONS" and allowed is not None:
                cors, methods = allowed
                await exchange.answer(b"", 204, cors.preflight_headers(scope["headers"], methods))
                return
            if allowed is not None:
                exchange.use_cors(allowed[0], headers.get(b"origin"))
            await exchange.answer_text(NO_ROUTE, 404)
            return
        if route.route.cors is not None:
            exchange.use_cors(route.route.cors, headers.get(b"origin"))
        request_id = headers.get(b"convex-request-id", b"").decode("latin-1")[:64] or f"{random.getrandbits(64):016x}"
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limits.http_request_bytes and method not in WITHOUT_BODY:
            await self._send(
                exchange, error_response(request_too_large(self._limits), request_id, app, self._backend.reports.dev)
            )
            return
        if self._slots.locked() and self._waiting >= self._limits.waiting_http_actions:
            await exchange.answer(_OVERLOADED, 429, [(b"content-type", b"application/json")])
            return
        self._waiting += 1
        if self._slots.locked():
            self._slow.hurry()
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        self._slow.holding[exchange.pace] = 1
        try:
            if self.on_traceparent is not None and (traceparent := headers.get(b"traceparent")) is not None:
                self.on_traceparent(request_id, traceparent)
            caller = caller or await self._caller(headers.get(b"authorization"))
            host = self._backend.host
            action = HttpAction(
                app,
                route,
                self._backend,
                caller,
                host=host,
                request_id=request_id,
                executions=self._backend.reports.executions,
            )
            request = UserRequest(_user_scope(scope, headers, path, route), exchange.receive)

            async def work() -> None:
                await self._run(action, route, request, exchange)

            task = action.start(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.shield(task)
        finally:
            del self._slow.holding[exchange.pace]
            exchange.release()
            self._slots.release()

    def quiesce(self) -> None:
        """The server is about to stop: the grace of `close` counts from now."""
        self._stopping_since = asyncio.get_running_loop().time()

    async def close(self, grace_s: float) -> None:
        """Wait for what is running, at most so many seconds, and cancel what is left."""
        if self._stopping_since is not None:
            grace_s -= asyncio.get_running_loop().time() - self._stopping_since
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(0.0, grace_s))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _caller(self, authorization: bytes | None) -> Caller:
        """Who asks, if that can be told. Headers that mean something else to the handler are none of our business."""
        if authorization is None:
            return ANONYMOUS
        try:
            return await self._gatekeeper.from_header(authorization.decode("latin-1"))
        except AuthenticationError as error:
            if authorization[:7].lower() == b"bearer ":
                return unverified(error)
            return ANONYMOUS
        except Exception as error:
            logger.exception("verifying a token failed")
            return unverified(AuthenticationError(f"Could not verify the token: {error}"))

    async def _run(self, action: HttpAction, route: BoundRoute, request: UserRequest, exchange: Exchange) -> None:
        """Call the handler and send its answer; never raises but when cancelled."""
        failed: BaseException | None = None
        try:
            await action.within_limit(self._respond(action, route, request, exchange))
        except Exception as error:
            failed = error
            await self._fail(action, error, exchange)
        except BaseException as error:
            failed = error
            raise
        finally:
            action.report(exchange.status, failed)

    async def _respond(self, action: HttpAction, route: BoundRoute, request: UserRequest, exchange: Exchange) -> None:
        body = None
        if route.takes_body:
            raw = await request.body()
            if len(raw) > LARGE_BODY_BYTES:
                body = await asyncio.to_thread(self._body, route, raw)
            else:
                body = self._body(route, raw)
        result = await action.call(request, body)
        response = result if isinstance(result, Response) else self._json(action, route, result)
        try:
            # `_never`, because what a response does about a lost connection, `exchange` does.
            await response(request.scope, _never, exchange.send)
        finally:
            if (close := getattr(getattr(response, "body_iterator", None), "aclose", None)) is not None:
                await close()  # it was cut off: its `finally` runs now, while `ctx` can be used

    def _body(self, route: BoundRoute, raw: bytes) -> Any:
        try:
            raw.decode("utf-8")
            return route.decode_body(raw, self._backend.table_name)
        except InvalidValue as error:
            raise BadBody(str(error), path=error.path, code="InvalidBody") from None
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors, and so are Unicode errors
            why = str(error)
            if has_lone_surrogate(raw.decode("latin-1")):
                why = "a string holds half of a surrogate pair, which is no text"
            raise BadBody(f"The request body is not JSON: {why}") from None

    def _json(self, action: HttpAction, route: BoundRoute, result: Any) -> Response:
        if not isinstance(result, Struct):
            raise TypeError(
                f"The handler of {route.path} must return a Response (from starlette.responses) or a Struct, "
                f"not {type(result).__name__}."
            )
        raw = action.app.types.codec_of(type(result)).encode(result, self._backend.table_name)
        return Response(clean_json(raw), media_type="application/json")

    async def _fail(self, action: HttpAction, error: Exception, exchange: Exchange) -> None:
        path = action.route.path
        if isinstance(error, ClientDisconnect) and isinstance(error.__context__, OSError):
            error = error.__context__  # of the handler's own streaming: sending never raises one
        if isinstance(error, ClientDisconnect):
            logger.info("[%s] %s: the client went away before its request was complete", action.request_id, path)
            return
        if isinstance(error, ResponseTooLarge):
            logger.error("[%s] %s: %s: %s", action.request_id, path, error.code, error)
        elif not isinstance(error, _EXPECTED) or isinstance(error, StoreError):
            logger.error("[%s] %s failed", action.request_id, path, exc_info=error)
        if exchange.started:
            if isinstance(error, _EXPECTED) and not isinstance(error, ResponseTooLarge):
                logger.error("[%s] %s failed while it was answering: %s", action.request_id, path, error)
            return  # without an end of the body: the server closes the connection, and clients see that it was cut
        await self._send(exchange, error_response(error, action.request_id, action.app, self._backend.reports.dev))

    async def _send(self, exchange: Exchange, response: Response) -> None:
        await response({"type": "http", "method": "GET"}, _never, exchange.send)


_EXPECTED: Final = (ReactorError, HTTPException, MultiPartException)


async def _never() -> Event:
    """A response need not watch the connection."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """The headers that we look at ourselves; of repeated ones the first counts."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _ROUTED_HEADERS:
            found.setdefault(name, value)
    return found


def _user_scope(scope: Scope, headers: dict[bytes, bytes], path: str, route: BoundRoute) -> dict[str, Any]:
    """The scope of the handler's request: the URL that clients used, without the prefix of the main port."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8")
    raw = raw.partition(b"?")[0]
    dropped = len(scope["path"]) - len(path)
    if dropped > 0 and scope["path"].endswith(path):
        raw = raw[len(scope["path"][:dropped].encode("utf-8")) :] or raw
    rest = {"path": path[len(route.route.path) :]} if route.route.is_prefix else {}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": scope.get("http_version", "1.1"),
        "method": scope["method"],
        "scheme": _scheme(scope, headers),
        "path": path,
        "raw_path": raw,
        "query_string": scope.get("query_string") or b"",
        "root_path": "",
        "headers": scope["headers"],
        "client": scope.get("client"),
        "server": scope.get("server"),
        "path_params": rest,
    }


def _scheme(scope: Scope, headers: dict[bytes, bytes]) -> str:
    told = headers.get(b"x-forwarded-proto", b"").decode("latin-1").partition(",")[0].strip().lower()
    if told in ("http", "https"):
        return told
    found = _FORWARDED_PROTO.search(headers.get(b"forwarded", b"").decode("latin-1").partition(",")[0])
    return found[1].lower() if found is not None else scope.get("scheme") or "http"
