"""The functions and HTTP routes of the app in force, as `npx convex function-spec` and the generators built on it want them.

Order: modules by path, functions as they stand in the source, and HTTP routes after the functions of `http`.
"""

from __future__ import annotations

from typing import Any

from reactor.admin.system.declare import system_query
from reactor.admin.system.reading import COMPONENT_ID
from reactor.runtime.app import App
from reactor.runtime.contexts import QueryCtx
from reactor.runtime.registry import RegisteredFunction
from reactor.schema.validators import Validator
from reactor.values import wire

__all__ = ["api_spec", "function_spec"]


@system_query("cli/modules:apiSpec", {"componentId": COMPONENT_ID})
async def list_functions(ctx: QueryCtx, component_id: str | None = None) -> list[dict[str, Any]]:
    return api_spec(ctx._call.root.app)


def api_spec(app: App) -> list[dict[str, Any]]:
    """All functions and HTTP routes, internal ones too. It changes only with the code."""
    by_module: dict[str, list[dict[str, Any]]] = {module: [] for module in app.modules}
    for fn in app.functions.values():
        by_module.setdefault(fn.module, []).append(function_spec(fn))
    if app.http is not None:
        by_module["http"] += [
            {"functionType": "HttpAction", "method": method, "path": route.path + ("*" if route.is_prefix else "")}
            for route in app.http.router.routes
            for method in route.methods
        ]
    return [entry for module in sorted(by_module) for entry in by_module[module]]


def function_spec(fn: RegisteredFunction) -> dict[str, Any]:
    """One function. `identifier` keeps the three letters `.js`, which tools cut off without looking."""
    return {
        "identifier": fn.stored_path,
        "functionType": fn.kind.capitalize(),
        "visibility": {"kind": "internal" if fn.is_internal else "public"},
        "args": _value(fn.arguments.validator),
        "returns": _value(fn.returns.validator),
    }


def _value(validator: Validator) -> Any:
    # As a value of ours: an Int64 inside a literal has to be written as one, not as the object that stands for it.
    return wire.from_json(validator.json())
