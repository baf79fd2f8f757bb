"""The sync door over a fake backend, on a real uvicorn socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.door import ADMIN_KEY, Door, open_door

__all__ = ["ADMIN_KEY"]


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with open_door() as door:
        yield door


@pytest.fixture
async def foreign_door() -> AsyncIterator[Door]:
    """The same inside somebody else's server, which offers nothing but ASGI."""
    async with open_door(own_transport=False) as door:
        yield door
