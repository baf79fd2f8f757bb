"""Saving what a deployment sends, with progress: beside its place first, and there only once it is whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from reactor.errors import ReactorError

if TYPE_CHECKING:
    import httpx
    from rich.progress import Progress

__all__ = ["progress_bar", "save"]


def save(path: Path, answer: httpx.Response, fallback: str) -> Path:
    """Write the body of `answer` to `path`, or into that directory under the name that the server gives (or `fallback`).

    Returns where it is. Raises ReactorError where a file is there already.
    """
    target = path
    if path.is_dir():
        given = answer.headers.get("content-disposition", "").partition("filename=")[2].strip('"')
        target = path / (Path(given).name or fallback)
    if target.exists():
        raise ReactorError(f"{target} is there already.", code="FileExists")
    if not target.parent.is_dir():
        raise ReactorError(f"there is no directory {target.parent}.", code="NoDirectory")
    beside = target.with_name(target.name + ".part")
    size = answer.headers.get("content-length")
    try:
        with progress_bar() as progress, open(beside, "wb", opener=_private) as file:
            task = progress.add_task("downloading", total=int(size) if size else None)
            for piece in answer.iter_bytes():
                file.write(piece)
                progress.advance(task, len(piece))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return target


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # everybody's data, and the environment variables


def progress_bar() -> Progress:
    """Bytes on their way, in a terminal; silent elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
