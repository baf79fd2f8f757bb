"""Batches, savepoints, exactly once, order, publishing (engine rules 4-8, 11, 22)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from reactor import faults
from reactor.engine.committer import AFTER_RUN
from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import LimitExceeded, Unavailable
from tests.unit.engine.conftest import Harness, open_harness


def count(tx: Transaction) -> int:
    table = tx.table("rows")
    return 0 if table is None else tx.count(make_range(table.indexes["by_creation_time"]))


def insert(tx: WriteTransaction) -> str:
    return tx.insert("rows", {"n": 1})


def insert_and_fail(tx: WriteTransaction) -> None:
    insert(tx)
    raise ValueError("no")


async def test_mutations_that_wait_together_share_a_commit_and_each_has_its_own_timestamp(engine: Harness) -> None:
    await engine.write(insert)
    commits: list[int] = []
    batches: list[int] = []
    engine.database.listen(lambda record: commits.append(record.ts), lambda: batches.append(len(commits)))

    outcomes = await asyncio.gather(*[engine.submit(insert, lane=str(n)).done for n in range(200)])

    assert sorted(ts for ts, _ in outcomes) == commits
    assert len(set(commits)) == 200
    assert len(batches) < 100


async def test_a_failing_mutation_in_a_batch_takes_nothing_with_it(engine: Harness) -> None:
    await engine.write(insert)
    jobs = [engine.submit(insert_and_fail if n % 3 == 0 else insert, lane=str(n)) for n in range(30)]

    outcomes = await asyncio.gather(*[job.done for job in jobs], return_exceptions=True)

    assert sum(isinstance(o, ValueError) for o in outcomes) == 10
    assert await engine.database.read(count) == 21


async def test_jobs_of_a_lane_run_in_the_order_they_were_submitted(engine: Harness) -> None:
    ran: list[tuple[str, int]] = []
    jobs = [
        engine.submit(lambda tx, lane=lane, n=n: ran.append((lane, n)), lane=lane)
        for n in range(50)
        for lane in ("a", "b", "c")
    ]
    await asyncio.gather(*[job.done for job in jobs])

    assert [n for lane, n in ran if lane == "b"] == list(range(50))


async def test_a_lane_with_many_jobs_does_not_hold_up_the_others(engine: Harness) -> None:
    """engine rule 4: eight a turn."""
    ran: list[str] = []
    jobs = [engine.submit(lambda tx: ran.append("greedy"), lane="greedy") for _ in range(500)]
    jobs += [engine.submit(lambda tx: ran.append("modest"), lane="modest")]
    await asyncio.gather(*[job.done for job in jobs])

    assert ran.index("modest") <= 16


async def test_background_jobs_get_a_quarter_of_a_batch_while_clients_wait(engine: Harness) -> None:
    """engine rule 4."""
    ran: list[str] = []
    jobs = [engine.submit(lambda tx: ran.append("job"), lane=f"job{n}", background=True) for n in range(300)] + [
        engine.submit(lambda tx: ran.append("client"), lane=f"client{n}") for n in range(150)
    ]
    await asyncio.gather(*[job.done for job in jobs])

    first = ran[: ran.index("client") + 150]
    assert first.count("job") <= 64 + 50
    assert len(ran) == 450


async def test_a_repeated_request_is_answered_from_its_record_with_the_first_timestamp(engine: Harness) -> None:
    """engine rule 22; client-protocol 22 and 25."""
    first = engine.submit(insert, request=("session", 4))
    second = engine.submit(insert, request=("session", 4))

    (ts, value), (again_ts, again) = await first.done, await second.done

    assert (again_ts, again) == (ts, f"replayed {value!r}")
    assert second.runs == 0
    assert await engine.database.read(count) == 1


async def test_a_failed_request_leaves_no_record_and_may_run_again(engine: Harness) -> None:
    """client-protocol 24."""
    with pytest.raises(ValueError, match="no"):
        await engine.write(insert_and_fail, request=("session", 1))

    assert (await engine.write(insert, request=("session", 1))).startswith("j5")


async def test_a_mutation_that_wrote_nothing_has_no_timestamp_of_its_own(engine: Harness) -> None:
    """engine rule 5."""
    await engine.write(insert)
    before = engine.database.processed_ts

    ts, _ = await engine.submit(lambda tx: None).done

    assert ts == before == engine.database.processed_ts


async def test_no_outcome_leaves_before_the_commit(engine: Harness) -> None:
    """engine rule 6: when COMMIT fails, every mutation of the batch fails, the read-only one too."""
    await engine.write(insert)
    faults.arm("store.before_commit", _full_disk)
    try:
        jobs = [engine.submit(insert, lane="a"), engine.submit(lambda tx: "read only", lane="b")]
        outcomes = await asyncio.gather(*[job.done for job in jobs], return_exceptions=True)
    finally:
        faults.disarm_all()

    assert all(isinstance(outcome, Exception) for outcome in outcomes)
    assert await engine.database.read(count) == 1


def _full_disk() -> None:
    raise Unavailable("The disk is full.")


async def test_after_a_failed_commit_later_mutations_work(engine: Harness) -> None:
    faults.arm("store.before_commit", _full_disk)
    try:
        with pytest.raises(Unavailable):
            await engine.write(insert)
    finally:
        faults.disarm_all()

    await engine.write(insert)
    assert await engine.database.read(count) == 1


async def test_an_error_of_ours_between_run_and_commit_rolls_the_mutation_back(engine: Harness) -> None:
    await engine.write(insert)

    def broken() -> None:
        raise RuntimeError("a bug")

    faults.arm(AFTER_RUN, broken)
    try:
        with pytest.raises(RuntimeError, match="a bug"):
            await engine.write(insert)
    finally:
        faults.disarm_all()
    assert await engine.database.read(count) == 1


async def test_a_table_is_made_by_a_commit_of_its_own_and_the_mutation_runs_again(engine: Harness) -> None:
    """engine rule 8."""
    names: list[Any] = []
    engine.database.listen(lambda record: names.append((record.kind.name, record.names)), lambda: None)

    job = engine.submit(insert)
    await job.done

    assert job.runs == 2
    assert names == [("DEPLOY", ("table:rows", "tables")), ("MUTATION", ())]


async def test_a_commit_is_published_whole_records_then_outcomes_then_time(engine: Harness) -> None:
    """engine rule 11."""
    await engine.write(insert)
    seen: list[str] = []
    job = engine.submit(insert)
    before = engine.database.processed_ts
    engine.database.listen(lambda record: seen.append("record"), lambda: seen.append("batch"))
    original = job.succeed

    def succeed(ts: int) -> None:
        seen.append(f"outcome, time moved: {engine.database.processed_ts != before}")
        original(ts)

    job.succeed = succeed  # type: ignore[method-assign]
    await job.done

    assert seen == ["record", "outcome, time moved: False", "batch"]


async def test_timestamps_go_on_rising_after_the_clock_was_set_back(tmp_path: Path) -> None:
    """engine rule 9; client-protocol 8."""
    first = await open_harness(tmp_path)
    first.clock.advance(3_600_000_000_000)
    ts, _ = await first.submit(insert).done
    await first.database.close()

    second = await open_harness(tmp_path)  # its clock is an hour behind
    later, _ = await second.submit(insert).done
    await second.database.close()

    assert later > ts
    assert second.database.processed_ts == later


async def test_a_full_queue_refuses_with_a_clear_error(engine: Harness) -> None:
    """engine rule 26."""
    engine.database._committer._queue_limit = 10
    jobs = [engine.submit(insert, lane=str(n)) for n in range(12)]
    outcomes = await asyncio.gather(*[job.done for job in jobs], return_exceptions=True)

    refused = [o for o in outcomes if isinstance(o, Unavailable)]
    assert len(refused) == 2
    assert refused[0].code == "TooManyConcurrentRequests"


async def test_closing_runs_what_was_accepted_and_refuses_what_comes_later(tmp_path: Path) -> None:
    harness = await open_harness(tmp_path)
    jobs = [harness.submit(insert, lane=str(n)) for n in range(300)]

    await harness.database._committer.close()

    assert all(job.done.done() and job.done.exception() is None for job in jobs)
    with pytest.raises(Unavailable, match="shutting down"):
        await harness.write(insert)
    await harness.database.close()


async def test_concurrent_increments_lose_nothing(engine: Harness) -> None:
    """server-semantics 31."""
    counter = await engine.write(lambda tx: tx.insert("counters", {"n": 0}))

    def increment(tx: WriteTransaction) -> None:
        from reactor.values.wire import decode

        table = tx.table("counters")
        assert table is not None
        body = tx.get(table, counter)
        assert body is not None
        tx.patch(table, counter, {"n": decode(body)["n"] + 1})  # type: ignore[index,call-overload,operator]

    await asyncio.gather(*[engine.submit(increment, lane=str(n % 7)).done for n in range(300)])

    def value(tx: Transaction) -> bytes | None:
        table = tx.table("counters")
        assert table is not None
        return tx.get(table, counter)

    assert b'"n":300' in (await engine.database.read(value) or b"")


async def test_a_limit_in_one_mutation_is_its_own_error(engine: Harness) -> None:
    await engine.write(insert)

    def too_much(tx: WriteTransaction) -> None:
        for _ in range(16_001):
            tx.usage.write_document(0)

    with pytest.raises(LimitExceeded) as caught:
        await engine.write(too_much)
    assert caught.value.code == "TooManyWrites"
