"""`reactor init`: copies the files below `templates/` into a new directory."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

__all__ = ["create_app"]

_HARMLESS = {".git", ".gitignore", ".venv", "LICENSE", ".idea", ".vscode", ".DS_Store"}


def create_app(directory: Path) -> list[Path]:
    """Write the app and return the files written. Raises FileExistsError, having touched nothing, where one would be lost.

    A directory that holds no more than a fresh repository (`.git`, LICENSE, …) counts as empty.
    """
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(f"{directory} is a file")
    occupied = sorted(p.name for p in directory.iterdir() if p.name not in _HARMLESS) if directory.is_dir() else []
    if occupied:
        raise FileExistsError(f"{directory} is not empty: it has {', '.join(occupied[:5])}")
    # A dot file would be left out by some packagers, so it is stored without its dot.
    name = directory.absolute().name
    wanted = {
        directory / relative.replace("dot-", ".", 1): source.read_text("utf-8").replace("__APP_NAME__", name)
        for relative, source in _templates(files("reactor.cli") / "templates", "")
    }
    written: list[Path] = []
    for path, text in sorted(wanted.items()):
        if path.exists():
            continue  # one of the harmless ones: theirs stays
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        written.append(path)
    return written


def _templates(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for item in folder.iterdir():
        if item.is_dir():
            if item.name != "__pycache__":
                found += _templates(item, f"{prefix}{item.name}/")
        elif not item.name.endswith(".pyc"):
            found.append((prefix + item.name, item))
    return found
