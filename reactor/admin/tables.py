"""Dropping tables over HTTP: wholly, at once, and never one that the schema needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from reactor.admin.request_body import check_component, read_body
from reactor.engine.database import Database
from reactor.http.access import WhoAsks, require_admin
from reactor.http.request import Handler, HttpError, Request
from reactor.schema.tables import SchemaDefinition
from reactor.schema.validators import Array, IdOf, Object, Record, Union, Validator

__all__ = ["TablesApi"]

EXAMPLE: Final = '{"tableNames": ["…"], "componentId": null}'


class _Delete(msgspec.Struct, frozen=True, rename="camel"):
    table_names: list[str]
    component_id: str | None = None


_delete = msgspec.json.Decoder(_Delete)


class TablesApi:
    """The handler for operators; everybody else is refused with 403. `schema` gives the one in force, or None."""

    def __init__(self, database: Database, schema: Callable[[], SchemaDefinition | None], who_asks: WhoAsks) -> None:
        self._database, self._schema, self._who_asks = database, schema, who_asks

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {("POST", "/api/delete_tables"): self.delete_tables}

    async def delete_tables(self, request: Request) -> None:
        """POST /api/delete_tables {"tableNames"}: all of them or none, in one commit that takes no longer for large tables.

        What they held is deleted afterwards, in small steps. Their ids are nobody's from then on.
        """
        await require_admin(request, self._who_asks)
        asked = await read_body(request, _delete, EXAMPLE)
        check_component(asked.component_id)
        async with self._database.schema_lock:  # a deploy that declares one of them comes before or after
            for name in asked.table_names:
                self._check(name)
            if asked.table_names:
                await self._database.replace_tables(drop=asked.table_names)
        await request.answer(b"", is_json=False)

    def _check(self, name: str) -> None:
        if name.startswith("_"):
            raise HttpError(400, "SystemTableError", f"{name!r} is a system table: those can't be deleted.")
        if name not in self._database.catalogue.tables:
            raise HttpError(400, "TableNotFound", f"There is no table {name!r}. Nothing was deleted.")
        schema = self._schema()
        if schema is None:
            return
        if name in schema.tables:
            raise HttpError(
                400,
                "DeclaredTable",
                f"The table {name!r} is declared in the schema. Take it out of schema.py, deploy, and delete it then. "
                "(To delete its documents only, clear the table.)",
            )
        for table in schema.tables.values():
            if name in _referenced(table.validator):
                raise HttpError(
                    400,
                    "ReferencedTable",
                    f"The documents of {table.name!r} may hold ids of {name!r}, the schema says. Change that in schema.py, "
                    "deploy, and delete it then.",
                )


def _referenced(validator: Validator) -> Iterator[str]:
    """The tables that ids in a value may be of."""
    match validator:
        case IdOf():
            yield validator.table
        case Array():
            yield from _referenced(validator.element)
        case Record():
            yield from _referenced(validator.keys)
            yield from _referenced(validator.values)
        case Union():
            for member in validator.members:
                yield from _referenced(member)
        case Object():
            for field, _ in validator.fields.values():
                yield from _referenced(field)
        case _:
            return
