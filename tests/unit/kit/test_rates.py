"""The arithmetic of rate limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import SchemaError
from reactor.kit import fixed_window, token_bucket
from reactor.kit.rates import FixedWindow, TokenBucket

MINUTE = timedelta(minutes=1)


def test_tokens_come_back_evenly_up_to_the_capacity() -> None:
    bucket = token_bucket(rate=6, period=MINUTE, capacity=10)
    assert bucket.at(None, 0) == (10, 0)
    assert bucket.at((0, 0), 10_000) == (1, 10_000)
    assert bucket.at((0, 0), 15_000) == (1.5, 15_000)
    assert bucket.at((0, 0), 3_600_000) == (10, 3_600_000)
    assert bucket.wait((-0.5, 20_000), 20_000) == 5_000
    assert bucket.full_at((4, 20_000)) == 80_000


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    assert token_bucket(rate=6, period=MINUTE).at((3, 50_000), 40_000) == (3, 50_000)
    assert fixed_window(rate=6, period=MINUTE).at((3, 50_000), 40_000) == (3, 50_000)


def test_a_window_is_full_again_when_the_next_begins() -> None:
    window = fixed_window(rate=3, period=MINUTE)
    assert window.at(None, 5_000) == (3, 5_000)
    assert window.at((0, 5_000), 64_998) == (0, 5_000)
    assert window.at((0, 5_000), 65_000) == (3, 65_000)
    assert window.at((1, 5_000), 365_000) == (3, 365_000), "nothing is carried over"
    assert window.wait((-1, 5_000), 25_000) == 40_000
    assert window.wait((-4, 5_000), 25_000) == 100_000


def test_with_a_capacity_windows_carry_over_what_they_leave() -> None:
    window = fixed_window(rate=3, period=MINUTE, capacity=5)
    assert window.at((1, 0), 60_000) == (4, 60_000)
    assert window.at((1, 0), 120_000) == (5, 120_000)


def test_windows_can_be_aligned() -> None:
    window = fixed_window(rate=3, period=timedelta(hours=1), start=datetime(2025, 1, 1, tzinfo=UTC))
    now = datetime(2025, 6, 1, 15, 20, tzinfo=UTC).timestamp() * 1000
    assert window.at(None, now) == (3, datetime(2025, 6, 1, 15, tzinfo=UTC).timestamp() * 1000)


limits = st.builds(
    lambda kind, rate, seconds, capacity: kind(rate=rate, period=timedelta(seconds=seconds), capacity=capacity),
    st.sampled_from([token_bucket, fixed_window]),
    st.integers(1, 1000),
    st.integers(1, 100_000),
    st.integers(1, 1000) | st.none(),
)


@given(limits, st.integers(1_700_000_000_000, 1_900_000_000_000), st.data())
def test_after_the_wait_it_is_enough(limit: TokenBucket | FixedWindow, now: int, data: st.DataObject) -> None:
    value, ts = limit.at(None, now)
    count = data.draw(st.integers(1, int(limit.capacity)))
    used = value - data.draw(st.integers(0, int(limit.capacity)))
    wait = limit.wait((used - count, ts), now)
    later = limit.at((used, ts), now + wait)
    assert limit.wait((later[0] - count, later[1]), now + wait) == 0
    assert limit.at((used, ts), limit.full_at((used, ts)))[0] == pytest.approx(limit.capacity, rel=1e-6)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: token_bucket(rate=0, period=MINUTE), "`rate` is a positive number, not 0"),
        (lambda: token_bucket(rate=1, period=60), "`period` is a positive timedelta, not 60"),  # type: ignore[arg-type]
        (lambda: token_bucket(rate=1, period=timedelta(0)), "`period` is a positive timedelta"),
        (lambda: fixed_window(rate=1, period=MINUTE, capacity=-1), "`capacity` is a positive number, not -1"),
        (lambda: fixed_window(rate=1, period=MINUTE, max_reserved=-1), "`max_reserved` is not negative"),
        (lambda: fixed_window(rate=1, period=MINUTE, start=datetime(2025, 1, 1)), "aware datetime"),  # noqa: DTZ001
    ],
)
def test_limits_that_make_no_sense_are_refused(make, text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        make()
