"""A typed `api` and `internal` for Python code that was ported from JavaScript: `functions/_generated/api.py` and its stub.

The stub says which function each path stands for, so that type checkers see its kind, arguments and result; at run time
the module gives the untyped proxies.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from typing import Final

from reactor.codegen.files import MARK
from reactor.codegen.function_tree import ModuleNode, function_tree
from reactor.runtime.app import App
from reactor.runtime.registry import RegisteredFunction

__all__ = ["RUNTIME_FILES", "python_files"]

_HEADER: Final = f'"""{MARK} --python. Don\'t edit it.\n\n'
_INIT: Final = f'{_HEADER}Typed references by path, for ported code: `from functions._generated.api import api`.\n"""\n'
_API: Final = f"""{_HEADER}Type checkers read `api.pyi` beside it.
\"\"\"

from reactor import api, internal

__all__ = ["api", "internal"]
"""


RUNTIME_FILES: Final = {"__init__.py": _INIT, "api.py": _API}
"""The part that does not depend on the app: code that imports it can be loaded before there is a stub."""


def python_files(app: App) -> dict[str, str]:
    """File name → text, for a package `functions/_generated` (modules whose names begin with `_` hold no functions)."""
    return {**RUNTIME_FILES, "api.pyi": _stub(app)}


def _stub(app: App) -> str:
    homes = _Homes(app)
    functions = list(app.functions.values())
    classes = [
        line
        for name, chosen in (
            ("_Api", [fn for fn in functions if not fn.is_internal]),
            ("_Internal", [fn for fn in functions if fn.is_internal]),
        )
        for line in _class(name, function_tree(chosen), homes)
    ]
    imports = "".join(f"import {name}\n" for name in sorted(homes.used))
    return (
        f'{_HEADER}Each name below stands for the function that it is a reference to.\n"""\n\n'
        f'{imports}\n__all__ = ["api", "internal"]\n\n{"".join(classes)}'
        "api: _Api\ninternal: _Internal\n"
    )


class _Homes:
    """Where each function can be imported from; remembers which modules were used."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.used: set[str] = set()

    def name_of(self, fn: RegisteredFunction) -> str:
        module = self._app.modules[fn.module]
        attribute = next(name for name, value in vars(module).items() if value is fn.function)
        # An app that shares its process with others stands below a package of its own.
        parts = module.__name__.split(".")
        home = ".".join(parts[parts.index("functions") :])
        self.used.add(home)
        return f"{home}.{attribute}"


def _class(name: str, node: ModuleNode, homes: _Homes) -> Iterator[str]:
    """The stub's class for one object, those it refers to first."""
    # Where a module and a function share a name, the function has it: an object can't be both here.
    below = {part: f"{name}_{part}" for part in node.modules if part.isidentifier() and part not in node.functions}
    for part, class_name in below.items():
        yield from _class(class_name, node.modules[part], homes)
    yield f"class {name}:\n"
    lines = [f"    {part}: {class_name}\n" for part, class_name in below.items() if not keyword.iskeyword(part)]
    taken = set(below)
    for wire_name, fn in node.functions.items():
        home = homes.name_of(fn)
        for spelling in dict.fromkeys((wire_name, home.rpartition(".")[2])):
            if spelling not in taken and not keyword.iskeyword(spelling):
                taken.add(spelling)
                lines.append(f"    {spelling} = {home}\n")
    yield "".join(lines) or "    pass\n"
    yield "\n"
