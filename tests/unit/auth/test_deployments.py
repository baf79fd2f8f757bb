"""`functions/auth_config.py` of a deployment: read with the code, swapped with it, refused with it; and what is told to whom."""

from __future__ import annotations

import asyncio
import contextlib
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from reactor import Reactor, SchemaError
from reactor.testing import ManualClock, TestIssuer

WHO = """
from typing import Any

from reactor import QueryCtx, query


@query
async def whoami(ctx: QueryCtx) -> Any:
    identity = await ctx.auth.get_user_identity()
    return None if identity is None else identity.subject
"""

Issuers = dict[str, TestIssuer]


class App:
    """An app on disk, and its deployment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "functions").mkdir()
        (root / "functions" / "who.py").write_text(WHO)

    def configure(self, text: str) -> None:
        (self.root / "functions" / "auth_config.py").write_text(textwrap.dedent(text))

    def accept(self, *issuers: TestIssuer) -> None:
        listed = ", ".join(f'{{"domain": "{i.url}", "applicationID": "test-app"}}' for i in issuers)
        self.configure(f"providers = [{listed}]")

    @contextlib.asynccontextmanager
    async def deployed(self, **options: Any) -> AsyncIterator[Reactor]:
        settings = {"data": self.root / "data", "synchronous": "OFF", "dev": True, **options}
        async with Reactor(self.root, clock=ManualClock(), **settings) as reactor:
            yield reactor


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path)


async def ask(reactor: Reactor, token: str) -> httpx.Response:
    transport = httpx.ASGITransport(reactor)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(
            "/api/query", json={"path": "who:whoami", "args": {}}, headers={"Authorization": f"Bearer {token}"}
        )


async def accepts(reactor: Reactor, token: str) -> bool:
    answer = await ask(reactor, token)
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200 and answer.json()["value"] == "ann"


async def test_providers_are_swapped_when_the_code_is(app: App, issuers: Issuers) -> None:
    one, other = issuers["RS256"], issuers["EdDSA"]
    async with app.deployed() as reactor:
        assert not await accepts(reactor, one.token("ann"))
        app.accept(one)
        await reactor.reload()
        assert await accepts(reactor, one.token("ann"))
        assert not await accepts(reactor, other.token("ann"))
        fetched = len(one.requests)
        app.accept(one, other)
        await reactor.reload()
        assert await accepts(reactor, other.token("ann"))
        assert await accepts(reactor, one.token("ann"))
        assert len(one.requests) == fetched, "its keys were kept"
        app.configure("providers = []")
        await reactor.reload()
        assert not await accepts(reactor, one.token("ann"))


async def test_while_new_code_is_refused_the_old_providers_are_in_force(app: App, issuers: Issuers) -> None:
    issuer = issuers["EdDSA"]
    app.accept(issuer)
    async with app.deployed() as reactor:
        for text in ("providers = [{}]", "import nothing_there", "", "providers = ["):
            app.configure(text)
            with pytest.raises(SchemaError, match=r"auth_config\.py"):
                await reactor.reload()
            assert await accepts(reactor, issuer.token("ann"))


async def test_environment_variables_may_be_read(app: App, issuers: Issuers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISSUER", issuers["EdDSA"].url)
    monkeypatch.setenv("APP_ID", "test-app")
    app.configure(
        """
        import os

        from reactor import Environment, OidcProvider


        class Env(Environment):
            ISSUER: str


        providers = [OidcProvider(domain=Env().ISSUER, application_id=os.environ["APP_ID"])]
        """
    )
    async with app.deployed() as reactor:
        assert await accepts(reactor, issuers["EdDSA"].token("ann"))


async def test_a_variable_of_the_deployment_that_changes_swaps_the_providers(app: App, issuers: Issuers) -> None:
    one, other = issuers["RS256"], issuers["EdDSA"]
    app.configure(
        """
        from reactor import Environment, OidcProvider


        class Env(Environment):
            ISSUER: str | None = None


        issuer = Env().ISSUER
        providers = [OidcProvider(domain=issuer, application_id="test-app")] if issuer else []
        """
    )
    async with app.deployed() as reactor:
        assert not await accepts(reactor, one.token("ann"))
        for issuer, another in ((one, other), (other, one)):
            await reactor.environment.update([("ISSUER", issuer.url)])
            assert await accepts(reactor, issuer.token("ann"))
            assert not await accepts(reactor, another.token("ann"))
        await reactor.environment.update([("ISSUER", "ftp://no.example")])
        assert await accepts(reactor, other.token("ann")), "a value that can't work changes nothing"


@pytest.mark.parametrize(
    ("config", "texts"),
    [
        (
            'import os\nproviders = [{"domain": os.environ["NOT_SET"], "applicationID": "a"}]',
            ["auth_config.py:2", "NOT_SET"],
        ),
        (
            'from reactor import OidcProvider\nproviders = [OidcProvider(domain="", application_id="a")]',
            ["auth_config.py:2", "`domain` must be a text", "Is an environment variable missing?"],
        ),
        (
            "from reactor import Environment\nclass Env(Environment):\n    NOT_SET: str\nproviders = [Env().NOT_SET]",
            ["auth_config.py:4", "The environment variable NOT_SET is not set", "reactor env set NOT_SET"],
        ),
        (
            'providers = [{"domain": "http://issuer.example", "applicationID": "a"}]',
            ["auth_config.py: ", "plain http is taken on this machine only"],
        ),
        (
            'providers = [{"type": "customJwt", "issuer": "https://i", "jwks": "data:,{}", "algorithm": "RS256"}]',
            ["auth_config.py: ", "the key set is not a key set"],
        ),
    ],
)
async def test_a_configuration_that_cannot_work_is_named_at_the_start(app: App, config: str, texts: list[str]) -> None:
    app.configure(config)
    with pytest.raises(SchemaError) as refused:
        async with app.deployed():
            pass
    for text in texts:
        assert text in str(refused.value)


async def test_in_production_plain_http_takes_a_setting_and_details_stay_here(
    app: App, issuers: Issuers, caplog: pytest.LogCaptureFixture
) -> None:
    """server-semantics 9.2"""
    issuer = issuers["EdDSA"]
    app.accept(issuer)
    with pytest.raises(SchemaError, match="loopback_issuers = true"):
        async with app.deployed(dev=False):
            pass
    caplog.set_level("INFO", logger="reactor.auth")
    async with app.deployed(dev=False, loopback_issuers=True) as reactor:
        assert await accepts(reactor, issuer.token("ann"))
        answer = await ask(reactor, issuer.token("ann", aud="another-app"))
        assert (answer.status_code, answer.json()) == (
            401,
            {"code": "NoAuthProvider", "message": "No auth provider found matching the given token."},
        )
        assert f"[OIDC(domain={issuer.url}, app_id=test-app)]" in caplog.text
    async with app.deployed() as reactor:
        assert issuer.url in (await ask(reactor, issuer.token("ann", aud="another-app"))).json()["message"]


async def test_the_clock_skew_is_a_setting(app: App, issuers: Issuers) -> None:
    issuer = issuers["EdDSA"]
    app.accept(issuer)
    now = ManualClock().now_ns() // 1_000_000_000
    token = issuer.token("ann", exp=now - 20)
    async with app.deployed() as reactor:
        assert not await accepts(reactor, token)
    async with app.deployed(token_skew_s=30.0) as reactor:
        assert await accepts(reactor, token)


async def test_nothing_is_fetched_before_a_token_arrives(app: App, issuers: Issuers) -> None:
    issuer = issuers["EdDSA"]
    app.accept(issuer)
    before = len(issuer.requests)
    async with app.deployed() as reactor:
        assert len(issuer.requests) == before
        assert await accepts(reactor, issuer.token("ann"))
    assert issuer.requests[before:] == ["/.well-known/openid-configuration", "/jwks"]


@contextlib.contextmanager
def slow_issuer() -> Iterator[tuple[TestIssuer, threading.Event]]:
    """An issuer that answers nobody before the event is set."""
    released = threading.Event()
    with TestIssuer(algorithm="EdDSA", clock=ManualClock()) as issuer:
        answer = issuer.respond

        def later(path: str) -> Any:
            released.wait(30)
            return answer(path)

        issuer.respond = later  # type: ignore[method-assign]
        yield issuer, released
        released.set()


async def test_while_keys_are_fetched_everybody_else_is_served(app: App, issuers: Issuers) -> None:
    """Those who wait for the keys, wait for one fetch; those who don't need them don't wait."""
    quick = issuers["EdDSA"]
    with slow_issuer() as (slow, released):
        app.accept(slow, quick)
        async with app.deployed() as reactor:
            waiting = [asyncio.create_task(accepts(reactor, slow.token("ann"))) for _ in range(20)]
            while not slow.requests:
                await asyncio.sleep(0.001)
            assert await accepts(reactor, quick.token("ann"))
            assert not await accepts(reactor, slow.token("ann", aud="another-app"))
            assert not any(task.done() for task in waiting)
            released.set()
            assert await asyncio.gather(*waiting) == [True] * 20
        assert slow.requests == ["/.well-known/openid-configuration", "/jwks"]


async def test_a_server_that_stops_does_not_wait_for_keys(app: App) -> None:
    with slow_issuer() as (slow, released):
        app.accept(slow)
        async with app.deployed() as reactor:
            asking = asyncio.create_task(ask(reactor, slow.token("ann")))
            while not slow.requests:
                await asyncio.sleep(0.001)
        assert not released.is_set()
        assert (await asking).status_code == 503


async def test_a_provider_can_be_trusted_from_outside(app: App, issuers: Issuers) -> None:
    one, other = issuers["EdDSA"], issuers["ES256"]
    app.accept(one)
    async with app.deployed() as reactor:
        reactor.identities.trust(other.provider)
        assert await accepts(reactor, other.token("ann"))
        await reactor.reload()
        assert await accepts(reactor, other.token("ann"))
        assert await accepts(reactor, one.token("ann"))


HTTP = """
from reactor import ActionCtx, AuthenticationError, HttpRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

http = HttpRouter()


@http.route("/hook", methods=["POST"])
async def hook(ctx: ActionCtx, request: Request) -> JSONResponse:
    return JSONResponse({"ran": True})


@http.route("/who", methods=["POST"])
async def who(ctx: ActionCtx, request: Request) -> JSONResponse:
    try:
        identity = await ctx.auth.get_user_identity()
    except AuthenticationError as error:
        return JSONResponse({"error": error.code}, 401)
    return JSONResponse({"who": None if identity is None else identity.subject})
"""


async def test_http_actions_run_whatever_the_token_and_learn_of_it_when_they_ask(app: App, issuers: Issuers) -> None:
    """server-semantics 9.1"""
    issuer = issuers["EdDSA"]
    app.accept(issuer)
    (app.root / "functions" / "http.py").write_text(HTTP)
    async with app.deployed() as reactor:
        transport = httpx.ASGITransport(reactor.site)
        async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:

            async def post(path: str, token: str | None) -> tuple[int, Any]:
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                answer = await client.post(path, headers=headers)
                return answer.status_code, answer.json()

            expired = issuer.token("ann", exp=1)
            for token in (None, issuer.token("ann"), expired, "sk_live_of_somebody_else"):
                assert await post("/hook", token) == (200, {"ran": True})
            assert await post("/who", None) == (200, {"who": None})
            assert await post("/who", issuer.token("ann")) == (200, {"who": "ann"})
            assert await post("/who", expired) == (401, {"error": "Unauthenticated"})
            assert await post("/who", "sk_live_of_somebody_else") == (401, {"error": "InvalidAuthHeader"})
