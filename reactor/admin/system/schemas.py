"""The schema in force, as dashboards and test suites compare it."""

from __future__ import annotations

import msgspec

from reactor.admin.system.frontend import frontend_query
from reactor.runtime.contexts import QueryCtx
from reactor.schema.spec import schema_json

__all__: list[str] = []


@frontend_query("getSchemas:default")
async def get_schemas(ctx: QueryCtx) -> dict[str, str]:
    """`active` is the schema as JSON text; there is none without a schema."""
    schema = ctx._call.root.app.schema
    return {} if schema is None else {"active": msgspec.json.encode(schema_json(schema)).decode()}
