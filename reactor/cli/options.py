"""The options that say which deployment a command talks to, the same for all commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AdminKey", "App", "AsJson", "Data", "Url"]

DEPLOYMENT = "Which deployment"

App = Annotated[
    Path | None,
    typer.Option("--app", metavar="DIR", help="The app's directory.", show_default="here", rich_help_panel=DEPLOYMENT),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="PATH", help="Where its data is.", show_default=".reactor in DIR", rich_help_panel=DEPLOYMENT
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Its address, when it is elsewhere.",
        show_default=False,
        rich_help_panel=DEPLOYMENT,
    ),
]
AdminKey = Annotated[
    str | None,
    typer.Option(
        "--admin-key",
        metavar="KEY",
        help="Its admin key.",
        show_default="the one of this directory",
        rich_help_panel=DEPLOYMENT,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]
