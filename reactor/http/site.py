"""Serves HTTP actions: at the root of the site port, and below `/http/` of the main one.

A request becomes Starlette's, with the URL that clients used; a handler's answer is streamed as it is produced, within the
limits. The handler runs in a task of its own: a client that goes away does not stop it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable, MutableMapping
from typing import Any, Final, Protocol

import msgspec
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as UserRequest
from starlette.responses import Response

from reactor.auth.authenticator import AuthenticationError
from reactor.auth.headers import Gatekeeper
from reactor.auth.identity import ANONYMOUS, Caller, unverified
from reactor.errors import ApplicationError, InvalidValue, LimitExceeded, ReactorError, StoreError
from reactor.http.request import Receive, Scope, Send
from reactor.limits import Limits
from reactor.runtime.app import App
from reactor.runtime.failures import failure_of
from reactor.runtime.host import Host, Runner
from reactor.runtime.http_action import HttpAction
from reactor.runtime.http_cors import Cors
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
_WITHOUT_BODY: Final = ("GET", "HEAD", "OPTIONS")
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

Event = MutableMapping[str, Any]


class SiteBackend(Runner, Protocol):
    """What HTTP actions need of the backend."""

    app: App
    host: Host
    reports: Reports


class RequestTooLarge(LimitExceeded):
    code = "HttpRequestTooLarge"


class ResponseTooLarge(LimitExceeded):
    code = "HttpResponseTooLarge"


class BadBody(ReactorError):
    """The body is not what the handler's struct says. `path` is where."""

    code = "BadJsonBody"

    def __init__(self, message: str, *, path: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.path = path


class Site:
    """The application that serves one deployment's HTTP actions."""

    def __init__(self, backend: SiteBackend, gatekeeper: Gatekeeper, *, limits: Limits) -> None:
        self._backend, self._gatekeeper, self._limits = backend, gatekeeper, limits
        self.on_traceparent: Callable[[str, bytes], None] | None = None
        """Told of requests that are part of a trace: their id, and that header."""
        self._slots = asyncio.Semaphore(limits.concurrent_http_actions)
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
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
        exchange = Exchange(scope, receive, send, self._limits)
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
        if length.isdigit() and int(length) > self._limits.http_request_bytes and method not in _WITHOUT_BODY:
            await self._send(
                exchange, _error_response(_too_large(self._limits), request_id, app, self._backend.reports.dev)
            )
            return
        if self._slots.locked() and self._waiting >= self._limits.waiting_http_actions:
            await exchange.answer(_OVERLOADED, 429, [(b"content-type", b"application/json")])
            return
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
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
        await self._send(exchange, _error_response(error, action.request_id, action.app, self._backend.reports.dev))

    async def _send(self, exchange: Exchange, response: Response) -> None:
        await response({"type": "http", "method": "GET"}, _never, exchange.send)


_EXPECTED: Final = (ReactorError, HTTPException, MultiPartException)


class Exchange:
    """One request and its answer on the wire: bodies counted, HEAD without one, a client that left ignored."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        self.started = False
        """Whether the head of the answer is out."""
        self.status = 0
        """Of the answer, once it has begun."""
        self._scope, self._receive, self._send, self._limits = scope, receive, send, limits
        self._is_head = scope["method"] == "HEAD"
        self._without_body = scope["method"] in _WITHOUT_BODY
        self._received = 0
        self._body_ended = False
        self._sent = 0
        self._gone = False
        self._cors: tuple[Cors, bytes | None] | None = None

    def use_cors(self, cors: Cors, origin: bytes | None) -> None:
        """Put these headers on the answer, whatever it is."""
        self._cors = (cors, origin)

    async def receive(self) -> Event:
        """For the handler's request. Raises RequestTooLarge."""
        if self._without_body and not self._body_ended:
            self._body_ended = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while True:
            event = await self._receive()
            if event["type"] != "http.request":
                return event
            if self._body_ended:
                continue  # a body where there should be none
            self._received += len(event.get("body", b""))
            if self._received > self._limits.http_request_bytes:
                raise _too_large(self._limits)
            self._body_ended = not event.get("more_body")
            return event

    async def send(self, event: Event) -> None:
        """For the handler's response. Raises ResponseTooLarge."""
        if event["type"] == "http.response.start":
            event = self._checked_head(event)
            self.started = True
            self.status = event["status"]
            await self._pass_on(event)
        elif event["type"] == "http.response.body":
            body = bytes(event.get("body", b""))
            more = event.get("more_body", False)
            limit = self._limits.http_response_bytes
            room = limit - self._sent
            self._sent += len(body)
            if self._sent > limit:
                if room:
                    await self._pass_on({"type": "http.response.body", "body": body[:room], "more_body": True})
                raise _cut(limit)
            if self._is_head:
                if more:
                    return
                body = b""
            if body or not more:
                await self._pass_on({"type": "http.response.body", "body": body, "more_body": more})

    def _checked_head(self, event: Event) -> Event:
        headers: list[tuple[bytes, bytes]] = list(event.get("headers") or [])
        length = next((value for name, value in headers if name.lower() == b"content-length"), b"")
        if length.isdigit() and int(length) > self._limits.http_response_bytes and not self._is_head:
            raise _cut(self._limits.http_response_bytes)
        if self._cors is not None:
            cors, origin = self._cors
            there = {name.lower() for name, _ in headers}
            headers += [pair for pair in cors.answer_headers(origin) if pair[0] == b"vary" or pair[0] not in there]
        return {"type": "http.response.start", "status": event["status"], "headers": headers}

    async def _pass_on(self, event: Event) -> None:
        if self._gone:
            return
        try:
            await self._send(event)
        except OSError:  # how servers may say that the client has gone; the handler need not know
            self._gone = True

    async def answer_text(self, text: str, status: int) -> None:
        await self.answer(text.encode(), status, [(b"content-type", b"text/plain; charset=utf-8")])

    async def answer(self, body: bytes, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if status != 204:
            headers = [*headers, (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


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


def _error_response(error: Exception, request_id: str, app: App, dev: bool) -> Response:
    """What a client is told of a handler that failed before its answer began."""
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        if error.status_code in (204, 304):
            return Response(status_code=error.status_code, headers=headers)
        return _json_response(error.status_code, {"error": error.detail}, headers)
    if isinstance(error, MultiPartException):
        return _json_response(400, {"error": {"code": "BadFormBody", "message": error.message}})
    if isinstance(error, BadBody):
        return _json_response(400, {"error": {"code": error.code, "message": str(error), "path": error.path}})
    if isinstance(error, RequestTooLarge):
        return _json_response(413, {"code": error.code, "message": str(error)})
    if isinstance(error, AuthenticationError):
        return _json_response(error.status, {"code": error.code, "message": str(error)})
    failure = failure_of(error, request_id=request_id, redact=not dev, root=app.root)
    data = None if failure.data is None else msgspec.Raw(clean_json(failure.data))
    if isinstance(error, ApplicationError) and data is not None:
        return _json_response(400, {"error": data})
    head, _, text = failure.message.partition("\n")
    if not text:
        return _json_response(500, {"code": head})
    message = text.partition("\n    at ")[0].rstrip("\n")
    return _json_response(500, {"code": f"{head}: {message}", "trace": text})


def _json_response(status: int, content: Any, headers: dict[str, str] | None = None) -> Response:
    encode: Callable[[Any], bytes] = msgspec.json.encode
    try:
        body = encode(content)
    except UnicodeEncodeError:  # half a surrogate pair in a message
        body = encode({k: str(v).encode("utf-8", "replace").decode() for k, v in content.items()})
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _too_large(limits: Limits) -> RequestTooLarge:
    return RequestTooLarge(f"HTTP actions support requests up to {_mib(limits.http_request_bytes)}")


def _cut(limit: int) -> ResponseTooLarge:
    return ResponseTooLarge(f"HTTP actions support responses up to {_mib(limit)}")


def _mib(count: int) -> str:
    mib = count / 1024 / 1024
    return f"{mib:g} MiB" if mib >= 1 else f"{count} bytes"
