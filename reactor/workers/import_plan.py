"""What an import is staged for: the tables as they are; and whether they still are so when it is to be put in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from reactor.engine.transaction import Transaction
from reactor.store.catalogue import BY_CREATION_TIME, BY_ID, FIRST_USER_TABLE, Catalogue, TableInfo
from reactor.transfer.convert import Mode, Plan, PlannedIndex, PlannedTable, Staged
from reactor.transfer.rows import ImportRefused
from reactor.workers.import_request import ImportRequest
from reactor.workers.loading import index_changes

__all__ = ["make_plan", "refuse_existing", "same_indexes", "still_fits", "tables_to_make"]

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


def same_indexes(catalogue: Catalogue, plan: Plan, staged: Staged) -> bool:
    """Whether what was staged has the keys of all indexes that there are now."""
    for table in staged.tables:
        live, planned = catalogue.tables.get(table.name), plan.tables.get(table.name)
        indexes = () if live is None else tuple(PlannedIndex(i.name, i.fields) for i in live.kept if i.fields)
        if indexes != (() if planned is None else planned.indexes):
            return False
    return True


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


def still_fits(tx: Transaction, plan: Plan, staged: Staged, hidden: list[TableInfo]) -> bool:
    """Whether what the import was staged for is how it is now. On the writer's thread, within the commit."""
    now = _planned(tx, plan.mode)
    names = {table.name for table in staged.tables}
    of_interest = names if plan.mode != "replaceAll" else now.keys() | plan.tables.keys()
    if any(now.get(name) != plan.tables.get(name) for name in of_interest if name in names or name in now):
        return False
    return all(
        index_changes(tx.catalogue.tables.get(table.name)) == [*index_changes(table)]
        for table in hidden
        if table.name in tx.catalogue.tables
    )
