"""What clients get to see of failures: texts, frames, request ids, data, redaction (client-protocol 2.7, 15, 46; server-semantics 4.4, 26)."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.errors import (
    ApplicationError,
    DatabaseError,
    FunctionError,
    FunctionNotFound,
    InvalidArguments,
    InvalidResult,
    LimitExceeded,
    StoreError,
    Unavailable,
)
from reactor.limits import Limits
from reactor.runtime.failures import failure_of, new_request_id, request_id_of
from reactor.runtime.waist import Failure
from tests.unit.runtime.conftest import Project
from tests.unit.runtime.harness import Harness

FUNCTIONS = """
    from typing import Any
    from reactor import ApplicationError, LimitExceeded, QueryCtx, query

    class Forbidden(ApplicationError):
        pass

    def helper(how: str) -> None:
        match how:
            case "plain": raise ValueError("boom")
            case "empty": raise KeyError
            case "text": raise ApplicationError("no access")
            case "object": raise ApplicationError({"code": 1, "nested": [None, "x"]})
            case "none": raise ApplicationError(None)
            case "subclass": raise Forbidden("sub")
            case "not a value": raise ApplicationError({1, 2})

    @query
    async def fails(ctx: QueryCtx, how: str) -> None:
        helper(how)

    @query
    async def spins(ctx: QueryCtx) -> None:
        while True:
            pass

    @query
    async def big(ctx: QueryCtx, size: int) -> str:
        return "x" * size
"""


@pytest.fixture
async def app(project: Project) -> Harness:
    return await project({"functions/f.py": FUNCTIONS}, Limits(arguments_bytes=2000, result_bytes=2000))


async def failure(app: Harness, how: str, **options: Any) -> Failure:
    with pytest.raises(Exception) as caught:  # noqa: PT011  the kinds differ, the texts are checked
        await app.query("f:fails", how=how)
    return failure_of(caught.value, request_id="abc", root=app.loader.root, **options)


async def test_an_exception_shows_its_type_its_text_and_the_users_own_frames(app: Harness) -> None:
    assert (await failure(app, "plain")).message == (
        "[Request ID: abc] Server Error\nUncaught ValueError: boom\n"
        "    at helper (functions/f.py:9)\n    at fails (functions/f.py:19)\n"
    )
    assert (await failure(app, "empty")).message.splitlines()[1] == "Uncaught KeyError"
    assert (await failure(app, "plain")).data is None


@pytest.mark.parametrize(
    ("how", "text", "data"),
    [
        ("text", "no access", b'"no access"'),
        ("object", '{"code":1,"nested":[null,"x"]}', b'{"code":1,"nested":[null,"x"]}'),
        ("none", "null", b"null"),
        ("subclass", "sub", b'"sub"'),
    ],
)
async def test_an_application_error_carries_its_data_redacted_or_not(
    app: Harness, how: str, text: str, data: bytes
) -> None:
    """server-semantics 26, client-protocol 15, 46"""
    shown = await failure(app, how)
    assert shown.message.splitlines()[1] == f"Uncaught ConvexError: {text}"
    assert shown.data == data
    hidden = await failure(app, how, redact=True)
    assert (hidden.message, hidden.data, hidden.log_lines) == ("[Request ID: abc] Server Error", data, ())


async def test_data_that_is_no_value_is_told_and_not_sent(app: Harness) -> None:
    shown = await failure(app, "not a value")
    assert shown.data is None
    assert "The data of ApplicationError can't be sent" in shown.message


async def test_arguments_and_results_beyond_the_limit_name_both(app: Harness) -> None:
    """client-protocol 50"""
    with pytest.raises(InvalidArguments, match=r"^Arguments for f.js:fails are too large \(actual: .*, limit: .*\)$"):
        await app.query("f:fails", how="x" * 3000)
    with pytest.raises(InvalidResult, match=r"^Function f.js:big return value is too large \(actual: "):
        await app.query("f:big", size=3000)
    assert len((await app.query("f:big", size=1998)).value) == 1998


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InvalidArguments("ArgumentValidationError: Object is missing"), "ArgumentValidationError: Object is missing"),
        (FunctionNotFound("Could not find public function for 'a:b'."), "Could not find public function for 'a:b'."),
        (LimitExceeded("Function execution timed out", code="FunctionTimedOut"), "Function execution timed out"),
        (StoreError("/secret/path: disk I/O error"), "Your request couldn't be completed. Try again later."),
        (DatabaseError("Index not found"), "Index not found"),
    ],
)
def test_system_errors_are_shown_without_uncaught(error: Exception, line: str) -> None:
    assert failure_of(error, request_id="r").message == f"[Request ID: r] Server Error\n{line}"


async def test_a_timeout_in_user_code_is_no_uncaught_error(project: Project) -> None:
    app = await project({"functions/f.py": FUNCTIONS}, Limits(user_time_s=0.05))
    with pytest.raises(LimitExceeded) as caught:
        await app.query("f:spins")
    text = failure_of(caught.value, root=app.loader.root).message
    assert "Server Error\nFunction execution timed out (maximum duration: 0.05s)\n    at spins (functions/f.py:" in text


def test_overload_is_marked_as_worth_another_try() -> None:
    assert failure_of(Unavailable("busy")).overloaded
    assert not failure_of(FunctionError("x")).overloaded


def test_request_ids_are_16_hex_digits_and_those_of_sessions_are_derived() -> None:
    assert len(new_request_id()) == 16
    assert request_id_of("session", 3) == "864c04cfc89efc38"  # the first half of sha256("session|3")
    assert request_id_of("session", 3) != request_id_of("session", 4)


def test_long_data_is_cut_in_the_message_only() -> None:
    shown = failure_of(ApplicationError("x" * 20_000))
    assert "[...truncated]" in shown.message
    assert shown.data is not None
    assert len(shown.data) == 20_002
