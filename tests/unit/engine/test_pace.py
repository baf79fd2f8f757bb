"""Long work in steps: at full speed while nobody writes, in the background of whoever does."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from reactor.engine import pace
from reactor.engine.pace import CHECKPOINT_AFTER_S, REST, Pace
from reactor.store.protocol import Reader, Writer
from tests.unit.engine.conftest import Harness

CHECKPOINT = "checkpoint"


@pytest.fixture
def rests(engine: Harness, monkeypatch: pytest.MonkeyPatch) -> list[float | str]:
    """What is waited for: seconds, or a checkpoint."""
    waited: list[float | str] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def checkpoint() -> None:
        waited.append(CHECKPOINT)

    monkeypatch.setattr(pace, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(engine.database.store, "checkpoint", checkpoint)
    return waited


async def somebody_writes(engine: Harness) -> None:
    await engine.write(lambda tx: tx.insert("rows", {"n": 1}))


async def noted(engine: Harness) -> bytes | None:
    def look(reader: Reader) -> bytes | None:
        return reader.get_meta("note")

    return await engine.database.store.read(look)


async def test_a_step_is_a_transaction(engine: Harness) -> None:
    steps = Pace(engine.database)

    def work(writer: Writer) -> str:
        writer.put_meta("note", b"first")
        return "done"

    assert await steps.step(work) == "done"
    assert await noted(engine) == b"first"
    assert steps.step_s > 0

    def fail(writer: Writer) -> None:
        writer.put_meta("note", b"second")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await steps.step(fail)
    assert await noted(engine) == b"first"
    assert await steps.step(work) == "done"


async def test_there_is_no_rest_while_nobody_writes(engine: Harness, rests: list[float | str]) -> None:
    """Whatever was written before it began."""
    await somebody_writes(engine)
    steps = Pace(engine.database)
    for _ in range(20):
        await steps.step(lambda writer: writer.put_meta("note", b"x"))
    await steps.rest(100 * CHECKPOINT_AFTER_S, 1.0)
    assert rests == []


async def test_after_a_commit_of_a_client_more_time_is_theirs_than_the_step_took(
    engine: Harness, rests: list[float | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "CHECKPOINT_AFTER_S", math.inf)
    steps = Pace(engine.database)
    await somebody_writes(engine)
    await steps.step(lambda writer: writer.put_meta("note", b"x"))
    assert REST > 1
    assert rests == [REST * steps.step_s]
    await steps.step(lambda writer: writer.put_meta("note", b"y"))
    assert len(rests) == 1  # nobody wrote since


async def test_a_client_that_waits_for_the_writer_counts_too(engine: Harness, rests: list[float | str]) -> None:
    steps = Pace(engine.database)
    job = engine.submit(lambda tx: None)
    assert engine.database.waiting_jobs
    await steps.rest(CHECKPOINT_AFTER_S / 2, 7.0)
    assert rests == [7.0]
    await job.done


async def test_a_client_that_was_kept_waiting_counts_though_it_is_not_waiting_any_more(
    engine: Harness, rests: list[float | str]
) -> None:
    steps = Pace(engine.database)
    await steps.rest(CHECKPOINT_AFTER_S / 2, 7.0, was_in_the_way=True)
    assert rests == [7.0]


async def test_each_megabyte_or_so_is_brought_to_its_place_while_somebody_writes(
    engine: Harness, rests: list[float | str]
) -> None:
    """What was written while nobody did is, too, at once."""
    steps = Pace(engine.database)
    await steps.rest(CHECKPOINT_AFTER_S, 1.0)
    assert rests == []
    asked: list[bool] = []
    for _ in range(6):
        rests.clear()
        await somebody_writes(engine)
        await steps.rest(CHECKPOINT_AFTER_S * 0.4, 0.0)
        asked.append(CHECKPOINT in rests)
    assert asked == [True, False, False, True, False, False]


async def test_a_checkpoint_that_takes_long_is_followed_by_a_longer_rest(
    engine: Harness, rests: list[float | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10.0, 13.0])
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    steps = Pace(engine.database)
    await somebody_writes(engine)
    await steps.rest(CHECKPOINT_AFTER_S, 1.0)
    assert rests == [CHECKPOINT, REST * 3.0]
