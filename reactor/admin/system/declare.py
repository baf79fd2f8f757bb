"""How a `_system/…` function is declared: by the path that tools call it by, internal, with checked arguments."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from reactor.runtime.builtin import SYSTEM_PREFIX, builtin
from reactor.runtime.registry import internal_action, internal_mutation, internal_query
from reactor.schema import v
from reactor.schema.validators import OptionalField, Validator

__all__ = ["system_action", "system_mutation", "system_query"]

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])


def system_query(path: str, args: Mapping[str, Validator | OptionalField] | None = None) -> Callable[[F], F]:
    """Declare a query at `_system/{path}`, like `cli/tables:default`. Arguments arrive as keywords in snake_case."""

    def declare(handler: F) -> F:
        builtin(internal_query(args=dict(args or {}), returns=v.any())(handler), path, SYSTEM_PREFIX)
        return handler

    return declare


def system_action(path: str, args: Mapping[str, Validator | OptionalField] | None = None) -> Callable[[F], F]:
    """Declare an action at `_system/{path}`; see `system_query`. For what is in memory only, and changes without commits."""

    def declare(handler: F) -> F:
        builtin(internal_action(args=dict(args or {}), returns=v.any())(handler), path, SYSTEM_PREFIX)
        return handler

    return declare


def system_mutation(path: str, args: Mapping[str, Validator | OptionalField] | None = None) -> Callable[[F], F]:
    """Declare a mutation at `_system/{path}`; see `system_query`."""

    def declare(handler: F) -> F:
        builtin(internal_mutation(args=dict(args or {}), returns=v.any())(handler), path, SYSTEM_PREFIX)
        return handler

    return declare
