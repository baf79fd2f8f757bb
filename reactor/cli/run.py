"""`reactor run`: call a function of a deployment, or follow a query."""

from __future__ import annotations

import json
from typing import Annotated, Any, NoReturn

import typer

from reactor.cli.function_names import wire_path
from reactor.cli.options import AdminKey, App, AsJson, Data, Url
from reactor.cli.target import Deployment, find_deployment, whole_identity
from reactor.cli.terminal_text import harmless, harmless_json
from reactor.cli.values import shown

__all__ = ["run"]


def run(
    function: Annotated[
        str,
        typer.Argument(metavar="FUNCTION", help="Like messages:listMine or messages.list_mine; internal ones, too."),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[JSON | NAME=VALUE…]", help="Its arguments. VALUE is JSON, or else text.", show_default=False
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow a query: print each new result.")] = False,
    identity: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="""Ask as this user: '{"subject": "ann", "email": "a@example.com"}'.""",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    app: App = None,
    data: Data = None,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Call a query, mutation or action, and print its result."""
    args = _arguments(arguments or [])
    user = None if identity is None else _object(identity, "--identity")
    deployment = find_deployment(app, data=data, url=url, admin_key=admin_key)
    function = wire_path(deployment, function)
    if watch:
        _watch(deployment, function, args, user, as_json)
    answer = deployment.acting_as(user).request(
        "POST", "/api/function", json={"path": function, "args": args, "format": "convex_encoded_json"}, timeout_s=None
    )
    if not _print(answer.json(), as_json):
        raise typer.Exit(1)


def _watch(
    deployment: Deployment, function: str, args: dict[str, Any], user: dict[str, Any] | None, as_json: bool
) -> NoReturn:
    from reactor.cli.live import follow

    try:
        for change in follow(deployment, function, args, acting_as=user and whole_identity(user)):
            _print(change, as_json)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    raise AssertionError("`follow` ends with an error")


def _print(answer: dict[str, Any], as_json: bool) -> bool:
    """Print an outcome; returns whether it is a result."""
    for line in answer.get("logLines") or ():
        typer.echo(harmless(line), err=True)
    if "errorMessage" in answer:
        typer.secho(harmless(answer["errorMessage"]), err=True, fg="red")
        if "errorData" in answer:
            typer.echo(shown(answer["errorData"]), err=True)
        return False
    value = answer["value"]
    if as_json:
        typer.echo(harmless_json(value))
    elif value is not None:
        typer.echo(shown(value))
    return True


def _arguments(words: list[str]) -> dict[str, Any]:
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        return _object(words[0], "the arguments")
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{word!r} is neither a JSON object nor NAME=VALUE.")
        try:
            found[name] = json.loads(text)
        except (ValueError, RecursionError):
            found[name] = text
    return found


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{what} must be a JSON object, not {text}.")
    return value
