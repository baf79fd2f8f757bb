"""`reactor import` and `reactor export`: documents in and out of a deployment, with progress."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from reactor.cli.download import progress_bar, save
from reactor.cli.options import AdminKey, App, Data, Url
from reactor.cli.target import Deployment, find_deployment
from reactor.cli.terminal_text import harmless
from reactor.errors import ReactorError

__all__ = ["export", "import_"]

PART_BYTES: Final = 5 * 1024 * 1024
POLL_S: Final = 0.3


class Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonLines"
    JSON = "jsonArray"
    ZIP = "zip"


_BY_ENDING: Final = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".json": Format.JSON, ".zip": Format.ZIP}


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .jsonl, .json (an array) or .csv file, or the .zip of an export.")
    ],
    table: Annotated[
        str | None,
        typer.Option(metavar="TABLE", help="The table of the documents; a .zip says so itself.", show_default=False),
    ] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="What the file is.", show_default="by its ending")
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to what the tables have.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Put in the place of what these tables have.")] = False,
    replace_all: Annotated[bool, typer.Option("--replace-all", help="The same, and empty every other table.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before documents are deleted.")] = False,
    app: App = None,
    data: Data = None,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Import documents, all or none. Without a flag, only into tables that are empty."""
    if append + replace + replace_all > 1:
        raise typer.BadParameter("choose one of --append, --replace and --replace-all.")
    mode = "append" if append else "replace" if replace else "replaceAll" if replace_all else "requireEmpty"
    if not file.is_file():
        raise typer.BadParameter(f"there is no file {file}.")
    kind = format_ or _BY_ENDING.get(file.suffix.lower())
    if kind is None:
        raise typer.BadParameter(f"can't tell what {file.name} is: say so with --format.")
    if (table is None) != (kind is Format.ZIP):
        raise typer.BadParameter(
            "--table says where the documents go." if table is None else "a .zip names its tables."
        )
    deployment = find_deployment(app, data=data, url=url, admin_key=admin_key)
    started: list[str] = []
    try:
        import_id = _upload(deployment, file, {"tableName": table, "mode": mode, "format": kind.value})
        started.append(import_id)
        state = _until(deployment, import_id, {"waiting_for_confirmation", "completed", "failed"}, "checking")
        if state["state"] == "waiting_for_confirmation":
            _confirm(deployment, import_id, state, yes)
            state = _until(deployment, import_id, {"completed", "failed"}, "importing")
    except KeyboardInterrupt:
        for import_id in started:
            _cancel(deployment, import_id)
        typer.echo("Interrupted: nothing was imported.", err=True)
        raise typer.Exit(130) from None
    if state["state"] == "failed":
        raise ReactorError(state["error_message"], code="ImportFailed")
    typer.echo(f"Imported {int(state['num_rows_written']):,} documents.", err=True)


def _upload(deployment: Deployment, file: Path, wanted: dict[str, Any]) -> str:
    """Send the file in parts. Returns the id of the import."""
    token = deployment.request("POST", "/api/import/start_upload").json()["uploadToken"]
    parts: list[str] = []
    with progress_bar() as progress, file.open("rb") as source:
        task = progress.add_task("uploading", total=file.stat().st_size)
        while part := source.read(PART_BYTES):
            path = f"/api/import/upload_part?uploadToken={token}&partNumber={len(parts) + 1}"
            parts.append(deployment.request("POST", path, content=part, timeout_s=300).json())
            progress.advance(task, len(part))
    body = {"import": {k: v for k, v in wanted.items() if v is not None}, "uploadToken": token, "partTokens": parts}
    return deployment.request("POST", "/api/import/finish_upload", json=body).json()["importId"]


def _until(deployment: Deployment, import_id: str, states: set[str], doing: str) -> dict[str, Any]:
    """Wait until the import is in one of these states, telling what it does meanwhile."""
    told = 0
    with _status(doing) as tell:
        while True:
            found = deployment.call("_system/cli/queryImport:default", {"importId": import_id})
            if found is None:
                raise ReactorError("the import is gone from the server.", code="ImportFailed")
            state = found["state"]
            if state["state"] in states:
                return state
            messages = state.get("checkpoint_messages", [])
            for message in messages[told:]:
                typer.echo(harmless(message), err=True)
            told = max(told, len(messages))
            tell(state.get("progress_message", doing))
            time.sleep(POLL_S)


def _confirm(deployment: Deployment, import_id: str, state: dict[str, Any], yes: bool) -> None:
    if state["require_manual_confirmation"] and not yes:
        typer.echo(harmless(state["message_to_confirm"]), err=True)
        sure = sys.stdin.isatty() and typer.confirm("Go on?", err=True)
        if not sure:
            _cancel(deployment, import_id)
            if not sys.stdin.isatty():
                raise ReactorError("documents would be deleted: say that you want it with --yes.", code="NotConfirmed")
            raise typer.Exit(1)
    deployment.request("POST", "/api/perform_import", json={"importId": import_id})


def _cancel(deployment: Deployment, import_id: str) -> None:
    with contextlib.suppress(ReactorError):  # it ended meanwhile, or the server is gone: there is nothing to cancel
        deployment.request("POST", "/api/cancel_import", json={"importId": import_id})


def export(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The .zip file to write, or a directory for it.", show_default="here")
    ] = Path(),
    include_files: Annotated[bool, typer.Option("--include-files", help="Stored files, too.")] = False,
    app: App = None,
    data: Data = None,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Export all documents, as of one moment, into a .zip that `reactor import` and Convex's own tools read."""
    if path.is_file():
        raise typer.BadParameter(f"{path} is there already.")
    deployment = find_deployment(app, data=data, url=url, admin_key=admin_key)
    try:
        deployment.request("POST", f"/api/export/request/zip?includeStorage={'true' if include_files else 'false'}")
        found = _exported(deployment)
        with deployment.stream("GET", f"/api/export/zip/{found['_id']}", timeout_s=300) as answer:
            target = save(path, answer, "snapshot.zip")
    except KeyboardInterrupt:
        typer.echo("Interrupted: no file was written.", err=True)
        raise typer.Exit(130) from None
    typer.echo(str(target))


def _exported(deployment: Deployment) -> dict[str, Any]:
    with _status("exporting") as tell:
        while True:
            found = deployment.call("_system/cli/exports:getLatest", {})
            if found["state"] == "completed":
                return found
            if found["state"] in ("failed", "canceled"):
                raise ReactorError(f"the export {found['state']}; the server's log says why.", code="ExportFailed")
            tell(found.get("progress_message") or "exporting")
            time.sleep(POLL_S)


@contextlib.contextmanager
def _status(doing: str) -> Iterator[Any]:
    """A spinner with what is going on, in a terminal; silent elsewhere. Yields what changes its text."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status(doing) as status:
        yield lambda text: status.update(Text(harmless(text)))
