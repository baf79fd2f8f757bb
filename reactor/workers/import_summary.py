"""What is told of an import in figures: the summary that a user confirms, and each table's checkpoint."""

from __future__ import annotations

from typing import Any

from reactor.engine.transaction import Transaction
from reactor.store.catalogue import BY_CREATION_TIME
from reactor.transfer.archive import STORAGE
from reactor.transfer.convert import FILES, Plan, Staged, StagedTable
from reactor.values.types import Int64

__all__ = ["final_checkpoints", "summary"]


def summary(tx: Transaction, plan: Plan, staged: Staged) -> tuple[str, bool, list[dict[str, Any]]]:
    """What the user is asked to confirm; whether documents will be deleted; the figures."""
    by_name = {table.name: table for table in staged.tables if table.name != FILES}
    shown = set(by_name)
    if plan.mode == "replaceAll":
        shown |= {table.name for table in tx.catalogue.tables.values() if not table.is_system}
    lines: list[tuple[str, str, str]] = []
    checkpoints: list[dict[str, Any]] = []
    deletes = False
    for name in sorted(shown):
        live = tx.catalogue.tables.get(name)
        existing = 0 if live is None else tx.reader.count(live.indexes[BY_CREATION_TIME], b"", None)
        deleted = existing if plan.mode in ("replace", "replaceAll") else 0
        table = by_name.get(name)
        rows = 0 if table is None else table.rows
        if table is not None:
            checkpoints.append(_checkpoint(table, written=0, existing=existing, deleted=deleted))
        elif not deleted:
            continue
        deletes = deletes or deleted > 0
        unit = " files" if name == STORAGE else ""
        lines.append((name, f"{rows}{unit}", f"{deleted} of {existing}{unit}"))
    columns = [("table", "create", "delete"), *lines]
    widths = [max(len(line[at]) for line in columns) for at in range(3)]
    table_text = "\n".join(
        " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in columns
    )
    text = f"Import change summary:\n{table_text}\n"
    text += "".join(f"{note}\n" for note in staged.notes)
    text += "Once the import has started, it will run in the background.\nInterrupting this command will not cancel it."
    return text, deletes, checkpoints


def final_checkpoints(staged: Staged) -> list[dict[str, Any]]:
    """Each table's, once the import is done."""
    return [
        _checkpoint(table, written=table.rows, existing=0, deleted=0) for table in staged.tables if table.name != FILES
    ]


def _checkpoint(table: StagedTable, *, written: int, existing: int, deleted: int) -> dict[str, Any]:
    return {
        "component_path": None,
        "display_table_name": table.name,
        "tablet_id": None,
        "total_num_rows_to_write": Int64(table.rows),
        "num_rows_written": Int64(written),
        "existing_rows_in_table": Int64(existing),
        "existing_rows_to_delete": Int64(deleted),
        "is_missing_id_field": not table.has_ids,
    }
