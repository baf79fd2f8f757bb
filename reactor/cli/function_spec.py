"""`reactor function-spec`: what a deployment's functions take and return, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reactor.cli.options import AdminKey, App, Data, Url
from reactor.cli.target import find_deployment

__all__ = ["function_spec"]


def function_spec(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it to a file.", show_default="standard output")
    ] = None,
    app: App = None,
    data: Data = None,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Print the functions of a deployment with their argument and result types (the format of `npx convex function-spec`)."""
    deployment = find_deployment(app, data=data, url=url, admin_key=admin_key)
    functions = deployment.call("_system/cli/modules:apiSpec", {})
    address = deployment.call("_system/cli/convexUrl:cloudUrl", {})
    text = json.dumps({"url": address, "functions": functions}, indent=2, ensure_ascii=False)
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text + "\n", "utf-8")
        typer.echo(f"Wrote {out}.", err=True)
