"""The HTTP API for functions: `/api/query`, `/api/mutation`, `/api/action` and their relatives, over bare ASGI.

Arguments and results pass through as the bytes they are: one decoding of the body's outline, one splice of the answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import msgspec

from reactor.auth.authenticator import AuthenticationError
from reactor.auth.headers import Gatekeeper
from reactor.auth.identity import ANONYMOUS, Caller
from reactor.http.access import require_admin
from reactor.http.request import Answer, Head, HttpError, Request, single_slashes
from reactor.limits import DEFAULT_LIMITS, FUNCTION_PATH_MAX_CHARS, IDENTIFIER_MAX_CHARS, Limits
from reactor.runtime.waist import Backend, Failure, Outcome, next_cut
from reactor.sync.messages import ProtocolError, decode_ts, encode_log_lines, encode_text, encode_ts, has_lone_surrogate
from reactor.values.formats import clean_json, encoded_json, export_json

__all__ = ["FunctionApi"]

BODY_OVERHEAD_BYTES = 2000
"""A body may be this much larger than its arguments."""
BATCH_MAX_QUERIES = 1000

Reprint = Callable[[bytes], bytes]
_FORMATS: dict[str, Reprint] = {
    "json": clean_json,
    "convex_clean_json": clean_json,
    "convex_encoded_json": encoded_json,
    "convex_json": encoded_json,
    "export_json": export_json,
}


class _Call(msgspec.Struct, frozen=True):
    path: str
    args: msgspec.Raw
    format: str | None = None


class _CallAt(msgspec.Struct, frozen=True):
    path: str
    args: msgspec.Raw
    ts: str
    format: str | None = None


class _AdminCall(msgspec.Struct, frozen=True, rename="camel"):
    path: str
    args: msgspec.Raw
    format: str | None = None
    component_path: str | None = None


class _Run(msgspec.Struct, frozen=True):
    args: msgspec.Raw = msgspec.Raw(b"{}")
    format: str | None = None


class _Batch(msgspec.Struct, frozen=True):
    queries: list[_Call]


_call = msgspec.json.Decoder(_Call)
_call_at = msgspec.json.Decoder(_CallAt)
_admin_call = msgspec.json.Decoder(_AdminCall)
_run = msgspec.json.Decoder(_Run)
_batch = msgspec.json.Decoder(_Batch)
_list_of_raw = msgspec.json.Decoder(list[msgspec.Raw])

_MODULE_SEGMENT = re.compile(rf"[A-Za-z0-9_.]{{1,{IDENTIFIER_MAX_CHARS}}}")
_FUNCTION_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{IDENTIFIER_MAX_CHARS - 1}}}")


class FunctionApi:
    """The handlers of section 2.1 of the protocol. Each takes a `Request` and answers it, or raises `HttpError`."""

    def __init__(self, backend: Backend, gatekeeper: Gatekeeper, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._backend, self._gatekeeper = backend, gatekeeper
        self.body_limit = limits.arguments_bytes + BODY_OVERHEAD_BYTES
        """Largest body of a request, in bytes."""

    async def query(self, request: Request) -> None:
        """POST /api/query"""
        call = await self._read(request, _call)
        args, reprint = _arguments(call.args), _format(call.format)
        _check_path(call.path)
        caller = await self.caller(request)
        await _answer(request, await self._backend.query(call.path, args, caller, asked_by=request.known_id), reprint)

    async def query_by_url(self, request: Request) -> None:
        """GET /api/query?path=&args=&format="""
        _check_client(request)
        parameters = request.query_parameters()
        if "path" not in parameters:
            raise HttpError(400, "BadQueryParameters", "Missing the query parameter `path`.")
        args = parameters.get("args", "{}").encode("utf-8", "replace")
        try:
            msgspec.json.decode(args, type=msgspec.Raw)
        except (ValueError, RecursionError) as error:
            raise HttpError(400, "BadQueryParameters", f"The query parameter `args` is not JSON: {error}") from None
        reprint = _format(parameters.get("format"))
        _check_path(parameters["path"])
        caller = await self.caller(request)
        outcome = await self._backend.query(parameters["path"], _arguments(args), caller, asked_by=request.known_id)
        await _answer(request, outcome, reprint)

    async def mutation(self, request: Request) -> None:
        """POST /api/mutation"""
        _check_head(request)
        body = await request.body(self.body_limit)
        caller = ANONYMOUS if request.authorization is None else await self.caller(request)
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def answer(result: bytes | HttpError) -> None:
            if answered.done():
                return
            if isinstance(result, HttpError):
                answered.set_exception(result)
            else:
                answered.set_result(result)

        self._mutate(request, body, caller, answer)
        await request.answer(await answered)

    def mutation_now(self, head: Head, body: bytes, answer: Answer) -> None:
        """POST /api/mutation without a token, given the whole body: a `http.transport.DirectHandler`."""
        _check_head(head)
        self._mutate(head, body, ANONYMOUS, answer)

    def _mutate(self, head: Head, body: bytes, caller: Caller, answer: Answer) -> None:
        call = self._decode(body, _call)
        args, reprint = _arguments(call.args), _format(call.format)
        _check_path(call.path)

        def resolve(outcome: Outcome) -> None:
            answer(_overload(outcome) or _body(outcome, reprint))

        self._backend.mutation(call.path, args, caller, resolve, request_id=head.id)

    async def action(self, request: Request) -> None:
        """POST /api/action. Runs to its end whether or not the client waits for it."""
        call = await self._read(request, _call)
        args, reprint = _arguments(call.args), _format(call.format)
        _check_path(call.path)
        caller = await self.caller(request)
        await _answer(request, await self._backend.action(call.path, args, caller, request_id=request.id), reprint)

    async def query_ts(self, request: Request) -> None:
        """POST /api/query_ts: a timestamp for `query_at_ts`."""
        _check_client(request)
        await request.answer(b'{"ts":"%b"}' % encode_ts(await self._backend.pin_snapshot()).encode("ascii"))

    async def query_at_ts(self, request: Request) -> None:
        """POST /api/query_at_ts"""
        call = await self._read(request, _call_at)
        args, reprint = _arguments(call.args), _format(call.format)
        _check_path(call.path)
        try:
            ts = decode_ts(call.ts)
        except ProtocolError as error:
            raise HttpError(400, "BadTimestamp", str(error)) from None
        caller = await self.caller(request)
        outcome = await self._backend.query(call.path, args, caller, at_ts=ts, asked_by=request.known_id)
        await _answer(request, outcome, reprint)

    async def query_batch(self, request: Request) -> None:
        """POST /api/query_batch: several queries at one timestamp."""
        batch = await self._read(request, _batch)
        if len(batch.queries) > BATCH_MAX_QUERIES:
            raise HttpError(400, "TooManyQueries", f"At most {BATCH_MAX_QUERIES} queries go in one batch.")
        calls = [(call.path, _arguments(call.args), _format(call.format)) for call in batch.queries]
        for path, _, _ in calls:
            _check_path(path)
        caller = await self.caller(request)
        # One cut of a subscriber: a pinned snapshot may not be had, and nothing is left to hold.
        subscriber = self._backend.subscriber(caller, door="HttpApi")
        try:
            for number, (path, args, _) in enumerate(calls):
                subscriber.add(number, path, args)
            cut = await next_cut(subscriber, 0) if calls else None
        finally:
            subscriber.close()
        updates = sorted(cut.updates, key=lambda update: update.query_id) if cut is not None else []
        results = [_body(update.version.outcome, calls[update.query_id][2]) for update in updates]
        await request.answer(b'{"results":[%b]}' % b",".join(results))

    async def function(self, request: Request) -> None:
        """POST /api/function: a function of any kind, for the operator."""
        caller = await require_admin(request, self.caller)
        call = await self._read(request, _admin_call)
        args, reprint = _arguments(call.args), _format(call.format)
        path = f"{call.component_path}/{call.path}" if call.component_path else call.path
        _check_path(path)
        await _answer(request, await self._backend.call(path, args, caller, request_id=request.id), reprint)

    async def run(self, request: Request) -> None:
        """POST /api/run/{module…}/{function}"""
        raw: bytes = request.scope.get("raw_path") or request.path.encode("utf-8")
        _, _, rest = single_slashes(raw.decode("latin-1")).partition("/api/run/")
        segments = [unquote(segment) for segment in rest.split("/")]
        if len(segments) < 2 or not all(segments):
            raise HttpError(
                400, "MissingIdentifier", "Name the function in the path: /api/run/messages/list is `messages:list`."
            )
        call = await self._read(request, _run)
        args, reprint = _arguments(call.args), _format(call.format)
        path = "/".join(segments[:-1]) + ":" + segments[-1]
        _check_path(path)
        caller = await self.caller(request)
        await _answer(request, await self._backend.call(path, args, caller, request_id=request.id), reprint)

    async def caller(self, request: Request) -> Caller:
        """Who is asking, by the `Authorization` header or the `adminKey` parameter. Raises `HttpError`."""
        try:
            if request.authorization is not None:
                return await self._gatekeeper.from_header(request.authorization.decode("latin-1"))
            if b"adminKey=" in (request.scope.get("query_string") or b""):
                return self._gatekeeper.admin(request.query_parameters().get("adminKey", ""))
        except AuthenticationError as error:
            raise HttpError(error.status, error.code, error.message) from None
        return ANONYMOUS

    async def _read(self, request: Request, decoder: msgspec.json.Decoder[Any]) -> Any:
        _check_head(request)
        return self._decode(await request.body(self.body_limit), decoder)

    @staticmethod
    def _decode(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
        try:
            if not body.isascii():
                body.decode("utf-8")  # the decoder leaves raw arguments unread
            return decoder.decode(body)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors, and so are Unicode errors
            why = str(error)
            if has_lone_surrogate(body.decode("latin-1")):
                why = "a string holds half of a surrogate pair, which is no text"
            raise HttpError(400, "BadJsonBody", f"The request body could not be read: {why}") from None


def _check_head(head: Head) -> None:
    _check_client(head)
    # Exactly this in nearly every request; else with parameters, or in other letters.
    if head.content_type != b"application/json" and not _is_json(head.content_type):
        raise HttpError(400, "BadJsonBody", "Expected a request with `Content-Type: application/json`.")


def _is_json(content_type: bytes | None) -> bool:
    return content_type is not None and content_type.partition(b";")[0].strip().lower() == b"application/json"


def _check_client(head: Head) -> None:
    if head.client is not None and b"-" not in head.client:
        raise HttpError(
            400, "InvalidClientVersion", "The header `Convex-Client` must be a name and a version, as in `npm-1.48.0`."
        )


def _arguments(raw: msgspec.Raw | bytes) -> bytes:
    """The bytes of the argument object, which may stand in an array of one."""
    data = bytes(raw)
    if not data.startswith(b"["):
        return data
    items = _list_of_raw.decode(data)
    if len(items) != 1:
        raise HttpError(
            400, "BadArguments", f"`args` must be an object, or an array of one object, not of {len(items)}."
        )
    return bytes(items[0])


def _format(name: str | None) -> Reprint:
    if name is None:
        return clean_json
    reprint = _FORMATS.get(name)
    if reprint is None:
        raise HttpError(
            400, "BadFormat", f"Unknown format {name!r}: use `json`, `convex_encoded_json` or `export_json`."
        )
    return reprint


@lru_cache(maxsize=4096)
def _path_problem(path: str) -> str | None:
    module, colon, name = path.partition(":")
    if colon and not _FUNCTION_NAME.fullmatch(name):
        return f"`{name[:80]}` is not a function name"
    for segment in module.split("/"):
        if not _MODULE_SEGMENT.fullmatch(segment):
            return f"`{segment[:80]}` is not a module name"
    return None


def _check_path(path: str) -> None:
    # Longer ones are not remembered: thousands of them would be gigabytes.
    too_long = len(path) > FUNCTION_PATH_MAX_CHARS
    problem = f"it has more than {FUNCTION_PATH_MAX_CHARS} characters" if too_long else _path_problem(path)
    if problem is not None:
        raise HttpError(
            400,
            "BadConvexFunctionIdentifier",
            f"{path[:200]} is not a valid path to a Convex function. "
            f"It must look like `module/submodule:function`: {problem}.",
        )


def _body(outcome: Outcome, reprint: Reprint) -> bytes:
    if isinstance(outcome, Failure):
        data = b"" if outcome.data is None else b',"errorData":%b' % reprint(outcome.data)
        logs = b',"logLines":%b' % encode_log_lines(outcome.log_lines) if outcome.log_lines else b""
        return b'{"status":"error","errorMessage":%b%b%b}' % (encode_text(outcome.message), data, logs)
    if outcome.log_lines:
        return b'{"status":"success","value":%b,"logLines":%b}' % (
            reprint(outcome.value),
            encode_log_lines(outcome.log_lines),
        )
    return b'{"status":"success","value":%b}' % reprint(outcome.value)


def _overload(outcome: Outcome) -> HttpError | None:
    if isinstance(outcome, Failure) and outcome.overloaded:
        return HttpError(503, outcome.code or "Overloaded", outcome.message)
    return None


async def _answer(request: Request, outcome: Outcome, reprint: Reprint) -> None:
    if (error := _overload(outcome)) is not None:
        raise error
    await request.answer(_body(outcome, reprint))
