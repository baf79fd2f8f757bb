"""`reactor codegen`: TypeScript types for a front end, a typed Python stub, from the app as it is on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reactor.cli import console
from reactor.errors import ReactorError

if TYPE_CHECKING:
    from reactor.runtime.app import App
    from reactor.server import Reactor

__all__ = ["codegen", "refresh_types"]

PYTHON_PACKAGE = Path("functions") / "_generated"

AppDirectory = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="Where functions/ and schema.py are.", show_default="here")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="PATH",
        help="Write api.d.ts, api.js and dataModel.d.ts here, for a TypeScript front end.",
        show_default="`codegen` of \\[tool.reactor]",
    ),
]
Python = Annotated[
    bool,
    typer.Option(
        "--python", help="Write functions/_generated: a typed `api` and `internal`, for code ported from JavaScript."
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="Write nothing; the exit status is 1 when a file is not up to date. For CI.")
]


def codegen(app: AppDirectory = None, out: Out = None, python: Python = False, check: Check = False) -> None:
    """Write types of an app's functions and tables, for front ends and for ported code."""
    from reactor.config import load_settings

    settings = load_settings(app, flags={"codegen": out})
    if settings.codegen is None and not python:
        raise typer.BadParameter(
            "say where to: --out web/convex/_generated for TypeScript, --python for a Python stub."
        )
    package = settings.app / PYTHON_PACKAGE if python else None
    if package is not None and not check:
        _prepare(package)
    wanted = _wanted(_load(settings.app), settings.codegen, package)
    if check:
        stale = [path for path, text in _paths(wanted) if not path.is_file() or path.read_text("utf-8") != text]
        for path in stale:
            typer.echo(f"not up to date: {_shown(path)}", err=True)
        raise typer.Exit(1 if stale else 0)
    from reactor.codegen.files import write_generated

    for directory, files in wanted.items():
        written = write_generated(directory, files)
        for path in written:
            typer.echo(f"  {_shown(path)}")
        if not written:
            typer.echo(f"{_shown(directory)} is up to date.", err=True)


def refresh_types(reactor: Reactor) -> None:
    """Bring the TypeScript files that the settings ask for up to date with the code in force. Tells what it did."""
    directory = reactor.settings.codegen
    if directory is None:
        return
    from reactor.codegen.files import write_generated
    from reactor.codegen.typescript import typescript_files

    try:
        written = write_generated(directory, typescript_files(reactor.backend.app))
    except (ReactorError, OSError) as error:
        console.complain(f"the types for the front end were not written: {error}")
        return
    if written:
        console.say(f"wrote {', '.join(path.name for path in written)} to {_shown(directory)}")


def _prepare(package: Path) -> None:
    """Ported code imports the package, so it must be there before the app can be loaded for the first time."""
    from reactor.codegen.files import write_generated
    from reactor.codegen.python_stub import RUNTIME_FILES

    if package.parent.is_dir():
        write_generated(package, RUNTIME_FILES)


def _load(directory: Path) -> App:
    from reactor.runtime.loader import AppLoader

    if not directory.is_dir():
        raise ReactorError(f"there is no directory {directory}", code="NoApp")
    return AppLoader(directory, private=False).load()


def _wanted(app: App, typescript: Path | None, python: Path | None) -> dict[Path, Mapping[str, str]]:
    wanted: dict[Path, Mapping[str, str]] = {}
    if typescript is not None:
        from reactor.codegen.typescript import typescript_files

        wanted[typescript] = typescript_files(app)
    if python is not None:
        from reactor.codegen.python_stub import python_files

        wanted[python] = python_files(app)
    return wanted


def _paths(wanted: Mapping[Path, Mapping[str, str]]) -> list[tuple[Path, str]]:
    return [(directory / name, text) for directory, files in wanted.items() for name, text in files.items()]


def _shown(path: Path) -> str:
    here = Path().absolute()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
