"""Copies of the database: as of the snapshot's moment, while others write; nobody waits for one to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor.store.protocol import Reader, Writer
from reactor.store.sqlite.copies import CopyReader
from reactor.store.sqlite.store import SqliteStore
from tests.unit.store.test_hidden import fill, in_transaction, make


async def test_a_copy_has_what_the_snapshot_saw(store: SqliteStore, tmp_path: Path) -> None:
    await make(store, "t")
    table = store.catalogue.tables["t"]
    await store.write(lambda w: in_transaction(w, lambda: fill(w, table, 0, 100)))
    [snapshot] = await store.open_snapshots(1)
    await store.write(lambda w: in_transaction(w, lambda: fill(w, table, 100, 100)))
    path = tmp_path / "copy"
    await snapshot.run(lambda r: r.copy_into(path))
    await snapshot.close()
    assert path.stat().st_mode & 0o777 == 0o600
    copy = CopyReader(path)
    assert copy.count(copy.catalogue.tables["t"]) == 100
    assert list(copy.documents(copy.catalogue.tables["t"])) == [b"%d" % n for n in range(100)]
    copy.close()


async def test_the_writer_does_not_wait_for_a_copy(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emptying the WAL has to wait for open snapshots, a moment at a time; a copy takes longer than that anyway."""
    await make(store, "t")
    table = store.catalogue.tables["t"]
    monkeypatch.setattr(store.checkpointer, "_truncate_at", 1)
    waits = 0

    def wait_empty(seconds: float) -> bool:
        nonlocal waits
        waits += 1
        return False

    monkeypatch.setattr(store._gate, "wait_empty", wait_empty)
    counts: list[int] = []

    def copy(reader: Reader) -> None:
        reader.copy_into(tmp_path / "copy")

    def write(w: Writer) -> None:
        in_transaction(w, lambda: fill(w, table, len(counts), 1))
        counts.append(waits)

    store._gate.copies += 1
    await store.write(write)
    await store.write(write)
    assert waits == 0
    store._gate.copies -= 1
    await store.read(copy)
    assert store._gate.copies == 0
    await store.write(write)
    assert waits > 0
