"""Functions of our own that scheduled jobs name. They are part of every app that is loaded, and called by nobody outside.

Their paths begin with `_reactor/`, which no module of a user's can, and they are internal; lists of an app's functions leave
them out (`is_builtin`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from reactor.runtime.registry import Function

__all__ = ["PREFIX", "builtin", "builtin_functions", "is_builtin"]

F = TypeVar("F", bound=Function[Any, ..., Any])

PREFIX: Final = "_reactor/"

_declared: dict[str, Function[Any, ..., Any]] = {}


def builtin(function: F, path: str) -> F:
    """Give a function a path below `_reactor/`, in every app that is loaded from now on."""
    function.path = PREFIX + path
    _declared[function.path] = function
    return function


def builtin_functions() -> Mapping[str, Function[Any, ..., Any]]:
    """Path → function, of what has been imported so far."""
    return _declared


def is_builtin(path: str) -> bool:
    """Whether a path names a function of ours."""
    return path.startswith(PREFIX)
