"""Handlers' signatures: arguments and results (server-semantics 4.2 and 4.3; checklist 6 and 7)."""

from __future__ import annotations

import functools
import json
import sys
from typing import Any, Literal

import pytest
from msgspec import UNSET, UnsetType

from reactor.errors import InvalidArguments, InvalidValue, SchemaError
from reactor.schema import v
from reactor.schema.hints import keep_locals
from reactor.schema.ids import Fields, Id
from reactor.schema.signature import check_handler
from reactor.schema.structs import Struct
from reactor.schema.validators import Float64
from tests.unit.schema.samples import MESSAGE_ID, PROJECT_ID, SCHEMA, Message, Project, resolve

WHOLE = Float64(integral=True)


async def list_by_project(
    ctx: Any, project_id: Id[Project], limit: int = 50, role: Literal["USER"] | None = None
) -> list[Message]:
    return []


LIST = SCHEMA.arguments_of(list_by_project)


def test_parameters_are_fields_with_converted_names_and_their_defaults() -> None:
    assert LIST.validator == v.object(
        {"projectId": v.id("projects"), "limit": v.optional(WHOLE), "role": v.optional(v.literal("USER"))}
    )
    assert LIST.parameters == {"project_id": "projectId", "limit": "limit", "role": "role"}


def test_arguments_become_keywords_with_the_handlers_defaults() -> None:
    raw = json.dumps({"projectId": PROJECT_ID}).encode()
    assert LIST.decode(raw, resolve) == {"project_id": PROJECT_ID, "limit": 50, "role": None}


@pytest.mark.parametrize(
    ("given", "text", "path"),
    [
        ({}, "Object is missing the required field `projectId`", ""),
        ({"projectId": PROJECT_ID, "limit": "3"}, "Value does not match validator.", ".limit"),
        (
            {"projectId": PROJECT_ID, "role": None},
            '`null` does not match literal validator `v.literal("USER")`',
            ".role",
        ),
        ({"projectId": MESSAGE_ID}, "Found ID", ".projectId"),
        ({"projectId": PROJECT_ID, "more": 1}, "Object contains extra field `more`", ""),
        ({"project_id": PROJECT_ID}, "Object is missing the required field `projectId`", ""),
    ],
)
def test_wrong_arguments_are_reported_before_the_handler_runs(given: Any, text: str, path: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        LIST.decode(json.dumps(given).encode(), resolve)
    assert str(caught.value).startswith(text)
    assert caught.value.path == path
    assert caught.value.code == "ArgumentValidationError"


@pytest.mark.parametrize("raw", [b"[]", b"3", b'"x"', b"null"])
def test_arguments_that_are_no_object_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidArguments, match="Expected to receive an object as the function's argument"):
        LIST.decode(raw, resolve)


def test_malformed_json_is_an_argument_error_too() -> None:
    with pytest.raises(InvalidArguments):
        LIST.decode(b"{", resolve)


def test_a_python_call_is_encoded_with_wire_names() -> None:
    raw = LIST.encode((), {"project_id": PROJECT_ID, "limit": 3}, resolve)
    assert json.loads(raw) == {"projectId": PROJECT_ID, "limit": 3}


def test_positional_arguments_are_bound_like_python_does() -> None:
    assert json.loads(LIST.encode((PROJECT_ID, 3), {}, resolve))["limit"] == 3
    with pytest.raises(InvalidArguments, match="takes 3 positional arguments but 4 were given"):
        LIST.encode((PROJECT_ID, 3, "USER", 4), {}, resolve)
    with pytest.raises(InvalidArguments, match="several values for the argument 'project_id'"):
        LIST.encode((PROJECT_ID,), {"project_id": PROJECT_ID}, resolve)


def test_none_for_a_parameter_whose_default_is_none_means_absent() -> None:
    raw = LIST.encode((), {"project_id": PROJECT_ID, "limit": 3, "role": None}, resolve)
    assert json.loads(raw) == {"projectId": PROJECT_ID, "limit": 3}
    assert json.loads(LIST.encode_mapping({"projectId": PROJECT_ID, "role": None}, resolve)) == {
        "projectId": PROJECT_ID
    }


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ({}, "missing the required field `projectId`"),
        ({"project_id": PROJECT_ID, "limit": "x"}, "does not match validator"),
        ({"project_id": MESSAGE_ID}, "Found ID"),
        ({"project_id": object()}, "not a supported value"),
        ({"projct_id": PROJECT_ID}, "has no parameter 'projct_id'. Did you mean 'project_id'"),
        ({"projectId": PROJECT_ID}, "has no parameter 'projectId'"),
    ],
)
def test_wrong_python_calls_are_reported(call: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArguments, match=text):
        LIST.encode((), call, resolve)


def test_mappings_may_use_either_name_but_not_both() -> None:
    for name in ("project_id", "projectId"):
        assert json.loads(LIST.encode_mapping({name: PROJECT_ID}, resolve)) == {"projectId": PROJECT_ID}
    with pytest.raises(InvalidArguments, match="given twice"):
        LIST.encode_mapping({"project_id": PROJECT_ID, "projectId": PROJECT_ID}, resolve)
    with pytest.raises(InvalidArguments, match="has no parameter"):
        LIST.encode_mapping({"other": 1}, resolve)
    with pytest.raises(InvalidArguments, match=r"must be an object\. Received: list"):
        LIST.encode_mapping([], resolve)  # type: ignore[arg-type]


def test_a_handler_without_parameters_takes_the_empty_object() -> None:
    async def ping(ctx: Any) -> None: ...

    codec = SCHEMA.arguments_of(ping)
    assert codec.decode(b"{}", resolve) == {}
    assert codec.encode((), {}, resolve) == b"{}"
    with pytest.raises(InvalidArguments, match="extra field `a`"):
        codec.decode(b'{"a":1}', resolve)
    with pytest.raises(InvalidArguments, match=r"has no parameter 'a'.* Its parameters: none"):
        codec.encode((), {"a": 1}, resolve)


class Options(Struct):
    sort_by: str
    deep: bool = False


def test_structs_documents_and_untyped_parameters() -> None:
    async def search(ctx: Any, options: Options, draft: Fields[Message], extra=None, tag: str | UnsetType = UNSET): ...

    codec = SCHEMA.arguments_of(search)
    raw = json.dumps(
        {"options": {"sortBy": "x"}, "draft": {"projectId": PROJECT_ID, "content": "c", "role": "USER"}, "extra": [1.0]}
    ).encode()
    keywords = codec.decode(raw, resolve)
    assert keywords["options"] == Options(sort_by="x")
    assert keywords["draft"].content == "c"
    assert keywords["extra"] == [1]
    assert keywords["tag"] is UNSET
    again = codec.encode((), keywords, resolve)
    assert codec.decode(again, resolve) == keywords


def test_names_of_parameters_follow_the_naming_rule() -> None:
    async def pick(ctx: Any, from_: str, aws_s3key: str, /, *, list_: list[str]) -> None: ...

    codec = SCHEMA.arguments_of(pick)
    assert list(codec.parameters.values()) == ["from", "awsS3key", "list"]


def test_parameters_that_collide_are_an_error() -> None:
    async def pick(ctx: Any, user_id: str, userId: str) -> None: ...

    with pytest.raises(SchemaError, match="are both 'userId'"):
        SCHEMA.arguments_of(pick)


@pytest.mark.parametrize("source", ["*names", "**names"])
def test_star_parameters_need_explicit_validators(source: str) -> None:
    names: dict[str, Any] = {}
    exec(f"async def pick(ctx, {source}): ...", names)
    with pytest.raises(SchemaError, match="does not say which arguments"):
        SCHEMA.arguments_of(names["pick"])


def test_an_annotation_without_meaning_names_function_and_parameter() -> None:
    async def pick(ctx: Any, names: set[str]) -> None: ...

    with pytest.raises(SchemaError, match=r"pick\(names\): set\[str\] can't be used here; write `list\[T\]`"):
        SCHEMA.arguments_of(pick)


# --- explicit validators --------------------------------------------------------------------------------------------


def test_explicit_validators_name_arguments_as_they_are() -> None:
    async def send(ctx: Any, from_id, to_whom, note=None): ...

    codec = SCHEMA.arguments_of(
        send, args={"from_id": v.number(), "toWhom": v.string(), "note": v.optional(v.nullable(v.string()))}
    )
    assert codec.decode(b'{"from_id":1,"toWhom":"x","note":null}', resolve) == {
        "from_id": 1,
        "to_whom": "x",
        "note": None,
    }
    assert json.loads(codec.encode((), {"from_id": 1, "to_whom": "x", "note": None}, resolve)) == {
        "from_id": 1,
        "toWhom": "x",
        "note": None,
    }
    assert json.loads(codec.encode_mapping({"from_id": 1, "toWhom": "x"}, resolve)) == {"from_id": 1, "toWhom": "x"}
    with pytest.raises(InvalidArguments, match="missing the required field"):
        codec.decode(b"{}", resolve)
    with pytest.raises(InvalidArguments, match="Instead received: 3"):
        codec.decode(b"3", resolve)


def test_keywords_take_what_no_parameter_names() -> None:
    async def send(ctx: Any, a: str, **rest: Any) -> None: ...

    codec = SCHEMA.arguments_of(send, args={"a": v.string(), "snake_case": v.number()})
    assert codec.decode(b'{"a":"x","snake_case":1}', resolve) == {"a": "x", "snake_case": 1}
    free = SCHEMA.arguments_of(send, args=v.any())
    assert free.decode(b'{"a":"x","what ever":1}', resolve) == {"a": "x", "what ever": 1}
    assert json.loads(free.encode((), {"a": 1, "b_c": 2}, resolve)) == {"a": 1, "b_c": 2}


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (v.string(), "Args validator must be an object or any"),
        (v.union(v.object({})), "Args validator must be an object or any"),
        ({"b": v.string()}, "parameter 'a' is not among args"),
        ({"a": v.string(), "b": v.string()}, "args has 'b', but no parameter takes it"),
        ({"a": str}, "must be validators"),
        (3, "args is a dict of validators"),
    ],
)
def test_explicit_validators_that_do_not_fit_the_handler_are_an_error(args: Any, text: str) -> None:
    async def send(ctx: Any, a: str) -> None: ...

    with pytest.raises(SchemaError, match=text):
        SCHEMA.arguments_of(send, args=args)


# --- results --------------------------------------------------------------------------------------------------------


def test_results_follow_the_return_annotation() -> None:
    codec = SCHEMA.returns_of(list_by_project)
    assert codec.validator == v.array(SCHEMA.tables["messages"].document_validator)
    assert codec.encode([], resolve) == b"[]"
    with pytest.raises(InvalidValue):
        codec.encode(None, resolve)


def test_no_annotation_means_anything() -> None:
    async def anything(ctx): ...

    codec = SCHEMA.returns_of(anything)
    assert codec.validator == v.any()
    assert codec.encode(None, resolve) == b"null"


def test_explicit_returns_win_over_the_annotation() -> None:
    codec = SCHEMA.returns_of(list_by_project, v.null())
    assert codec.encode(None, resolve) == b"null"
    assert SCHEMA.returns_of(list_by_project, {"a": v.string()}).validator == v.object({"a": v.string()})
    with pytest.raises(SchemaError, match="returns is a validator"):
        SCHEMA.returns_of(list_by_project, str)  # type: ignore[arg-type]


def test_an_error_in_the_return_annotation_says_so() -> None:
    async def broken(ctx: Any) -> tuple[int, str]: ...

    with pytest.raises(SchemaError, match=r"broken → result: tuple\[int, str\] can't be used here"):
        SCHEMA.returns_of(broken)


def test_classes_of_the_function_around_a_handler_are_found_when_it_was_remembered() -> None:
    class Local(Struct):
        a: str

    async def show(ctx: Any, local: Local) -> Local:
        return local

    with pytest.raises(SchemaError, match="name 'Local' is not defined"):
        SCHEMA.arguments_of(show)
    keep_locals(show, sys._getframe())
    assert SCHEMA.arguments_of(show).validator == v.object({"local": v.object({"a": v.string()})})
    assert SCHEMA.returns_of(show).validator == v.object({"a": v.string()})


# --- handlers -------------------------------------------------------------------------------------------------------


def test_wrappers_that_use_functools_wraps_are_seen_through() -> None:
    def logged(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

        return wrapper

    wrapped = logged(list_by_project)
    check_handler(wrapped)
    assert SCHEMA.arguments_of(wrapped).validator == LIST.validator
    assert SCHEMA.returns_of(wrapped).validator == SCHEMA.returns_of(list_by_project).validator


def test_a_handler_must_be_a_coroutine_with_a_context() -> None:
    def sync(ctx: Any) -> None: ...

    async def bare() -> None: ...

    async def keyword(*, ctx: Any) -> None: ...

    async def generator(ctx: Any) -> Any:
        yield 1

    with pytest.raises(SchemaError, match="async def sync"):
        check_handler(sync)
    with pytest.raises(SchemaError, match="context as its first parameter"):
        check_handler(bare)
    with pytest.raises(SchemaError, match="context as its first parameter"):
        check_handler(keyword)
    with pytest.raises(SchemaError, match="generator"):
        check_handler(generator)
    check_handler(list_by_project)
