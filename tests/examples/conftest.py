"""Official clients for the tests of the examples."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.driver import Driver, python_driver


@pytest.fixture
async def pypi() -> AsyncIterator[Driver]:
    """A Python process with the official PyPI client."""
    async with python_driver() as driver:
        yield driver
        driver.assert_calm()
