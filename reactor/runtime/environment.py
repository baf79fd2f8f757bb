"""Environment variables of the deployment, typed: `class Env(Environment): SUPPORT_EMAIL: str | None = None`.

`ctx.env(Env)` reads lazily, and every variable that a query reads becomes a dependency of its result. `Env()` while an
app loads (in `auth_config.py`) reads the deployment's variables, which load the app again when they change; anywhere else it
reads `os.environ`.
"""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeVar, Union, get_args, get_origin

from reactor.errors import FunctionError, SchemaError

__all__ = ["ContextEnvironment", "Environment", "loading_with"]

E = TypeVar("E", bound="Environment")
Lookup = Callable[[str], "str | None"]

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off", ""})
_REQUIRED: Final[Any] = object()


_LOADING: Final[contextvars.ContextVar[Lookup | None]] = contextvars.ContextVar("reactor_loading", default=None)


@contextlib.contextmanager
def loading_with(lookup: Lookup) -> Iterator[set[str]]:
    """While an app loads inside, `Env()` reads through `lookup`. Gives the names that were read; it grows meanwhile."""
    read: set[str] = set()
    loading = True

    def noted(name: str) -> str | None:
        if loading:
            read.add(name)
        return lookup(name)

    token = _LOADING.set(noted)
    try:
        yield read
    finally:
        loading = False
        _LOADING.reset(token)


class Environment:
    """Base of classes that list variables: `NAME: type`, with a default where it may be missing.

    Types: `str`, `int`, `float`, `bool`, a `Literal` of strings, each also `| None`.
    """

    _reactor_variables: ClassVar[dict[str, Any]] = {}
    """Defaults by name; a marker where there is none."""
    _lookup: Lookup

    def __init__(self, lookup: Lookup | None = None) -> None:
        self.__dict__["_lookup"] = lookup or _LOADING.get() or os.environ.get
        self.__dict__["_types"] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        variables = dict(cls._reactor_variables)
        for name in _annotated(cls):
            if not name.startswith("_"):
                variables[name] = cls.__dict__.get(name, _REQUIRED)
                if name in cls.__dict__:
                    delattr(cls, name)  # so that __getattr__ is asked
        cls._reactor_variables = variables

    if not TYPE_CHECKING:  # checkers see the annotations, and flag all other names

        def __getattr__(self, name: str) -> Any:
            return self._read(name)

    def _read(self, name: str) -> Any:
        variables = type(self)._reactor_variables
        if name not in variables:
            raise AttributeError(
                f"{type(self).__name__} has no variable {name!r}: it lists {', '.join(variables) or 'none'}"
            )
        text = self._lookup(name)
        if text is None:
            if variables[name] is _REQUIRED:
                raise FunctionError(
                    f"The environment variable {name} is not set. Set it (`reactor env set {name} …`), or give it a default "
                    f"in {type(self).__name__}.",
                    code="EnvironmentVariableMissing",
                )
            return variables[name]
        return _convert(name, text, self._hint(name))

    def _hint(self, name: str) -> Any:
        hints = self.__dict__["_types"]
        if hints is None:
            hints = self.__dict__["_types"] = typing.get_type_hints(type(self))
        return hints[name]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("environment variables can't be changed from functions")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(type(self)._reactor_variables)}>"


def _annotated(cls: type) -> Iterator[str]:
    try:
        annotations = inspect.get_annotations(cls)
    except NameError as error:
        raise SchemaError(f"{cls.__qualname__}: {error}") from error
    for name in annotations:
        if name != "_lookup" and not name.startswith("_reactor"):
            yield name


def _convert(name: str, text: str, hint: Any) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        hint = next((member for member in get_args(hint) if member is not type(None)), str)
        origin = get_origin(hint)
    try:
        if hint is bool:
            lower = text.strip().lower()
            if lower not in _TRUE and lower not in _FALSE:
                raise ValueError(text)
            return lower in _TRUE
        if hint in (int, float):
            return hint(text)
    except ValueError:
        raise FunctionError(
            f"The environment variable {name} should be {_named(hint)}, but is {text!r}.",
            code="EnvironmentVariableInvalid",
        ) from None
    if origin is Literal and text not in get_args(hint):
        raise FunctionError(
            f"The environment variable {name} should be one of {', '.join(map(repr, get_args(hint)))}, but is {text!r}.",
            code="EnvironmentVariableInvalid",
        )
    return text


def _named(hint: Any) -> str:
    return {"bool": "true or false", "int": "a whole number", "float": "a number"}[hint.__name__]


class ContextEnvironment:
    """`ctx.env`: call it with an `Environment` class, or use `.get(name)`."""

    __slots__ = ("_lookup",)

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def __call__(self, environment: type[E], /) -> E:
        return environment(self._lookup)

    def get(self, name: str, default: str | None = None, /) -> str | None:
        """One variable by its name, as text."""
        value = self._lookup(name)
        return default if value is None else value

    def __getitem__(self, name: str) -> str:
        value = self._lookup(name)
        if value is None:
            raise FunctionError(f"The environment variable {name} is not set.", code="EnvironmentVariableMissing")
        return value
