"""`reactor data`: the tables of a deployment, and the documents of one."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Annotated, Any, Literal

import typer

from reactor.cli.options import AdminKey, App, AsJson, Data, Url
from reactor.cli.target import Deployment, find_deployment
from reactor.cli.terminal_text import harmless, harmless_json
from reactor.cli.values import shown_cell

__all__ = ["data"]

CELL_WIDTH = 40
PAGE = 1000


def data(
    table: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="Without it, the tables are listed.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many documents at most.")] = 100,
    order: Annotated[Literal["asc", "desc"], typer.Option(metavar="asc|desc", help="Oldest or newest first.")] = "desc",
    as_json: AsJson = False,
    app: App = None,
    data: Data = None,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """List tables, or print the documents of one: as a table, or one JSON object a line with --json."""
    deployment = find_deployment(app, data=data, url=url, admin_key=admin_key)
    if table is None:
        _tables(deployment, as_json)
        return
    documents, more = _documents(deployment, table, limit, order)
    if as_json:
        for document in documents:
            typer.echo(harmless_json(document))
    elif documents:
        _table(documents)
    else:
        typer.echo(f"There are no documents in {table}.", err=True)
    if more:
        typer.echo(f"There are more than these {limit}: --limit shows them.", err=True)


def _tables(deployment: Deployment, as_json: bool) -> None:
    names: list[str] = []
    cursor: str | None = None
    while True:
        page = deployment.call("_system/cli/tables:default", {"paginationOpts": {"cursor": cursor, "numItems": PAGE}})
        names += [entry["name"] for entry in page["page"]]
        if page["isDone"]:
            break
        cursor = page["continueCursor"]
    if as_json:
        typer.echo(json.dumps(names))
    for name in () if as_json else names:
        typer.echo(name)
    if not names:
        typer.echo("There are no tables yet.", err=True)


def _documents(deployment: Deployment, table: str, limit: int, order: str) -> tuple[list[dict[str, Any]], bool]:
    """Up to `limit` documents in the encoded form, and whether there are more."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(found) <= limit:
        options = {"cursor": cursor, "numItems": min(PAGE, limit + 1 - len(found))}
        page = deployment.call(
            "_system/cli/tableData:default", {"table": table, "order": order, "paginationOpts": options}, encoded=True
        )
        found += page["page"]
        if page["isDone"]:
            break
        cursor = page["continueCursor"]
    return found[:limit], len(found) > limit


def _table(documents: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    own = sorted({name for document in documents for name in document if name[0] != "_"})
    columns = ["_id", *own, "_creationTime"]
    table = Table(box=SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(Text(harmless(column)), overflow="ellipsis", no_wrap=True)
    for document in documents:
        cells = [shown_cell(document[name], CELL_WIDTH) if name in document else "" for name in columns]
        table.add_row(*map(Text, cells))
    # Into a file or a pipe every column goes whole: there is no screen to fit.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(columns) * (CELL_WIDTH + 3)
    Console(highlight=False, width=width).print(table)
