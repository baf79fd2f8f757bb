"""The front end of the sample app, built with Vite and driven in Chromium against a real server and a real issuer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Locator, Page, async_playwright, expect

from tests.support.driver import unavailable
from tests.support.examples import EXAMPLES, run
from tests.support.proxy import BreakingProxy, breaking_proxy
from tests.support.server import ADMIN_KEY, READY_WITHIN_S, ReactorProcess, free_port, running_server

pytestmark = [pytest.mark.browser, pytest.mark.node, pytest.mark.process]

WEB = EXAMPLES / "app_builder_web"
SAMPLE_APP = EXAMPLES.parent
DEFAULT_BACKEND = "http://127.0.0.1:3210"
PATIENCE_MS = 20_000

expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Site:
    """The built page, with `dev.py` before it."""

    url: str
    directory: Path
    backend: ReactorProcess

    def page_for(self, backend_url: str) -> str:
        """The address of the page for a backend elsewhere: behind a proxy, say."""
        name = backend_url.rpartition(":")[2]
        copy = self.directory / name
        if not copy.exists():
            shutil.copytree(self.directory / "built", copy)
            [script] = copy.glob("assets/*.js")
            text = script.read_text("utf-8")
            assert text.count(DEFAULT_BACKEND) == 1
            script.write_text(text.replace(DEFAULT_BACKEND, backend_url), "utf-8")
        return f"{self.url}/{name}/"

    def as_operator(self, kind: str, path: str, **args: Any) -> Any:
        """The value of a call with the admin key."""
        answer = httpx.post(
            f"{self.backend.url}/api/{kind}",
            json={"path": path, "args": args, "format": "json"},
            headers={"Authorization": f"Convex {ADMIN_KEY}"},
        ).json()
        assert answer["status"] == "success", answer
        return answer["value"]


def _installed() -> None:
    """The page's packages, as the lock file has them; installed once, and again when that changes."""
    npm = shutil.which("npm")
    if npm is None:
        unavailable("the app builder's page was not tested, because `npm` is not on the PATH")
    stamp, lock = WEB / "node_modules" / ".deps-installed", WEB / "package-lock.json"
    if stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return
    done = subprocess.run([str(npm), "ci", "--silent"], cwd=WEB, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        unavailable(f"the app builder's page was not tested, because `npm ci` failed: {done.stderr[-500:]}")
    stamp.touch()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    _installed()
    work = tmp_path_factory.mktemp("app-builder")
    pages = work / "pages"
    run("npm", "run", "build", "--", "--outDir", str(pages / "built"), cwd=WEB)
    port, issuer_port = free_port(), free_port()
    command = [sys.executable, str(WEB / "dev.py"), f"--port={port}", f"--issuer-port={issuer_port}", f"--page={pages}"]
    issuer = {"CLERK_JWT_ISSUER_DOMAIN": f"http://127.0.0.1:{issuer_port}"}
    with subprocess.Popen(command) as tier:
        try:
            with running_server(work / "server", app=SAMPLE_APP, env=issuer) as backend:
                site = Site(f"http://127.0.0.1:{port}", pages, backend)
                _until_serving(site, tier)
                yield site
        finally:
            tier.kill()


def _until_serving(site: Site, tier: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        assert tier.poll() is None, "dev.py ended by itself"
        assert time.monotonic() < deadline, "dev.py doesn't serve"
        try:
            assert httpx.get(f"{site.url}/dev/token?user=ann").status_code == 200
            return
        except httpx.TransportError:
            time.sleep(0.02)


class Window:
    """What one user sees, in a browser of their own."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.trouble: list[str] = []
        page.on("pageerror", lambda error: self.trouble.append(f"page error: {error}"))
        page.on("console", lambda line: self.trouble.append(line.text) if line.type == "error" else None)

    async def sign_in(self, user: str) -> None:
        await self.page.get_by_label("Your name").fill(user)
        await self.page.get_by_role("button", name="Sign in").click()
        await expect(self.credits).to_have_text("5 of 5 credits left")

    @property
    def credits(self) -> Locator:
        return self.page.locator(".credits")

    @property
    def connection(self) -> Locator:
        return self.page.locator(".connection")

    @property
    def projects(self) -> Locator:
        return self.page.get_by_role("navigation").locator("li span")

    @property
    def messages(self) -> Locator:
        return self.page.locator(".message .content")

    @property
    def unsent(self) -> Locator:
        return self.page.locator(".message", has_text="Sending…")

    @property
    def step(self) -> Locator:
        return self.page.locator(".progress [aria-current=step]")

    async def create(self, name: str) -> None:
        await self.page.get_by_label("Name of the new project").fill(name)
        await self.page.get_by_role("button", name="Create").click()
        await expect(self.page.get_by_role("heading", name=name)).to_be_visible()

    async def open(self, name: str) -> None:
        await self.page.get_by_role("link", name=name).click()
        await expect(self.page.get_by_role("heading", name=name)).to_be_visible()

    async def ask(self, text: str) -> None:
        await self.page.get_by_label("What shall be built?").fill(text)
        await self.page.get_by_label("What shall be built?").press("Enter")


Open = Callable[..., Awaitable[Window]]


@pytest.fixture
async def open_window(site: Site) -> AsyncIterator[Open]:
    """`await open_window("ann")`: a new browser where ann has signed in; `backend_url` if hers is behind a proxy."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        unavailable("the app builder's page was not opened, because there is no Chromium on the PATH")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])

        async def open_window(user: str, backend_url: str = site.backend.url) -> Window:
            context = await browser.new_context()
            window = Window(await context.new_page())
            await window.page.goto(site.page_for(backend_url))
            await window.sign_in(user)
            return window

        yield open_window
        await browser.close()


@pytest.fixture
async def proxy(site: Site) -> AsyncIterator[BreakingProxy]:
    async with breaking_proxy(site.backend.port) as proxy:
        yield proxy


async def test_two_browsers_see_each_others_changes(open_window: Open) -> None:
    one, two, stranger = await open_window("ann"), await open_window("ann"), await open_window("a stranger")

    await one.create("Shop")
    await expect(two.projects).to_have_text(["Shop"])
    await two.create("Blog")
    await expect(one.projects).to_have_text(["Blog", "Shop"])
    await two.open("Shop")
    await expect(one.page.get_by_role("heading", name="Shop")).to_be_visible()

    await one.ask("a page with a cart")
    for window in (one, two):
        await expect(window.messages).to_have_text(["a page with a cart"])
        await expect(window.step).to_have_text("Queued")
        await expect(window.credits).to_have_text("4 of 5 credits left")

    await two.page.get_by_role("button", name="Rename").click()
    await two.page.get_by_label("Project name").fill("Flower shop")
    await two.page.get_by_role("button", name="Save").click()
    await expect(one.page.get_by_role("heading", name="Flower shop")).to_be_visible()
    await expect(one.projects).to_have_text(["Blog", "Flower shop"])

    one.page.on("dialog", lambda dialog: dialog.accept())
    await one.page.get_by_role("button", name="Delete").click()
    for window in (one, two):
        await expect(window.projects).to_have_text(["Blog"])
        await expect(window.page.get_by_text("This project is gone.")).to_be_visible()
    await expect(stranger.projects).to_have_text([])
    for window in (one, two, stranger):
        assert window.trouble == []


async def test_a_message_shows_before_the_server_has_it(open_window: Open, proxy: BreakingProxy) -> None:
    far, near = await open_window("bea", proxy.url), await open_window("bea")
    await far.create("Shop")
    await near.open("Shop")

    proxy.hold_requests()
    await far.ask("a page with a cart")
    await proxy.wait_held_request()
    await expect(far.messages).to_have_text(["a page with a cart"])
    await expect(far.unsent).to_have_count(1)
    await expect(far.credits).to_have_text("4 of 5 credits left")
    assert await near.messages.count() == 0

    proxy.flow()
    for window in (far, near):
        await expect(window.messages).to_have_text(["a page with a cart"])
        await expect(window.unsent).to_have_count(0)
        await expect(window.credits).to_have_text("4 of 5 credits left")
        assert window.trouble == []


async def test_what_is_sent_offline_arrives_when_the_connection_is_back(
    open_window: Open, proxy: BreakingProxy
) -> None:
    away, home = await open_window("cal", proxy.url), await open_window("cal")
    await away.create("Shop")
    await home.open("Shop")

    proxy.refuse = True
    proxy.cut()
    await expect(away.connection).to_contain_text("Offline")
    await away.ask("from a train")
    await home.ask("from home")
    await expect(home.messages).to_have_text(["from home"])
    await expect(away.unsent).to_contain_text(["from a train"])
    assert await away.messages.count() == 1, "nothing new arrives offline"

    proxy.refuse = False
    for window in (away, home):
        await expect(window.messages).to_have_text(["from home", "from a train"])
        await expect(window.unsent).to_have_count(0)
        await expect(window.connection).to_have_text("Live")
        await expect(window.credits).to_have_text("3 of 5 credits left")
        assert not [line for line in window.trouble if "page error" in line]


async def test_an_agents_run_advances_before_everybodys_eyes(open_window: Open, site: Site) -> None:
    one, two = await open_window("dot"), await open_window("dot")
    await one.create("Shop")
    await two.open("Shop")
    await one.ask("a page with a cart")
    for window in (one, two):
        await expect(window.step).to_have_text("Queued")

    run_id = _queued_for(site, one)
    site.as_operator("mutation", "agentRuns:claimRun", runId=run_id)
    for window in (one, two):
        await expect(window.step).to_have_text("Building")
    for text in ("I make", "I make a cart", "I make a cart of willow"):
        site.as_operator("mutation", "agentRuns:reportProgress", runId=run_id, content=text)
        for window in (one, two):
            await expect(window.messages).to_have_text(["a page with a cart", text])
            await expect(window.page.locator(".message.STREAMING")).to_have_count(1)

    files = {"app/page.tsx": "export default () => <Cart />;"}
    site.as_operator(
        "mutation", "agentRuns:completeRun", runId=run_id, summary="Done.", files=files, framework="NEXTJS"
    )
    for window in (one, two):
        await expect(window.step).to_have_text("Done")
        await expect(window.messages).to_have_text(["a page with a cart", "Done."])
        await expect(window.page.locator(".message.STREAMING")).to_have_count(0)
        await window.page.get_by_text("app/page.tsx").click()
        await expect(window.page.get_by_text(files["app/page.tsx"])).to_be_visible()
        assert window.trouble == []
    if directory := os.environ.get("SCREENSHOTS"):
        await one.page.screenshot(path=f"{directory}/app-builder.png")


async def test_a_run_that_fails_and_one_too_many_are_told(open_window: Open, site: Site) -> None:
    window = await open_window("eve")
    await window.create("Shop")
    await window.ask("a cart 1")
    await expect(window.step).to_have_text("Queued")
    site.as_operator("mutation", "agentRuns:failRun", runId=_queued_for(site, window), error="no such cart")
    await expect(window.page.get_by_role("status").filter(has_text="The agent gave up: no such cart")).to_be_visible()

    for number in range(2, 6):
        await window.ask(f"a cart {number}")
    await expect(window.credits).to_have_text("0 of 5 credits left")
    await expect(window.unsent).to_have_count(0)
    await window.ask("a cart 6")
    await expect(window.page.get_by_role("alert")).to_contain_text("You have run out of credits")
    await expect(window.messages).to_have_text([f"a cart {number}" for number in range(1, 6)])
    await expect(window.page.get_by_label("What shall be built?")).to_have_value("a cart 6")


async def test_the_example_worker_answers(open_window: Open, site: Site) -> None:
    window = await open_window("fay")
    await window.create("Shop")
    await window.ask("a page with a cart")
    await expect(window.step).to_have_text("Queued")
    command = [sys.executable, str(EXAMPLES / "agent_worker" / "worker.py"), f"--url={site.backend.url}"]
    with subprocess.Popen(command, env={**os.environ, "REACTOR_ADMIN_KEY": ADMIN_KEY}) as worker:
        try:
            await expect(window.step).to_have_text("Done")
            await expect(window.messages).to_have_count(2)
            await expect(window.page.locator(".files summary").first).to_be_visible()
            assert worker.poll() is None
        finally:
            worker.kill()
    assert window.trouble == []


async def test_a_reload_keeps_the_user_and_the_project_and_signing_out_forgets(open_window: Open) -> None:
    window = await open_window("gil")
    await window.create("Shop")
    await window.page.reload()
    await expect(window.page.get_by_role("heading", name="Shop")).to_be_visible()
    await window.page.get_by_role("button", name="Sign out").click()
    await window.sign_in("hal")
    await expect(window.page.get_by_text("This project is gone.")).to_be_visible()
    assert window.trouble == []


def _queued_for(site: Site, window: Window) -> str:
    """The id of the run that waits for an agent in the window's project."""
    project_id = window.page.url.partition("#")[2]
    waiting = site.as_operator("query", "agentRuns:listPending")
    [run_id] = [run["_id"] for run in waiting if run["projectId"] == project_id]
    return run_id
