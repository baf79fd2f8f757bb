"""The official npm client in a real browser: Chromium, headless, with pages served from another origin."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.support.driver import CLIENTS, require_node, unavailable
from tests.support.proxy import BreakingProxy
from tests.support.server import ADMIN_KEY, ReactorProcess

pytestmark = [pytest.mark.browser, pytest.mark.node, pytest.mark.process]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page, bundled, on an origin of its own."""
    require_node()
    directory = tmp_path_factory.mktemp("site")
    bundled = subprocess.run(
        [
            str(CLIENTS / "node_modules" / ".bin" / "esbuild"),
            "page/page.js",
            "--bundle",
            "--format=esm",
            '--define:process.env.NODE_ENV="production"',
            f"--outfile={directory / 'page.js'}",
            "--log-level=warning",
        ],
        cwd=CLIENTS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert bundled.returncode == 0, bundled.stderr
    Path(directory, "index.html").write_text(
        '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
        '<div id="root"></div><script type="module" src="page.js"></script>'
    )
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(directory))
    ) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{pages.server_address[1]}"
        pages.shutdown()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        unavailable(
            "the client in a browser was not tested, because neither `chromium` nor `google-chrome` is on the PATH"
        )
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        await browser.close()


class _Opened:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.trouble: list[str] = []
        page.on("pageerror", lambda error: self.trouble.append(f"page error: {error}"))
        page.on(
            "console",
            lambda message: self.trouble.append(f"console: {message.text}") if message.type == "error" else None,
        )

    async def send(self, body: str) -> None:
        await self.page.fill("#draft", body)
        await self.page.press("#draft", "Enter")

    async def messages(self) -> list[str]:
        return await self.page.locator("#messages li").all_inner_texts()


async def _open(browser: Browser, site: str, server_url: str, channel: str, **extra: str) -> _Opened:
    """In a context of its own: another user."""
    context = await browser.new_context()
    opened = _Opened(await context.new_page())
    await opened.page.goto(f"{site}/?{urlencode({'server': server_url, 'channel': channel, **extra})}")
    return opened


async def test_two_pages_see_each_others_changes(
    server: ReactorProcess, browser: Browser, site: str, channel: str
) -> None:
    ann = await _open(browser, site, server.url, channel)
    bob = await _open(browser, site, server.url, channel)
    for user in (ann, bob):
        await expect(user.page.locator("#status")).to_have_text("0 messages")
    await ann.send("hello from ann")
    await expect(bob.page.locator("#messages li")).to_have_text(["hello from ann"])
    await bob.send("hello from bob 😀")
    both = ["hello from ann", "hello from bob 😀"]
    for user in (ann, bob):
        await expect(user.page.locator("#messages li")).to_have_text(both)
    server.mutation("messages:append", {"channel": channel, "body": "from the server's side"})
    for user in (ann, bob):
        await expect(user.page.locator("#messages li")).to_have_text([*both, "from the server's side"])
        assert user.trouble == []


async def test_pages_load_on_click_and_stay_live(
    server: ReactorProcess, browser: Browser, site: str, channel: str
) -> None:
    """client-protocol 51 and 52, in a browser"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [10, 20, 30]})
    user = await _open(browser, site, server.url, channel)
    rows, more = user.page.locator("#page li"), user.page.locator("#more")
    await expect(rows).to_have_text(["message 10", "message 20"])
    await more.click()
    await expect(rows).to_have_text(["message 10", "message 20", "message 30"])
    await expect(more).to_have_text("Exhausted")
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [15, 40]})
    await expect(rows).to_have_text([f"message {number}" for number in (10, 15, 20, 30, 40)])
    assert user.trouble == []


async def test_a_page_recovers_from_a_cut_connection(
    server: ReactorProcess, proxy: BreakingProxy, browser: Browser, site: str, channel: str
) -> None:
    """client-protocol 19, in a browser"""
    user = await _open(browser, site, proxy.url, channel)
    await expect(user.page.locator("#status")).to_have_text("0 messages")
    for number in range(1, 4):
        proxy.cut()
        server.mutation("messages:send", {"channel": channel, "body": f"{number}"})
        await expect(user.page.locator("#status")).to_have_text(f"{number} messages", timeout=15_000)
    assert not [line for line in user.trouble if "page error" in line]


async def test_the_http_client_works_from_another_origin(
    server: ReactorProcess, browser: Browser, site: str, channel: str
) -> None:
    """client-protocol 42: the browser itself asks with a preflight (content-type, convex-client, authorization)"""
    for extra in ({}, {"adminKey": ADMIN_KEY}):
        user = await _open(browser, site, server.url, channel, **extra)
        ask = "([kind, module, name, args]) => window.overHttp(kind, module, name, args)"
        assert await user.page.evaluate(ask, ["mutation", "messages", "append", {"channel": channel, "body": "x"}]) >= 0
        assert await user.page.evaluate(ask, ["query", "messages", "count", {"channel": channel}]) >= 1
        assert await user.page.evaluate(ask, ["action", "actions", "echo", {"value": "v"}]) == "v"
        assert await user.page.evaluate(ask, ["query", "identity", "isAdmin", {}]) is bool(extra)
        assert user.trouble == []


async def test_values_make_the_round_trip_in_a_browser(
    server: ReactorProcess, browser: Browser, site: str, channel: str
) -> None:
    """client-protocol 47"""
    user = await _open(browser, site, server.url, channel)
    assert await user.page.evaluate("window.roundTrip()") is True
    assert user.trouble == []


async def test_a_page_uploads_and_downloads_files(
    server: ReactorProcess, browser: Browser, site: str, channel: str
) -> None:
    """client-protocol 44, server-semantics 42: the official flow with `fetch`, from another origin"""
    user = await _open(browser, site, server.url, channel)
    await user.page.wait_for_function("window.overHttp !== undefined")
    seen = await user.page.evaluate(
        """async () => {
          const target = await overHttp("mutation", "files", "generateUploadUrl", {});
          const file = new File(["Grass grows, birds fly"], "../grass.txt", { type: "text/plain" });
          const posted = await fetch(target, { method: "POST", headers: { "Content-Type": file.type }, body: file });
          const { storageId } = await posted.json();
          const url = await overHttp("query", "files", "url", { id: storageId });
          const whole = await fetch(url);
          const part = await fetch(url, { headers: { Range: "bytes=6-10" } });
          const image = await overHttp("mutation", "files", "generateUploadUrl", {});
          const pixel = Uint8Array.from(atob("R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="), (c) => c.charCodeAt(0));
          const shown = await (await fetch(image, { method: "POST", headers: { "Content-Type": "image/gif" }, body: pixel })).json();
          const element = new Image();
          element.src = await overHttp("query", "files", "url", { id: shown.storageId });
          await element.decode();
          // What the <img> left in the cache, for a script.
          const fromCache = (await (await fetch(element.src)).blob()).size;
          const expired = await fetch(target + "x", { method: "POST", body: file });
          return {
            text: await whole.text(),
            type: whole.headers.get("content-type"),
            digest: whole.headers.get("digest"),
            part: await part.text(),
            range: part.headers.get("content-range"),
            width: element.naturalWidth,
            fromCache,
            refused: [expired.status, (await expired.json()).code],
          };
        }"""
    )
    assert seen == {
        "text": "Grass grows, birds fly",
        "type": "text/plain",
        "digest": "sha-256=wXYLDY4Mp06UDGLgQCd8Soq4W1UDNC1EZ4roCXy1Avs=",
        "part": "grows",
        "range": "bytes 6-10/22",
        "width": 1,
        "fromCache": 35,
        "refused": [401, "StorageTokenInvalid"],
    }
