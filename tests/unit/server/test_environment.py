"""Environment variables: setting them, reading them in functions, and what runs again when one changes (server-semantics 49)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from reactor import Reactor
from reactor.errors import ReactorError
from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader
from reactor.testing import Backend, TestIssuer
from reactor.testing import backend as make_backend

SETTINGS = """
from reactor import ActionCtx, Environment, MutationCtx, QueryCtx, action, mutation, query


class Env(Environment):
    GREETING: str = "hello"
    LIMIT: int = 3
    OF_THE_PROCESS: str | None = None


ran: list[str] = []


@query
async def greeting(ctx: QueryCtx) -> str:
    ran.append("greeting")
    return ctx.env(Env).GREETING


@query
async def limit(ctx: QueryCtx) -> int:
    ran.append("limit")
    return ctx.env(Env).LIMIT


@query
async def nothing(ctx: QueryCtx) -> int:
    ran.append("nothing")
    return 0


@query
async def any_of(ctx: QueryCtx, name: str) -> str | None:
    return ctx.env.get(name)


@query
async def twice(ctx: QueryCtx) -> list[str]:
    return [ctx.env(Env).GREETING, await ctx.run_query(greeting)]


@query
async def moment(ctx: QueryCtx) -> float:
    return ctx.now()


@mutation
async def in_mutation(ctx: MutationCtx) -> str:
    return ctx.env(Env).GREETING


@action
async def in_action(ctx: ActionCtx) -> list[str | None]:
    return [ctx.env(Env).GREETING, ctx.env(Env).OF_THE_PROCESS, ctx.env.get("CONVEX_SITE_URL")]


@query
async def runs(ctx: QueryCtx) -> list[str]:
    return list(ran)
"""

LOADED = """
from reactor import Environment, QueryCtx, query


class Env(Environment):
    DOMAIN: str = "none"


DOMAIN = Env().DOMAIN


@query
async def domain(ctx: QueryCtx) -> str:
    return DOMAIN
"""

ADMIN = {"authorization": "Convex key|secret"}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app" / "functions").mkdir(parents=True)
    (tmp_path / "app" / "functions" / "settings.py").write_text(SETTINGS)
    return tmp_path / "app"


def app_of(directory: Path) -> App:
    return AppLoader(directory).load()


@pytest.fixture
async def backend(app: Path) -> AsyncIterator[Backend]:
    async with make_backend(app_of(app), admin_keys=("key|secret",)) as running:
        yield running


async def request(reactor: Reactor, method: str, path: str, **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(reactor)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, **{"headers": ADMIN, **options})


async def change(backend: Backend | Reactor, **variables: str | None) -> httpx.Response:
    changes = [{"name": name, "value": value} for name, value in variables.items()]
    reactor = backend.reactor if isinstance(backend, Backend) else backend
    return await request(reactor, "POST", "/api/update_environment_variables", json={"changes": changes})


async def test_variables_reach_every_kind_of_function(backend: Backend) -> None:
    assert await backend.query("settings:greeting") == "hello"
    answer = await change(backend, GREETING="hi", LIMIT="7")
    assert (answer.status_code, answer.content) == (200, b"")
    assert await backend.query("settings:greeting") == "hi"
    assert await backend.query("settings:limit") == 7
    assert await backend.mutation("settings:inMutation") == "hi"
    assert (await backend.action("settings:inAction"))[0] == "hi"
    await change(backend, GREETING=None)
    assert await backend.query("settings:greeting") == "hello"
    assert (await backend.action("settings:inAction"))[0] == "hello"


async def test_without_a_variable_of_its_own_the_process_has_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_PROCESS", "process")
    assert await backend.query("settings:anyOf", name="OF_THE_PROCESS") == "process"
    await change(backend, OF_THE_PROCESS="own")
    assert await backend.query("settings:anyOf", name="OF_THE_PROCESS") == "own"
    assert (await backend.action("settings:inAction"))[1] == "own"
    await change(backend, OF_THE_PROCESS=None)
    assert await backend.query("settings:anyOf", name="OF_THE_PROCESS") == "process"


async def test_only_queries_that_read_a_variable_run_again_when_it_changes(backend: Backend) -> None:
    async with (
        backend.subscribe("settings:greeting") as greeting,
        backend.subscribe("settings:limit") as limit,
        backend.subscribe("settings:nothing") as nothing,
        backend.subscribe("settings:twice") as twice,
    ):
        assert [await greeting.next(), await limit.next(), await nothing.next()] == ["hello", 3, 0]
        assert await twice.next() == ["hello", "hello"]
        before = await backend.query("settings:runs")
        await change(backend, GREETING="hi")
        assert await greeting.next() == "hi"
        assert await twice.next() == ["hi", "hi"]
        await limit.assert_quiet()
        await nothing.assert_quiet()
        after = await backend.query("settings:runs")
        assert set(after[len(before) :]) == {"greeting"}
        # A variable that nobody has set becomes one: it had been looked for.
        await change(backend, GREETING=None, LIMIT="5")
        assert await greeting.next() == "hello"
        assert await limit.next() == 5
        # The same value again is no change.
        await change(backend, LIMIT="5")
        await limit.assert_quiet()


async def test_variables_outlive_a_restart(app: Path) -> None:
    async with Reactor(app, data=app / "data", admin_keys=("key|secret",), synchronous="OFF") as reactor:
        await change(reactor, GREETING="kept")
    async with Reactor(app, data=app / "data", admin_keys=("key|secret",), synchronous="OFF") as reactor:
        answer = await request(reactor, "POST", "/api/query", json={"path": "settings:greeting", "args": {}})
        assert answer.json()["value"] == "kept"
        answer = await request(reactor, "POST", "/api/action", json={"path": "settings:inAction", "args": {}})
        assert answer.json()["value"][0] == "kept"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("", "x", "EnvironmentVariableNameInvalid"),
        ("1A", "x", "EnvironmentVariableNameInvalid"),
        ("A-B", "x", "EnvironmentVariableNameInvalid"),
        ("Ä", "x", "EnvironmentVariableNameInvalid"),
        ("A\n", "x", "EnvironmentVariableNameInvalid"),
        ("A" * 257, "x", "EnvironmentVariableNameTooLong"),
        ("A", "x" * 8193, "EnvironmentVariableValueTooLarge"),
        ("A", "é" * 4097, "EnvironmentVariableValueTooLarge"),
        ("CONVEX_CLOUD_URL", "x", "EnvVarNameForbidden"),
        ("CONVEX_SITE_URL", None, "EnvVarNameForbidden"),
    ],
)
async def test_what_cannot_be_set_is_refused_and_changes_nothing(
    backend: Backend, name: str, value: str | None, code: str
) -> None:
    answer = await change(backend, GREETING="hi", **{name: value})
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert await backend.query("settings:greeting") == "hello"


async def test_names_of_256_characters_and_values_of_8_kib_are_fine(backend: Backend) -> None:
    name = "A" * 256
    assert (await change(backend, **{name: "x" * 8192, "EMPTY": ""})).status_code == 200
    assert await backend.query("settings:anyOf", name=name) == "x" * 8192
    assert await backend.query("settings:anyOf", name="EMPTY") == ""


async def test_a_built_in_variable_is_the_servers(backend: Backend) -> None:
    """server-semantics 49"""
    answer = await change(backend, CONVEX_SITE_URL="x")
    message = 'Environment variable with name "CONVEX_SITE_URL" is built-in and cannot be overridden'
    assert answer.json()["message"] == message
    site_url = backend.reactor.site_url
    assert await backend.query("settings:anyOf", name="CONVEX_SITE_URL") == site_url
    assert (await backend.action("settings:inAction"))[2] == site_url


async def test_there_are_at_most_512(backend: Backend) -> None:
    assert (await change(backend, **{f"V{i}": "x" for i in range(512)})).status_code == 200
    answer = await change(backend, ONE_MORE="x")
    assert (answer.status_code, answer.json()["code"]) == (400, "EnvVarLimitMet")
    assert (await change(backend, V0=None, ONE_MORE="x")).status_code == 200


async def test_together_they_have_at_most_512_kib(backend: Backend) -> None:
    assert (await change(backend, **{f"V{i}": "x" * 8192 for i in range(63)})).status_code == 200
    answer = await change(backend, MORE="x" * 8192)
    assert (answer.status_code, answer.json()["code"]) == (400, "EnvVarTotalSizeLimitMet")


async def test_a_name_twice_in_one_change_is_refused(backend: Backend) -> None:
    changes = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    answer = await request(backend.reactor, "POST", "/api/v1/update_environment_variables", json={"changes": changes})
    assert (answer.status_code, answer.json()["code"]) == (400, "EnvVarNameNotUnique")


async def test_removing_what_is_not_there_succeeds(backend: Backend) -> None:
    assert (await change(backend, NOT_THERE=None)).status_code == 200


async def test_the_deployment_api_lists_them_sorted(backend: Backend) -> None:
    await change(backend, B="2", A="ö")
    for path in ("/api/list_environment_variables", "/api/v1/list_environment_variables"):
        answer = await request(backend.reactor, "GET", path)
        assert answer.json() == {"environmentVariables": {"A": "ö", "B": "2"}}
        assert list(answer.json()["environmentVariables"]) == ["A", "B"]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Convex nope|x"}])
async def test_only_the_operator_may(backend: Backend, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/api/update_environment_variables"), ("GET", "/api/v1/list_environment_variables")):
        answer = await request(backend.reactor, method, path, headers=headers, json={"changes": []})
        assert (answer.status_code, answer.json()["code"]) == (403, "BadDeployKey")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"changes": 1}', b'{"changes": [{"value": "x"}]}', b'{"changes": [{"name": "A", "value": 1}]}'],
)
async def test_a_body_that_says_nothing_is_400(backend: Backend, body: bytes) -> None:
    answer = await request(backend.reactor, "POST", "/api/update_environment_variables", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "BadJsonBody")


async def test_changes_at_once_all_happen(backend: Backend) -> None:
    await asyncio.gather(*(change(backend, **{f"V{i}": str(i)}) for i in range(20)))
    assert dict(backend.reactor.environment) == {f"V{i}": str(i) for i in range(20)}


async def test_code_that_read_a_variable_while_it_loaded_is_loaded_again(app: Path) -> None:
    """What `auth_config` reads works the same way."""
    (app / "functions" / "loaded.py").write_text(LOADED)
    async with Reactor(app, data=app / "data", admin_keys=("key|secret",), synchronous="OFF") as reactor:

        async def domain() -> Any:
            answer = await request(reactor, "POST", "/api/query", json={"path": "loaded:domain", "args": {}})
            return answer.json()["value"]

        generation = reactor.backend.app.generation
        assert await domain() == "none"
        await change(reactor, UNRELATED="x")
        assert reactor.backend.app.generation == generation
        await change(reactor, DOMAIN="example.com")
        assert await domain() == "example.com"
        assert reactor.backend.app.generation != generation
    async with Reactor(app, data=app / "data", admin_keys=("key|secret",), synchronous="OFF") as reactor:
        assert await domain() == "example.com"


async def test_the_auth_config_follows_its_variables(app: Path) -> None:
    (app / "functions" / "who.py").write_text(
        "from reactor import QueryCtx, query\n\n\n@query\nasync def me(ctx: QueryCtx) -> str | None:\n"
        "    identity = await ctx.auth.get_user_identity()\n    return identity and identity.subject\n"
    )
    (app / "functions" / "auth_config.py").write_text(
        "from reactor import Environment, OidcProvider\n\n\nclass Env(Environment):\n    DOMAIN: str = 'https://nobody.example'\n"
        "\n\nproviders = [OidcProvider(domain=Env().DOMAIN, application_id='test-app')]\n"
    )
    options: dict[str, Any] = {"admin_keys": ("key|secret",), "synchronous": "OFF", "dev": True}
    with TestIssuer() as issuer:
        async with Reactor(app, data=app / "data", **options) as reactor:
            headers = {"authorization": f"Bearer {issuer.token('ann')}"}
            call = {"path": "who:me", "args": {}}
            assert (await request(reactor, "POST", "/api/query", json=call, headers=headers)).status_code == 401
            await change(reactor, DOMAIN=issuer.url)
            answer = await request(reactor, "POST", "/api/query", json=call, headers=headers)
            assert answer.json()["value"] == "ann"
            await change(reactor, DOMAIN=None)
            assert (await request(reactor, "POST", "/api/query", json=call, headers=headers)).status_code == 401


async def test_a_missing_variable_keeps_the_app_from_loading_until_it_is_set(app: Path) -> None:
    (app / "functions" / "loaded.py").write_text(LOADED.replace(' = "none"', ""))
    reactor = Reactor(app, data=app / "data", admin_keys=("key|secret",), synchronous="OFF", dev=True)
    await reactor.start(tolerate_broken_app=True)
    try:
        assert isinstance(reactor.broken, ReactorError)
        assert "reactor env set DOMAIN" in str(reactor.broken)
        await change(reactor, DOMAIN="example.com")
        assert reactor.broken is None
        # Taken away again, the code from before serves on, and the status says why.
        await change(reactor, DOMAIN=None)
        assert reactor.broken is not None
        assert "loaded:domain" in reactor.functions
    finally:
        await reactor.stop()


async def test_time_is_fixed_in_a_query_and_a_cached_result_that_looked_at_it_grows_old(backend: Backend) -> None:
    """server-semantics 5.4: after some 17 seconds newcomers get a fresh run; before, the same result."""
    async with backend.subscribe("settings:moment") as first:
        began = await first.next()
        await backend.advance(timedelta(seconds=16))
        async with backend.subscribe("settings:moment") as second:
            assert await second.next() == began
        await backend.advance(timedelta(seconds=2))
        async with backend.subscribe("settings:moment") as third:
            assert await third.next() == backend.now()


@pytest.mark.parametrize(
    ("options", "cloud", "site"),
    [
        ({}, "http://127.0.0.1:3210", "http://127.0.0.1:3211"),
        ({"public_url": "https://a.example/"}, "https://a.example/", "https://a.example/http"),
        (
            {"public_url": "https://a.example", "public_site_url": "https://hooks.example"},
            "https://a.example",
            "https://hooks.example",
        ),
    ],
)
async def test_the_built_in_variables_say_where_it_is_reached(
    app: Path, options: dict[str, str], cloud: str, site: str
) -> None:
    async with make_backend(app_of(app), **options) as backend:
        assert await backend.query("settings:anyOf", name="CONVEX_CLOUD_URL") == cloud
        assert await backend.query("settings:anyOf", name="CONVEX_SITE_URL") == site
