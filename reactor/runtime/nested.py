"""How functions call functions inside one transaction, and the errors of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reactor.errors import FunctionError, InvalidArguments, InvalidResult, InvalidValue
from reactor.runtime.app import wrong_kind
from reactor.runtime.call import MAX_NESTED, Call
from reactor.runtime.driver import drive
from reactor.runtime.query_builder import OrderedQuery
from reactor.runtime.registry import Function, RegisteredFunction

__all__ = ["check_finished", "encode_call", "invalid_arguments", "invalid_result", "run_nested"]


def run_nested(
    call: Call,
    kind: str,
    make_ctx: Callable[[Call], Any],
    ref: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    budget: dict[str, int] | None,
) -> Any:
    """Run a function inside the transaction of `call`; in our turn. A mutation is a sub-transaction.

    `budget` bounds what it may use, per field of `engine.usage`. Raises what the function raises.
    """
    root = call.root
    target = root.app.resolve_reference(ref)
    if target.kind != kind:
        if root.path and target.kind == "mutation" and kind == "query":
            raise FunctionError(
                f"Cannot call a Mutation function from a Query function: {target.path} is a mutation; call it with "
                "`ctx.run_mutation`, from a mutation or an action.",
                code="InvalidFunctionCall",
            )
        if target.kind == "action":
            raise FunctionError(
                f"{target.path} is an action; queries and mutations can't run actions. Schedule it with "
                "`ctx.scheduler.run_after(0, …)`, or call it from an action.",
                code="InvalidFunctionCall",
            )
        raise wrong_kind(target, kind)
    if call.depth >= root.host.limits.nested_calls:
        raise FunctionError(MAX_NESTED, code="CallDepthLimitExceeded")
    resolve = root.tx.catalogue.table_name
    raw = encode_call(target, ref, args, kwargs, resolve)
    usage = root.tx.usage
    caps = usage.caps if budget is None else usage.narrow(budget)
    nested = Call(root, target, call.depth + 1)
    # The parent can't use its ctx meanwhile.
    thread, call.thread = call.thread, 0
    writes = kind == "mutation"
    if writes:
        root.tx.savepoint()  # type: ignore[attr-defined]
    try:
        ctx = make_ctx(nested)
        try:
            result = drive(root, target.handler(ctx, **_decode(target, raw, resolve)))
            value = _encode(target, result, resolve)
            check_finished(nested)
        finally:
            nested.thread = 0
        answer = target.returns.read(value)
        if writes:
            root.tx.release()  # type: ignore[attr-defined]
        return answer
    except BaseException:
        if writes:
            root.tx.rollback_to()  # type: ignore[attr-defined]
        raise
    finally:
        call.thread = thread
        usage.caps = caps


def encode_call(
    target: RegisteredFunction, ref: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], resolve: Any
) -> bytes:
    """The arguments of a call by reference, as bytes. Raises InvalidArguments."""
    try:
        if isinstance(ref, Function):
            return target.arguments.encode(args, kwargs, resolve)
        mapping: Mapping[str, Any] = kwargs
        if args and args[0] is not None:
            mapping = args[0]
            if kwargs or len(args) > 1:
                raise InvalidArguments("The arguments are one mapping or keywords, not both.")
        return target.arguments.encode_mapping(mapping, resolve)
    except InvalidValue as error:
        raise invalid_arguments(error) from None


def _decode(target: RegisteredFunction, raw: bytes, resolve: Any) -> dict[str, Any]:
    try:
        return target.arguments.decode(raw, resolve)
    except InvalidValue as error:
        raise invalid_arguments(error) from None


def _encode(target: RegisteredFunction, result: Any, resolve: Any) -> bytes:
    try:
        return target.returns.encode(result, resolve)
    except InvalidValue as error:
        raise invalid_result(target, result, error) from None


def check_finished(call: Call) -> None:
    """Raise FunctionError when an operation of this call was never awaited."""
    pending = call.root.pending
    if pending:
        left = [operation for operation in pending if operation.call is call]
        if left:
            for operation in left:
                operation.close()
            name = left[0].name
            raise FunctionError(
                f"{name}(…) was never awaited in {call.fn.path}, so it did not happen. Write `await {name}(…)`.",
                code="NeverAwaited",
            )


def invalid_arguments(error: InvalidValue) -> InvalidArguments:
    """The error as functions and clients see it."""
    return _prefixed(InvalidArguments, "ArgumentValidationError", error)


def invalid_result(fn: RegisteredFunction, result: Any, error: InvalidValue) -> InvalidResult:
    if isinstance(result, OrderedQuery):
        return InvalidResult(
            "Return value is a Query. Results must be retrieved with `.collect()`, `.take(n)`, `.unique()`, or `.first()`."
        )
    return _prefixed(InvalidResult, "ReturnsValidationError", error)


def _prefixed(kind: Any, prefix: str, error: InvalidValue) -> Any:
    text = str(error)
    if not text.startswith(prefix):
        text = f"{prefix}: {text}"
    return kind(text, path=error.path, expected=error.expected, got=error.got)
