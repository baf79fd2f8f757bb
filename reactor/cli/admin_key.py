"""`reactor admin-key`: look up the key that was made for a deployment, or make a new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reactor.errors import ReactorError

if TYPE_CHECKING:
    from reactor.auth.kept_key import KeptKey
    from reactor.config import Settings

__all__ = ["admin_key"]

admin_key = typer.Typer(
    name="admin-key",
    help="The key that opens a deployment's admin functions: print it, or make a new one.",
    epilog="Examples:  [bold]reactor admin-key[/bold]   [bold]reactor admin-key new[/bold]   "
    '[bold]export CONVEX_SELF_HOSTED_ADMIN_KEY="$(reactor admin-key)"[/bold]',
)

App = Annotated[Path | None, typer.Option("--app", metavar="DIR", help="The app's directory.", show_default="here")]
Data = Annotated[Path | None, typer.Option(metavar="PATH", help="Where its data is.", show_default=".reactor in DIR")]


@admin_key.callback(invoke_without_command=True)
def show(context: typer.Context, app: App = None, data: Data = None) -> None:
    """Print the admin key of the deployment in this directory.

    The data holds only its hash. The key is kept for the user who made it, below ~/.config/reactor (or $XDG_CONFIG_HOME).
    """
    if context.invoked_subcommand is not None:
        context.obj = (app, data)
        return
    settings = _settings(app, data)
    if settings.admin_keys:
        typer.echo(settings.admin_keys[0])
        return
    from reactor.auth.kept_key import find_key

    try:
        kept = find_key(settings.data)
    except FileNotFoundError:
        raise _no_deployment(settings) from None
    if kept.key is None:
        typer.echo(
            f"The admin key of {settings.data} is not known to this user here; its SHA-256 begins with {kept.hash[:8]}. "
            "Run this as the user who runs the server, or make another key with `reactor admin-key new`.",
            err=True,
        )
        raise typer.Exit(1)
    _tell(kept)


@admin_key.command()
def new(context: typer.Context, app: App = None, data: Data = None) -> None:
    """Make a new admin key, and print it. The old one opens nothing from now on, also of a server that is running.

    Clients that are connected with the old one are closed before they are told, or may do, anything else.
    """
    outer_app, outer_data = context.obj or (None, None)
    settings = _settings(app or outer_app, data or outer_data)
    if settings.admin_keys:
        raise ReactorError(
            "the admin keys of this deployment are in its settings (REACTOR_ADMIN_KEY, REACTOR_ADMIN_KEYS, or admin_keys in "
            "pyproject.toml): change them there, and start the server again."
        )
    from reactor.auth.kept_key import HASH_FILE, PLAIN_FILE, make_key

    if not any((settings.data / name).exists() for name in (HASH_FILE, PLAIN_FILE)):
        raise _no_deployment(settings)
    kept = make_key(settings.data, settings.instance_name)
    (settings.data / PLAIN_FILE).unlink(missing_ok=True)
    _tell(kept)


def _tell(kept: KeptKey) -> None:
    typer.echo(kept.key)
    if kept.path is None:
        typer.echo(f"It can't be kept ({kept.problem}): write it down now.", err=True)


def _settings(app: Path | None, data: Path | None) -> Settings:
    from reactor.config import load_settings

    return load_settings(app, flags={"data": data})


def _no_deployment(settings: Settings) -> ReactorError:
    return ReactorError(
        f"no admin key was made in {settings.data}. Run this in the app's directory once `reactor dev` has run, or say where "
        "the data is with --data."
    )
