"""Rate limits: exact, also under simultaneous calls, and cleared by the hour (sample app, sections 10 and 15)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from functions import rate_limit
from functions.rate_limit import Checked
from reactor import MutationCtx
from reactor.testing import Backend
from schema import RateLimit
from tests.sample_app.scene import Wire, refused

MINUTE = timedelta(minutes=1)


async def check(backend: Backend, key: str = "user_ann", limit: float = 3, window_ms: float = 60_000) -> Checked:
    return await backend.mutation(rate_limit.check_rate_limit, key=key, limit=limit, window_ms=window_ms)


async def count(backend: Backend) -> int:
    async def records(ctx: MutationCtx) -> int:
        return await ctx.db.query(RateLimit).count()

    return await backend.run(records)


async def test_so_many_calls_pass_and_the_next_is_told_when_to_come_back(backend: Backend) -> None:
    opened = backend.now()
    passed = [await check(backend) for _ in range(3)]
    await backend.advance(timedelta(milliseconds=500))
    assert passed == [Checked(success=True, remaining=n, reset_time=opened + 60_000) for n in (2, 1, 0)]
    assert await check(backend) == Checked(
        success=False,
        remaining=0,
        reset_time=opened + 60_000,
        message="Rate limit exceeded. Try again in 60 seconds.",
    )


async def test_success_carries_no_message_on_the_wire(backend: Backend) -> None:
    answer = await Wire(backend).mutation("rateLimit:checkRateLimit", key="k", limit=1, windowMs=1000)
    assert set(answer) == {"success", "remaining", "resetTime"}


async def test_a_window_ends_with_its_last_millisecond_and_the_next_takes_the_new_terms(backend: Backend) -> None:
    await check(backend, limit=1)
    await backend.advance(MINUTE - timedelta(milliseconds=1))
    last = await check(backend, limit=1)
    await backend.advance(timedelta(milliseconds=1))
    fresh = await check(backend, limit=7, window_ms=1000)
    assert (last.success, last.message) == (False, "Rate limit exceeded. Try again in 1 seconds.")
    assert (fresh.success, fresh.remaining, fresh.reset_time) == (True, 6, backend.now() + 1000)
    assert await count(backend) == 1


async def test_an_open_window_keeps_the_terms_it_was_opened_with(backend: Backend) -> None:
    opened = backend.now()
    await check(backend, limit=2)
    second = await check(backend, limit=100, window_ms=1)
    third = await check(backend, limit=100, window_ms=1)
    assert (second.success, second.remaining, second.reset_time) == (True, 0, opened + 60_000)
    assert third.success is False


async def test_keys_are_counted_apart(backend: Backend) -> None:
    await check(backend, "user_ann", limit=1)
    assert (await check(backend, "ip_1", limit=1)).success


async def test_a_limit_of_zero_lets_the_call_through_that_opens_the_window(backend: Backend) -> None:
    """A quirk that clients of the original know; `check_rate_limit` names it."""
    first, second = await check(backend, limit=0), await check(backend, limit=0)
    assert (first.success, first.remaining) == (True, -1)
    assert (second.success, second.remaining) == (False, 0)


async def test_of_fifty_at_once_exactly_as_many_pass_as_may(backend: Backend) -> None:
    answers = await asyncio.gather(*(check(backend, limit=20) for _ in range(50)))
    assert sum(answer.success for answer in answers) == 20
    assert sorted(answer.remaining for answer in answers if answer.success) == list(range(20))


async def test_an_exact_number_passes_at_once_when_a_new_window_opens(backend: Backend) -> None:
    await asyncio.gather(*(check(backend, limit=5) for _ in range(9)))
    await backend.advance(MINUTE)
    answers = await asyncio.gather(*(check(backend, limit=5) for _ in range(9)))
    assert sum(answer.success for answer in answers) == 5


@pytest.mark.parametrize("terms", [{"limit": float("nan")}, {"window_ms": float("inf")}])
async def test_terms_that_could_never_end_are_refused(backend: Backend, terms: dict[str, Any]) -> None:
    with refused("limit and windowMs must be finite numbers"):
        await check(backend, **terms)


async def test_the_status_shows_the_record_and_does_not_look_at_the_clock(backend: Backend) -> None:
    assert await backend.query(rate_limit.get_rate_limit_status, key="user_ann") is None
    opened = backend.now()
    for _ in range(2):
        await check(backend, limit=2)
    await backend.advance(2 * MINUTE)
    status = await Wire(backend).query("rateLimit:getRateLimitStatus", key="user_ann")
    assert status == {"count": 2, "limit": 2, "windowStart": opened, "resetTime": opened + 60_000, "remaining": 0}


async def test_what_remains_is_never_below_zero(backend: Backend) -> None:
    await check(backend, limit=0)
    status = await backend.query(rate_limit.get_rate_limit_status, key="user_ann")
    assert status is not None
    assert status.remaining == 0


async def test_expired_records_are_deleted_and_counted(backend: Backend) -> None:
    for n in range(3):
        await check(backend, f"short {n}", window_ms=1000)
    await check(backend, "long", window_ms=3_600_000)
    await backend.advance(timedelta(seconds=1))
    assert await backend.mutation(rate_limit.reset_expired_rate_limits) == 0  # over is what ended before now
    await backend.advance(timedelta(milliseconds=1))
    assert await backend.mutation(rate_limit.reset_expired_rate_limits) == 3
    assert await backend.mutation(rate_limit.reset_expired_rate_limits) == 0
    assert await count(backend) == 1


async def test_very_many_are_deleted_batch_by_batch(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "SWEEP_BATCH", 4)
    for n in range(11):
        await check(backend, f"{n}", window_ms=3_600_000 if n % 3 == 0 else 1)
        await backend.advance(timedelta(milliseconds=1))
    await backend.advance(timedelta(seconds=1))
    async with backend.subscribe(rate_limit.get_rate_limit_status, key="10") as updates:
        assert await updates.next() is not None
        assert await backend.mutation(rate_limit.reset_expired_rate_limits) == 2
        assert await updates.next() is None
    assert await count(backend) == 4


async def test_they_are_cleared_every_hour(backend: Backend) -> None:
    await check(backend)
    async with backend.subscribe(rate_limit.get_rate_limit_status, key="user_ann") as updates:
        assert await updates.next() is not None
        await backend.advance(timedelta(hours=1))
        assert await updates.next() is None
