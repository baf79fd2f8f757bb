"""Loads an app from a directory: `schema.py`, and every module of the `functions` package.

Several apps can live in one process: a *private* app's modules stand in `sys.modules` under a package of their own, and
the `__import__` in their `__builtins__` maps the app's top-level names (`schema`, `functions`) to it. The command line
loads its single app under its real names. A reload drops all of the app's modules, imports them afresh, and on failure
puts the old ones back.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from reactor.errors import SchemaError
from reactor.runtime.app import App
from reactor.runtime.discovery import function_modules, make_app
from reactor.schema.tables import SchemaDefinition

__all__ = ["AppLoader"]

OWN_NAMES: Final = ("schema", "functions")
_counter: Final = itertools.count(1)
_import_lock: Final = threading.RLock()
"""One load at a time: they change `sys.modules` as a whole."""
_NEVER_OWN: Final = frozenset({"reactor", "tests", "examples"})


class AppLoader:
    """One app directory. `load` and `reload` give a new `App` each; the loader remembers which modules are its."""

    def __init__(self, root: str | os.PathLike[str], *, private: bool = True) -> None:
        """`private=False` loads under the real names; only one app of a process can do that."""
        self.root = Path(root).absolute()
        self.private = private
        self.package = f"_reactor_app_{next(_counter)}" if private else ""
        self._names: set[str] = set(OWN_NAMES)
        """Top-level names that belong to the app."""
        self._extra: set[str] = set()
        """Modules beside the app's own that loading it imported from its directory."""

    def load(self) -> App:
        """Import everything and check it. Raises SchemaError naming file and line."""
        with _import_lock:
            before = dict(sys.modules)
            _finder.add(self)
            try:
                return self._import_all(before)
            except BaseException:
                self._restore(before)
                raise

    def reload(self) -> App:
        """Drop the app's modules and import them afresh. On failure the old ones are back, and SchemaError is raised."""
        with _import_lock:
            before = dict(sys.modules)
            for name in self._loaded():
                del sys.modules[name]
            importlib.invalidate_caches()
            _finder.add(self)
            try:
                return self._import_all(before)
            except BaseException:
                self._restore(before)
                raise

    def close(self) -> None:
        """Forget the app's modules."""
        with _import_lock:
            for name in self._loaded():
                del sys.modules[name]
            _finder.remove(self)

    # Names

    def _full(self, name: str) -> str:
        return f"{self.package}.{name}" if self.private else name

    def _loaded(self) -> list[str]:
        """The names in `sys.modules` of the app's modules."""
        if self.private:
            prefix = self.package + "."
            return [name for name in sys.modules if name == self.package or name.startswith(prefix)]
        return [name for name in sys.modules if name.partition(".")[0] in self._names or name in self._extra]

    def _restore(self, before: dict[str, ModuleType]) -> None:
        for name in self._loaded():
            del sys.modules[name]
        for name, module in before.items():
            sys.modules.setdefault(name, module)

    def finds(self, name: str) -> bool:
        """Whether there is a module or package of this top-level name in the app's directory."""
        return name not in _NEVER_OWN and (
            (self.root / f"{name}.py").is_file() or (self.root / name / "__init__.py").is_file()
        )

    # Importing

    def _import_all(self, before: dict[str, ModuleType]) -> App:
        if self.private:
            package = ModuleType(self.package)
            package.__path__ = [str(self.root)]
            sys.modules[self.package] = package
        else:
            self._own_real_names()
        schema = self._schema()
        modules = self._modules()
        if not self.private:
            inside = str(self.root) + os.sep
            self._extra |= {
                name
                for name, module in list(sys.modules.items())
                if name not in before
                and (file := getattr(module, "__file__", None))
                and file.startswith(inside)
                and "site-packages" not in file
                and name.partition(".")[0] not in _NEVER_OWN
            }
        return make_app(schema, modules, root=self.root)

    def _own_real_names(self) -> None:
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))
        # Modules of these names that came from elsewhere would be taken for the app's.
        for name in OWN_NAMES:
            module = sys.modules.get(name)
            if module is not None and not _is_inside(module, self.root):
                for loaded in [n for n in sys.modules if n == name or n.startswith(name + ".")]:
                    del sys.modules[loaded]

    def _schema(self) -> SchemaDefinition | None:
        if not self.finds("schema"):
            return None
        module = self._import("schema")
        schema = getattr(module, "schema", None)
        if not isinstance(schema, SchemaDefinition):
            raise SchemaError(
                f"{self.root / 'schema.py'} must define `schema = define_schema(…)`"
                + ("." if schema is None else f"; its `schema` is a {type(schema).__name__}.")
            )
        return schema

    def _modules(self) -> dict[str, ModuleType]:
        """All modules of `functions`, by module path."""
        directory = self.root / "functions"
        if not directory.is_dir():
            return {}
        found: dict[str, ModuleType] = {}
        files: dict[str, Path] = {}
        for path, name, file in sorted(function_modules(directory)):
            if path in files:
                raise SchemaError(
                    f"{files[path]} and {file} are both the module {path!r} on the wire. Rename one of them."
                )
            files[path] = file
            found[path] = self._import(name)
        return found

    def _import(self, name: str) -> ModuleType:
        try:
            return importlib.import_module(self._full(name))
        except SchemaError as error:
            raise self._located(error, name) from error
        except Exception as error:
            raise self._failed(error, name) from error

    def _located(self, error: SchemaError, name: str) -> SchemaError:
        where = self._place(error)
        text = str(error)
        if where is None or where.rpartition(":")[0] in text:
            return error
        return SchemaError(f"{where}: {text}", code=error.code)

    def _failed(self, error: Exception, name: str) -> SchemaError:
        if isinstance(error, SyntaxError) and error.filename:
            where: str | None = f"{error.filename}:{error.lineno}"
            text = f"{type(error).__name__}: {error.msg}"
        else:
            where = self._place(error)
            text = f"{type(error).__name__}: {error}"
        if self.private:
            text = text.replace(self.package + ".", "")
        return SchemaError(f"{where or name}: {text}", code="ImportFailed")

    def _place(self, error: BaseException) -> str | None:
        """The innermost line of the app's own code in a traceback."""
        inside = str(self.root) + os.sep
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.filename.startswith(inside) and "site-packages" not in frame.filename:
                return f"{frame.filename}:{frame.lineno}"
        return None

    def import_for(self, name: str, globals_: Any, locals_: Any, fromlist: Any, level: int) -> Any:
        """`__import__` as seen from a private app's modules."""
        if level == 0:
            top = name.partition(".")[0]
            if top in self._names:
                return self._import_own(name, top, globals_, locals_, fromlist)
            try:
                return builtins.__import__(name, globals_, locals_, fromlist, level)
            except ModuleNotFoundError as error:
                if error.name != top or not self.finds(top):
                    raise
                # A helper module beside schema.py, which the command line would have found on sys.path.
                self._names.add(top)
                return self._import_own(name, top, globals_, locals_, fromlist)
        return builtins.__import__(name, globals_, locals_, fromlist, level)

    def _import_own(self, name: str, top: str, globals_: Any, locals_: Any, fromlist: Any) -> Any:
        full = self._full(name)
        try:
            module = builtins.__import__(full, globals_, locals_, fromlist or ("",), 0)
        except ModuleNotFoundError as error:
            if error.name is not None and error.name.startswith(self.package + "."):
                missing = error.name.removeprefix(self.package + ".")
                raise ModuleNotFoundError(f"No module named {missing!r}", name=missing) from None
            raise
        return module if fromlist else sys.modules[self._full(top)]


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Loads a module of an app from its source, never from a cached file: an edit within the same second must be seen."""

    def __init__(self, fullname: str, path: str, app: AppLoader) -> None:
        super().__init__(fullname, path)
        self._app = app

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        if self._app.private:
            own = dict(vars(builtins))
            app = self._app

            def own_import(
                name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
            ) -> Any:
                return app.import_for(name, globals, locals, fromlist, level)

            own["__import__"] = own_import
            module.__dict__["__builtins__"] = own
        super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of all loaded apps."""

    def __init__(self) -> None:
        self._apps: dict[str, AppLoader] = {}

    def add(self, app: AppLoader) -> None:
        self._apps[app.package] = app
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self, app: AppLoader) -> None:
        self._apps.pop(app.package, None)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        top = fullname.partition(".")[0]
        app = self._apps.get(top)
        if app is None:
            app = self._apps.get("")
            if app is None or top not in OWN_NAMES:
                return None
            path = path if "." in fullname else [str(app.root)]
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader) and spec.origin:
            spec.loader = _SourceLoader(fullname, spec.origin, app)
            spec.cached = None
        return spec


_finder: Final = _Finder()


def _is_inside(module: ModuleType, root: Path) -> bool:
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", [])]
    return any(place and Path(place).absolute().is_relative_to(root) for place in places)
