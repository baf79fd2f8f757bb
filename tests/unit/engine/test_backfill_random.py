"""A new index beside what may happen while it is filled, at random: in the end it has the keys of the documents.

Writes of all kinds, also of ids that come back; imports, deploys, restarts; a log that is pruned; steps and reads that fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reactor import faults
from reactor.engine import backfill, key_slices
from reactor.engine.backfill import fill_index
from reactor.engine.deploy import WantedIndex, deploy
from reactor.engine.key_slices import KeySlice
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import ReactorError, StoreError
from reactor.store.protocol import Reader, SnapshotEnded, Writer
from reactor.store.sqlite.writer import AFTER_COMMIT, BEFORE_COMMIT
from reactor.workers.loading import Loader
from tests.unit.engine.conftest import Harness, open_harness
from tests.unit.engine.test_backfill import assert_whole, by_n, document_ids
from tests.unit.engine.test_deploy import fill, states, table

OPERATIONS = 60


def staged(*fields: str) -> list[Any]:
    return table(WantedIndex("by_n", fields, staged=True))


class Run:
    def __init__(self, path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rng = random.Random(seed)
        self.path = path
        self.fillers: list[asyncio.Task[None]] = []
        self.is_over = False
        self._break_steps(monkeypatch)
        self._break_reads(monkeypatch)

    def chance(self, one_in: int) -> bool:
        return not self.is_over and self.rng.randrange(one_in) == 0

    def _break_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        work, enter = backfill._Step.work, KeySlice.enter

        def working(step: Any, writer: Writer) -> None:
            work(step, writer)
            if self.chance(40):
                raise StoreError("The disk failed.")
            if self.chance(40):
                faults.arm(self.rng.choice([BEFORE_COMMIT, AFTER_COMMIT]), self._fail_once)

        def entering(keys: KeySlice, writer: Writer, most: int) -> None:
            enter(keys, writer, most)
            if self.chance(60):
                raise StoreError("The disk failed.")

        monkeypatch.setattr(backfill._Step, "work", working)
        monkeypatch.setattr(KeySlice, "enter", entering)

    def _fail_once(self) -> None:
        faults.disarm_all()
        raise OSError("The disk failed.")

    def _break_reads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read, entry = KeySlice.read, KeySlice._entry
        is_reading = False

        def reading(keys: KeySlice, reader: Reader) -> bool:
            nonlocal is_reading
            is_reading = True
            try:
                return read(keys, reader)
            finally:
                is_reading = False

        def made(keys: KeySlice, body: bytes) -> tuple[bytes, str]:
            if is_reading and self.chance(200):
                raise SnapshotEnded("The read took too long.")
            return entry(keys, body)

        monkeypatch.setattr(KeySlice, "read", reading)
        monkeypatch.setattr(KeySlice, "_entry", made)

    async def open(self) -> None:
        self.engine: Harness = await open_harness(self.path)

    def start_filler(self) -> None:
        self.fillers.append(asyncio.ensure_future(fill_index(self.engine.database, by_n(self.engine))))

    async def stop_fillers(self) -> None:
        for filler in self.fillers:
            filler.cancel()
        for outcome in await asyncio.gather(*self.fillers, return_exceptions=True):
            assert outcome is None or isinstance(outcome, ReactorError | asyncio.CancelledError), outcome
        self.fillers = []

    # What happens

    async def write(self) -> None:
        ids = await self.engine.database.read(document_ids)
        jobs = [self.engine.write(self._change(list(ids))) for _ in range(self.rng.randrange(1, 4))]
        await asyncio.gather(*jobs, return_exceptions=True)  # some write what another one has just deleted

    def _change(self, ids: list[str]) -> Callable[[WriteTransaction], None]:
        rng = random.Random(self.rng.random())

        def change(tx: WriteTransaction) -> None:
            info = tx.catalogue.tables["rows"]
            for _ in range(rng.randrange(1, 6)):
                id_ = rng.choice(ids) if ids else ""
                kind = rng.randrange(8) if ids else 0
                if kind == 0:
                    ids.append(tx.insert("rows", self._fields(rng)))
                elif kind == 1:
                    tx.patch(info, id_, {"n": rng.randrange(30)})
                elif kind == 2:
                    tx.patch(info, id_, {"other": rng.random()})
                elif kind == 3:
                    tx.replace(info, id_, self._fields(rng))
                elif kind == 4:
                    tx.delete(info, id_)
                    ids.remove(id_)
                elif kind == 5:  # as an import that keeps ids does, in the same commit or in a later one
                    tx.delete(info, id_)
                    tx.insert_existing(info, {**self._fields(rng), "_id": id_, "_creationTime": rng.randrange(9) + 0.5})
                elif kind == 6:
                    tx.savepoint()
                    tx.delete(info, id_)
                    tx.rollback_to()
                else:
                    id_ = tx.insert("rows", self._fields(rng))
                    tx.delete(info, id_)

        return change

    def _fields(self, rng: random.Random) -> dict[str, Any]:
        return {"n": rng.randrange(30), "m": rng.choice(["a", "b" * 40, 1.5])}

    async def delete_and_insert_again(self) -> None:
        ids = await self.engine.database.read(document_ids)
        some = self.rng.sample(ids, min(len(ids), 10))

        def delete(tx: WriteTransaction) -> None:
            for id_ in some:
                tx.delete(tx.catalogue.tables["rows"], id_)

        def insert(tx: WriteTransaction) -> None:
            for at, id_ in enumerate(some):
                document = {"n": 100 + at, "m": "back", "_id": id_, "_creationTime": 2.5}
                tx.insert_existing(tx.catalogue.tables["rows"], document)

        await self.engine.write(delete)
        if self.chance(2):
            await asyncio.sleep(0.002)
        await self.engine.write(insert)

    async def prune(self) -> None:
        def prune(writer: Any) -> None:
            writer.begin()
            writer._raw.execute("DELETE FROM log WHERE ts < ?", (writer.ts,))
            writer.commit()

        await self.engine.database.store.write(prune)

    async def another_filler(self) -> None:
        self.start_filler()

    async def stop(self) -> None:
        await self.stop_fillers()

    async def restart(self) -> None:
        await self.stop_fillers()
        await self.engine.database.close()
        await self.open()

    async def other_fields(self) -> None:
        """A deploy drops the index, and adds another one of its name."""
        await deploy(self.engine.database, staged(*self.rng.choice([("n",), ("m",), ("m", "n")])))

    async def usable(self) -> None:
        """A deploy wants it, or another one, to be full."""
        fields = self.rng.choice([by_n(self.engine).fields, ("n",), ("m",)])
        await deploy(self.engine.database, table(WantedIndex("by_n", fields)))
        assert states(self.engine) == {"by_n": "ready"}
        await assert_whole(self.engine)

    async def replaced(self) -> None:
        """An import puts a copy in the place of the table, and its documents elsewhere in the store."""
        database = self.engine.database
        live = database.catalogue.tables["rows"]
        loader = Loader(database, self.path / "staging", lambda table, done: None)
        try:
            await loader.create([("rows", live.number)], database.catalogue.tables)
            await loader.copy(live, loader.tables[0])
            await self.write()
            await database.replace_tables(loader.tables)
            loader.revealed()
        finally:
            await loader.discard()

    async def wait(self) -> None:
        await asyncio.sleep(0.003)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    run = Run(tmp_path, seed, monkeypatch)
    rng = run.rng
    monkeypatch.setattr(key_slices, "SLICE_ROWS", rng.choice([1, 7, 40, 1000]))
    monkeypatch.setattr(key_slices, "SLICE_BYTES", rng.choice([100, 1_000_000]))
    monkeypatch.setattr(key_slices, "READ_ROWS", rng.choice([1, 5, 64]))
    monkeypatch.setattr(key_slices, "READ_S", rng.choice([0.0, 0.003]))
    monkeypatch.setattr(key_slices, "LOG_ROWS", rng.choice([2, 3, 100]))
    monkeypatch.setattr(backfill, "CHUNK_ROWS", rng.choice([1, 3, 32]))
    monkeypatch.setattr(backfill, "STEP_S", rng.choice([0.0, 0.001]))
    monkeypatch.setattr(backfill, "TELL_S", rng.choice([0.0, 1.0]))
    await run.open()
    try:
        await fill(run.engine, 200)
        await deploy(run.engine.database, staged("n"))
        often = [run.write] * 8 + [run.wait] * 6
        seldom = [
            run.delete_and_insert_again, run.prune, run.another_filler, run.stop, run.restart, run.other_fields, run.usable,
            run.replaced,
        ]  # fmt: skip
        for _ in range(OPERATIONS):
            if all(filler.done() for filler in run.fillers):
                await run.stop_fillers()
                run.start_filler()
            with contextlib.suppress(StoreError):  # a commit failed, of which it came too soon afterwards
                await rng.choice(often + seldom)()
        await run.stop_fillers()
        run.is_over = True  # nothing fails any more
        faults.disarm_all()
        await fill_index(run.engine.database, by_n(run.engine))
        await assert_whole(run.engine)
    finally:
        faults.disarm_all()
        await run.stop_fillers()
        await run.engine.database.close()
