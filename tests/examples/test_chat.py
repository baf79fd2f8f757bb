"""The chat example: its own tests, its page in a browser, and the React version compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.async_api import Route, async_playwright

from tests.support.driver import CLIENTS, require_node, unavailable
from tests.support.server import running_server

CHAT = Path(__file__).parents[2] / "examples" / "chat"


def run(*command: str, cwd: Path, **environment: str) -> None:
    env = {**os.environ, **environment}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_own_tests_pass_where_a_user_would_run_them(tmp_path: Path) -> None:
    copy = shutil.copytree(CHAT, tmp_path / "chat", ignore=shutil.ignore_patterns(".reactor", "__pycache__"))
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=copy)


def test_it_is_typed(tmp_path: Path) -> None:
    copy = shutil.copytree(CHAT, tmp_path / "chat", ignore=shutil.ignore_patterns(".reactor", "__pycache__"))
    run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable, ".", cwd=copy)


@pytest.mark.node
def test_the_react_version_bundles(tmp_path: Path) -> None:
    require_node()
    esbuild = CLIENTS / "node_modules" / ".bin" / "esbuild"
    options = ("--bundle", "--jsx=automatic", "--log-level=warning", f"--outfile={tmp_path / 'out.js'}")
    run(str(esbuild), str(CHAT / "web" / "App.tsx"), *options, cwd=tmp_path, NODE_PATH=str(CLIENTS / "node_modules"))


@pytest.mark.process
@pytest.mark.browser
@pytest.mark.node
async def test_two_windows_chat_and_the_assistant_answers_both(tmp_path: Path) -> None:
    require_node()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        unavailable("the chat page was not opened, because there is no Chromium on the PATH")

    async def from_npm(route: Route) -> None:
        await route.fulfill(path=CLIENTS / "node_modules" / "convex" / "dist" / "browser.bundle.js")

    with running_server(tmp_path / "server", app=CHAT) as server:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            context = await browser.new_context()
            await context.route("https://unpkg.com/**", from_npm)
            one, two = await context.new_page(), await context.new_page()
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
            await browser.close()
