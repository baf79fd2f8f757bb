"""Naming functions: paths like `module/sub:function`, and the `api` and `internal` proxies for ported code."""

from __future__ import annotations

import re
from typing import Any, Final

from reactor.errors import FunctionError
from reactor.limits import FUNCTION_PATH_MAX_CHARS
from reactor.runtime.registry import Function
from reactor.schema.naming import camel

__all__ = ["FunctionProxy", "Reference", "api", "internal", "parse_path", "python_paths", "reference_path"]

_MODULE_PART: Final = re.compile(r"[A-Za-z0-9_.]{1,64}", re.ASCII)
_FUNCTION_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


class FunctionProxy:
    """`api.messages.list_by_project` stands for "messages:listByProject". Any attribute is allowed; a wrong path shows when it is called."""

    __slots__ = ("_parts",)

    def __init__(self, parts: tuple[str, ...] = ()) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> FunctionProxy:
        # Tools that probe objects (copy, pickle, mocks) must not take a proxy for something it isn't.
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return FunctionProxy((*self._parts, camel(name)))

    def __getitem__(self, name: str) -> FunctionProxy:
        """A part that is no Python identifier, or is wanted verbatim."""
        return FunctionProxy((*self._parts, name))

    def __str__(self) -> str:
        *modules, name = self._parts or ("",)
        return f"{'/'.join(modules)}:{name}" if modules else name

    def __repr__(self) -> str:
        return f"<reference {self}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FunctionProxy) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)


api: Final[Any] = FunctionProxy()
"""References by path for code ported from JavaScript: `api.messages.list`."""
internal: Final[Any] = FunctionProxy()
"""The same as `api`; whether a function is internal is decided where it is declared."""

Reference = Function[Any, ..., Any] | FunctionProxy | str
"""Whatever names a function."""


def parse_path(text: str) -> str:
    """The canonical `module/sub:function` of a path: without `.js`, with `default` where no function is named.

    Raises FunctionError (code BadConvexFunctionIdentifier) for what can't be a path.
    """
    module, colon, name = text.partition(":")
    if module.endswith(".js"):
        module = module[:-3]
    if not colon:
        name = "default"
    parts = module.split("/")
    if (
        len(text) > FUNCTION_PATH_MAX_CHARS
        or not _FUNCTION_NAME.fullmatch(name)
        or not all(_MODULE_PART.fullmatch(part) and any(c.isalnum() for c in part) for part in parts)
    ):
        raise FunctionError(
            f"{text[:200]} is not a valid path to a Convex function. Paths are like `messages:list` or `folder/messages:list`.",
            code="BadConvexFunctionIdentifier",
        )
    return f"{module}:{name}"


def python_paths(text: str) -> list[str]:
    """What a path may mean that names a Python file: `functions/deep_tools.py:list_all`, with or without the folder.

    The folder alone is enough, too. None at all for other paths.
    """
    module, colon, name = text.partition(":")
    inside = module.removeprefix("functions/")
    is_file = inside.endswith(".py")
    if inside == module and not is_file:
        return []
    inside = inside.removesuffix(".py").removesuffix(".js")
    name = name if colon else "default"
    names = dict.fromkeys([name, camel(name)])
    return [f"{'/'.join(map(camel, inside.split('/'))) if is_file else inside}:{name}" for name in names]


def reference_path(reference: Any) -> str:
    """The path that a function object, proxy or string names. Raises FunctionError."""
    if isinstance(reference, Function):
        if reference.path is None:
            raise FunctionError(
                f"{reference!r} is not part of the app: it has to stand in a module of the `functions` package under a "
                "name of its own."
            )
        return reference.path
    if isinstance(reference, str):
        return parse_path(reference)
    if isinstance(reference, FunctionProxy):
        return parse_path(str(reference))
    raise FunctionError(
        f'A function is named by the decorated function itself or by its path, as in "messages:list"; got {reference!r}.'
    )
