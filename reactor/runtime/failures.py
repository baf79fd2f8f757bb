"""How exceptions become what clients see: request ids, the text with its frames, redaction, encoded error data."""

from __future__ import annotations

import hashlib
import os
import random
import sysconfig
import traceback
from pathlib import Path
from typing import Any, Final

from reactor.errors import (
    ApplicationError,
    FunctionError,
    InvalidArguments,
    InvalidResult,
    InvalidValue,
    LimitExceeded,
    PermissionDenied,
    ReactorError,
    StoreError,
    Unavailable,
)
from reactor.runtime.execute import execution_of
from reactor.runtime.logs import line_texts
from reactor.runtime.waist import Failure
from reactor.schema.dumping import dump
from reactor.values.wire import encode

__all__ = ["failure_of", "new_request_id", "request_id_of", "told_of", "uncaught_text"]

_PACKAGE: Final = str(Path(__file__).parents[1]) + os.sep
_STDLIB: Final = sysconfig.get_paths()["stdlib"] + os.sep
_CALLERS: Final = frozenset(
    _PACKAGE + os.path.join("runtime", name) for name in ("driver.py", "actions.py", "http_action.py")
)
_MAX_DATA_CHARS: Final = 16_384
_MAX_FRAMES: Final = 20
_PLAIN_CODES: Final = frozenset({"FunctionTimedOut", "SystemTimeoutError", "ArgumentsTooLarge", "ResultTooLarge"})
"""System errors, shown without "Uncaught"."""


def new_request_id() -> str:
    """16 random hex digits."""
    return f"{random.getrandbits(64):016x}"  # no secret


def request_id_of(session: str, request: int) -> str:
    """The request id of a session's mutation or action: clients compute the same."""
    return hashlib.sha256(f"{session}|{request}".encode()).hexdigest()[:16]


def failure_of(
    error: BaseException, *, request_id: str | None = None, redact: bool = False, root: Path | None = None
) -> Failure:
    """What a client gets to know about `error`.

    With `redact` only that it failed, and the data of an ApplicationError. `root` shortens file names. The error's log
    lines come along (`execution_of`).
    """
    return told_of(error, request_id=request_id, redact=redact, root=root)[0]


def told_of(
    error: BaseException, *, request_id: str | None = None, redact: bool = False, root: Path | None = None
) -> tuple[Failure, str]:
    """What a client gets to know about `error` (`failure_of`), and the whole text, for the operator."""
    request_id = request_id or new_request_id()
    execution = execution_of(error)
    data: bytes | None = None
    if isinstance(error, ApplicationError):
        try:
            data = encode(dump(error.data))
        except (InvalidValue, RecursionError) as problem:
            # The function failed either way; say why its data could not be sent.
            error = FunctionError(f"The data of {type(error).__name__} can't be sent: {problem}").with_traceback(
                error.__traceback__
            )
    head = f"[Request ID: {request_id}] Server Error"
    overloaded = isinstance(error, Unavailable)
    whole = text = uncaught_text(error, data, root)
    if isinstance(error, StoreError):
        # Our disk's troubles are not for clients; the operator has them in the server's log.
        text = "Your request couldn't be completed. Try again later."
    failure = Failure(
        message=head if redact and not isinstance(error, Unavailable | PermissionDenied) else f"{head}\n{text}",
        data=data,
        log_lines=() if redact else line_texts(execution.log_lines),
        code=error.code if isinstance(error, ReactorError) else "Uncaught",
        overloaded=overloaded,
        journal=execution.journal,
    )
    return failure, whole


def uncaught_text(error: BaseException, data: bytes | None = None, root: Path | None = None) -> str:
    """The message and the user's own frames, innermost first."""
    frames = _frames(error, root)
    message = _message(error, data, bool(frames))
    return message + "".join(f"\n    at {frame}" for frame in frames) + ("\n" if frames else "")


def _message(error: BaseException, data: bytes | None, in_user_code: bool) -> str:
    if isinstance(error, ApplicationError):
        if error.code == "InvalidCursor":
            return f"Uncaught ConvexError: {error}"
        return f"Uncaught ConvexError: {_data_text(error.data, data)}"
    text = str(error)
    if isinstance(error, ReactorError):
        plain = error.code in _PLAIN_CODES or isinstance(error, InvalidArguments | InvalidResult)
        if plain or not in_user_code:
            return text
        if isinstance(error, LimitExceeded) or type(error) is ReactorError:
            return f"Uncaught Error: {text}"
    return f"Uncaught {type(error).__name__}: {text}" if text else f"Uncaught {type(error).__name__}"


def _data_text(value: Any, data: bytes | None) -> str:
    text = value if isinstance(value, str) else (data or b"null").decode()
    return text if len(text) <= _MAX_DATA_CHARS else text[:_MAX_DATA_CHARS] + "[...truncated]"


def _frames(error: BaseException, root: Path | None) -> list[str]:
    """The frames of user code, innermost first: below the one that called it, neither ours nor the standard library's."""
    inside = None if root is None else str(root) + os.sep
    frames: list[str] = []
    called = False
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        file = code.co_filename
        if file.startswith((_PACKAGE, "<frozen")):
            called = called or file in _CALLERS
            continue
        if not called:
            continue
        if file.startswith(_STDLIB) and "site-packages" not in file:
            continue
        shown = file.removeprefix(inside) if inside is not None else file
        frames.append(f"{code.co_qualname} ({shown}:{line})")
    frames.reverse()
    return frames[:_MAX_FRAMES]
