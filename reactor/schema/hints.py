"""Annotations as users wrote them → types: own annotations of a class or a function, with forward references resolved.

Annotations are evaluated with the names of the module (and of the function) that they stand in, at first use: by then all
modules of an app have loaded. Python 3.14 keeps them unevaluated until asked; older ones may hold strings.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reactor.errors import SchemaError

__all__ = [
    "Scope",
    "UnresolvedName",
    "evaluate",
    "keep_locals",
    "own_hints",
    "scope_of_class",
    "scope_of_function",
    "signature_hints",
    "wrapper_parameters",
]


class UnresolvedName(SchemaError):
    """An annotation names something that is not defined, or not yet."""

    code = "UnresolvedName"


@dataclass(frozen=True, slots=True)
class Scope:
    """Where an annotation stands: the names that it can use, and how errors call the place."""

    names: Mapping[str, Any]
    local_names: Mapping[str, Any] | None
    where: str

    def at(self, where: str) -> Scope:
        return Scope(self.names, self.local_names, where)


def scope_of_class(cls: type) -> Scope:
    """The names that the annotations of `cls` can use."""
    names = getattr(cls, "_reactor_globals", None)
    if names is None:
        module = sys.modules.get(cls.__module__)
        names = {} if module is None else vars(module)
    local_names = dict(getattr(cls, "_reactor_locals", None) or {})
    for parameter in getattr(cls, "__type_params__", ()):
        local_names[parameter.__name__] = parameter
    local_names[cls.__name__] = cls
    return Scope(names, local_names, cls.__qualname__)


def scope_of_function(function: Callable[..., Any]) -> Scope:
    """The names that the annotations of `function` can use; its closure counts."""
    local_names: dict[str, Any] = dict(getattr(function, "_reactor_locals", None) or {})
    code, closure = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    for name, cell in zip(code.co_freevars if code else (), closure or (), strict=False):
        try:
            local_names[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for parameter in getattr(function, "__type_params__", ()):
        local_names[parameter.__name__] = parameter
    return Scope(getattr(function, "__globals__", {}), local_names, getattr(function, "__qualname__", repr(function)))


def keep_locals(function: Callable[..., Any], frame: types.FrameType) -> None:
    """Let the annotations of `function` use the names of the function that `frame` runs, in which it is being defined.

    Nothing is kept at module level. Handlers in a test's body can then name the classes of that body.
    """
    if frame.f_locals is not frame.f_globals and frame.f_code.co_name != "<module>":
        inspect.unwrap(function)._reactor_locals = dict(frame.f_locals)


def evaluate(annotation: Any, scope: Scope, extra: Mapping[str, Any] | None = None) -> Any:
    """One annotation, with all strings inside resolved. `extra` are names to fall back on.

    Raises UnresolvedName, or SchemaError for an annotation that fails in another way.
    """

    def holder() -> None: ...

    holder.__annotations__ = {"it": annotation}
    try:
        return typing.get_type_hints(holder, dict(scope.names), scope.local_names, include_extras=True)["it"]
    except NameError as error:
        if extra:
            return evaluate(annotation, Scope({**extra, **scope.names}, scope.local_names, scope.where))
        raise UnresolvedName(f"{scope.where}: {error} (in the annotation {_written(annotation)})") from error
    except Exception as error:
        raise SchemaError(f"{scope.where}: the annotation {_written(annotation)} can't be read: {error}") from error


def _written(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else repr(annotation)


def own_hints(cls: type) -> Mapping[str, Any]:
    """The annotations in the body of `cls` itself, unevaluated where Python left them so.

    Raises UnresolvedName where Python 3.14 can't evaluate them yet.
    """
    kept = cls.__dict__.get("_reactor_hints")
    if kept is not None:
        return kept
    if sys.version_info >= (3, 14):
        import annotationlib

        try:
            return annotationlib.get_annotations(cls)
        except NameError:
            # Names of the defining function's later lines, or a module half loaded: let `evaluate` report it.
            return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def signature_hints(function: Callable[..., Any]) -> tuple[inspect.Signature, Scope]:
    """The signature of the function below all `functools.wraps`, with raw annotations, and where they stand."""
    inner = inspect.unwrap(function)
    if sys.version_info >= (3, 14):
        import annotationlib

        signature = inspect.signature(inner, annotation_format=annotationlib.Format.FORWARDREF)
    else:
        signature = inspect.signature(inner)
    return signature, scope_of_function(inner)


def wrapper_parameters(function: Callable[..., Any], skip: int) -> list[tuple[inspect.Parameter, Scope]]:
    """What the wrappers around a handler take for themselves, after `skip` parameters, the outermost's first."""
    found: list[tuple[inspect.Parameter, Scope]] = []
    while (inner := getattr(function, "__wrapped__", None)) is not None:
        scope = scope_of_function(function)
        own = list(inspect.signature(function, follow_wrapped=False).parameters.values())[skip:]
        found += [
            (parameter, scope)
            for parameter in own
            if parameter.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        ]
        function = inner
    return found
