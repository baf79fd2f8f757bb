"""The files example: its page in two windows, both ways of uploading and of downloading, and the official PyPI client."""

from __future__ import annotations

import random
from pathlib import Path

import httpx
import pytest
from playwright.async_api import BrowserContext

from tests.support.driver import Driver
from tests.support.examples import EXAMPLES, next_but
from tests.support.server import running_server

APP = EXAMPLES / "files"


@pytest.mark.process
@pytest.mark.browser
@pytest.mark.node
async def test_two_windows_share_files(tmp_path: Path, browser: BrowserContext) -> None:
    text, picture = tmp_path / "grüße.txt", tmp_path / "noise.bin"
    text.write_text("Grass grows, birds fly", "utf-8")
    picture.write_bytes(random.Random(7).randbytes(3 << 20))
    with running_server(tmp_path / "server", app=APP) as server:
        page = f"{(APP / 'web' / 'index.html').as_uri()}?url={server.url}&site=http://127.0.0.1:{server.site_port}"
        one, two = await browser.new_page(), await browser.new_page()
        for window in (one, two):
            await window.goto(page)

        await one.set_input_files("#file", text)
        await one.click("#by-url")
        await two.set_input_files("#file", picture)
        await two.click("#by-route")
        for window in (one, two):
            await window.locator("li", has_text="grüße.txt text/plain, 22 bytes").wait_for()
            await window.locator("li", has_text=f"noise.bin application/octet-stream, {3 << 20} bytes").wait_for()
        assert await one.inner_text("#status") == "Uploaded grüße.txt"

        # From the storage's URL, and as an attachment from the app's own route.
        row = two.locator("li", has_text="grüße.txt")
        stored = await browser.request.get(str(await row.locator("a").first.get_attribute("href")))
        assert await stored.text() == "Grass grows, birds fly"
        for window, name, file in ((two, "grüße.txt", text), (one, "noise.bin", picture)):
            async with window.expect_download() as download:
                await window.locator("li", has_text=name).get_by_text("Download").click()
            assert (await download.value).suggested_filename == name
            assert Path(await (await download.value).path()).read_bytes() == file.read_bytes()

        await one.locator("li", has_text="grüße.txt").get_by_text("Remove").click()
        await two.locator("li", has_text="grüße.txt").wait_for(state="detached")
        assert await two.locator("li").count() == 1


@pytest.mark.process
async def test_the_official_client_uploads_and_follows_the_list(tmp_path: Path, pypi: Driver) -> None:
    with running_server(tmp_path, app=APP) as server:
        await pypi.call("new_client", name="c", url=server.url)
        await pypi.call("subscribe", name="c", sub="s", path="files:list", args={"sessionId": "s1"})
        assert await pypi.call("next", sub="s") == []
        url = await pypi.call("mutation", name="c", path="files:generateUploadUrl")
        async with httpx.AsyncClient() as http:
            uploaded = await http.post(url, content=b"hello", headers={"Content-Type": "text/plain"})
            args = {**uploaded.json(), "filename": "hello.txt", "sessionId": "s1"}
            await pypi.call("mutation", name="c", path="files:saveFile", args=args)
            [artifact] = await next_but(pypi, "s", [])
            assert (await http.get(artifact["url"])).content == b"hello"
        await pypi.call("mutation", name="c", path="files:remove", args={"artifactId": artifact["_id"]})
        assert await next_but(pypi, "s", [artifact]) == []
