"""Signing in with the official clients, unmodified: the flows of client-protocol 6.1, over WebSocket and HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.driver import Driver, RemoteError
from tests.support.sign_in import SignIn, sign_in_server

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignIn]:
    with sign_in_server(tmp_path_factory.mktemp("sign-in")) as place:
        yield place


def subject(value: Any) -> str | None:
    return None if value is None else value["subject"]


async def npm_client(npm: Driver, place: SignIn, *tokens: str | None) -> None:
    """A client that follows two queries, and whose `fetchToken` gives these tokens one after the other."""
    await npm.call("newClient", name="one", url=place.server.url)
    await npm.call("keepFrames", name="one")
    await npm.call("setAuthTokens", name="one", tokens=tokens)
    await npm.call("subscribe", name="one", sub="who", path="who:whoami", args={})
    await npm.call("subscribe", name="one", sub="mark", path="who:indifferent", args={})


def told(npm: Driver) -> list[bool]:
    """What `onChange` was told."""
    return [event["authenticated"] for event in npm.events if event["event"] == "authenticated"]


def asked(npm: Driver) -> list[bool]:
    """The `forceRefreshToken` of each call of `fetchToken`."""
    return [event["forced"] for event in npm.events if event["event"] == "tokenAsked"]


async def authenticates(npm: Driver) -> int:
    return (await npm.call("traffic", name="one"))["sent"].count("Authenticate")


async def until_subject(npm: Driver, expected: str | None, *, patience: float = 30.0) -> None:
    await npm.until_update("who", lambda value: subject(value) == expected, patience=patience)


@pytest.mark.node
async def test_npm_signs_in_with_the_cached_token_then_with_a_fresh_one(place: SignIn, npm: Driver) -> None:
    """client-protocol 30: two Authenticates, `onChange(true)`; the query that looks runs again only for another identity"""
    await npm_client(npm, place, place.oidc.token("ann"), place.oidc.token("ann", jti="fresh"))
    await until_subject(npm, "ann")
    await npm.until(lambda: len(asked(npm)) == 2 and told(npm))
    assert asked(npm) == [False, True]
    assert (await npm.call("mutation", name="one", path="who:whoamiMutation", args={}))["subject"] == "ann"
    assert await npm.call("action", name="one", path="who:whoamiAction", args={}) == {
        "subject": "ann",
        "issuer": place.oidc.url,
        "tokenIdentifier": f"{place.oidc.url}|ann",
    }
    assert await authenticates(npm) == 2
    assert set(told(npm)) == {True}
    assert len(npm.updates("who")) == len(npm.updates("mark")) == 1
    assert (await npm.call("traffic", name="one"))["opened"] == 1


@pytest.mark.node
async def test_npm_renews_its_token_in_time(place: SignIn, npm: Driver) -> None:
    """client-protocol 6.1: a token of twelve seconds is renewed after two, on the same socket"""
    now = place.now_s()

    def short(number: int) -> str:
        return place.oidc.token("ann", iat=now, exp=now + 12, jti=str(number))

    await npm_client(npm, place, short(0), short(1), short(2), place.oidc.token("ann"))
    await npm.until(lambda: len(asked(npm)) >= 4)
    await until_subject(npm, "ann")
    await npm.call("mutation", name="one", path="who:whoamiMutation", args={})
    traffic = await npm.call("traffic", name="one")
    assert traffic["opened"] == 1
    assert traffic["sent"].count("Authenticate") == 4
    assert asked(npm) == [False, True, True, True]
    assert len(npm.updates("who")) == len(npm.updates("mark")) == 1


@pytest.mark.node
async def test_npm_recovers_from_one_rejected_token(place: SignIn, npm: Driver) -> None:
    """client-protocol 31"""
    await npm_client(npm, place, place.oidc.token("ann", exp=place.now_s() - 60), place.oidc.token("ann"))
    await until_subject(npm, "ann")
    await npm.until(lambda: told(npm)[-1:] == [True])
    assert asked(npm)[:2] == [False, True]
    assert False not in told(npm)


@pytest.mark.node
@pytest.mark.parametrize("fresh", [True, False])
async def test_npm_gives_up_after_a_few_rejected_tokens_and_goes_on_anonymously(
    place: SignIn, npm: Driver, fresh: bool
) -> None:
    """client-protocol 31: at most four attempts, then `onChange(false)`, and public queries work"""
    bad = [place.oidc.token("ann", aud="another-app", jti=str(number)) for number in range(10 if fresh else 1)]
    await npm_client(npm, place, *bad)
    await npm.until(lambda: told(npm) == [False])
    await until_subject(npm, None)
    await npm.until(lambda: bool(npm.updates("mark")))
    assert await npm.call("mutation", name="one", path="who:whoamiMutation", args={}) is None
    assert 1 <= await authenticates(npm) <= 4
    if fresh:
        assert any("No auth provider found matching the given token" in line for line in npm.console("error"))


@pytest.mark.node
async def test_npm_recovers_when_its_token_ends_during_a_session(place: SignIn, npm: Driver) -> None:
    """client-protocol 32: one refetch, and the subscriptions are kept"""
    ending = place.token_for(60)
    await npm_client(npm, place, ending, ending, place.token_for(600))
    await until_subject(npm, "ann")
    await npm.until(lambda: told(npm) and len(asked(npm)) == 2)
    place.advance(61)
    assert (await npm.call("mutation", name="one", path="who:whoamiMutation", args={}))["subject"] == "ann"
    assert asked(npm) == [False, True, True]
    traffic = await npm.call("traffic", name="one")
    assert traffic["opened"] == 2
    assert traffic["received"].count("AuthError") == 1
    place.server.mutation("who:write", {"text": "x"})
    await npm.call("subscribe", name="one", sub="lines", path="who:lines", args={})
    await npm.until_update("lines", lambda value: "x" in value)
    assert subject(npm.updates("who")[-1]) == "ann"
    assert False not in told(npm)


@pytest.mark.node
async def test_npm_waits_for_a_provider_that_is_down(place: SignIn, npm: Driver) -> None:
    """Nobody is signed out, and once keys can be had again the client is in."""
    place.oidc.stop()
    try:
        place.oidc.rotate()  # a key that the server does not know yet
        await npm_client(npm, place, place.oidc.token("ann"))
        await npm.until(lambda: [e for e in npm.events if e["event"] == "socketClosed"])
        closed = next(event for event in npm.events if event["event"] == "socketClosed")
        assert (closed["code"], closed["reason"]) == (1013, "AuthProviderUnavailable")
    finally:
        place.oidc.start()
    await until_subject(npm, "ann", patience=60)  # its pauses grow to 16 s, and unknown keys are asked for every 10 s
    assert False not in told(npm)
    assert (await npm.call("traffic", name="one"))["received"].count("AuthError") == 0


@pytest.mark.node
async def test_npm_signs_out(place: SignIn, npm: Driver) -> None:
    """client-protocol 33"""
    token = place.oidc.token("ann")
    await npm_client(npm, place, token)
    await until_subject(npm, "ann")
    await npm.until(lambda: told(npm) and len(asked(npm)) == 2)
    await npm.call("clearAuth", name="one")
    await until_subject(npm, None)
    assert await npm.call("mutation", name="one", path="who:whoamiMutation", args={}) is None
    assert len(npm.updates("mark")) == 1


@pytest.mark.node
async def test_npm_switches_users(place: SignIn, npm: Driver) -> None:
    await npm_client(npm, place, place.oidc.token("ann"))
    await until_subject(npm, "ann")
    await npm.call("setAuthTokens", name="one", tokens=[place.custom.token("bob")])
    await until_subject(npm, "bob")
    assert [subject(value) for value in npm.updates("who")] == ["ann", "bob"]
    assert len(npm.updates("mark")) == 1


@pytest.mark.node
async def test_npm_over_http(place: SignIn, npm: Driver) -> None:
    """client-protocol 35"""
    await npm.call("newHttpClient", name="h", url=place.server.url)
    for kind, path in (("query", "who:whoami"), ("mutation", "who:whoamiMutation"), ("action", "who:whoamiAction")):
        await npm.call("setHttpAuth", name="h", token=place.oidc.token("ann"))
        assert subject(await npm.call("http", name="h", kind=kind, path=path, args={})) == "ann"
        await npm.call("setHttpAuth", name="h", token=place.oidc.token("ann", aud="another-app"))
        with pytest.raises(RemoteError, match="No auth provider found matching the given token"):
            await npm.call("http", name="h", kind=kind, path=path, args={})
        await npm.call("setHttpAuth", name="h", token=None)
        assert await npm.call("http", name="h", kind=kind, path=path, args={}) is None


async def test_pypi_signs_in_and_out(place: SignIn, pypi: Driver) -> None:
    """client-protocol 5, 30, 33"""
    await pypi.call("new_client", name="one", url=place.server.url)
    await pypi.call("set_auth", name="one", token=place.oidc.token("ann"))
    assert subject(await pypi.call("mutation", name="one", path="who:whoamiMutation")) == "ann"
    await pypi.call("subscribe", name="one", sub="who", path="who:whoami")
    assert subject(await pypi.call("next", sub="who")) == "ann"
    await pypi.call("set_auth", name="one", token=place.custom.token("bob", role="x"))
    assert await pypi.call("next", sub="who") == {
        "subject": "bob",
        "issuer": place.custom.url,
        "tokenIdentifier": f"{place.custom.url}|bob",
        "role": "x",
    }
    assert subject(await pypi.call("action", name="one", path="who:whoamiAction")) == "bob"
    await pypi.call("clear_auth", name="one")
    # This client repeats a value now and then.
    while subject(value := await pypi.call("next", sub="who")) == "bob":
        pass
    assert value is None


async def test_pypi_works_again_once_it_is_given_a_good_token(place: SignIn, pypi: Driver) -> None:
    """client-protocol 6.1: it sends a refused token again and again, with pauses"""
    await pypi.call("new_client", name="one", url=place.server.url)
    await pypi.call("set_auth", name="one", token=place.oidc.token("ann", aud="another-app"))
    await pypi.call("set_auth", name="one", token=place.oidc.token("ann"))
    assert subject(await pypi.call("query", name="one", path="who:whoami")) == "ann"


async def test_pypi_over_http(place: SignIn, pypi: Driver) -> None:
    """client-protocol 35, 40"""
    await pypi.call("new_http_client", name="h", url=place.server.url)
    await pypi.call("set_auth", name="h", token=place.oidc.token("ann"))
    assert subject(await pypi.call("query", name="h", path="who:whoami")) == "ann"
    await pypi.call("set_auth", name="h", token=place.oidc.token("ann", aud="another-app"))
    with pytest.raises(RemoteError, match="401 NoAuthProvider: No auth provider found"):
        await pypi.call("query", name="h", path="who:whoami")


@pytest.mark.parametrize(
    ("kind", "path"), [("query", "whoami"), ("mutation", "whoamiMutation"), ("action", "whoamiAction")]
)
def test_the_bearer_header(place: SignIn, kind: str, path: str) -> None:
    """client-protocol 35 and 36: valid, in its leeway, invalid, absent"""

    def ask(**headers: str) -> httpx.Response:
        return httpx.post(f"{place.server.url}/api/{kind}", json={"path": f"who:{path}", "args": {}}, headers=headers)

    good = ask(Authorization=f"Bearer {place.oidc.token('ann')}")
    assert (good.status_code, good.json()["value"]["subject"]) == (200, "ann")
    assert subject(ask(Authorization=f"bearer {place.token_for(-4)}").json()["value"]) == "ann"
    assert ask().json()["value"] is None
    for token, code in (
        (place.token_for(-5), "Unauthenticated"),
        ("invalid-token-one", "InvalidAuthHeader"),
        (place.oidc.token("ann", aud="x"), "NoAuthProvider"),
    ):
        answer = ask(Authorization=f"Bearer {token}")
        assert answer.status_code == 401
        assert answer.json().keys() == {"code", "message"}
        assert answer.json()["code"] == code
    down = ask(Authorization=f"Bearer {place.down.token('ann')}")
    assert (down.status_code, down.json()["code"]) == (503, "AuthProviderUnavailable")
