"""Official clients for the tests of the examples, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import BrowserContext, Route, async_playwright

from tests.support.driver import CLIENTS, Driver, python_driver, require_node, unavailable


@pytest.fixture
async def pypi() -> AsyncIterator[Driver]:
    """A Python process with the official PyPI client."""
    async with python_driver() as driver:
        yield driver
        driver.assert_calm()


@pytest.fixture
async def browser() -> AsyncIterator[BrowserContext]:
    """A browser that gets the client's bundle from the installed package instead of the network."""
    require_node()  # its packages have the bundle
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        unavailable("the examples' pages were not opened, because there is no Chromium on the PATH")

    async def from_npm(route: Route) -> None:
        await route.fulfill(path=CLIENTS / "node_modules" / "convex" / "dist" / "browser.bundle.js")

    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = await running.new_context()
        await context.route("https://unpkg.com/**", from_npm)
        yield context
        await running.close()
