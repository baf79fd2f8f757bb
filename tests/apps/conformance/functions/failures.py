"""Every way to fail, once per kind of function."""

from typing import Any

from reactor import ActionCtx, ApplicationError, MutationCtx, QueryCtx, action, mutation, query


def _fail(how: str) -> None:
    match how:
        case "plain":
            raise ValueError("a plain error")
        case "object":
            raise ApplicationError({"code": "BROKEN", "detail": {"n": 1.5, "list": [True, None, "x"]}})
        case "string":
            raise ApplicationError("a broken string")
        case "number":
            raise ApplicationError(42)
        case "none":
            raise ApplicationError(None)
        case "subclass":
            raise Forbidden({"code": "FORBIDDEN"})


class Forbidden(ApplicationError):
    pass


@query
async def in_query(ctx: QueryCtx, how: str) -> Any:
    print("about to fail")
    _fail(how)


@mutation
async def in_mutation(ctx: MutationCtx, how: str) -> Any:
    print("about to fail")
    _fail(how)


@action
async def in_action(ctx: ActionCtx, how: str) -> Any:
    print("about to fail")
    _fail(how)
