"""A loaded app: its functions by path and its schema, immutable; a reload makes a new one with the next generation."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal

from reactor.errors import FunctionError, FunctionNotFound, PermissionDenied
from reactor.runtime.builtin import SYSTEM_PREFIX, builtin_functions
from reactor.runtime.http_router import BoundRouter, router_of
from reactor.runtime.references import parse_path, python_paths, reference_path
from reactor.runtime.registry import RegisteredFunction
from reactor.schema.tables import SchemaDefinition, define_schema

if TYPE_CHECKING:
    from reactor.runtime.tables import TableBinding

__all__ = ["App"]

_generations: Final = itertools.count(1)


class App:
    """Functions and schema of one load. `generation` differs between any two apps of a process."""

    __slots__ = (
        "_builtins",
        "_http",
        "_resolved",
        "functions",
        "generation",
        "modules",
        "root",
        "schema",
        "tables",
        "types",
    )

    def __init__(
        self,
        functions: Mapping[str, RegisteredFunction],
        schema: SchemaDefinition | None = None,
        *,
        root: Path | None = None,
        modules: Mapping[str, ModuleType] | None = None,
    ) -> None:
        self.functions: dict[str, RegisteredFunction] = dict(functions)
        """By path, modules in order of their paths, functions in source order."""
        self.schema = schema
        self.types: SchemaDefinition = schema if schema is not None else define_schema()
        """The schema, or an empty one: what annotations are read with."""
        self.generation = next(_generations)
        self.root = root
        self.modules: dict[str, ModuleType] = dict(modules or {})
        """The modules of the `functions` package by module path, those without functions (`http`, `crons`) too."""
        self.tables: dict[Any, TableBinding] = {}
        """What `runtime.tables` worked out per table, by name and by class."""
        self._resolved: dict[str, RegisteredFunction] = {}
        self._builtins: dict[str, RegisteredFunction] = {}
        self._http: BoundRouter | Literal[False] | None = False

    @property
    def http(self) -> BoundRouter | None:
        """The routes of `functions/http.py`, or None without any. Raises SchemaError; the loader asks first."""
        if self._http is False:
            self._http = router_of(self.modules, self.types)
        return self._http

    def find(self, path: str) -> RegisteredFunction | None:
        """The function of this canonical path, one of ours included (see `builtin`), or None."""
        fn = self.functions.get(path) or self._builtins.get(path)
        if fn is None and (declared := builtin_functions().get(path)) is not None:
            arguments = self.types.arguments_of(declared.handler, declared.args)
            returns = self.types.returns_of(declared.handler, declared.returns)
            fn = self._builtins[path] = RegisteredFunction(declared, path, arguments, returns)
        return fn

    def resolve(self, path: str, *, admin: bool = False, kind: str | None = None) -> RegisteredFunction:
        """The function a client named by `path`, if it may call it.

        An internal function is as good as missing unless `admin`. With `kind`, the function must be of that kind. Raises
        FunctionNotFound, PermissionDenied (a system function), FunctionError.
        """
        fn = self._resolved.get(path)
        if fn is None:
            canonical = parse_path(path)
            fn = self.find(canonical)
            if fn is not None:
                self._resolved[path] = fn  # bounded: a function has a handful of spellings
            else:
                fn = next(filter(None, map(self.functions.get, python_paths(path))), None)
            if fn is None or (fn.is_internal and not admin):
                raise self._missing(canonical, admin)
        elif fn.is_internal and not admin:
            raise self._missing(fn.path, admin)
        if kind is not None and fn.kind != kind:
            raise wrong_kind(fn, kind)
        return fn

    def resolve_reference(self, reference: Any) -> RegisteredFunction:
        """The function that user code named; internal ones too. Raises FunctionNotFound with a suggestion."""
        path = reference_path(reference)
        fn = self.find(path)
        if fn is not None:
            return fn
        raise FunctionNotFound(f"Could not find function for {shown(path)!r}.{self._hint(path, internal=True)}")

    def _missing(self, path: str, admin: bool) -> FunctionError:
        if path.startswith(SYSTEM_PREFIX) and not admin:
            # Convex's tools look for this sentence, and end.
            return PermissionDenied(
                "You do not have permission to perform this operation: it takes the admin key of this deployment."
            )
        hint = self._hint(path, internal=admin)
        if admin:
            hint = hint or " Did you forget to run `npx convex dev`?"
            return FunctionNotFound(f"Could not find function for {shown(path)!r}.{hint}")
        return FunctionNotFound(f"Could not find public function for {shown(path)!r}.{hint}")

    def _hint(self, path: str, *, internal: bool) -> str:
        """A suggestion that tells nobody of functions he may not call."""
        known = [name for name, fn in self.functions.items() if internal or not fn.is_internal]
        module = path.partition(":")[0] + ":"
        neighbours = [name for name in known if name.startswith(module)]
        names = difflib.get_close_matches(path.removeprefix(module), [n.removeprefix(module) for n in neighbours], n=1)
        close = [module + names[0]] if names else difflib.get_close_matches(path, known, n=1, cutoff=0.8)
        return f" Did you mean {shown(close[0])!r}?" if close else ""

    def __repr__(self) -> str:
        return f"<App {self.root} generation {self.generation}: {len(self.functions)} functions>"


def shown(path: str) -> str:
    """A path as "Could not find …" texts show it: without `:default`."""
    return path.removesuffix(":default")


def wrong_kind(fn: RegisteredFunction, kind: str) -> FunctionError:
    return FunctionError(
        f"Trying to execute {fn.stored_path} as {kind.capitalize()}, but it is defined as {fn.kind.capitalize()}.",
        code="WrongFunctionType",
    )
