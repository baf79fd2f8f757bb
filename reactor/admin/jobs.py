"""Cancelling scheduled functions over HTTP, one or all of them, and forgetting them."""

from __future__ import annotations

from typing import Final

import msgspec

from reactor.admin.request_body import check_component, read_body
from reactor.engine.database import Database
from reactor.errors import DatabaseError
from reactor.http.access import WhoAsks, require_admin
from reactor.http.request import Handler, HttpError, Request
from reactor.model.scheduled_functions import cancel, cancel_some, delete_some

__all__ = ["JobsApi"]

AT_ONCE: Final = 256
"""Jobs of one transaction: clients' mutations go between two of them."""


class _Cancel(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    component_id: str | None = None


class _CancelAll(msgspec.Struct, frozen=True, rename="camel"):
    udf_path: str | None = None
    component_id: str | None = None
    component_path: str | None = None


class _Delete(msgspec.Struct, frozen=True, rename="camel"):
    component_id: str | None = None


_cancel = msgspec.json.Decoder(_Cancel)
_cancel_all = msgspec.json.Decoder(_CancelAll)
_delete = msgspec.json.Decoder(_Delete)


class JobsApi:
    """Handlers for operators; everybody else is refused with 403."""

    def __init__(self, database: Database, who_asks: WhoAsks) -> None:
        self._database, self._who_asks = database, who_asks

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {
            ("POST", "/api/cancel_job"): self.cancel_job,
            ("POST", "/api/cancel_all_jobs"): self.cancel_all_jobs,
            ("POST", "/api/delete_scheduled_functions_table"): self.delete_jobs,
        }

    async def cancel_job(self, request: Request) -> None:
        """POST {"id"}: a pending job never runs; one in progress goes on, and is marked canceled. Others stay as they are."""
        await require_admin(request, self._who_asks)
        asked = await read_body(request, _cancel, '{"id": …, "componentId": null}')
        check_component(asked.component_id)
        try:
            await self._database.write(lambda tx: cancel(tx, asked.id, is_caller=lambda job: False))
        except DatabaseError as error:
            raise HttpError(400, error.code, str(error)) from None
        await request.answer(b"", is_json=False)

    async def cancel_all_jobs(self, request: Request) -> None:
        """POST {"udfPath"?}: the same for all jobs (of one function) that there were when it was asked, in steps."""
        await require_admin(request, self._who_asks)
        asked = await read_body(request, _cancel_all, '{"udfPath": "messages.js:send" or null, "componentId": null}')
        check_component(asked.component_id or asked.component_path)
        until = await self._now()
        start: bytes | None = b""
        while start is not None:
            start = await self._database.write(
                lambda tx, start=start: cancel_some(tx, start, until, AT_ONCE, asked.udf_path), background=True
            )
        await request.answer(b"", is_json=False)

    async def delete_jobs(self, request: Request) -> None:
        """POST {}: all jobs that there were, ended ones too, are forgotten. What is in progress goes on."""
        await require_admin(request, self._who_asks)
        check_component((await read_body(request, _delete, '{"componentId": null}')).component_id)
        until = await self._now()
        while await self._database.write(lambda tx: delete_some(tx, until, AT_ONCE), background=True):
            pass
        await request.answer(b"", is_json=False)

    async def _now(self) -> float:
        """The creation time of the youngest job that can be there: what is scheduled meanwhile is none of the request's."""
        return await self._database.write(lambda tx: tx.last_creation_time)
