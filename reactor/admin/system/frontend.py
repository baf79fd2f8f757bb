"""How a `_system/frontend/…` function is declared: like any system function, for no component but the root."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from reactor.admin.system.declare import system_mutation, system_query
from reactor.admin.system.reading import COMPONENT_ID, in_transaction
from reactor.errors import DatabaseError
from reactor.runtime.contexts import QueryCtx
from reactor.schema.naming import camel
from reactor.schema.validators import OptionalField, Validator

__all__ = ["frontend_mutation", "frontend_query"]

F = TypeVar("F", bound=Callable[..., Any])
Args = Mapping[str, Validator | OptionalField]

_COMPONENT: Final = "componentId"


def frontend_query(path: str, args: Args | None = None) -> Callable[[F], F]:
    """Declare a query at `_system/frontend/{path}`. Arguments arrive as keywords in snake_case.

    A handler that is a coroutine is given `ctx`; a plain function is given the transaction, and is one operation of it.
    `componentId` is an argument of all of them; there being no components, it must be null or left out.
    """
    return partial(_declare, system_query, path, args or {})


def frontend_mutation(path: str, args: Args | None = None) -> Callable[[F], F]:
    """Declare a mutation at `_system/frontend/{path}`; see `frontend_query`. The transaction is a `WriteTransaction`."""
    return partial(_declare, system_mutation, path, args or {})


def _declare(declare: Any, path: str, args: Args, handler: F) -> F:
    names = {camel(name): name for name in inspect.signature(handler).parameters}
    is_coroutine = inspect.iscoroutinefunction(handler)

    async def run(ctx: QueryCtx, **given: Any) -> Any:
        _check_component(given.pop(_COMPONENT, None))
        arguments = {names[wire_name]: value for wire_name, value in given.items()}
        if is_coroutine:
            return await handler(ctx, **arguments)
        return in_transaction(ctx, handler, **arguments)

    declare(f"frontend/{path}", {**args, _COMPONENT: COMPONENT_ID})(run)
    return handler


def _check_component(component: str | None) -> None:
    if component:
        raise DatabaseError(
            f"There is no component {component!r}: this deployment has none. Leave `componentId` out, or send null.",
            code="ComponentNotFound",
        )
