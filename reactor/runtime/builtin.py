"""Functions of our own that scheduled jobs name, or that Convex's tools call with an admin key (`_system/…`).

Every app finds them, beside its own functions (`App.find`), and none lists them. Their paths begin with `_reactor/` or
`_system/`, which no module of a user's can, and they are internal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from reactor.runtime.registry import Function

__all__ = ["PREFIX", "SYSTEM_PREFIX", "builtin", "builtin_functions"]

F = TypeVar("F", bound=Function[Any, ..., Any])

PREFIX: Final = "_reactor/"
SYSTEM_PREFIX: Final = "_system/"

_declared: dict[str, Function[Any, ..., Any]] = {}


def builtin(function: F, path: str, prefix: str = PREFIX) -> F:
    """Give a function a path below `_reactor/` (or `prefix`), in every app."""
    function.path = prefix + path
    _declared[function.path] = function
    return function


def builtin_functions() -> Mapping[str, Function[Any, ..., Any]]:
    """Path → function, of what has been imported so far."""
    return _declared
