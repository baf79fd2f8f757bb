"""The README's first screen, as pasted: the server that it starts, the page, and the Python script beside it."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Route, async_playwright

from tests.docs.snippets import REPOSITORY, read_page
from tests.support.driver import CLIENTS, require_node, unavailable
from tests.support.server import ReactorProcess, running_server

README = read_page(REPOSITORY / "README.md")
ADDRESS = "http://127.0.0.1:3210"

pytestmark = pytest.mark.process


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReactorProcess]:
    """What the second command starts, on another port and with its data elsewhere."""
    install, start = next(block for block in README.blocks if block.language == "sh").text.splitlines()
    assert install == "python3 -m venv .venv && .venv/bin/pip install . convex"
    assert start == ".venv/bin/reactor dev examples/chat"
    with running_server(tmp_path / "server", app=REPOSITORY / "examples" / "chat") as running:
        yield running


async def test_the_script_prints_what_anybody_says(server: ReactorProcess, tmp_path: Path) -> None:
    script = tmp_path / "watch.py"
    script.write_text(README.files()["watch.py"].replace(ADDRESS, server.url))
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"['hello from Python']\n"
            await asyncio.to_thread(server.mutation, "messages:send", {"sessionId": "demo", "content": "hello, script"})
            assert await process.stdout.readline() == b"['hello from Python', 'hello, script']\n"
    finally:
        process.kill()
        await process.wait()


@pytest.mark.browser
@pytest.mark.node
async def test_two_windows_of_the_page_see_each_other_type(server: ReactorProcess, tmp_path: Path) -> None:
    require_node()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        unavailable("the README's page was not opened, because there is no Chromium on the PATH")
    page_path = tmp_path / "page.html"
    page_path.write_text(README.files()["page.html"].replace(ADDRESS, server.url))

    async def from_npm(route: Route) -> None:
        """The bundle that unpkg serves, from the package that npm installed."""
        version, file = re.fullmatch(r"https://unpkg\.com/convex@([\d.]+)/(.*)", route.request.url).groups()  # type: ignore[union-attr]
        assert f'"version": "{version}"' in (CLIENTS / "node_modules/convex/package.json").read_text()
        await route.fulfill(path=CLIENTS / "node_modules" / "convex" / file)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = await browser.new_context()
        await context.route("https://unpkg.com/**", from_npm)
        one, two = await context.new_page(), await context.new_page()
        for window in (one, two):
            await window.goto(page_path.as_uri())

        await one.fill("#text", "hello from one")
        await one.press("#text", "Enter")
        await two.locator("#list", has_text="hello from one").wait_for()
        await two.fill("#text", "hello from two")
        await two.press("#text", "Enter")
        await one.locator("#list", has_text="hello from two").wait_for()

        assert await one.inner_text("#list") == "hello from one\nhello from two"
        await browser.close()
