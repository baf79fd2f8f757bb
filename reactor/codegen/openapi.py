"""The OpenAPI document of an app's public functions, as they are called with `POST /api/run/{module}/{function}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reactor.codegen.json_schema import REFERENCE, SchemaWriter
from reactor.runtime.app import App
from reactor.runtime.registry import RegisteredFunction
from reactor.schema.validators import AnyValue, Object

__all__ = ["openapi_document"]

_FAILURE: Final = {
    "type": "object",
    "description": "The function failed. `errorData` is there when the app meant it for its clients.",
    "properties": {
        "status": {"const": "error"},
        "errorMessage": {"type": "string"},
        "errorData": {},
        "logLines": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["status", "errorMessage"],
}
_REFUSAL: Final = {
    "type": "object",
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
    "required": ["code", "message"],
}


def openapi_document(app: App, *, url: str, title: str, version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document. `url` is where clients reach the deployment.

    Internal functions are left out. Arguments and results are in the `json` format (see `reactor.codegen.json_schema`).
    """
    documents = {name: table.document_validator for name, table in app.types.tables.items()}
    sent, answered = SchemaWriter(documents, sent=True), SchemaWriter(documents, sent=False)
    public = [fn for fn in app.functions.values() if not fn.is_internal]
    paths = {f"/api/run/{fn.module}/{fn.name}": {"post": _operation(fn, sent, answered)} for fn in public}
    # A name of ours can't be a table's: those begin with a letter or an underscore, and hold no dot.
    schemas = {name: answered.spelled_out(validator) for name, validator in documents.items()}
    schemas |= {"reactor.Failure": _FAILURE, "reactor.Refusal": _REFUSAL}
    # Strangers may read this: tables that no public function answers with are none of their business.
    used = _used(paths, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": "The public functions of a reactor app. Each is called with its arguments in `args`.",
        },
        "servers": [{"url": url}],
        "tags": [{"name": module} for module in dict.fromkeys(fn.module for fn in public)],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in schemas.items() if name in used},
            "securitySchemes": {
                "user": {"type": "http", "scheme": "bearer", "description": "A token of one of the app's providers."}
            },
        },
        "security": [{}, {"user": []}],
    }


def _used(part: Any, schemas: Mapping[str, Any]) -> set[str]:
    """The schemas that a part of the document refers to, or that these refer to."""
    used: set[str] = set()
    parts = [part]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str) and (name := reference.removeprefix(REFERENCE)) not in used:
                used.add(name)
                parts.append(schemas[name])
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return used


def _operation(fn: RegisteredFunction, sent: SchemaWriter, answered: SchemaWriter) -> dict[str, Any]:
    text = (fn.function.__doc__ or "").strip()
    operation: dict[str, Any] = {
        "operationId": fn.path.replace("/", ".").replace(":", "."),
        "tags": [fn.module],
        "summary": text.splitlines()[0] if text else f"{fn.kind.capitalize()} {fn.path}",
        "x-function-type": fn.kind,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _body(fn, sent), "example": _example(fn, sent)}},
        },
        "responses": {
            "200": {
                "description": "What the function returned, or how it failed: see `status`.",
                "content": {"application/json": {"schema": _answer(fn, answered)}},
            },
            "default": {
                "description": "The call could not be made.",
                "content": {"application/json": {"schema": {"$ref": f"{REFERENCE}reactor.Refusal"}}},
            },
        },
    }
    if text:
        operation["description"] = text
    return operation


def _body(fn: RegisteredFunction, sent: SchemaWriter) -> dict[str, Any]:
    arguments = fn.arguments.validator
    schema = {"type": "object"} if isinstance(arguments, AnyValue) else sent.schema(arguments)
    needed = isinstance(arguments, Object) and any(not optional for _, optional in arguments.fields.values())
    return {
        "type": "object",
        "properties": {"args": schema, "format": {"const": "json", "default": "json"}},
        **({"required": ["args"]} if needed else {}),
    }


def _example(fn: RegisteredFunction, sent: SchemaWriter) -> dict[str, Any]:
    arguments = fn.arguments.validator
    return {"args": {} if isinstance(arguments, AnyValue) else sent.example(arguments), "format": "json"}


def _answer(fn: RegisteredFunction, answered: SchemaWriter) -> dict[str, Any]:
    success = {
        "type": "object",
        "properties": {
            "status": {"const": "success"},
            "value": answered.schema(fn.returns.validator),
            "logLines": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["status", "value"],
    }
    return {"oneOf": [success, {"$ref": f"{REFERENCE}reactor.Failure"}]}
