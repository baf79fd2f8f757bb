"""The app's modules with their functions, routes and crons, as dashboards list them, and the arguments of one function."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from reactor.admin.system.crons import cron_spec
from reactor.admin.system.frontend import frontend_query
from reactor.admin.system.reading import in_transaction
from reactor.errors import FunctionError
from reactor.model.cron_jobs import CronJob, all_crons
from reactor.runtime.app import App
from reactor.runtime.contexts import QueryCtx
from reactor.runtime.references import parse_path
from reactor.runtime.registry import RegisteredFunction, source_of
from reactor.schema import v

__all__: list[str] = []

Value = dict[str, Any]

_CRONS: Final = "crons"
_HTTP: Final = "http"
_ANY: Final = '{"type":"any"}'


@frontend_query("modules:list")
async def list_modules(ctx: QueryCtx) -> list[list[Any]]:
    """Pairs of a module's path (`messages.js`) and what is in it."""
    root = ctx._call.root
    return _modules(root.app, in_transaction(ctx, all_crons))


@frontend_query("modules:listForAllComponents")
async def list_all_modules(ctx: QueryCtx) -> list[list[Any]]:
    """The same by component: there is the root, null, alone."""
    return [[None, _modules(ctx._call.root.app, in_transaction(ctx, all_crons))]]


@frontend_query("modules:argsValidator", {"function": v.string()})
async def arguments_validator(ctx: QueryCtx, function: str) -> str | None:
    """The validator of a function's arguments as JSON text; null for a function that there is not."""
    try:
        path = parse_path(function)
    except FunctionError:
        return None
    fn = ctx._call.root.app.functions.get(path)
    return None if fn is None else _arguments(fn)


def _modules(app: App, crons: list[CronJob]) -> list[list[Any]]:
    by_module: dict[str, list[Value]] = {module: [] for module in app.modules}
    for fn in app.functions.values():
        by_module.setdefault(fn.module, []).append(_function(fn))
    if app.http is not None:
        by_module[_HTTP] += [_route(route, method) for route in app.http.router.routes for method in route.methods]
    # The id changes with the code, so that dashboards look again.
    listed = {
        module: {"functions": found, "sourcePackageId": str(app.generation)} for module, found in by_module.items()
    }
    if crons:
        module = listed.setdefault(_CRONS, {"functions": [], "sourcePackageId": str(app.generation)})
        module["cronSpecs"] = [[cron.name, cron_spec(cron)] for cron in crons]
    return [[f"{module}.js", listed[module]] for module in sorted(listed)]


def _function(fn: RegisteredFunction) -> Value:
    return {
        "name": fn.name,
        "lineno": fn.line,
        "udfType": fn.kind.capitalize(),
        "visibility": {"kind": "internal" if fn.is_internal else "public"},
        "argsValidator": _arguments(fn),
    }


def _arguments(fn: RegisteredFunction) -> str:
    return msgspec.json.encode(fn.arguments.validator.json()).decode()


def _route(route: Any, method: str) -> Value:
    return {
        "name": f"{method} {route.path}{'*' if route.is_prefix else ''}",
        "lineno": source_of(route.handler)[1],
        "udfType": "HttpAction",
        "visibility": {"kind": "public"},
        "argsValidator": _ANY,
    }
