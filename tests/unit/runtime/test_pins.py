"""Pinned snapshots give their reader connection back whatever becomes of who asked (engine rule 17)."""

from __future__ import annotations

import asyncio

import pytest

from reactor.runtime.pins import Pins
from tests.unit.runtime.test_live import World, counters, world

__all__ = ["world"]


async def test_a_cancelled_pin_holds_no_snapshot(world: World) -> None:
    await counters(world, 1)
    pins = Pins(world.database, world._run, lambda *_: None)
    original = world.database.wait_processed
    never = asyncio.Event()
    waiting = asyncio.Event()

    async def wait_processed(ts: int) -> None:
        waiting.set()
        await never.wait()

    world.database.wait_processed = wait_processed  # type: ignore[method-assign]
    asking = asyncio.ensure_future(pins.pin())
    await waiting.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    world.database.wait_processed = original  # type: ignore[method-assign]

    assert world.database.store._gate.guests == 0  # type: ignore[attr-defined]
    await pins.close()
