"""Live reload: watches the app's files and puts changed code into force, without dropping a connection.

Only the app's own top level and its packages are watched, so neither the database nor `node_modules` costs anything.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import watchfiles

from reactor.cli import console
from reactor.cli.codegen import refresh_types

if TYPE_CHECKING:
    from reactor.server import Reactor

__all__ = ["keep_fresh"]

_WATCHED = (".py", ".pyi")


async def keep_fresh(reactor: Reactor) -> None:
    """Reload the app after each change of its files, until cancelled. A broken one is reported; the old code stays."""
    app = reactor.settings.app
    changed: asyncio.Queue[set[Path]] = asyncio.Queue()
    packages: dict[Path, asyncio.Task[None]] = {}
    top = asyncio.create_task(_watch(app, changed, recursive=False))
    _watch_packages(app, packages, changed)
    try:
        while True:
            paths = await changed.get()
            while not changed.empty():
                paths |= changed.get_nowait()
            for package in _watch_packages(app, packages, changed):
                paths.update(package.rglob("*.py"))  # written before anybody watched
            paths = {path for path in paths if path.suffix in _WATCHED}
            if paths:
                await _reload(reactor, paths)
    finally:
        tasks = [top, *packages.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _reload(reactor: Reactor, paths: set[Path]) -> None:
    began = time.perf_counter()
    app = reactor.settings.app
    names = ", ".join(sorted(_relative(path, app) for path in paths)[:3])
    try:
        await reactor.reload()
    except Exception as error:
        console.complain_about_app(error, app, f"{names} is not in force; the code from before keeps serving.")
    else:
        console.say(f"reloaded {names} in {(time.perf_counter() - began) * 1000:.0f} ms", style="green")
        refresh_types(reactor)


def _watch_packages(
    app: Path, packages: dict[Path, asyncio.Task[None]], changed: asyncio.Queue[set[Path]]
) -> list[Path]:
    """Watch every package below the app's directory, from when it is there. Returns those that are new."""
    new: list[Path] = []
    for path in [p for p, task in packages.items() if task.done()]:
        del packages[path]
    for path in app.iterdir():
        if path not in packages and path.is_dir() and (path.name == "functions" or (path / "__init__.py").is_file()):
            packages[path] = asyncio.create_task(_watch(path, changed, recursive=True))
            new.append(path)
    return new


async def _watch(path: Path, changed: asyncio.Queue[set[Path]], *, recursive: bool) -> None:
    def interesting(_: watchfiles.Change, name: str) -> bool:
        return not name.endswith((".pyc", "~")) and "__pycache__" not in name and "/." not in name[len(str(path)) :]

    async for changes in watchfiles.awatch(
        path, watch_filter=interesting, recursive=recursive, debounce=200, step=30, ignore_permission_denied=True
    ):
        changed.put_nowait({Path(name) for _, name in changes})


def _relative(path: Path, app: Path) -> str:
    return str(path.relative_to(app)) if path.is_relative_to(app) else str(path)
