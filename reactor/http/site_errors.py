"""What a client is told of an HTTP action whose handler failed before its answer began."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.responses import Response

from reactor.auth.authenticator import AuthenticationError
from reactor.errors import ApplicationError, ReactorError
from reactor.http.body_budget import RETRY_AFTER_S, BodiesBusy
from reactor.http.exchange import RequestTooLarge
from reactor.http.pace import TooSlow
from reactor.runtime.app import App
from reactor.runtime.failures import failure_of
from reactor.values.formats import clean_json

__all__ = ["BadBody", "error_response"]


class BadBody(ReactorError):
    """The body is not what the handler's struct says. `path` is where."""

    code = "BadJsonBody"

    def __init__(self, message: str, *, path: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.path = path


def error_response(error: Exception, request_id: str, app: App, dev: bool) -> Response:
    """The answer. `dev` tells the whole of errors that are nobody's decision."""
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
    if isinstance(error, TooSlow):
        return _json_response(408, {"code": error.code, "message": str(error)})
    if isinstance(error, BodiesBusy):
        return _json_response(503, {"code": error.code, "message": str(error)}, {"retry-after": str(RETRY_AFTER_S)})
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
