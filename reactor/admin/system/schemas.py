"""The schema in force, and the one that is on its way, as dashboards and test suites look at them."""

from __future__ import annotations

import msgspec

from reactor.admin.system.frontend import frontend_query
from reactor.admin.system.reading import in_transaction
from reactor.engine.schema_progress import pending_check
from reactor.engine.transaction import Transaction
from reactor.runtime.contexts import QueryCtx
from reactor.schema.spec import schema_json

__all__: list[str] = []


@frontend_query("getSchemas:default")
async def get_schemas(ctx: QueryCtx) -> dict[str, str]:
    """`active` is the schema as JSON text, `inProgress` one that documents are being checked against; each if there is one."""
    schema = ctx._call.root.app.schema
    told = {} if schema is None else {"active": msgspec.json.encode(schema_json(schema)).decode()}
    pending = in_transaction(ctx, pending_check)
    return told if pending is None else {**told, "inProgress": pending.schema}


@frontend_query("getSchemas:schemaValidationProgress")
def validation_progress(tx: Transaction) -> dict[str, int] | None:
    """How many documents have been checked; null while no schema is on its way."""
    pending = pending_check(tx)
    return None if pending is None else {"numDocsValidated": pending.checked, "totalDocs": pending.total}
