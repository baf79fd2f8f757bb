"""What clients ask of an upload: how it is to be read, and what becomes of the documents that are there."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from reactor.engine.write_transaction import check_table_name
from reactor.errors import DatabaseError
from reactor.transfer.convert import Format, Mode
from reactor.transfer.rows import ImportRefused

__all__ = ["ImportRequest"]

_FORMATS: Final = {"csv": "csv", "jsonLines": "jsonl", "jsonArray": "json_array", "zip": "zip"}
_MODES: Final = {"requireEmpty": "RequireEmpty", "append": "Append", "replace": "Replace", "replaceAll": "ReplaceAll"}


class ImportRequest(msgspec.Struct, rename="camel", frozen=True):
    """What is asked of an upload. `table_name` goes with every format but zip."""

    mode: Mode
    format: Format
    table_name: str | None = None
    component_path: str | None = None

    def check(self) -> None:
        """Raises ImportRefused."""
        if self.component_path:
            raise ImportRefused(
                "There are no components here: import without --component.", code="ComponentsNotSupported"
            )
        if (self.table_name is None) != (self.format == "zip"):
            raise ImportRefused(
                "A table name goes with csv, jsonLines and jsonArray, not with zip.", code="InvalidImport"
            )
        if self.table_name is not None:
            try:
                check_table_name(self.table_name)
            except DatabaseError as error:
                raise ImportRefused(str(error), code="InvalidTableName") from None

    def document(self) -> dict[str, Any]:
        """What `_imports` keeps of it. Source of the names: deployment-api 5.1."""
        format_: dict[str, Any] = {"format": _FORMATS[self.format]}
        if self.table_name is not None:
            format_["table"] = self.table_name
        return {
            "state": {"state": "uploaded"},
            "format": format_,
            "mode": _MODES[self.mode],
            "component_path": None,
            "requestor": {"type": "snapshotImport"},
            "member_id": None,
            "checkpoints": [],
        }
