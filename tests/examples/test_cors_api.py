"""The CORS example on a real server: a browser's own rules decide, and the official client sees what came that way."""

from __future__ import annotations

import contextlib
from pathlib import Path

import httpx
import pytest
from playwright.async_api import BrowserContext

from reactor.testing import TestIssuer
from tests.support.driver import Driver, RemoteError
from tests.support.examples import EXAMPLES, next_but
from tests.support.server import ReactorProcess, running_server

APP = EXAMPLES / "cors_api"


@pytest.mark.process
async def test_what_comes_over_http_is_live_for_the_official_client(tmp_path: Path, pypi: Driver) -> None:
    with (
        TestIssuer(application_id="cors-api") as issuer,
        running_server(tmp_path, app=APP, env={"AUTH_ISSUER": issuer.url}) as server,
    ):
        await pypi.call("new_client", name="c", url=server.url)
        await pypi.call("subscribe", name="c", sub="items", path="items:list")
        assert await pypi.call("next", sub="items") == []
        with pytest.raises(RemoteError) as told:
            await pypi.call("mutation", name="c", path="items:add", args={"name": "anonymous"})
        assert told.value.data == "Not authenticated"

        signed_in = {"Authorization": f"Bearer {issuer.token('ann')}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.site_port}", headers=signed_in) as http:
            assert (await http.post("/api/submit", json={"name": "a"})).status_code == 200
        items = await next_but(pypi, "items", [])
        assert [(item["name"], item["addedBy"]) for item in items] == [("a", f"{issuer.url}|ann")]


FETCH = """async ([url, token]) => {
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${token}` };
  const body = JSON.stringify({ name: "from a page" });
  try {
    const answer = await fetch(`${url}/api/submit`, { method: "POST", headers, body });
    return [answer.status, Object.keys(await answer.json())];
  } catch (error) {
    return error.name;
  }
}"""


@pytest.mark.process
@pytest.mark.browser
@pytest.mark.node
async def test_a_browser_lets_the_named_origin_in_and_no_other(tmp_path: Path, browser: BrowserContext) -> None:
    server = ReactorProcess(tmp_path, app=APP)
    named, other = f"http://localhost:{server.port}", server.url  # two origins, as browsers see it
    # A context of its own: where a test intercepts requests, Playwright answers preflights itself.
    assert browser.browser is not None
    page = await (await browser.browser.new_context()).new_page()
    with TestIssuer(application_id="cors-api") as issuer, contextlib.closing(server):
        server.start(env={"AUTH_ISSUER": issuer.url, "CLIENT_ORIGIN": named})
        site, seen = f"http://127.0.0.1:{server.site_port}", []
        for origin in (named, other):
            await page.goto(origin)
            seen.append([await page.evaluate(FETCH, [site, token]) for token in (issuer.token("ann"), "wrong")])
        assert seen == [[[200, ["itemId"]], [401, ["code", "message"]]], ["TypeError", "TypeError"]]
        # The page that is not let in has not even sent its request: its preflight was refused.
        assert len(server.query("items:list")) == 1
