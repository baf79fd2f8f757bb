"""What an import is staged for: the tables as they are; and whether they still are so when it is to be put in its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from reactor.engine.transaction import Transaction
from reactor.store.catalogue import BY_CREATION_TIME, BY_ID, FIRST_USER_TABLE, Catalogue, TableInfo
from reactor.transfer.convert import Mode, Plan, PlannedIndex, PlannedTable, Staged
from reactor.transfer.rows import ImportRefused
from reactor.workers.import_request import ImportRequest
from reactor.workers.loading import TablesChanged, index_changes

__all__ = ["check_fits", "check_indexes", "make_plan", "refuse_existing", "tables_to_make"]

_SCHEMA_META: Final = "schema"


def make_plan(tx: Transaction, request: ImportRequest, parts: list[Path], staging: Path, now_ms: float) -> Plan:
    """How to stage the uploaded `parts`, as things are now, into a file at `staging`."""
    return Plan(
        parts=tuple(map(str, parts)),
        format=request.format,
        mode=request.mode,
        table=request.table_name,
        staging=str(staging),
        tables=_planned(tx, request.mode),
        next_number=max([FIRST_USER_TABLE - 1, *tx.catalogue.by_number]) + 1,
        now_ms=now_ms,
        max_bytes=tx.limits.import_bytes,
    )


def _planned(tx: Transaction, mode: Mode) -> dict[str, PlannedTable]:
    schema = tx.reader.get_meta(_SCHEMA_META)
    validators: dict[str, Any] = msgspec.json.decode(schema) if schema else {}
    planned: dict[str, PlannedTable] = {}
    for table in tx.catalogue.tables.values():
        # Only these two modes ask; with the others a table that fills or empties must not make a difference.
        is_empty = mode not in ("append", "requireEmpty") or not _has_documents(tx, table)
        indexes = tuple(PlannedIndex(i.name, i.fields) for i in table.kept if i.name != BY_CREATION_TIME)
        planned[table.name] = PlannedTable(table.number, is_empty, indexes, validators.get(table.name))
    return planned


def _has_documents(tx: Transaction, table: TableInfo) -> bool:
    return bool(tx.reader.scan(table.indexes[BY_ID], b"", None, reverse=False, limit=1))


def refuse_existing(plan: Plan, name: str) -> None:
    """Raises ImportRefused for a table that has documents."""
    known = plan.tables.get(name)
    if known is not None and not known.is_empty:
        raise ImportRefused(
            f"Table {name} already exists. Please choose a new table name or use replace/append modes.",
            code="TableExists",
        )


def check_indexes(catalogue: Catalogue, plan: Plan, staged: Staged) -> None:
    """Raises TablesChanged unless what was staged has the keys of all indexes that there are now."""
    for table in staged.tables:
        live, planned = catalogue.tables.get(table.name), plan.tables.get(table.name)
        indexes = () if live is None else tuple(PlannedIndex(i.name, i.fields) for i in live.kept if i.fields)
        if indexes != (() if planned is None else planned.indexes):
            raise TablesChanged(f'The table "{table.name}" has other indexes now.')


def tables_to_make(catalogue: Catalogue, plan: Plan, staged: Staged) -> list[tuple[str, int | None]]:
    """Names and numbers of the hidden tables: those staged, in their order, then those that will be empty."""
    return [(table.name, table.number) for table in staged.tables] + _emptied(catalogue, plan, staged)


def _emptied(catalogue: Catalogue, plan: Plan, staged: Staged) -> list[tuple[str, int | None]]:
    """With replaceAll: the tables that stay, empty, because the schema has them; under another number if theirs is taken."""
    if plan.mode != "replaceAll":
        return []
    taken = {table.number for table in staged.tables}
    names = {table.name for table in staged.tables}
    following = max([plan.next_number, *(number + 1 for number in taken)])
    emptied: list[tuple[str, int | None]] = []
    for table in catalogue.tables.values():
        if table.is_system or table.name in names or plan.tables[table.name].validator is None:
            continue
        number: int | None = table.number
        if number in taken:
            number, following = following, following + 1
        emptied.append((table.name, number))
    return emptied


def check_fits(tx: Transaction, plan: Plan, staged: Staged, hidden: Sequence[TableInfo] = ()) -> None:
    """Raises TablesChanged unless all is as the import was staged for. On the writer's thread, within the commit."""
    tables = _planned(tx, plan.mode)
    names = {table.name for table in staged.tables}
    for name in names | tables.keys() if plan.mode == "replaceAll" else names:
        planned, now = plan.tables.get(name), tables.get(name)
        if now != planned:
            raise TablesChanged(f'The table "{name}" {_difference(planned, now)}.')
    for table in hidden:
        live = tx.catalogue.tables.get(table.name)
        if live is not None and index_changes(live) != index_changes(table):
            raise TablesChanged(f'The table "{table.name}" has other indexes now.')


def _difference(planned: PlannedTable | None, now: PlannedTable | None) -> str:
    if planned is None:
        return "was created"
    if now is None:
        return "was dropped"
    if now.number != planned.number:
        return "was replaced"
    if now.is_empty != planned.is_empty:
        return "is empty now" if now.is_empty else "is not empty any more"
    return "has other indexes now" if now.indexes != planned.indexes else "has another schema now"
