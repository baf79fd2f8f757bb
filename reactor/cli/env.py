"""`reactor env`: list, read, set and remove a deployment's environment variables."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from reactor.cli.options import AdminKey, App, Data, Url
from reactor.cli.target import find_deployment
from reactor.cli.terminal_text import harmless_json

if TYPE_CHECKING:
    from reactor.cli.target import Deployment

__all__ = ["env"]

env = typer.Typer(
    name="env",
    no_args_is_help=True,
    help="Environment variables of a deployment, as `ctx.env` reads them.",
    epilog="They are kept in the database. Of a variable that is not there, functions see the server's own environment.",
)

_PLAIN = re.compile(r"[^\s\"'#\\$`\x00-\x1f\x7f-\x9f]*")


def _variables(deployment: Deployment) -> dict[str, str]:
    return deployment.request("GET", "/api/v1/list_environment_variables").json()["environmentVariables"]


def _update(deployment: Deployment, changes: dict[str, str | None]) -> None:
    listed = [{"name": name, "value": value} for name, value in changes.items()]
    deployment.request("POST", "/api/v1/update_environment_variables", json={"changes": listed})


@env.command("list")
def list_(app: App = None, data: Data = None, url: Url = None, admin_key: AdminKey = None) -> None:
    """Print all variables, one NAME=value a line."""
    variables = _variables(find_deployment(app, data=data, url=url, admin_key=admin_key))
    for name, value in variables.items():
        shown = value if _PLAIN.fullmatch(value) else harmless_json(value)
        typer.echo(f"{name}={shown}")
    if not variables:
        typer.echo("No variables are set.", err=True)


@env.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    app: App = None,
    data: Data = None,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Print one variable's value. The exit status is 1 when it is not set."""
    value = _variables(find_deployment(app, data=data, url=url, admin_key=admin_key)).get(name)
    if value is None:
        typer.echo(f"{name} is not set.", err=True)
        raise typer.Exit(1)
    typer.echo(value)


@env.command(
    "set",
    epilog="Examples:  [bold]reactor env set SUPPORT_EMAIL help@example.com[/bold]   "
    "[bold]reactor env set A=1 B=2[/bold]   [bold]reactor env set API_KEY < key.txt[/bold]",
)
def set_(
    assignments: Annotated[
        list[str], typer.Argument(metavar="NAME VALUE | NAME=VALUE… | NAME", help="NAME alone reads standard input.")
    ],
    app: App = None,
    data: Data = None,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Set variables, all or none. Queries that read them run again."""
    changes = _assignments(assignments)
    _update(find_deployment(app, data=data, url=url, admin_key=admin_key), dict(changes))
    typer.echo(f"Set {', '.join(changes)}.", err=True)


@env.command()
def remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME…")],
    app: App = None,
    data: Data = None,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Remove variables; those that are not there, too."""
    _update(find_deployment(app, data=data, url=url, admin_key=admin_key), dict.fromkeys(names))
    typer.echo(f"Removed {', '.join(names)}.", err=True)


def _assignments(words: list[str]) -> dict[str, str]:
    if "=" not in words[0]:
        if len(words) == 2:
            return {words[0]: words[1]}
        if len(words) == 1:
            if sys.stdin.isatty():
                typer.echo(f"The value of {words[0]}, then Ctrl-D:", err=True)
            return {words[0]: sys.stdin.read().removesuffix("\n")}
    changes: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise typer.BadParameter(f"{word!r} is not NAME=VALUE. One variable can be written NAME VALUE.")
        changes[name] = value
    return changes
