"""Every error that reactor raises on purpose.

ReactorError
├── ApplicationError        raised by user code; its data reaches the client, in production too
├── InvalidValue            a value that does not fit where it stands (`path`, `expected`, `got`)
│   ├── InvalidArguments    the arguments of a function
│   ├── InvalidResult       the result of a function
│   └── InvalidDocument     a document, or what was about to become one
├── LimitExceeded           one of the numbers in `reactor.limits`
├── DocumentNotFound        patch, replace or delete of a document that is not there
├── FunctionError           an unknown function, the wrong kind, a call that makes no sense there
│   └── FunctionNotFound
├── SchemaError             a declaration (schema, signature, index) that can't work; raised when code loads
├── DatabaseError           wrong use of `ctx.db`: unknown table or index, bad id, bad range, bad cursor
├── Unavailable             starting, stopping, overloaded or out of disk; nothing happened, try again
└── StoreError              the disk or the database failed; never shown in full to a client

`code` is stable: clients and tests match on it; the text is for people. A bug of ours is none of these.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ApplicationError",
    "DatabaseError",
    "DocumentNotFound",
    "FunctionError",
    "FunctionNotFound",
    "InvalidArguments",
    "InvalidDocument",
    "InvalidResult",
    "InvalidValue",
    "LimitExceeded",
    "PermissionDenied",
    "ReactorError",
    "SchemaError",
    "StoreError",
    "Unavailable",
]


class ReactorError(Exception):
    """The root of every error in this module."""

    code: str = "InternalServerError"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        return str(self)


class ApplicationError(ReactorError):
    """Raise it to tell the client something: `data` (any value) arrives there as `ConvexError.data`.

    A transaction that it leaves is rolled back, like with any other exception. May be subclassed.
    """

    code = "ApplicationError"

    def __init__(self, data: Any = None) -> None:
        super().__init__(data if isinstance(data, str) else repr(data))
        self.data = data


class InvalidValue(ReactorError):
    """A value that does not fit. `path` is like `.body.tags[2]` ("" for the value itself)."""

    code = "InvalidValue"

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        expected: str = "",
        got: str = "",
        code: str | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.path, self.expected, self.got = path, expected, got


class InvalidArguments(InvalidValue):
    code = "ArgumentValidationError"


class InvalidResult(InvalidValue):
    code = "ReturnsValidationError"


class InvalidDocument(InvalidValue):
    code = "SchemaEnforcementError"


class LimitExceeded(ReactorError):
    """One of the numbers in `reactor.limits` was passed. `code` names it, as in `TooManyDocumentsRead`."""

    code = "LimitExceeded"


class DocumentNotFound(ReactorError):
    code = "NonexistentDocument"


class FunctionError(ReactorError):
    code = "FunctionError"


class FunctionNotFound(FunctionError):
    code = "FunctionNotFound"


class PermissionDenied(FunctionError):
    """Only the operator may do this. Shown in production, too: it tells nothing."""

    code = "PermissionDenied"


class SchemaError(ReactorError):
    code = "SchemaDefinitionError"


class DatabaseError(ReactorError):
    code = "DatabaseError"


class Unavailable(ReactorError):
    code = "Unavailable"


class StoreError(ReactorError):
    code = "StoreError"
