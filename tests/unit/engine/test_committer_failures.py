"""What becomes of the other jobs, their order and the live queries when a batch's transaction is lost (engine rules 4, 7)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from reactor import faults
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import StoreError, Unavailable
from reactor.store.protocol import OutcomeUnknown
from reactor.store.sqlite.writer import AFTER_COMMIT
from tests.unit.engine.conftest import Harness
from tests.unit.engine.test_committer import count, insert


def lose_the_transaction(tx: WriteTransaction) -> None:
    """As SQLite does when the disk is full."""
    tx.reader._raw.execute("ROLLBACK")  # type: ignore[attr-defined]
    raise Unavailable("The disk is full.")


async def test_a_table_made_after_a_lost_transaction_keeps_the_order_of_a_session(engine: Harness) -> None:
    await engine.write(insert)
    order: list[str] = []

    def into_new_table(tx: WriteTransaction) -> None:
        tx.insert("fresh", {"n": 1})
        order.append("second")

    def into_old_table(tx: WriteTransaction) -> None:
        insert(tx)
        order.append("third")

    first = engine.submit(lose_the_transaction)
    jobs = [engine.submit(into_new_table), engine.submit(into_old_table)]

    with pytest.raises(Unavailable):
        await first.done
    await asyncio.gather(*[job.done for job in jobs])

    assert jobs[0].done.result()[0] < jobs[1].done.result()[0]
    assert order[-2:] == ["second", "third"]


async def test_every_job_has_an_outcome_when_the_disk_fails_after_a_lost_transaction(engine: Harness) -> None:
    await engine.write(insert)
    jobs = [engine.submit(lose_the_transaction), *[engine.submit(insert, lane=str(n)) for n in range(3)]]

    def fail_once() -> None:
        faults.disarm_all()
        raise OSError("the disk")

    faults.arm(AFTER_COMMIT, fail_once)
    try:
        outcomes = await asyncio.wait_for(asyncio.gather(*[j.done for j in jobs], return_exceptions=True), 5)
    finally:
        faults.disarm_all()

    assert [type(o) for o in outcomes] == [Unavailable, OutcomeUnknown, tuple, tuple]


async def test_a_commit_of_unknown_outcome_that_happened_is_published(engine: Harness) -> None:
    await engine.write(insert)
    records: list[Any] = []
    engine.database.listen(records.append, lambda: None)

    def fail_once() -> None:
        faults.disarm_all()
        raise OSError("the disk")

    faults.arm(AFTER_COMMIT, fail_once)
    try:
        with pytest.raises(OutcomeUnknown):
            await engine.write(insert)
    finally:
        faults.disarm_all()

    rows, ts = await engine.database.read(lambda tx: (count(tx), tx.ts))
    assert rows == 2
    await asyncio.wait_for(engine.database.wait_processed(ts), 5)
    assert [r.ts for r in records] == [ts]
    await engine.write(insert)
    assert len(records) == 2


async def test_a_store_error_after_a_lost_transaction_leaves_nobody_waiting(engine: Harness) -> None:
    await engine.write(insert)

    def broken(tx: WriteTransaction) -> None:
        raise StoreError("a bug")

    jobs = [engine.submit(lose_the_transaction), engine.submit(broken), engine.submit(insert)]
    outcomes = await asyncio.wait_for(asyncio.gather(*[j.done for j in jobs], return_exceptions=True), 5)

    assert [type(o) for o in outcomes] == [Unavailable, StoreError, StoreError]


async def test_when_the_writer_dies_background_jobs_are_told_too(engine: Harness) -> None:
    await engine.write(insert)

    def broken(tx: WriteTransaction) -> None:
        raise StoreError("a bug")

    jobs = [engine.submit(broken, lane="first"), *[engine.submit(insert, lane=str(n)) for n in range(100)]]
    jobs += [engine.submit(insert, lane=f"#{n}", background=True) for n in range(100)]
    await asyncio.wait([job.done for job in jobs], timeout=5)

    assert [job.done.done() for job in jobs] == [True] * 201
    for job in jobs:
        job.done.exception()
