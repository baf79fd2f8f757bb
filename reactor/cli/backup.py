"""`reactor backup` and `reactor restore`: everything that a deployment holds, in one file, and back."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reactor.cli.download import progress_bar, save
from reactor.cli.options import AdminKey, App, Data, Url
from reactor.cli.target import find_deployment
from reactor.errors import ReactorError
from reactor.faults import arm_from_environment

if TYPE_CHECKING:
    from reactor.store.backup_archive import Manifest

__all__ = ["backup", "restore"]

COPY_TIMEOUT_S = 3600.0
"""The first byte comes once the server has copied its database and checked the copy."""


def backup(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The file to write, or a directory for it.", show_default="here")
    ] = Path(),
    app: App = None,
    data: Data = None,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Write a backup of a running deployment, documents and files as of one moment, and check it."""
    if path.is_file():
        raise typer.BadParameter(f"{path} is there already.")
    deployment = find_deployment(app, data=data, url=url, admin_key=admin_key)
    try:
        with deployment.stream("GET", "/api/backup", timeout_s=COPY_TIMEOUT_S) as answer:
            target = save(path, answer, "reactor-backup.zip")
        try:
            manifest = _check(target)
        except BaseException:
            target.unlink()
            raise
    except KeyboardInterrupt:
        typer.echo("Interrupted: no backup was written.", err=True)
        raise typer.Exit(130) from None
    when = datetime.datetime.fromtimestamp(manifest.ts / 1e9, datetime.UTC).astimezone()
    files = len(manifest.entries) - 1
    typer.echo(f"As of {when:%Y-%m-%d %H:%M:%S}, with {files:,} files; every byte checked.", err=True)
    typer.echo(str(target))


def _check(path: Path) -> Manifest:
    from reactor.store.backup_archive import read_archive

    def read_on(name: str, pieces: object) -> None:
        for _ in pieces:  # type: ignore[attr-defined]
            pass

    with progress_bar() as progress:
        task = progress.add_task("checking", total=None)
        return read_archive(path, read_on, lambda size: progress.advance(task, size))


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `reactor backup` wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Put aside the data that is there, in a directory beside the new data.")
    ] = False,
    app: App = None,
    data: Data = None,
) -> None:
    """Put a backup into a data directory that no server runs on. The next `reactor serve` or `dev` serves it."""
    from reactor.config import load_settings
    from reactor.restore import restore_backup

    if not file.is_file():
        raise ReactorError(f"there is no file {file}.", code="NoFile")
    settings = load_settings(app, flags={"data": data})
    arm_from_environment()
    try:
        with progress_bar() as progress:
            task = progress.add_task("restoring", total=None)
            manifest = restore_backup(
                file, settings, replace=replace, progress=lambda size: progress.advance(task, size)
            )
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(130) from None
    when = datetime.datetime.fromtimestamp(manifest.ts / 1e9, datetime.UTC).astimezone()
    typer.echo(f"Restored the state of {when:%Y-%m-%d %H:%M:%S} into {settings.data}.", err=True)
