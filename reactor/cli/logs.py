"""`reactor logs`: what functions print, and how they end, as a deployment tells it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from reactor.cli.options import AdminKey, App, AsJson, Data, Url
from reactor.cli.target import Deployment, find_deployment
from reactor.cli.terminal_text import harmless, harmless_json

__all__ = ["logs"]

POLL_TIMEOUT_S: Final = 90.0
"""The server answers within 60 s, with nothing when nothing has happened."""
_COLORS: Final = {"ERROR": "red", "WARN": "yellow", "DEBUG": "bright_black"}


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens next, until Ctrl-C.")] = False,
    history: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many of the last function runs to begin with.")
    ] = 100,
    success: Annotated[
        bool, typer.Option("--success", help="Tell of runs that printed nothing and did not fail, too.")
    ] = False,
    as_json: AsJson = False,
    app: App = None,
    data: Data = None,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Print log lines and errors of a deployment's functions."""
    deployment = find_deployment(app, data=data, url=url, admin_key=admin_key)
    try:
        for number, entries in enumerate(_polls(deployment, follow)):
            for entry in entries[-history or len(entries) :] if number == 0 else entries:
                if history or number:
                    _print(entry, success, as_json)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _polls(deployment: Deployment, follow: bool) -> Iterator[list[dict[str, Any]]]:
    """What has happened, then, when following, what happens: one list per answer."""
    cursor: float = 0
    while True:
        path = f"/api/stream_function_logs?cursor={cursor!r}"
        answer = deployment.request("GET", path, timeout_s=POLL_TIMEOUT_S).json()
        yield answer["entries"]
        if not follow:
            return
        cursor = answer["newCursor"]


def _print(entry: dict[str, Any], success: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(harmless_json(entry))
        return
    when = datetime.datetime.fromtimestamp(entry["timestamp"], datetime.UTC).astimezone().strftime("%H:%M:%S")
    kind = entry["udfType"]
    name = entry["identifier"] if kind == "HttpAction" else f"{kind.lower()} {entry['identifier']}"
    head = typer.style(harmless(f"{when} {name}"), dim=True)
    for line in entry["logLines"]:
        level, text = _line(line)
        typer.echo(f"{head} {typer.style(f'[{harmless(level)}]', fg=_COLORS.get(level))} {harmless(text)}")
    if entry["kind"] != "Completion":
        return
    if entry["error"]:
        typer.echo(f"{head} {typer.style(harmless(entry['error']), fg='red')}")
    elif success:
        cached = ", from the cache" if entry["cachedResult"] else ""
        typer.echo(f"{head} took {entry['executionTime'] * 1000:.0f} ms{cached}")


def _line(line: Any) -> tuple[str, str]:
    """(level, text) of a log line, structured or plain."""
    if isinstance(line, str):
        level, bracket, text = line.removeprefix("[").partition("] ")
        return (level, text) if bracket else ("LOG", line)
    text = " ".join(line["messages"])
    return line["level"], text + " (cut)" if line.get("isTruncated") else text
