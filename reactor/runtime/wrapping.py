"""Functions with something in common: how wrappers around handlers are written, so that the loader and checkers see through.

    def tenant_query(
        handler: Callable[Concatenate[TenantCtx, P], Coroutine[Any, Any, R]],
    ) -> Query[QueryCtx, Concatenate[str, P], R]:
        @query
        @wraps(handler)
        async def wrapper(ctx: QueryCtx, tenant: str, *args: P.args, **kwargs: P.kwargs) -> R:
            return await handler(TenantCtx(ctx, tenant), *args, **kwargs)

        return wrapper

A function's arguments are then the wrapper's own (after the ctx) and the handler's, all validated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

__all__ = ["wraps"]

W = TypeVar("W", bound=Callable[..., Any])

_ASSIGNED: Final = tuple(
    name for name in functools.WRAPPER_ASSIGNMENTS if name not in ("__annotations__", "__annotate__", "__type_params__")
)


def wraps(handler: Callable[..., Any], /) -> Callable[[W], W]:
    """Like `functools.wraps`, except that the wrapper keeps its own annotations.

    They say what its own parameters are: arguments that clients pass beside the handler's, and that the wrapper consumes.
    """

    def decorate(wrapper: W) -> W:
        return functools.wraps(handler, assigned=_ASSIGNED)(wrapper)  # type: ignore[return-value]

    return decorate
