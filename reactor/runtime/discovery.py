"""Which modules and functions an app has: files become module paths, decorated objects become registered functions."""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from reactor.errors import SchemaError
from reactor.runtime.app import App
from reactor.runtime.registry import Function, RegisteredFunction, source_of
from reactor.schema.naming import camel
from reactor.schema.tables import SchemaDefinition

__all__ = ["function_modules", "make_app"]


def function_modules(directory: Path, package: tuple[str, ...] = ("functions",)) -> Iterator[tuple[str, str, Path]]:
    """(module path, dotted name, file) of every module below a package.

    Names with a leading underscore are left to who imports them. Raises SchemaError for a file that nobody could import.
    """
    for entry in sorted(directory.iterdir()):
        if entry.is_dir():
            if entry.name.isidentifier() and not entry.name.startswith("_"):
                yield from function_modules(entry, (*package, entry.name))
        elif entry.suffix == ".py" and (entry.stem == "__init__" or not entry.stem.startswith(("_", "."))):
            if not entry.stem.isidentifier() or keyword.iskeyword(entry.stem):
                raise SchemaError(f"{entry}: {entry.stem!r} can't be the name of a module. Rename the file.")
            if entry.stem == "__init__":
                name = ".".join(package)
                yield "/".join(map(camel, package[1:])) or "index", name, entry
            else:
                yield "/".join(map(camel, (*package[1:], entry.stem))), ".".join((*package, entry.stem)), entry


def make_app(schema: SchemaDefinition | None, modules: dict[str, ModuleType], *, root: Path | None = None) -> App:
    """Put an app together from imported modules, by module path: find the functions and read their signatures.

    Raises SchemaError, with all the problems of signatures at once.
    """
    declared = _collect(modules)
    app = App({}, schema, root=root, modules=modules)
    problems: list[SchemaError] = []
    try:
        app.types.prepare()
    except SchemaError as error:
        raise SchemaError(f"{root / 'schema.py' if root else 'schema'}: {error}", code=error.code) from error
    for path, function in declared.items():
        try:
            app.functions[path] = RegisteredFunction(
                function,
                path,
                app.types.arguments_of(function.handler, function.args),
                app.types.returns_of(function.handler, function.returns),
            )
        except SchemaError as error:
            file, line = source_of(function.handler)
            problems.append(SchemaError(f"{file}:{line}: {error}", code=error.code))
    try:
        _ = app.http  # worked out here, so that what is wrong with the routes keeps the app from loading
    except SchemaError as error:
        problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise SchemaError("\n".join(map(str, problems)), code=problems[0].code)
    # Only now: until all is well, old function objects keep their paths.
    for path, function in declared.items():
        function.path = path
    return app


def _collect(modules: dict[str, ModuleType]) -> dict[str, Function[Any, ..., Any]]:
    """The functions that modules declare, by path; modules in order of their paths, functions in source order."""
    own_modules = {module.__name__: module for module in modules.values()}
    found: dict[str, Function[Any, ..., Any]] = {}
    taken: set[int] = set()
    for module_path, module in modules.items():
        in_module: list[tuple[int, str, Function[Any, ..., Any]]] = []
        for name, value in vars(module).items():
            if not isinstance(value, Function) or id(value) in taken:
                continue
            home = value.__module__
            if home != module.__name__ and home in own_modules and _declares(own_modules[home], value):
                continue  # imported from there; else it is declared here, of a handler from there
            in_module.append((source_of(value.handler)[1], name, value))
            taken.add(id(value))
        for line, name, function in sorted(in_module, key=lambda entry: entry[0]):
            path = f"{module_path}:{function.name or camel(name)}"
            other = found.get(path)
            if other is not None:
                first_file, first_line = source_of(other.handler)
                raise SchemaError(
                    f"{module.__file__}:{line}: {name!r} and the function at {first_file}:{first_line} are both {path!r} on "
                    "the wire. Rename one of them, or give it a name of its own with @query(name=…).",
                    code="NameCollision",
                )
            found[path] = function
    return found


def _declares(module: ModuleType, function: Function[Any, ..., Any]) -> bool:
    return any(value is function for value in vars(module).values())
