"""The commands and their options. What a command needs is imported when it runs, so that `--help` stays quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from reactor.cli.admin_key import admin_key as admin_key_commands
from reactor.cli.backup import backup, restore
from reactor.cli.codegen import codegen
from reactor.cli.data import data as data_command
from reactor.cli.env import env
from reactor.cli.function_spec import function_spec
from reactor.cli.logs import logs
from reactor.cli.run import run as run_command
from reactor.cli.terminal_text import harmless
from reactor.cli.transfer import export, import_
from reactor.cli.why import why
from reactor.errors import ReactorError

__all__ = ["cli", "run"]

cli = typer.Typer(
    name="reactor",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings come from flags, then REACTOR_* environment variables, then \\[tool.reactor] in pyproject.toml.",
)

ASKING = "A deployment"
SERVING = "Serving"
STORAGE = "Data and keys"

App = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="Where functions/ and schema.py are.", show_default="here")
]
Host = Annotated[
    str | None,
    typer.Option(
        metavar="HOST",
        help="Address to listen on. 0.0.0.0 for every interface.",
        show_default="127.0.0.1",
        rich_help_panel=SERVING,
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        help="Port for clients. 0 for any free one.",
        show_default="3210",
        rich_help_panel=SERVING,
    ),
]
SitePort = Annotated[
    int | None,
    typer.Option(metavar="PORT", help="Port for HTTP actions.", show_default="3211", rich_help_panel=SERVING),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", help="Where the database lives.", show_default=".reactor in DIR", rich_help_panel=STORAGE
    ),
]
AdminKey = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY",
        help="A key that opens the admin functions; may be given several times.",
        show_default="one is made: see reactor admin-key",
        rich_help_panel=STORAGE,
    ),
]
ManualClock = Annotated[
    bool,
    typer.Option(
        "--manual-clock",
        help="Let time stand still until POST /api/testing/advance_clock moves it. For tests.",
    ),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"reactor {version('reactor')}")
        raise typer.Exit


@cli.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Show the version and stop.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """A reactive backend for web apps, in Python.

    Start with [bold]reactor init my-app[/bold], then [bold]cd my-app && reactor dev[/bold].
    """


@cli.command(
    epilog="Examples:  [bold]reactor dev[/bold]   "
    "[bold]reactor dev examples/chat --port 4000[/bold]   "
    "[bold]reactor dev --data /tmp/scratch[/bold]"
)
def dev(
    app: App = None,
    host: Host = None,
    port: Port = None,
    site_port: SitePort = None,
    data: Data = None,
    admin_key: AdminKey = None,
    manual_clock: ManualClock = False,
    codegen: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Keep the TypeScript types of a front end fresh here, like web/convex/_generated."
        ),
    ] = None,
) -> None:
    """Serve an app while you write it: saved files are live at once, errors are shown in full."""
    settings = _settings(app, locals(), dev=True)
    from reactor.cli.serving import serve_forever

    raise typer.Exit(serve_forever(settings, live_reload=True))


@cli.command(
    epilog="Examples:  [bold]reactor serve --host 0.0.0.0[/bold]   "
    "[bold]reactor serve /srv/app --data /var/lib/app[/bold]   "
    "[bold]REACTOR_ADMIN_KEY=… reactor serve[/bold]"
)
def serve(
    app: App = None,
    host: Host = None,
    port: Port = None,
    site_port: SitePort = None,
    data: Data = None,
    admin_key: AdminKey = None,
    manual_clock: ManualClock = False,
    supervise: Annotated[
        bool | None,
        typer.Option(
            "--supervise/--no-supervise",
            help="Run under a parent process that starts the server again when it hangs or dies.",
            show_default="supervise",
            rich_help_panel=SERVING,
        ),
    ] = None,
) -> None:
    """Serve an app in production: no reload, and errors that are not meant for clients are kept from them."""
    settings = _settings(app, locals(), dev=False)
    if settings.supervise:
        from reactor.cli.supervisor import supervise_forever

        raise typer.Exit(supervise_forever(settings))
    from reactor.cli.serving import serve_forever

    raise typer.Exit(serve_forever(settings, live_reload=False))


@cli.command(epilog="Example:  [bold]reactor init my-app && cd my-app && reactor dev[/bold]")
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty directory.")],
) -> None:
    """Write a new app that works: schema, functions, a test, a README."""
    from reactor.cli.scaffold import create_app

    try:
        written = create_app(directory)
    except FileExistsError as error:
        _fail(str(error))
    for path in written:
        typer.echo(f"  {path}")
    shown = "" if directory == Path() else f"cd {directory} && "
    typer.echo(f"\nNext:\n  {shown}reactor dev")


cli.command(
    epilog="Examples:  [bold]reactor codegen --out web/convex/_generated[/bold]   "
    "[bold]reactor codegen --python[/bold]   [bold]reactor codegen --out web/convex/_generated --check[/bold]"
)(codegen)
cli.command(
    rich_help_panel=ASKING,
    epilog="Examples:  [bold]reactor run messages:list sessionId=demo[/bold]   "
    '[bold]reactor run messages:send \'{"sessionId": "demo", "content": "hi"}\'[/bold]   '
    "[bold]reactor run --watch messages:list sessionId=demo[/bold]   [bold]reactor run tasks.count_open[/bold] (as in Python)",
)(run_command)
cli.command(
    "data",
    rich_help_panel=ASKING,
    epilog="Examples:  [bold]reactor data[/bold]   [bold]reactor data messages --limit 5[/bold]   "
    "[bold]reactor data messages --json | jq .content[/bold]",
)(data_command)
cli.command(
    rich_help_panel=ASKING,
    epilog="Examples:  [bold]reactor logs --follow[/bold]   [bold]reactor logs --history 20 --success[/bold]",
)(logs)
cli.command(
    "import",
    rich_help_panel=ASKING,
    epilog="Examples:  [bold]reactor import messages.jsonl --table messages[/bold]   "
    "[bold]reactor import snapshot.zip --replace-all[/bold]",
)(import_)
cli.command(
    rich_help_panel=ASKING,
    epilog="Examples:  [bold]reactor export backup.zip --include-files[/bold]   [bold]reactor export[/bold]",
)(export)
cli.command(
    rich_help_panel=ASKING,
    epilog="Examples:  [bold]reactor backup[/bold]   [bold]reactor backup /var/backups --url https://app.example.com[/bold]",
)(backup)
cli.command(
    rich_help_panel=ASKING,
    epilog="Examples:  [bold]reactor restore reactor-backup.zip[/bold]   "
    "[bold]reactor restore reactor-backup.zip --data /var/lib/app --replace[/bold]",
)(restore)
cli.command(
    "function-spec", rich_help_panel=ASKING, epilog="Example:  [bold]reactor function-spec --out spec.json[/bold]"
)(function_spec)
cli.command(
    rich_help_panel=ASKING,
    epilog="Examples:  [bold]reactor why[/bold]   [bold]reactor why messages:list --limit 5[/bold]",
)(why)
cli.add_typer(env, rich_help_panel=ASKING)
cli.add_typer(admin_key_commands, rich_help_panel=ASKING)


def _settings(app: Path | None, options: dict[str, Any], *, dev: bool) -> Any:
    from reactor.config import ConfigError, load_settings

    flags = {k: v for k, v in options.items() if k in ("host", "port", "site_port", "data", "supervise", "codegen")}
    if options["admin_key"]:
        flags["admin_keys"] = tuple(options["admin_key"])
    if options["manual_clock"]:
        flags["manual_clock"] = True
    flags["dev"] = dev
    try:
        settings = load_settings(app, flags=flags)
    except ConfigError as error:
        _fail(str(error))
    if not settings.app.is_dir():
        _fail(f"there is no directory {settings.app}")
    return settings


def _fail(message: str) -> NoReturn:
    """Say what is wrong, without a traceback. Exit status 2: trying again as it is won't help."""
    typer.secho(harmless(f"reactor: {message}"), err=True, fg="red" if sys.stderr.isatty() else None)
    raise typer.Exit(2)


def run() -> NoReturn:
    try:
        cli(prog_name="reactor")
    except ReactorError as error:
        typer.echo(harmless(f"reactor: {error}"), err=True)
        sys.exit(2)
    sys.exit(0)
