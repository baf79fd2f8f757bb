"""The rate limiter in functions: transactional, per key, reactive."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from reactor.errors import ApplicationError, FunctionError
from tests.unit.kit.conftest import Project, rows

APP = """
    from datetime import timedelta
    from typing import Any

    from reactor import ActionCtx, MutationCtx, QueryCtx, action, mutation, query
    from reactor.kit import RateLimiter, RateLimitStatus, RateLimitValue, fixed_window, token_bucket

    limiter = RateLimiter(
        send=token_bucket(rate=6, period=timedelta(minutes=1), capacity=3),
        sign_up=fixed_window(rate=2, period=timedelta(hours=1), max_reserved=3),
    )

    @mutation
    async def use(ctx: MutationCtx, name: str, key: str | None = None, count: float = 1) -> RateLimitStatus:
        return await limiter.limit(ctx, name, key=key, count=count)

    @mutation
    async def reserve(ctx: MutationCtx, name: str, count: float = 1) -> RateLimitStatus:
        return await limiter.limit(ctx, name, count=count, reserve=True)

    @mutation
    async def use_or_raise(ctx: MutationCtx, fail: bool = False) -> None:
        await limiter.limit(ctx, "send", throws=True)
        if fail:
            raise ValueError("after all")

    @mutation
    async def reset(ctx: MutationCtx, name: str, key: str | None = None) -> None:
        await limiter.reset(ctx, name, key=key)

    @mutation
    async def premium(ctx: MutationCtx) -> bool:
        status = await limiter.limit(ctx, "send", key="rich", config=token_bucket(rate=100, period=timedelta(minutes=1)))
        return status.ok

    @query
    async def check(ctx: QueryCtx, name: str, key: str | None = None) -> RateLimitStatus:
        return await limiter.check(ctx, name, key=key)

    @query
    async def value(ctx: QueryCtx, name: str) -> RateLimitValue:
        return await limiter.value(ctx, name)

    @query
    async def cheat(ctx: QueryCtx) -> None:
        await limiter.limit(ctx, "send")

    @action
    async def act(ctx: ActionCtx) -> list[bool]:
        return [(await limiter.check(ctx, "send")).ok, *[(await limiter.limit(ctx, "send")).ok for _ in range(4)]]
"""


async def test_a_bucket_is_used_up_and_fills_again(project: Project) -> None:
    async with project(APP) as backend:
        used = [await backend.mutation("f:use", name="send") for _ in range(4)]
        assert [status.ok for status in used] == [True, True, True, False]
        assert used[3].retry_after == 10_000
        await backend.advance(timedelta(seconds=10))
        assert (await backend.mutation("f:use", name="send")).ok
        assert not (await backend.mutation("f:use", name="send")).ok
        await backend.advance(timedelta(hours=1))
        assert (await backend.mutation("f:use", name="send", count=3)).ok, "as much as the capacity, not more"
        assert not (await backend.mutation("f:use", name="send")).ok


async def test_a_window_counts_from_the_first_use(project: Project) -> None:
    async with project(APP) as backend:
        assert (await backend.mutation("f:use", name="sign_up")).ok
        await backend.advance(timedelta(minutes=40))
        assert (await backend.mutation("f:use", name="sign_up")).ok
        refused = await backend.mutation("f:use", name="sign_up")
        assert (refused.ok, refused.retry_after) == (False, 20 * 60_000)
        await backend.advance(timedelta(minutes=20))
        assert (await backend.mutation("f:use", name="sign_up", count=2)).ok


async def test_keys_are_counted_apart_and_so_is_no_key(project: Project) -> None:
    async with project(APP) as backend:
        for key in ("a", "b"):
            assert [(await backend.mutation("f:use", name="send", key=key)).ok for _ in range(4)] == [True] * 3 + [
                False
            ]
        assert (await backend.mutation("f:use", name="send")).ok
        await backend.mutation("f:reset", name="send", key="a")
        assert (await backend.query("f:check", name="send", key="a")).ok
        assert not (await backend.query("f:check", name="send", key="b")).ok


async def test_simultaneous_calls_get_no_more_than_there_is(project: Project) -> None:
    async with project(APP) as backend:
        outcomes = await asyncio.gather(*[backend.mutation("f:use", name="send", key="u") for _ in range(50)])
        assert sum(status.ok for status in outcomes) == 3


async def test_a_use_in_a_mutation_that_fails_was_none(project: Project) -> None:
    async with project(APP) as backend:
        for _ in range(5):
            with pytest.raises(ValueError, match="after all"):
                await backend.mutation("f:useOrRaise", fail=True)
        for _ in range(3):
            await backend.mutation("f:useOrRaise")
        with pytest.raises(ApplicationError) as caught:
            await backend.mutation("f:useOrRaise")
        assert caught.value.data == {"kind": "RateLimited", "name": "send", "retryAfter": 10_000}


async def test_checking_uses_nothing_and_follows_the_uses(project: Project) -> None:
    async with project(APP) as backend, backend.subscribe("f:check", name="send") as updates:
        assert (await updates.next()).ok
        await backend.mutation("f:use", name="send", count=2)
        await backend.mutation("f:use", name="send")
        refused = await updates.next()
        assert (refused.ok, refused.retry_after) == (False, 10_000)
        await backend.mutation("f:use", name="send", key="somebody else")
        await updates.assert_quiet()
        await backend.mutation("f:reset", name="send")
        assert (await updates.next()).ok


async def test_reserving_takes_of_what_is_to_come_up_to_a_bound(project: Project) -> None:
    async with project(APP) as backend:
        hour = 3_600_000
        waits = [await backend.mutation("f:reserve", name="sign_up") for _ in range(6)]
        assert [status.retry_after for status in waits] == [None, None, hour, hour, 2 * hour, 2 * hour]
        assert [status.ok for status in waits] == [True] * 5 + [False]
        await backend.advance(timedelta(hours=1))
        assert not (await backend.mutation("f:use", name="sign_up")).ok, "the next window was reserved"
        await backend.advance(timedelta(hours=1))
        assert (await backend.mutation("f:use", name="sign_up")).ok


async def test_actions_use_limits_in_transactions_of_their_own(project: Project) -> None:
    async with project(APP) as backend:
        assert await backend.action("f:act") == [True, True, True, True, False]


async def test_a_limit_can_be_given_at_the_call(project: Project) -> None:
    async with project(APP) as backend:
        assert all([await backend.mutation("f:premium") for _ in range(100)])
        assert not await backend.mutation("f:premium")


async def test_the_value_and_how_it_grows_can_be_shown(project: Project) -> None:
    async with project(APP) as backend:
        await backend.mutation("f:use", name="send", count=2)
        await backend.advance(timedelta(seconds=5))
        value = await backend.query("f:value", name="send")
        assert (value.value, value.ts, value.kind) == (1.5, backend.now(), "token bucket")
        assert (value.rate, value.period, value.capacity) == (6, 60_000, 3)


async def test_mistakes_are_told(project: Project) -> None:
    async with project(APP) as backend:
        with pytest.raises(FunctionError, match=r"no rate limit 'sned'\. Did you mean 'send'"):
            await backend.mutation("f:use", name="sned")
        with pytest.raises(FunctionError, match="will never allow 4 at once: its capacity is 3"):
            await backend.mutation("f:use", name="send", count=4)
        with pytest.raises(FunctionError, match="not negative, unlike -1"):
            await backend.mutation("f:use", name="send", count=-1)
        with pytest.raises(FunctionError, match=r"RateLimiter.limit writes: call it from a mutation or an action"):
            await backend.query("f:cheat")


async def test_keys_that_have_everything_left_do_not_pile_up(project: Project) -> None:
    async with project(APP) as backend:
        for number in range(60):
            await backend.mutation("f:use", name="send", key=str(number))
            await backend.advance(timedelta(seconds=5))
        assert await rows(backend, "_rate_limits") < 10
