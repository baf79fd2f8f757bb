"""A real store in a temporary directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reactor import faults
from reactor.clock import ManualClock
from reactor.store.sqlite.store import SqliteStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "data", clock=clock, synchronous="OFF")
    await store.open()
    yield store
    faults.disarm_all()
    await store.close()
