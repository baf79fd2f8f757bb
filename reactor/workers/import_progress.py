"""How far an import is, for those who follow its document: told a few times a second, and when it has failed."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from reactor.engine.database import Database
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import ReactorError
from reactor.model import transfers
from reactor.model.transfers import IMPORTS

__all__ = ["ImportProgress"]

logger = logging.getLogger("reactor.transfer")

REPORT_S: Final = 0.25


class ImportProgress:
    """Of one import. `report` is called on the event loop, as often as one likes."""

    def __init__(self, database: Database, import_id: str) -> None:
        self._database, self._id = database, import_id
        self.checkpoints: list[str] = []
        """What has been done."""
        self._message = ""
        self._reported = 0.0
        self._reporting: asyncio.Task[None] | None = None

    def report(self, message: str, *, at_once: bool = False) -> None:
        """What is going on."""
        self._message = message
        now = time.monotonic()
        if self._reporting is not None or (now - self._reported < REPORT_S and not at_once):
            return
        self._reported = now
        self._reporting = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        state = {
            "state": "in_progress",
            "progress_message": self._message,
            "checkpoint_messages": list(self.checkpoints),
        }
        try:
            await self._database.write(
                lambda tx: transfers.set_state(
                    tx, self._id, state, unless=("completed", "failed", "waiting_for_confirmation", "uploaded")
                ),
                background=True,
            )
        except ReactorError as error:
            logger.warning("the progress of import %s can't be noted: %s", self._id, error)
        finally:
            self._reporting = None

    async def fail(self, text: str) -> int | None:
        """Mark the import as failed, unless it has ended. Returns how many documents it has written if it is completed."""
        if self._reporting is not None:
            self._reporting.cancel()
        state = {"state": "failed", "error_message": f"Hit an error while importing:\n{text}"}

        def change(tx: WriteTransaction) -> int | None:
            if transfers.set_state(tx, self._id, state, unless=("completed", "failed")):
                return None
            document = transfers.read(tx, IMPORTS, self._id)
            return None if document is None else transfers.written_by(document)

        try:
            return await self._database.write(change)
        except ReactorError as error:  # the database is closing; the next start says it
            logger.warning("import %s ended, which can't be noted: %s", self._id, error)
            return None
