"""The chat example: its two front ends in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext

from tests.support.driver import CLIENTS, require_node
from tests.support.examples import EXAMPLES, run
from tests.support.server import ReactorProcess, running_server

CHAT = EXAMPLES / "chat"


ENTRY = """
import { createRoot } from "react-dom/client";
import App from "APP";
createRoot(document.getElementById("root")).render(<App />);
"""


def bundle_react(directory: Path, url: str) -> Path:
    """The React version as a page of its own, for the server at `url`."""
    require_node()
    source = (CHAT / "web" / "App.tsx").read_text("utf-8")
    assert "http://127.0.0.1:3210" in source
    (directory / "App.tsx").write_text(source.replace("http://127.0.0.1:3210", url))
    (directory / "entry.tsx").write_text(ENTRY.replace("APP", "./App"))
    esbuild = CLIENTS / "node_modules" / ".bin" / "esbuild"
    options = ("--bundle", "--jsx=automatic", "--log-level=warning", "--outfile=app.js")
    run(str(esbuild), "entry.tsx", *options, cwd=directory, NODE_PATH=str(CLIENTS / "node_modules"))
    page = directory / "index.html"
    page.write_text('<!doctype html><meta charset="utf-8"><div id="root"></div><script src="app.js"></script>')
    return page


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReactorProcess]:
    with running_server(tmp_path / "server", app=CHAT) as server:
        yield server


@pytest.mark.process
@pytest.mark.browser
@pytest.mark.node
async def test_two_windows_chat_and_the_assistant_answers_both(server: ReactorProcess, browser: BrowserContext) -> None:
    require_node()
    one, two = await browser.new_page(), await browser.new_page()
    for window in (one, two):
        await window.goto(f"{(CHAT / 'web' / 'index.html').as_uri()}?url={server.url}")
        await window.fill("#session", "demo")
        await window.press("#session", "Tab")

    await one.fill("#text", "good day")
    await one.press("#text", "Enter")

    for window in (one, two):
        await window.locator("li.user:not(.pending)", has_text="good day").wait_for()
        await window.locator("li.assistant", has_text="You said: good day").wait_for()
        assert await window.locator("li").count() == 2


@pytest.mark.process
@pytest.mark.browser
@pytest.mark.node
async def test_the_react_version_pages_and_stays_live(
    server: ReactorProcess, browser: BrowserContext, tmp_path: Path
) -> None:
    for number in range(30):
        server.mutation("messages:send", {"sessionId": "demo", "content": f"message {number}"})
    page = await browser.new_page()
    await page.goto(bundle_react(tmp_path, server.url).as_uri())
    assert await page.locator("li").count() == 0

    await page.fill("[placeholder=Session]", "demo")
    await page.locator("li").nth(19).wait_for()
    assert await page.locator("li").first.inner_text() == "message 29"
    await page.click("text=Load older")
    await page.locator("li", has_text="message 0").wait_for()
    assert await page.locator("li").count() == 30

    await page.fill("[placeholder='Say something']", "good day")
    await page.press("[placeholder='Say something']", "Enter")
    await page.locator("li.assistant", has_text="You said: good day").wait_for()
    assert await page.locator("li").all_inner_texts() == [
        "You said: good day",
        "good day",
        *(f"message {number}" for number in range(29, -1, -1)),
    ]
