"""Functions as user code declares them: the decorators, the typed objects they make, and what the loader knows about each.

A decorated function is a reference to itself: calling it runs the plain handler in the same transaction, passing it to
`ctx.run_query` and friends runs it as a call of its own. Nothing here looks at annotations; that happens when an app loads,
because annotations may name classes of modules that are still being imported.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, Literal, ParamSpec, TypeVar, overload

from reactor.errors import SchemaError

if TYPE_CHECKING:
    from reactor.runtime.actions import ActionCtx
    from reactor.runtime.contexts import MutationCtx, QueryCtx
    from reactor.schema.codec import Codec
    from reactor.schema.signature import ArgumentsCodec

__all__ = [
    "Action",
    "Function",
    "FunctionKind",
    "Mutation",
    "Query",
    "RegisteredFunction",
    "action",
    "internal_action",
    "internal_mutation",
    "internal_query",
    "mutation",
    "query",
    "source_of",
]

FunctionKind = Literal["query", "mutation", "action"]

C_contra = TypeVar("C_contra", contravariant=True)
P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Function(Generic[C_contra, P, R_co]):
    """A declared function. Call it with a `ctx` to run the handler within the caller's own transaction, unvalidated."""

    kind: FunctionKind
    """Set by the subclass."""

    def __init__(
        self,
        handler: Callable[Concatenate[C_contra, P], Coroutine[Any, Any, R_co]],
        *,
        is_internal: bool = False,
        name: str | None = None,
        args: Any = None,
        returns: Any = None,
    ) -> None:
        """`name` is the exported name, verbatim; `args` and `returns` are explicit validators (see `reactor.v`).

        Raises SchemaError when the handler is not an `async def`.
        """
        _check_handler(handler, self.kind)
        self.handler = handler
        self.is_internal = is_internal
        self.name = name
        self.args = args
        self.returns = returns
        self.path: str | None = None
        """`module/sub:function` once an app has loaded it."""
        functools.update_wrapper(self, handler)

    def __call__(self, ctx: C_contra, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        return self.handler(ctx, *args, **kwargs)

    def __str__(self) -> str:
        return self.path or f"{self.__module__}.{getattr(self, '__qualname__', '?')}"

    def __repr__(self) -> str:
        internal = "internal " if self.is_internal else ""
        return f"<{internal}{self.kind} {self}>"


class Query(Function[C_contra, P, R_co]):
    """Reads the database at one point in time; clients may subscribe to it."""

    kind: FunctionKind = "query"


class Mutation(Function[C_contra, P, R_co]):
    """Reads and writes the database in one transaction."""

    kind: FunctionKind = "mutation"


class Action(Function[C_contra, P, R_co]):
    """Does anything at all, and reaches the database through queries and mutations."""

    kind: FunctionKind = "action"


class RegisteredFunction:
    """A function of a loaded app: all that a call needs, worked out once."""

    __slots__ = ("arguments", "file", "function", "handler", "is_internal", "kind", "line", "module", "name", "path", "returns", "usual_s")  # fmt: skip

    def __init__(
        self,
        function: Function[Any, ..., Any],
        path: str,
        arguments: ArgumentsCodec,
        returns: Codec,
    ) -> None:
        self.function = function
        self.path = path
        """`module/sub:function`, as clients write it."""
        self.module, _, self.name = path.partition(":")
        self.kind: FunctionKind = function.kind
        self.is_internal = function.is_internal
        handler = function.handler
        # A wrapper that is no coroutine function itself must run where user code runs, not where it is called.
        self.handler = handler if inspect.iscoroutinefunction(handler) else _through(handler)
        self.arguments = arguments
        self.returns = returns
        self.file, self.line = source_of(function.handler)
        self.usual_s = 0.0
        """How long it usually runs, in seconds: a moving average, kept by who runs it."""

    @property
    def stored_path(self) -> str:
        """The path as errors show it: `messages.js:list`."""
        return f"{self.module}.js:{self.name}"

    def __repr__(self) -> str:
        return f"<{self.kind} {self.path}>"


def _through(handler: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def call(ctx: Any, /, **kwargs: Any) -> Any:
        return await handler(ctx, **kwargs)

    return call


def source_of(handler: Callable[..., Any]) -> tuple[str, int]:
    """The file and line where a handler, below all its wrappers, is written."""
    code = getattr(inspect.unwrap(handler), "__code__", None)
    return ("?", 0) if code is None else (code.co_filename, code.co_firstlineno)


def _check_handler(handler: Any, kind: str) -> None:
    inner = inspect.unwrap(handler) if callable(handler) else handler
    if isinstance(handler, Function):
        file, line = source_of(handler.handler)
        name = getattr(handler, "__qualname__", "?")
        raise SchemaError(f"{file}:{line}: {name} is decorated twice: one of @query, @mutation, @action is enough.")
    if not callable(handler):
        raise SchemaError(f"@{kind} goes on an async function, not on {handler!r}.")
    if inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(handler):
        return
    file, line = source_of(handler)
    name = getattr(inner, "__qualname__", repr(inner))
    if inspect.isasyncgenfunction(inner):
        what = "must return its result once; it can't yield"
    else:
        what = f"must be a coroutine: write `async def {getattr(inner, '__name__', 'handler')}(ctx, …)`"
    raise SchemaError(f"{file}:{line}: {kind} {name} {what}.")


_Options = Mapping[str, Any]


def _declare(cls: Callable[..., Any], is_internal: bool, handler: Any, options: dict[str, Any]) -> Any:
    if handler is not None:
        return cls(handler, is_internal=is_internal)
    return lambda handler: cls(handler, is_internal=is_internal, **options)


_NO_HANDLER: Final[Any] = None


@overload
def query(handler: Callable[Concatenate[QueryCtx, P], Coroutine[Any, Any, R]], /) -> Query[QueryCtx, P, R]: ...
@overload
def query(
    *, name: str | None = None, args: Any = None, returns: Any = None
) -> Callable[[Callable[Concatenate[QueryCtx, P], Coroutine[Any, Any, R]]], Query[QueryCtx, P, R]]: ...
def query(handler: Any = _NO_HANDLER, /, **options: Any) -> Any:
    """Declare a public query. `name` overrides the exported name; `args` and `returns` the annotations."""
    return _declare(Query, False, handler, options)


@overload
def internal_query(handler: Callable[Concatenate[QueryCtx, P], Coroutine[Any, Any, R]], /) -> Query[QueryCtx, P, R]: ...
@overload
def internal_query(
    *, name: str | None = None, args: Any = None, returns: Any = None
) -> Callable[[Callable[Concatenate[QueryCtx, P], Coroutine[Any, Any, R]]], Query[QueryCtx, P, R]]: ...
def internal_query(handler: Any = _NO_HANDLER, /, **options: Any) -> Any:
    """Declare a query that only other functions, the scheduler and the operator may call."""
    return _declare(Query, True, handler, options)


@overload
def mutation(
    handler: Callable[Concatenate[MutationCtx, P], Coroutine[Any, Any, R]], /
) -> Mutation[MutationCtx, P, R]: ...
@overload
def mutation(
    *, name: str | None = None, args: Any = None, returns: Any = None
) -> Callable[[Callable[Concatenate[MutationCtx, P], Coroutine[Any, Any, R]]], Mutation[MutationCtx, P, R]]: ...
def mutation(handler: Any = _NO_HANDLER, /, **options: Any) -> Any:
    """Declare a public mutation. Options as for `query`."""
    return _declare(Mutation, False, handler, options)


@overload
def internal_mutation(
    handler: Callable[Concatenate[MutationCtx, P], Coroutine[Any, Any, R]], /
) -> Mutation[MutationCtx, P, R]: ...
@overload
def internal_mutation(
    *, name: str | None = None, args: Any = None, returns: Any = None
) -> Callable[[Callable[Concatenate[MutationCtx, P], Coroutine[Any, Any, R]]], Mutation[MutationCtx, P, R]]: ...
def internal_mutation(handler: Any = _NO_HANDLER, /, **options: Any) -> Any:
    """Declare a mutation that only other functions, the scheduler and the operator may call."""
    return _declare(Mutation, True, handler, options)


@overload
def action(handler: Callable[Concatenate[ActionCtx, P], Coroutine[Any, Any, R]], /) -> Action[ActionCtx, P, R]: ...
@overload
def action(
    *, name: str | None = None, args: Any = None, returns: Any = None
) -> Callable[[Callable[Concatenate[ActionCtx, P], Coroutine[Any, Any, R]]], Action[ActionCtx, P, R]]: ...
def action(handler: Any = _NO_HANDLER, /, **options: Any) -> Any:
    """Declare a public action. Options as for `query`."""
    return _declare(Action, False, handler, options)


@overload
def internal_action(
    handler: Callable[Concatenate[ActionCtx, P], Coroutine[Any, Any, R]], /
) -> Action[ActionCtx, P, R]: ...
@overload
def internal_action(
    *, name: str | None = None, args: Any = None, returns: Any = None
) -> Callable[[Callable[Concatenate[ActionCtx, P], Coroutine[Any, Any, R]]], Action[ActionCtx, P, R]]: ...
def internal_action(handler: Any = _NO_HANDLER, /, **options: Any) -> Any:
    """Declare an action that only other functions, the scheduler and the operator may call."""
    return _declare(Action, True, handler, options)
