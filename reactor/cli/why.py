"""`reactor why`: which commits made live queries run again."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import typer

from reactor.cli.function_names import wire_path
from reactor.cli.options import AdminKey, App, AsJson, Data, Url
from reactor.cli.target import find_deployment
from reactor.cli.terminal_text import harmless, harmless_json
from reactor.cli.values import shown_cell

__all__ = ["why"]

ARGS_WIDTH = 60


def why(
    function: Annotated[
        str | None,
        typer.Argument(
            metavar="[FUNCTION]",
            help="A query, like messages:listMine or messages.list_mine.",
            show_default="all of them",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="How many of the last runs.")] = 20,
    as_json: AsJson = False,
    app: App = None,
    data: Data = None,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Tell why live queries ran: the commit, the function that made it, the table, index and keys that it touched."""
    deployment = find_deployment(app, data=data, url=url, admin_key=admin_key)
    asked: dict[str, Any] = {"limit": limit}
    if function is not None:
        asked["function"] = wire_path(deployment, function)
    runs = deployment.call("_system/reactor/why:default", asked)
    if as_json:
        typer.echo(harmless_json(runs))
        return
    for run in reversed(runs):
        when = datetime.datetime.fromtimestamp(run["at"] / 1000, datetime.UTC).astimezone()
        head = f"{when:%H:%M:%S.%f}"[:-3] + f" {harmless(run['function'])} {shown_cell(run['args'], ARGS_WIDTH)}"
        ending = "failed" if run["failed"] else "a new result" if run["changed"] else "the same result"
        typer.echo(typer.style(head, dim=True))
        typer.echo(f"    {harmless(run['why'])}")
        typer.echo(f"    {ending} for {run['subscribers']:g} subscribers, {run['seconds'] * 1000:.1f} ms")
    if not runs:
        typer.echo("No live query has run yet.", err=True)
