"""A reactive backend for web apps, in Python, that speaks Convex's client protocol.

Everything that user code needs is imported from here: `from reactor import query, mutation, Document, …`. Names are loaded
when they are first asked for, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reactor.auth.authenticator import AuthenticationError
    from reactor.auth.identity import UserIdentity
    from reactor.auth.providers import JwtProvider, OidcProvider
    from reactor.errors import (
        ApplicationError,
        DatabaseError,
        DocumentNotFound,
        FunctionError,
        FunctionNotFound,
        InvalidArguments,
        InvalidDocument,
        InvalidResult,
        InvalidValue,
        LimitExceeded,
        ReactorError,
        SchemaError,
        Unavailable,
    )
    from reactor.runtime.actions import ActionCtx
    from reactor.runtime.contexts import MutationCtx, QueryCtx
    from reactor.runtime.cron_declarations import Crons
    from reactor.runtime.environment import Environment
    from reactor.runtime.files import FileMetadata, FileObject
    from reactor.runtime.http_cors import cors
    from reactor.runtime.http_router import HttpRouter
    from reactor.runtime.paging import PaginationOptions, PaginationResult
    from reactor.runtime.references import Reference, api, internal
    from reactor.runtime.registry import (
        Action,
        Function,
        Mutation,
        Query,
        action,
        internal_action,
        internal_mutation,
        internal_query,
        mutation,
        query,
    )
    from reactor.runtime.rules import Rule, with_rules
    from reactor.runtime.vector_search import VectorFilter, VectorFilterBuilder, VectorHit, VectorMatch
    from reactor.runtime.wrapping import wraps
    from reactor.schema import v
    from reactor.schema.ids import Fields, Id
    from reactor.schema.structs import Document, Projection, Struct, field
    from reactor.schema.system import ScheduledFunction, StoredFile
    from reactor.schema.tables import define_schema, define_table
    from reactor.server import Reactor
    from reactor.values.types import UNSET, Int64, UnsetType

_HOMES = {
    "ActionCtx": "reactor.runtime.actions",
    "ApplicationError": "reactor.errors",
    "AuthenticationError": "reactor.auth.authenticator",
    "DatabaseError": "reactor.errors",
    "DocumentNotFound": "reactor.errors",
    "FunctionError": "reactor.errors",
    "FunctionNotFound": "reactor.errors",
    "InvalidArguments": "reactor.errors",
    "InvalidDocument": "reactor.errors",
    "InvalidResult": "reactor.errors",
    "InvalidValue": "reactor.errors",
    "LimitExceeded": "reactor.errors",
    "Reactor": "reactor.server",
    "ReactorError": "reactor.errors",
    "SchemaError": "reactor.errors",
    "Unavailable": "reactor.errors",
    "UserIdentity": "reactor.auth.identity",
    "JwtProvider": "reactor.auth.providers",
    "OidcProvider": "reactor.auth.providers",
    "MutationCtx": "reactor.runtime.contexts",
    "QueryCtx": "reactor.runtime.contexts",
    "Crons": "reactor.runtime.cron_declarations",
    "Environment": "reactor.runtime.environment",
    "cors": "reactor.runtime.http_cors",
    "HttpRouter": "reactor.runtime.http_router",
    "FileMetadata": "reactor.runtime.files",
    "FileObject": "reactor.runtime.files",
    "PaginationOptions": "reactor.runtime.paging",
    "PaginationResult": "reactor.runtime.paging",
    "Reference": "reactor.runtime.references",
    "api": "reactor.runtime.references",
    "internal": "reactor.runtime.references",
    "Action": "reactor.runtime.registry",
    "Function": "reactor.runtime.registry",
    "Mutation": "reactor.runtime.registry",
    "Query": "reactor.runtime.registry",
    "action": "reactor.runtime.registry",
    "internal_action": "reactor.runtime.registry",
    "internal_mutation": "reactor.runtime.registry",
    "internal_query": "reactor.runtime.registry",
    "mutation": "reactor.runtime.registry",
    "query": "reactor.runtime.registry",
    "Rule": "reactor.runtime.rules",
    "with_rules": "reactor.runtime.rules",
    "VectorFilter": "reactor.runtime.vector_search",
    "VectorFilterBuilder": "reactor.runtime.vector_search",
    "VectorHit": "reactor.runtime.vector_search",
    "VectorMatch": "reactor.runtime.vector_search",
    "wraps": "reactor.runtime.wrapping",
    "Fields": "reactor.schema.ids",
    "Id": "reactor.schema.ids",
    "Document": "reactor.schema.structs",
    "Projection": "reactor.schema.structs",
    "Struct": "reactor.schema.structs",
    "field": "reactor.schema.structs",
    "ScheduledFunction": "reactor.schema.system",
    "StoredFile": "reactor.schema.system",
    "define_schema": "reactor.schema.tables",
    "define_table": "reactor.schema.tables",
    "v": "reactor.schema.v",  # the module itself
    "UNSET": "reactor.values.types",
    "Int64": "reactor.values.types",
    "UnsetType": "reactor.values.types",
}

__all__ = [
    "UNSET",
    "Action",
    "ActionCtx",
    "ApplicationError",
    "AuthenticationError",
    "Crons",
    "DatabaseError",
    "Document",
    "DocumentNotFound",
    "Environment",
    "Fields",
    "FileMetadata",
    "FileObject",
    "Function",
    "FunctionError",
    "FunctionNotFound",
    "HttpRouter",
    "Id",
    "Int64",
    "InvalidArguments",
    "InvalidDocument",
    "InvalidResult",
    "InvalidValue",
    "JwtProvider",
    "LimitExceeded",
    "Mutation",
    "MutationCtx",
    "OidcProvider",
    "PaginationOptions",
    "PaginationResult",
    "Projection",
    "Query",
    "QueryCtx",
    "Reactor",
    "ReactorError",
    "Reference",
    "Rule",
    "ScheduledFunction",
    "SchemaError",
    "StoredFile",
    "Struct",
    "Unavailable",
    "UnsetType",
    "UserIdentity",
    "VectorFilter",
    "VectorFilterBuilder",
    "VectorHit",
    "VectorMatch",
    "action",
    "api",
    "cors",
    "define_schema",
    "define_table",
    "field",
    "internal",
    "internal_action",
    "internal_mutation",
    "internal_query",
    "mutation",
    "query",
    "v",
    "with_rules",
    "wraps",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'reactor' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(home)
    value = module if home.endswith(f".{name}") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
